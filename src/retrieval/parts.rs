//! What filling an index and searching it have in common.

use std::sync::Arc;

use super::index::PassageIndex;
use super::linking::ConceptLinker;
use super::segment::Segmenter;
use crate::embedding::TextEncoder;

/// An index, how text becomes words, and, where they are there, encoder and graph. Indexer and searcher of one index are
/// made of the same parts, or the searcher looks for words and vectors that the indexer never wrote.
#[derive(Clone)]
pub struct RetrievalParts {
    pub(super) index: Arc<dyn PassageIndex>,
    pub(super) segmenter: Arc<Segmenter>,
    pub(super) encoder: Option<Arc<dyn TextEncoder>>,
    pub(super) linker: Option<Arc<dyn ConceptLinker>>,
}

impl RetrievalParts {
    pub fn new(index: Arc<dyn PassageIndex>, segmenter: Arc<Segmenter>) -> Self {
        Self { index, segmenter, encoder: None, linker: None }
    }

    /// The encoder may be one that is still being loaded.
    pub fn with_encoder(self, encoder: Arc<dyn TextEncoder>) -> Self {
        Self { encoder: Some(encoder), ..self }
    }

    pub fn with_linker(self, linker: Arc<dyn ConceptLinker>) -> Self {
        Self { linker: Some(linker), ..self }
    }
}
