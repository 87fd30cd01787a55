//! Plain types that every part shares: subjects, roles, citations, lesson plans. Knows nobody.

mod citation;
mod device;
mod identity;
mod lesson_plan;
mod subject;

pub use citation::{Citation, CitationKind};
pub use device::DeviceKind;
pub use identity::{Principal, Role};
pub use lesson_plan::*;
pub use subject::{Grade, InvalidGrade, Language, Stage, Subject, UnknownSubject};
