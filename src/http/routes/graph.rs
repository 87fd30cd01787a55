//! The knowledge graph, for reading.

use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::domain::{Grade, Subject};
use crate::graph::{Concept, ConceptPath, NamedRef, Neighbourhood, SubjectSummary};
use crate::http::{ApiError, AppState, Json, Path, Query};

const DEFAULT_LIMIT: usize = 20;
const MAX_LIMIT: usize = 200;
const MAX_DEPTH: usize = 3;

#[derive(Serialize, ToSchema)]
pub struct SubjectList {
    items: Vec<SubjectSummary>,
    /// The list is always complete: null.
    next_cursor: Option<String>,
}

/// What lists show of a concept.
#[derive(Serialize, ToSchema)]
pub struct ConceptSummary {
    #[schema(example = "math:linear-equation-one-unknown")]
    id: String,
    label: String,
    label_en: String,
    subject: Subject,
    grade: Grade,
    /// 1 to 5, within the grade.
    difficulty: u8,
    unit: NamedRef,
    definition: String,
}

impl From<&Concept> for ConceptSummary {
    fn from(concept: &Concept) -> Self {
        Self {
            id: concept.id.clone(),
            label: concept.label.clone(),
            label_en: concept.label_en.clone(),
            subject: concept.subject,
            grade: concept.grade,
            difficulty: concept.difficulty,
            unit: concept.unit.clone(),
            definition: concept.definition.clone(),
        }
    }
}

#[derive(Serialize, ToSchema)]
pub struct ConceptList {
    items: Vec<ConceptSummary>,
    next_cursor: Option<String>,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ConceptQuery {
    /// Words of the label, a synonym or the definition; without it, all concepts in teaching order.
    #[serde(default)]
    q: String,
    subject: Option<Subject>,
    #[param(value_type = Option<u8>, minimum = 1, maximum = 12)]
    grade: Option<Grade>,
    /// 1 to 200, 20 by default.
    limit: Option<usize>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct DepthQuery {
    /// Steps from the concept: 1 to 3, 1 by default.
    depth: Option<usize>,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct PathQuery {
    /// A concept's id.
    from: String,
    /// A concept's id.
    to: String,
}

/// The subjects that have concepts, with their teaching units.
#[utoipa::path(get, path = "/v1/graph/subjects", tag = "knowledge", responses((status = 200, body = SubjectList)))]
pub async fn subjects(State(state): State<AppState>) -> Json<SubjectList> {
    Json(SubjectList { items: state.graph.subjects().to_vec(), next_cursor: None })
}

/// Finds concepts by name, best first.
#[utoipa::path(
    get,
    path = "/v1/graph/concepts",
    tag = "knowledge",
    params(ConceptQuery),
    responses((status = 200, body = ConceptList), (status = 422, body = crate::http::Problem))
)]
pub async fn concepts(
    State(state): State<AppState>,
    Query(query): Query<ConceptQuery>,
) -> Result<Json<ConceptList>, ApiError> {
    let limit = query.limit.unwrap_or(DEFAULT_LIMIT);
    if !(1..=MAX_LIMIT).contains(&limit) {
        return Err(ApiError::invalid_field("limit", format!("must be between 1 and {MAX_LIMIT}")));
    }
    // The graph does not change while the server runs, so a cursor is a position.
    let start = match query.cursor.as_deref().map(str::parse::<usize>) {
        None => 0,
        Some(Ok(start)) if start <= state.graph.concepts().len() => start,
        Some(_) => return Err(ApiError::invalid_field("cursor", "is none that this server gave")),
    };
    let end = start + limit;
    let found = state.graph.search(&query.q, query.subject, query.grade, end + 1);
    let next_cursor = (found.len() > end).then(|| end.to_string());
    let page = found.iter().take(end).skip(start);
    Ok(Json(ConceptList { items: page.map(|concept| ConceptSummary::from(concept.as_ref())).collect(), next_cursor }))
}

/// Everything known of a concept.
#[utoipa::path(
    get,
    path = "/v1/graph/concepts/{id}",
    tag = "knowledge",
    params(("id" = String, Path, example = "math:linear-equation-one-unknown")),
    responses((status = 200, body = Concept), (status = 404, body = crate::http::Problem))
)]
pub async fn concept(State(state): State<AppState>, Path(id): Path<String>) -> Result<Json<Concept>, ApiError> {
    match state.graph.concept(&id) {
        Some(concept) => Ok(Json(concept.as_ref().clone())),
        None => Err(no_concept(id)),
    }
}

/// The concepts around one, over prerequisites and related concepts.
#[utoipa::path(
    get,
    path = "/v1/graph/concepts/{id}/neighbourhood",
    tag = "knowledge",
    params(("id" = String, Path, example = "math:linear-equation-one-unknown"), DepthQuery),
    responses(
        (status = 200, body = Neighbourhood),
        (status = 404, body = crate::http::Problem),
        (status = 422, body = crate::http::Problem),
    )
)]
pub async fn neighbourhood(
    State(state): State<AppState>,
    Path(id): Path<String>,
    Query(query): Query<DepthQuery>,
) -> Result<Json<Neighbourhood>, ApiError> {
    let depth = query.depth.unwrap_or(1);
    if !(1..=MAX_DEPTH).contains(&depth) {
        return Err(ApiError::invalid_field("depth", format!("must be between 1 and {MAX_DEPTH}")));
    }
    state.graph.neighbourhood(&id, depth).map(Json).ok_or_else(|| no_concept(id))
}

/// The shortest way from one concept to another: prerequisites where they lead there, else related concepts too.
#[utoipa::path(
    get,
    path = "/v1/graph/path",
    tag = "knowledge",
    params(PathQuery),
    responses(
        (status = 200, body = ConceptPath),
        (status = 404, description = "No such concept, or no way between them", body = crate::http::Problem),
    )
)]
pub async fn path(
    State(state): State<AppState>,
    Query(PathQuery { from, to }): Query<PathQuery>,
) -> Result<Json<ConceptPath>, ApiError> {
    for id in [&from, &to] {
        if state.graph.concept(id).is_none() {
            return Err(no_concept(id.clone()));
        }
    }
    let found = state.graph.path(&from, &to);
    found.map(Json).ok_or_else(|| ApiError::NotFound { what: "path", id: format!("{from} → {to}") })
}

fn no_concept(id: String) -> ApiError {
    ApiError::NotFound { what: "concept", id }
}
