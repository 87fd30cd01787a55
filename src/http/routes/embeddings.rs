//! `POST /v1/embeddings`, as OpenAI's clients call it.

use axum::extract::State;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::embedding::{Encoded, TextEncoder, TextKind};
use crate::http::{ApiError, AppState, Json};

/// Texts per call, as in OpenAI's API.
const MAX_TEXTS: usize = 2048;

#[derive(Deserialize, ToSchema)]
pub struct EmbeddingRequest {
    #[schema(example = "multilingual-e5-small")]
    model: String,
    input: Input,
    #[serde(default)]
    encoding_format: EncodingFormat,
    /// Only the model's own length.
    dimensions: Option<usize>,
    /// What the texts are for: e5 models encode questions and passages differently.
    #[serde(default)]
    input_type: InputType,
}

#[derive(Deserialize, ToSchema)]
#[serde(untagged, expecting = "expected a text or a list of texts")]
enum Input {
    One(String),
    Many(Vec<String>),
}

#[derive(Clone, Copy, Default, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum EncodingFormat {
    #[default]
    Float,
    /// The numbers as little-endian 32-bit floats.
    Base64,
}

#[derive(Clone, Copy, Default, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum InputType {
    Query,
    #[default]
    Passage,
}

#[derive(Serialize, ToSchema)]
pub struct EmbeddingList {
    /// `list`
    object: &'static str,
    model: String,
    data: Vec<Embedding>,
    usage: EmbeddingUsage,
}

/// Tokens of all texts, with the prefixes that e5 models put before them; there is nothing but the prompt.
#[derive(Serialize, ToSchema)]
struct EmbeddingUsage {
    prompt_tokens: usize,
    total_tokens: usize,
}

#[derive(Serialize, ToSchema)]
pub struct Embedding {
    /// `embedding`
    object: &'static str,
    index: usize,
    embedding: Vector,
}

#[derive(Serialize, ToSchema)]
#[serde(untagged)]
enum Vector {
    Float(Vec<f32>),
    Base64(String),
}

/// Encodes texts as vectors of length 1.
#[utoipa::path(
    post,
    path = "/v1/embeddings",
    tag = "models",
    request_body = EmbeddingRequest,
    responses((status = 200, body = EmbeddingList), (status = 503, body = crate::http::Problem))
)]
pub async fn embed(
    State(state): State<AppState>,
    Json(request): Json<EmbeddingRequest>,
) -> Result<Json<EmbeddingList>, ApiError> {
    let encoder = &state.models.encoder;
    if request.model != encoder.name() {
        return Err(ApiError::NotFound { what: "model", id: request.model });
    }
    let texts = match request.input {
        Input::One(text) => vec![text],
        Input::Many(texts) => texts,
    };
    if texts.is_empty() || texts.len() > MAX_TEXTS {
        return Err(ApiError::invalid_field("input", format!("must hold 1 to {MAX_TEXTS} texts")));
    }
    if let Some(index) = texts.iter().position(|text| text.trim().is_empty()) {
        return Err(ApiError::invalid_field(format!("input[{index}]"), "must not be empty"));
    }
    let kind = match request.input_type {
        InputType::Query => TextKind::Query,
        InputType::Passage => TextKind::Passage,
    };
    if let (Some(asked), true) = (request.dimensions, encoder.get().is_some())
        && asked != encoder.dimensions()
    {
        let own = encoder.dimensions();
        return Err(ApiError::invalid_field("dimensions", format!("the model's vectors have {own} numbers")));
    }
    let Encoded { vectors, tokens } = encoder.encode(kind, texts).await?;
    let data = vectors.into_iter().enumerate().map(|(index, vector)| {
        let embedding = match request.encoding_format {
            EncodingFormat::Float => Vector::Float(vector),
            EncodingFormat::Base64 => {
                let bytes: Vec<u8> = vector.iter().flat_map(|number| number.to_le_bytes()).collect();
                Vector::Base64(BASE64_STANDARD.encode(bytes))
            }
        };
        Embedding { object: "embedding", index, embedding }
    });
    let usage = EmbeddingUsage { prompt_tokens: tokens, total_tokens: tokens };
    Ok(Json(EmbeddingList { object: "list", model: request.model, data: data.collect(), usage }))
}
