//! The models that the compatible routes serve.

use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use crate::http::models::{ModelRole, ModelState};
use crate::http::{AppState, Json};

#[derive(Serialize, ToSchema)]
pub struct ModelList {
    /// `list`
    object: &'static str,
    data: Vec<Model>,
}

#[derive(Serialize, ToSchema)]
pub struct Model {
    id: String,
    /// `model`
    object: &'static str,
    /// When the server started, Unix seconds.
    created: i64,
    owned_by: &'static str,
    role: ModelRole,
    state: ModelState,
    /// Tokens of prompt and answer together; of a generator that is ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    context_length: Option<usize>,
    /// Length of the vectors; of an encoder that is ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    dimensions: Option<usize>,
}

/// The configured models.
#[utoipa::path(get, path = "/v1/models", tag = "models", responses((status = 200, body = ModelList)))]
pub async fn list(State(state): State<AppState>) -> Json<ModelList> {
    let generator = state.models.generator.get().map(|generator| generator.model());
    let encoder = state.models.encoder.get().map(|encoder| encoder.dimensions());
    let data = state.models.status().into_iter().map(|status| {
        let (context_length, dimensions) = match status.role {
            ModelRole::Generator => (generator.as_ref().map(|model| model.context_length), None),
            ModelRole::Encoder => (None, encoder),
        };
        Model {
            id: status.name,
            object: "model",
            created: state.started_at.as_second(),
            owned_by: "zhujiao",
            role: status.role,
            state: status.state,
            context_length,
            dimensions,
        }
    });
    Json(ModelList { object: "list", data: data.collect() })
}
