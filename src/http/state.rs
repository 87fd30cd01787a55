//! What handlers share.

use std::sync::Arc;

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use super::models::Models;
use crate::assistants::lesson::LessonPlanner;
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
    pub planner: LessonPlanner,
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
    pub planner: LessonPlanner,
    /// Cancelled when the shutdown's grace period is over: streams that still run end with an `error` event.
    pub closing: CancellationToken,
    pub started_at: Timestamp,
}

impl AppState {
    pub fn new(server: ServerSettings, parts: Parts) -> Self {
        let Parts { keys, models, metrics, graph, searcher, planner } = parts;
        let closing = CancellationToken::new();
        let (server, started_at) = (Arc::new(server), Timestamp::now());
        Self { server, keys, models, metrics, graph, searcher, planner, closing, started_at }
    }
}

#[cfg(test)]
impl AppState {
    /// An empty database and no models.
    pub(crate) async fn for_tests() -> Self {
        use super::models::ModelSlot;
        use crate::assistants::lesson::PlannerParts;
        use crate::assistants::prompts::Prompts;
        use crate::graph::{Content, DEFAULT_BASE, Linker};
        use crate::retrieval::{EmbeddedIndex, RetrievalParts, Segmenter};
        use crate::store::plans::PlanStore;
        let database = crate::store::Database::in_memory().await.unwrap();
        let index = Arc::new(EmbeddedIndex::open(database.clone()).await.unwrap());
        let graph = Arc::new(KnowledgeGraph::load(Content::Embedded, DEFAULT_BASE).unwrap());
        let searcher = Arc::new(Searcher::new(RetrievalParts::new(index, Arc::new(Segmenter::new([])))));
        let models =
            Models { generator: Arc::new(ModelSlot::new("generator")), encoder: Arc::new(ModelSlot::new("encoder")) };
        let planner = LessonPlanner::new(PlannerParts {
            linker: Arc::new(Linker::new(&graph)),
            graph: graph.clone(),
            searcher: searcher.clone(),
            generator: models.generator.clone(),
            plans: PlanStore::new(database.clone()),
            prompts: Arc::new(Prompts::built_in().unwrap()),
            max_concurrent: 1,
        });
        let (keys, metrics) = (KeyStore::new(database), Metrics::detached().unwrap());
        let parts = Parts { keys, models, metrics, graph, searcher, planner };
        Self::new(crate::config::Settings::default().server, parts)
    }
}
