//! `POST /v1/search`: passages of the documents and the knowledge graph.

use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::domain::{Grade, Principal, Subject};
use crate::graph::LinkedConcept;
use crate::http::{ApiError, AppState, Json};
use crate::retrieval::{self, Collection};

/// Longest query in characters; encoders read about that much.
const MAX_QUERY: usize = 1000;
const DEFAULT_LIMIT: usize = 10;
const MAX_LIMIT: usize = 200;

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SearchRequest {
    #[schema(example = "怎样解一元一次方程")]
    query: String,
    #[serde(default)]
    collection: WantedCollection,
    subject: Option<Subject>,
    grade: Option<Grade>,
    /// 1 to 200.
    #[schema(default = 10)]
    limit: Option<usize>,
}

#[derive(Clone, Copy, Default, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum WantedCollection {
    Curriculum,
    Affairs,
    #[default]
    All,
}

#[derive(Serialize, ToSchema)]
pub struct SearchResponse {
    /// Best first.
    hits: Vec<Hit>,
    /// The concepts that the query speaks of.
    linked_concepts: Vec<LinkedConcept>,
    /// False while the text encoder is not ready: the hits then come from words and the graph alone.
    semantic: bool,
}

#[derive(Serialize, ToSchema)]
struct Hit {
    id: Uuid,
    document_id: Uuid,
    title: String,
    text: String,
    /// 0 to 1, comparable within one answer only.
    score: f64,
    /// Where in the document: page, heading path.
    locator: Option<String>,
    /// Ids of the concepts that the passage speaks of.
    concepts: Vec<String>,
}

impl From<retrieval::Hit> for Hit {
    fn from(hit: retrieval::Hit) -> Self {
        let retrieval::Hit { id, document_id, title, text, score, locator, concepts, .. } = hit;
        Self { id, document_id, title, text, score, locator, concepts }
    }
}

/// Finds passages by words, meaning and concepts.
#[utoipa::path(
    post,
    path = "/v1/search",
    tag = "knowledge",
    request_body = SearchRequest,
    responses((status = 200, body = SearchResponse), (status = 422, body = crate::http::Problem))
)]
pub async fn search(
    State(state): State<AppState>,
    principal: Principal,
    Json(request): Json<SearchRequest>,
) -> Result<Json<SearchResponse>, ApiError> {
    if !(1..=MAX_QUERY).contains(&request.query.trim().chars().count()) {
        return Err(ApiError::invalid_field("query", format!("must have 1 to {MAX_QUERY} characters")));
    }
    let limit = request.limit.unwrap_or(DEFAULT_LIMIT);
    if !(1..=MAX_LIMIT).contains(&limit) {
        return Err(ApiError::invalid_field("limit", format!("must be between 1 and {MAX_LIMIT}")));
    }
    let collection = match request.collection {
        WantedCollection::Curriculum => Some(Collection::Curriculum),
        WantedCollection::Affairs => Some(Collection::Affairs),
        WantedCollection::All => None,
    };
    let request = retrieval::SearchRequest {
        query: request.query,
        collection,
        subject: request.subject,
        grade: request.grade,
        limit,
        school: principal.school,
    };
    let retrieval::SearchResponse { hits, linked_concepts, semantic } = state.searcher.search(&request).await?;
    Ok(Json(SearchResponse { hits: hits.into_iter().map(Hit::from).collect(), linked_concepts, semantic }))
}
