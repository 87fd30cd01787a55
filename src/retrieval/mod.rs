//! Documents and graph concepts in one index, and the hybrid search over it.
//!
//! [`Indexer`] turns Markdown, plain text and concepts into passages; [`PassageIndex`] keeps them ([`EmbeddedIndex`] in
//! SQLite, with the vectors in memory); [`Searcher`] answers questions. Every search sees the shared passages and those
//! of one school, never another school's.

mod chunk;
mod embedded;
mod eval;
mod fusion;
mod index;
mod ingest;
mod linking;
mod markdown;
mod parts;
mod rows;
mod search;
mod segment;
mod shipped;
mod vectors;

pub use chunk::Chunk;
pub use embedded::EmbeddedIndex;
pub use eval::{EvalError, Metrics, RetrievalReport, evaluate};
pub use fusion::FusionWeights;
pub use index::*;
pub use ingest::{
    ConceptText, Indexer, IngestError, IngestOptions, IngestReport, Ingested, SourceDocument, SourceFormat, SyncReport,
};
pub use linking::{ConceptLinker, GraphConcepts};
pub use parts::RetrievalParts;
pub use search::{Hit, SearchError, SearchRequest, SearchResponse, Searcher};
pub use segment::Segmenter;
pub use shipped::shipped_documents;
