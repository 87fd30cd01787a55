//! One file per resource. A handler that is registered here needs a row in [`policy::TABLE`](super::policy::TABLE).

mod chat;
mod embeddings;
mod graph;
mod keys;
mod lesson_plans;
mod models;
mod operation;
mod search;
mod sessions;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{AppState, openapi};

/// All routes that the OpenAPI document describes.
pub fn api() -> OpenApiRouter<AppState> {
    OpenApiRouter::with_openapi(openapi::base())
        .routes(routes!(operation::healthz))
        .routes(routes!(operation::readyz))
        .routes(routes!(operation::metrics))
        .routes(routes!(models::list))
        .routes(routes!(chat::complete))
        .routes(routes!(embeddings::embed))
        .routes(routes!(search::search))
        .routes(routes!(graph::subjects))
        .routes(routes!(graph::concepts))
        .routes(routes!(graph::concept))
        .routes(routes!(graph::neighbourhood))
        .routes(routes!(graph::path))
        .routes(routes!(lesson_plans::create, lesson_plans::list))
        .routes(routes!(lesson_plans::show, lesson_plans::patch, lesson_plans::delete))
        .routes(routes!(lesson_plans::regenerate))
        .routes(routes!(lesson_plans::export))
        .routes(routes!(lesson_plans::message, lesson_plans::messages))
        .routes(routes!(keys::create))
        .routes(routes!(sessions::open))
        .routes(routes!(sessions::show))
}
