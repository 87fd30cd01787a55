//! Health and metrics.

use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::IntoResponse;
use serde::Serialize;
use utoipa::ToSchema;

use crate::http::models::{ModelState, ModelStatus};
use crate::http::{AppState, Json};

/// The process answers.
#[utoipa::path(get, path = "/healthz", tag = "operation", responses((status = 200, body = str)))]
pub async fn healthz() -> &'static str {
    "ok"
}

/// Whether the configured models answer.
#[derive(Serialize, ToSchema)]
pub struct Readiness {
    ready: bool,
    models: Vec<ModelStatus>,
}

/// 200 once the configured models answer, 503 with what is missing until then.
#[utoipa::path(
    get,
    path = "/readyz",
    tag = "operation",
    responses((status = 200, body = Readiness), (status = 503, description = "Not yet", body = Readiness))
)]
pub async fn readyz(State(state): State<AppState>) -> impl IntoResponse {
    let models = state.models.status();
    let ready = models.iter().all(|model| model.state == ModelState::Ready);
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let headers = [(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))];
    (status, headers, Json(Readiness { ready, models }))
}

/// Metrics in the Prometheus text format.
#[utoipa::path(
    get,
    path = "/metrics",
    tag = "operation",
    responses((status = 200, body = str, content_type = "text/plain; version=0.0.4"))
)]
pub async fn metrics(State(state): State<AppState>) -> impl IntoResponse {
    let headers = [(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; version=0.0.4"))];
    (headers, state.metrics.render())
}
