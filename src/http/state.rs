//! What handlers share.

use std::sync::Arc;

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use super::models::Models;
use crate::config::ServerSettings;
use crate::store::keys::KeyStore;
use crate::telemetry::Metrics;

/// The parts behind the API; cheap to clone.
#[derive(Clone)]
pub struct AppState {
    pub server: Arc<ServerSettings>,
    pub keys: KeyStore,
    pub models: Models,
    pub metrics: Metrics,
    /// Cancelled when the shutdown's grace period is over: streams that still run end with an `error` event.
    pub closing: CancellationToken,
    pub started_at: Timestamp,
}

impl AppState {
    pub fn new(server: ServerSettings, keys: KeyStore, models: Models, metrics: Metrics) -> Self {
        let server = Arc::new(server);
        Self { server, keys, models, metrics, closing: CancellationToken::new(), started_at: Timestamp::now() }
    }
}

#[cfg(test)]
impl AppState {
    /// An empty database and no models.
    pub(crate) async fn for_tests() -> Self {
        use super::models::ModelSlot;
        let database = crate::store::Database::in_memory().await.unwrap();
        let models =
            Models { generator: Arc::new(ModelSlot::new("generator")), encoder: Arc::new(ModelSlot::new("encoder")) };
        let server = crate::config::Settings::default().server;
        Self::new(server, KeyStore::new(database), models, Metrics::detached().unwrap())
    }
}
