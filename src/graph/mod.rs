//! The subject knowledge graph: Turtle in Oxigraph, a typed snapshot for reading, linking, paths, validation.
//!
//! [`KnowledgeGraph::load`] reads the Turtle files, keeps them as RDF for queries, and builds a snapshot of plain Rust types
//! in which everything else is answered. A thing's id (`math:equation`) is its IRI without the base.

mod concept;
mod linking;
mod paths;
mod search;
mod snapshot;
mod store;
mod text;
mod validation;

pub use concept::*;
pub use linking::{LinkContext, Linker};
pub use paths::{ConceptPath, Edge, Neighbourhood, Node, PathKind, RelationKind};
pub use store::{Content, DEFAULT_BASE, KnowledgeGraph, Place, Problem, ResolvedSource};
pub use validation::{Report, Severity, Violation, validate};

/// Why the graph could not be loaded or queried.
#[derive(Debug, thiserror::Error)]
pub enum GraphError {
    #[error("cannot read {path}: {source}")]
    Read { path: String, source: std::io::Error },
    #[error("{file}:{line}:{column}: {message}")]
    Syntax { file: String, line: u64, column: u64, message: String },
    #[error("the base IRI `{0}` is not valid: it must be an absolute IRI that ends with `:`, `/` or `#`")]
    Base(String),
    #[error("no Turtle file in {0}")]
    Empty(String),
    #[error("graph store: {0}")]
    Store(#[from] oxigraph::store::StorageError),
    #[error("{file}: {message}")]
    Query { file: String, message: String },
}
