//! The subject knowledge graph, for reading.

use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::domain::{Grade, Subject};
use crate::graph::{Concept, ConceptPath, Exercise, Neighbourhood, SubjectSummary};
use crate::http::{ApiError, AppState, Json, Path, Query};

const MAX_LIMIT: usize = 200;
const DEFAULT_LIMIT: usize = 50;
/// Longest search text, in characters.
const MAX_QUERY: usize = 200;

#[derive(Serialize, ToSchema)]
pub struct SubjectList {
    items: Vec<SubjectSummary>,
    next_cursor: Option<String>,
}

/// The subjects that have content, with their units.
#[utoipa::path(get, path = "/v1/graph/subjects", tag = "graph", responses((status = 200, body = SubjectList)))]
pub async fn subjects(State(state): State<AppState>) -> Json<SubjectList> {
    Json(SubjectList { items: state.graph.subjects().to_vec(), next_cursor: None })
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct ConceptQuery {
    /// Label, synonym or words of the definition; all concepts without.
    q: Option<String>,
    subject: Option<Subject>,
    #[param(value_type = Option<u8>)]
    grade: Option<u8>,
    /// At most 200.
    limit: Option<usize>,
    /// `next_cursor` of the page before.
    cursor: Option<usize>,
}

#[derive(Serialize, ToSchema)]
pub struct ConceptList {
    items: Vec<Concept>,
    next_cursor: Option<String>,
}

/// Concepts, best match first; without `q` in teaching order.
#[utoipa::path(get, path = "/v1/graph/concepts", tag = "graph", params(ConceptQuery), responses((status = 200, body = ConceptList)))]
pub async fn concepts(
    State(state): State<AppState>,
    Query(query): Query<ConceptQuery>,
) -> Result<Json<ConceptList>, ApiError> {
    let text = query.q.unwrap_or_default();
    if text.chars().count() > MAX_QUERY {
        return Err(ApiError::invalid_field("q", format!("不能超过 {MAX_QUERY} 个字")));
    }
    let limit = query.limit.unwrap_or(DEFAULT_LIMIT);
    if !(1..=MAX_LIMIT).contains(&limit) {
        return Err(ApiError::invalid_field("limit", format!("应在 1 到 {MAX_LIMIT} 之间")));
    }
    let grade = query.grade.map(|grade| Grade::new(i64::from(grade))).transpose();
    let grade = grade.map_err(|error| ApiError::invalid_field("grade", error.to_string()))?;
    // The cursor is how many were answered before: the graph does not change while the program runs.
    let start = query.cursor.unwrap_or(0);
    let wanted = start.saturating_add(limit).saturating_add(1);
    let found = state.graph.search(&text, query.subject, grade, wanted);
    let items: Vec<Concept> = found.iter().skip(start).take(limit).map(|concept| concept.as_ref().clone()).collect();
    let next_cursor = (found.len() > start.saturating_add(limit)).then(|| (start + limit).to_string());
    Ok(Json(ConceptList { items, next_cursor }))
}

/// A concept with the exercises that assess it.
#[derive(Serialize, ToSchema)]
pub struct ConceptDetail {
    #[serde(flatten)]
    concept: Concept,
    /// In place of their ids, the exercises themselves.
    exercise_items: Vec<Exercise>,
}

/// One concept with all that the graph says of it.
#[utoipa::path(
    get,
    path = "/v1/graph/concepts/{id}",
    tag = "graph",
    params(("id" = String, Path, example = "math:equation")),
    responses((status = 200, body = ConceptDetail))
)]
pub async fn concept(
    State(state): State<AppState>,
    Path(id): Path<String>,
) -> Result<Json<ConceptDetail>, ApiError> {
    let concept = state.graph.concept(&id).ok_or_else(|| no_concept(id))?;
    let exercise_items = state.graph.exercises_of(&concept.id).into_iter().map(|item| item.as_ref().clone()).collect();
    Ok(Json(ConceptDetail { concept: concept.as_ref().clone(), exercise_items }))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct Depth {
    /// 1 to 3; 1 by default.
    depth: Option<usize>,
}

/// The concepts around one.
#[utoipa::path(
    get,
    path = "/v1/graph/concepts/{id}/neighbourhood",
    tag = "graph",
    params(("id" = String, Path), Depth),
    responses((status = 200, body = Neighbourhood))
)]
pub async fn neighbourhood(
    State(state): State<AppState>,
    Path(id): Path<String>,
    Query(query): Query<Depth>,
) -> Result<Json<Neighbourhood>, ApiError> {
    let depth = query.depth.unwrap_or(1);
    if !(1..=3).contains(&depth) {
        return Err(ApiError::invalid_field("depth", "应在 1 到 3 之间"));
    }
    state.graph.neighbourhood(&id, depth).map(Json).ok_or_else(|| no_concept(id))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct PathQuery {
    from: String,
    to: String,
}

/// A shortest way from one concept to another, along prerequisites when there is one.
#[utoipa::path(get, path = "/v1/graph/path", tag = "graph", params(PathQuery), responses((status = 200, body = ConceptPath)))]
pub async fn path(
    State(state): State<AppState>,
    Query(query): Query<PathQuery>,
) -> Result<Json<ConceptPath>, ApiError> {
    for id in [&query.from, &query.to] {
        if state.graph.concept(id).is_none() {
            return Err(no_concept(id.clone()));
        }
    }
    let missing = || ApiError::NotFound { what: "path", id: format!("{} 到 {} 的路径", query.from, query.to) };
    state.graph.path(&query.from, &query.to).map(Json).ok_or_else(missing)
}

fn no_concept(id: String) -> ApiError {
    ApiError::NotFound { what: "concept", id }
}
