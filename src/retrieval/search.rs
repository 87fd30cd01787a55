//! Hybrid search: words, vectors and the graph's neighbourhood, fused.

use std::collections::HashMap;

use uuid::Uuid;

use super::fusion::{Candidates, FusionWeights, fuse};
use super::index::{Collection, DocumentKind, Filter, IndexError, Passage, Scored, Vector};
use super::parts::RetrievalParts;
use crate::domain::{Grade, Subject};
use crate::embedding::TextKind;
use crate::graph::LinkedConcept;

/// Candidates that each search gives to the fusion.
pub(super) const CANDIDATES: usize = 100;

/// Concepts looked for in a query.
const LINKED: usize = 5;

/// A neighbour of a linked concept counts this much of it.
const NEIGHBOUR_WEIGHT: f64 = 0.4;

/// Most hits of one search.
const MAX_LIMIT: usize = 200;

/// A question to the index.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SearchRequest {
    pub query: String,
    /// `None` searches all.
    pub collection: Option<Collection>,
    pub subject: Option<Subject>,
    pub grade: Option<Grade>,
    /// 1 to 200; other values are moved to the nearer end.
    pub limit: usize,
    /// The caller's school; `None` sees the shared passages.
    pub school: Option<String>,
}

/// A passage that was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Hit {
    pub id: Uuid,
    pub document_id: Uuid,
    pub kind: DocumentKind,
    /// For a concept its id, for a document its path.
    pub reference: String,
    pub title: String,
    pub text: String,
    /// 0 to 1, comparable within one answer only.
    pub score: f64,
    pub locator: Option<String>,
    pub concepts: Vec<String>,
}

/// The answer to a [`SearchRequest`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SearchResponse {
    /// Best first.
    pub hits: Vec<Hit>,
    pub linked_concepts: Vec<LinkedConcept>,
    /// False when no encoder answered: the hits then come from words and graph alone.
    pub semantic: bool,
}

/// Why a search failed.
#[derive(Debug, thiserror::Error)]
pub enum SearchError {
    #[error(transparent)]
    Index(#[from] IndexError),
}

/// Searches an index. Encoder and graph are optional: without them, it searches with what is there.
#[derive(Clone)]
pub struct Searcher {
    parts: RetrievalParts,
    weights: FusionWeights,
}

impl Searcher {
    pub fn new(parts: RetrievalParts) -> Self {
        Self { parts, weights: FusionWeights::default() }
    }

    pub fn with_weights(mut self, weights: FusionWeights) -> Self {
        self.weights = weights;
        self
    }

    /// The passages that answer a query best.
    pub async fn search(&self, request: &SearchRequest) -> Result<SearchResponse, SearchError> {
        let query = request.query.trim();
        if query.is_empty() {
            return Ok(SearchResponse::default());
        }
        let limit = request.limit.clamp(1, MAX_LIMIT);
        let filter = Filter {
            collection: request.collection,
            subject: request.subject,
            grade: request.grade,
            visibility: request.school.clone().into(),
        };
        let linked_concepts = match &self.parts.linker {
            Some(linker) => linker.link(query, request.subject, request.grade, LINKED),
            None => Vec::new(),
        };
        let (candidates, semantic) = self.candidates(query, &linked_concepts, &filter, CANDIDATES.max(limit)).await?;
        let fused = fuse(&candidates, self.weights, limit);
        let hits = self.hits(&fused, &filter).await?;
        Ok(SearchResponse { hits, linked_concepts, semantic })
    }

    /// What each search finds, and whether the encoder answered.
    pub(super) async fn candidates(
        &self,
        query: &str,
        linked: &[LinkedConcept],
        filter: &Filter,
        limit: usize,
    ) -> Result<(Candidates, bool), IndexError> {
        let words = self.parts.segmenter.words(query);
        let weighted = self.neighbourhood(linked);
        let (words, concepts, vector) = futures::join!(
            self.parts.index.by_words(&words, filter, limit),
            self.parts.index.by_concepts(&weighted, filter, limit),
            self.by_vector(query, filter, limit),
        );
        let (vector, semantic) = vector?;
        Ok((Candidates { words: words?, vector, concepts: concepts? }, semantic))
    }

    async fn by_vector(&self, query: &str, filter: &Filter, limit: usize) -> Result<(Vec<Scored>, bool), IndexError> {
        let Some(encoder) = &self.parts.encoder else {
            return Ok((Vec::new(), false));
        };
        match encoder.encode(TextKind::Query, vec![query.to_owned()]).await {
            Ok(mut encoded) => {
                let Some(values) = encoded.vectors.pop() else {
                    return Ok((Vec::new(), false));
                };
                let vector = Vector { encoder: encoder.name().to_owned(), values };
                Ok((self.parts.index.by_vector(&vector, filter, limit).await?, true))
            }
            Err(error) => {
                tracing::warn!(%error, "searching without vectors");
                Ok((Vec::new(), false))
            }
        }
    }

    /// The linked concepts and, with less weight, those next to them.
    fn neighbourhood(&self, linked: &[LinkedConcept]) -> Vec<(String, f64)> {
        let mut weights: HashMap<String, f64> = HashMap::new();
        let mut raise = |id: String, weight: f64| {
            let entry = weights.entry(id).or_default();
            *entry = entry.max(weight);
        };
        for concept in linked {
            raise(concept.id.clone(), concept.score);
            for neighbour in self.parts.linker.iter().flat_map(|linker| linker.neighbours(&concept.id)) {
                raise(neighbour, concept.score * NEIGHBOUR_WEIGHT);
            }
        }
        let mut weights: Vec<(String, f64)> = weights.into_iter().collect();
        weights.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        weights
    }

    async fn hits(&self, fused: &[Scored], filter: &Filter) -> Result<Vec<Hit>, IndexError> {
        let ids: Vec<Uuid> = fused.iter().map(|scored| scored.id).collect();
        let scores: HashMap<Uuid, f64> = fused.iter().map(|scored| (scored.id, scored.score)).collect();
        // A passage deleted since it was found is left out.
        let passages = self.parts.index.passages(&ids, &filter.visibility).await?;
        Ok(passages
            .into_iter()
            .map(|passage| {
                let Passage { id, document_id, kind, reference, title, locator, text, concepts } = passage;
                let score = scores.get(&id).copied().unwrap_or_default();
                Hit { id, document_id, kind, reference, title, text, score, locator, concepts }
            })
            .collect())
    }
}
