//! What handlers share.

use std::sync::Arc;

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use super::models::Models;
use crate::config::ServerSettings;
use crate::graph::KnowledgeGraph;
use crate::retrieval::Searcher;
use crate::store::keys::KeyStore;
use crate::telemetry::Metrics;

/// The parts behind the API.
pub struct Parts {
    pub keys: KeyStore,
    pub models: Models,
    pub metrics: Metrics,
    pub graph: Arc<KnowledgeGraph>,
    pub searcher: Arc<Searcher>,
}

/// What every handler can take; cheap to clone.
#[derive(Clone)]
pub struct AppState {
    pub server: Arc<ServerSettings>,
    pub keys: KeyStore,
    pub models: Models,
    pub metrics: Metrics,
    pub graph: Arc<KnowledgeGraph>,
    pub searcher: Arc<Searcher>,
    /// Cancelled when the shutdown's grace period is over: streams that still run end with an `error` event.
    pub closing: CancellationToken,
    pub started_at: Timestamp,
}

impl AppState {
    pub fn new(server: ServerSettings, parts: Parts) -> Self {
        let Parts { keys, models, metrics, graph, searcher } = parts;
        let closing = CancellationToken::new();
        let (server, started_at) = (Arc::new(server), Timestamp::now());
        Self { server, keys, models, metrics, graph, searcher, closing, started_at }
    }
}

#[cfg(test)]
impl AppState {
    /// An empty database and no models.
    pub(crate) async fn for_tests() -> Self {
        use super::models::ModelSlot;
        use crate::graph::{Content, DEFAULT_BASE};
        use crate::retrieval::{EmbeddedIndex, Segmenter};
        let database = crate::store::Database::in_memory().await.unwrap();
        let index = Arc::new(EmbeddedIndex::open(database.clone()).await.unwrap());
        let parts = Parts {
            keys: KeyStore::new(database),
            models: Models {
                generator: Arc::new(ModelSlot::new("generator")),
                encoder: Arc::new(ModelSlot::new("encoder")),
            },
            metrics: Metrics::detached().unwrap(),
            graph: Arc::new(KnowledgeGraph::load(Content::Embedded, DEFAULT_BASE).unwrap()),
            searcher: Arc::new(Searcher::new(index, Arc::new(Segmenter::new([])))),
        };
        Self::new(crate::config::Settings::default().server, parts)
    }
}
