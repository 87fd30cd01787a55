use crate::domain::{Grade, Subject};
use crate::graph::LinkedConcept;

/// What retrieval needs of the knowledge graph.
pub trait ConceptLinker: Send + Sync {
    /// The concepts that a text speaks of, best first, at most `limit`.
    fn link(&self, text: &str, subject: Option<Subject>, grade: Option<Grade>, limit: usize) -> Vec<LinkedConcept>;

    /// Ids of the concepts next to this one: prerequisites, what it leads to, related ones.
    fn neighbours(&self, id: &str) -> Vec<String>;
}
