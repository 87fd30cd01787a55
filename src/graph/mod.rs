//! The subject knowledge graph: Turtle in Oxigraph, a typed snapshot for reading, linking, paths, validation.

mod concept;

pub use concept::*;
