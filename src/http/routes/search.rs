//! Search over the graph's concepts and the indexed documents.

use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::domain::{Grade, Principal, Subject};
use crate::graph::LinkedConcept;
use crate::http::{ApiError, AppState, Json};
use crate::retrieval::{Collection, Hit, SearchRequest};

/// Longest query, in characters.
const MAX_QUERY: usize = 1000;
const MAX_LIMIT: usize = 200;
const DEFAULT_LIMIT: usize = 10;

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Search {
    #[schema(example = "学生移项总是忘记变号怎么办")]
    query: String,
    #[serde(default)]
    collection: SearchedCollection,
    subject: Option<Subject>,
    grade: Option<Grade>,
    /// 1 to 200; 10 by default.
    limit: Option<usize>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum SearchedCollection {
    Curriculum,
    Affairs,
    #[default]
    All,
}

#[derive(Serialize, ToSchema)]
pub struct SearchHit {
    id: Uuid,
    document_id: Uuid,
    title: String,
    text: String,
    score: f64,
    /// Heading path or page; `null` for a text without.
    locator: Option<String>,
    /// Ids of the concepts that the passage speaks of.
    concepts: Vec<String>,
}

#[derive(Serialize, ToSchema)]
pub struct SearchAnswer {
    hits: Vec<SearchHit>,
    linked_concepts: Vec<LinkedConcept>,
}

impl From<Hit> for SearchHit {
    fn from(hit: Hit) -> Self {
        let Hit { id, document_id, title, text, score, locator, concepts, .. } = hit;
        Self { id, document_id, title, text, score, locator, concepts }
    }
}

/// Finds passages and the concepts that the query speaks of.
#[utoipa::path(post, path = "/v1/search", tag = "search", request_body = Search, responses((status = 200, body = SearchAnswer)))]
pub async fn search(
    State(state): State<AppState>,
    principal: Principal,
    Json(request): Json<Search>,
) -> Result<Json<SearchAnswer>, ApiError> {
    let length = request.query.trim().chars().count();
    if !(1..=MAX_QUERY).contains(&length) {
        return Err(ApiError::invalid_field("query", format!("请输入 1 到 {MAX_QUERY} 个字")));
    }
    let limit = request.limit.unwrap_or(DEFAULT_LIMIT);
    if !(1..=MAX_LIMIT).contains(&limit) {
        return Err(ApiError::invalid_field("limit", format!("应在 1 到 {MAX_LIMIT} 之间")));
    }
    let collection = match request.collection {
        SearchedCollection::Curriculum => Some(Collection::Curriculum),
        SearchedCollection::Affairs => Some(Collection::Affairs),
        SearchedCollection::All => None,
    };
    let request = SearchRequest {
        query: request.query,
        collection,
        subject: request.subject,
        grade: request.grade,
        limit,
        school: principal.school,
    };
    let answer = state.searcher.search(&request).await?;
    let hits = answer.hits.into_iter().map(SearchHit::from).collect();
    Ok(Json(SearchAnswer { hits, linked_concepts: answer.linked_concepts }))
}
