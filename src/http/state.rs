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

/// The parts behind the API; cheap to clone.
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

/// What [`AppState::new`] is made of.
pub struct AppParts {
    pub server: ServerSettings,
    pub keys: KeyStore,
    pub models: Models,
    pub metrics: Metrics,
    pub graph: Arc<KnowledgeGraph>,
    pub searcher: Arc<Searcher>,
    pub planner: LessonPlanner,
}

impl AppState {
    pub fn new(parts: AppParts) -> Self {
        let AppParts { server, keys, models, metrics, graph, searcher, planner } = parts;
        let (closing, started_at) = (CancellationToken::new(), Timestamp::now());
        Self { server: Arc::new(server), keys, models, metrics, graph, searcher, planner, closing, started_at }
    }
}
