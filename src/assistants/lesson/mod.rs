//! Lesson preparation (备课): one topic in, one grounded plan out.
//!
//! Facts come from the graph and the index ([`facts`]); sections that are facts are composed from them ([`compose`]); the
//! language model writes the objectives, the procedure and the assessment under a grammar ([`write`], [`procedure`]), and
//! every text of its is checked against the facts it was given. What fails twice is replaced by vetted wording, so a plan is
//! either valid or not delivered ([`validate`]).

mod chat;
mod compose;
mod draft;
mod edit;
mod export;
mod facts;
mod intent;
mod planner;
mod procedure;
mod validate;
mod write;

use std::time::Duration;

use serde::Serialize;
use serde_json::Value;
use tokio::sync::mpsc;
use uuid::Uuid;

pub use edit::SectionsPatch;
pub use export::to_markdown;
pub use planner::{LessonPlanner, PlannerParts};

use crate::domain::{Citation, ConceptRef, Grade, Language, LessonPlan, SectionName, Subject};
use crate::graph::LinkedConcept;
use crate::runtime::GenerationError;
use crate::store::StoreError;
use crate::store::plans::PlanMessage;

/// What a teacher asks for.
#[derive(Clone, Debug)]
pub struct LessonRequest {
    pub topic: String,
    pub subject: Subject,
    pub grade: Grade,
    pub minutes: u16,
    pub class_id: Option<Uuid>,
    pub language: Language,
    pub notes: Option<String>,
}

/// Longest topic, in characters.
pub const TOPIC_LIMIT: usize = 100;
/// Longest notes and longest chat message, in characters.
pub const TEXT_LIMIT: usize = 500;
/// Shortest and longest lesson, in minutes.
pub const MINUTES: std::ops::RangeInclusive<u16> = 10..=180;

impl LessonRequest {
    /// Refuses what no plan can be made of.
    pub fn check(&self) -> Result<(), PlanError> {
        let invalid = |field: &'static str, reason: String| Err(PlanError::InvalidField { field, reason });
        let topic = self.topic.trim();
        if topic.is_empty() {
            return invalid("topic", "请填写课题".to_owned());
        }
        if topic.chars().count() > TOPIC_LIMIT {
            return invalid("topic", format!("课题不能超过 {TOPIC_LIMIT} 个字"));
        }
        if !MINUTES.contains(&self.minutes) {
            return invalid("minutes", format!("课时应在 {} 到 {} 分钟之间", MINUTES.start(), MINUTES.end()));
        }
        if self.notes.as_ref().is_some_and(|notes| notes.chars().count() > TEXT_LIMIT) {
            return invalid("notes", format!("说明不能超过 {TEXT_LIMIT} 个字"));
        }
        if self.language != Language::Chinese {
            return invalid("language", "目前只有中文的教学内容，请使用 zh-CN".to_owned());
        }
        Ok(())
    }
}

/// What happens while a plan is written, in order: `Created`, then for each section `SectionStarted`, its `Citation`s and
/// `SectionDelta`s, `SectionCompleted`; last `Done`. A section that failed its checks starts again with a higher `attempt`.
///
/// A chat message beside a plan brings `MessageDelta`s, for a wish also the events of the section that it changes; last
/// `Answered`.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub enum PlanEvent {
    Created { plan_id: Uuid, topic: String, concepts: Vec<ConceptRef>, sections: Vec<SectionName> },
    SectionStarted { section: SectionName, attempt: u32 },
    SectionDelta { section: SectionName, text: String },
    SectionCompleted { section: SectionName, content: Value },
    Citation { key: String, citation: Citation },
    Done { plan: Box<LessonPlan> },
    MessageDelta { text: String },
    Answered { message: PlanMessage, plan: Option<Box<LessonPlan>> },
}

impl PlanEvent {
    /// The SSE event name.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Created { .. } => "plan.created",
            Self::SectionStarted { .. } => "section.started",
            Self::SectionDelta { .. } => "section.delta",
            Self::SectionCompleted { .. } => "section.completed",
            Self::Citation { .. } => "citation",
            Self::MessageDelta { .. } => "message.delta",
            Self::Done { .. } | Self::Answered { .. } => "done",
        }
    }
}

/// A plan being written. Dropping it stops the writing; nothing is stored then.
pub type PlanStream = mpsc::Receiver<Result<PlanEvent, PlanError>>;

/// Why there is no plan.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// The graph knows no such topic; `suggestions` are the nearest concepts, possibly none.
    #[error("no concept of the graph fits the topic `{topic}`")]
    UnknownTopic { topic: String, suggestions: Vec<LinkedConcept> },
    /// A request value that cannot be used. The reason is for the end user, in Chinese.
    #[error("{field}: {reason}")]
    InvalidField { field: &'static str, reason: String },
    /// As many plans are being written as the configuration permits.
    #[error("too many lesson plans are being written")]
    Busy { retry_after: Duration },
    #[error("no such lesson plan")]
    NotFound,
    /// The plan was changed by someone else meanwhile.
    #[error("the lesson plan has changed meanwhile")]
    Conflict,
    #[error(transparent)]
    Generation(#[from] GenerationError),
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A fault inside; the text is for the log.
    #[error("lesson planning failed: {0}")]
    Internal(String),
}

impl From<super::prompts::PromptError> for PlanError {
    fn from(error: super::prompts::PromptError) -> Self {
        Self::Internal(error.to_string())
    }
}
