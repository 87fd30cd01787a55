//! Lesson plans: written section by section, as events or as one document, and the chat beside them.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::assistants::lesson::{LessonRequest, PlanError, PlanEvent, PlanStream, SectionsPatch, to_markdown};
use crate::domain::{Grade, Language, LessonPlan, Principal, SectionName, Subject};
use crate::http::{ApiError, AppState, EventStream, Json, Path, Query, RequestContext};
use crate::store::plans::{PlanMessage, PlanSummary};

/// Longest list answered at once.
const MAX_LIMIT: usize = 200;
const DEFAULT_LIMIT: usize = 20;

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateLessonPlan {
    #[schema(example = "一元一次方程")]
    topic: String,
    subject: Subject,
    grade: Grade,
    /// Length of the lesson, 10 to 180.
    #[schema(example = 45)]
    minutes: u16,
    class_id: Option<Uuid>,
    #[serde(default)]
    language: Language,
    /// What the planner should know of the class or the wishes of the teacher.
    notes: Option<String>,
}

/// Writes a lesson plan.
///
/// With `Accept: text/event-stream` the answer is a stream of `plan.created`, `section.started`, `section.delta`,
/// `section.completed`, `citation` and `done` events; otherwise the finished plan.
#[utoipa::path(
    post,
    path = "/v1/lesson-plans",
    tag = "lessons",
    request_body = CreateLessonPlan,
    responses((status = 201, body = LessonPlan), (status = 200, content_type = "text/event-stream"))
)]
pub async fn create(
    State(state): State<AppState>,
    context: RequestContext,
    principal: Principal,
    headers: HeaderMap,
    Json(request): Json<CreateLessonPlan>,
) -> Result<Response, ApiError> {
    let request = LessonRequest {
        topic: request.topic,
        subject: request.subject,
        grade: request.grade,
        minutes: request.minutes,
        class_id: request.class_id,
        language: request.language,
        notes: request.notes,
    };
    let plan = state.planner.create(principal, request)?;
    if wants_events(&headers) {
        return Ok(forward(&state, context, plan));
    }
    match last(plan).await? {
        PlanEvent::Done { plan } => Ok((StatusCode::CREATED, Json(plan)).into_response()),
        other => Err(ApiError::Internal(format!("the plan ended with `{}`", other.name()))),
    }
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct ListPlans {
    /// At most 200.
    limit: Option<usize>,
    /// `next_cursor` of the page before.
    cursor: Option<Uuid>,
}

#[derive(Serialize, ToSchema)]
pub struct PlanList {
    items: Vec<PlanSummary>,
    next_cursor: Option<Uuid>,
}

/// The caller's plans, newest first.
#[utoipa::path(get, path = "/v1/lesson-plans", tag = "lessons", params(ListPlans), responses((status = 200, body = PlanList)))]
pub async fn list(
    State(state): State<AppState>,
    principal: Principal,
    Query(query): Query<ListPlans>,
) -> Result<Json<PlanList>, ApiError> {
    let limit = query.limit.unwrap_or(DEFAULT_LIMIT);
    if !(1..=MAX_LIMIT).contains(&limit) {
        return Err(ApiError::invalid_field("limit", format!("应在 1 到 {MAX_LIMIT} 之间")));
    }
    let mut items = state.planner.plans().list(&principal, query.cursor, limit + 1).await?;
    let more = items.len() > limit;
    items.truncate(limit);
    let next_cursor = items.last().filter(|_| more).map(|plan| plan.id);
    Ok(Json(PlanList { items, next_cursor }))
}

#[utoipa::path(get, path = "/v1/lesson-plans/{id}", tag = "lessons", params(("id" = Uuid, Path)), responses((status = 200, body = LessonPlan)))]
pub async fn show(
    State(state): State<AppState>,
    principal: Principal,
    Path(id): Path<Uuid>,
) -> Result<Json<LessonPlan>, ApiError> {
    Ok(Json(state.planner.get(&principal, id).await?))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PatchLessonPlan {
    /// The sections to replace. Minutes must add up, citations must be keys of the plan; an edited procedure sets the
    /// plan's length.
    sections: SectionsPatch,
}

/// Takes a teacher's own edits.
#[utoipa::path(
    patch,
    path = "/v1/lesson-plans/{id}",
    tag = "lessons",
    params(("id" = Uuid, Path)),
    request_body = PatchLessonPlan,
    responses((status = 200, body = LessonPlan))
)]
pub async fn patch(
    State(state): State<AppState>,
    principal: Principal,
    Path(id): Path<Uuid>,
    Json(request): Json<PatchLessonPlan>,
) -> Result<Json<LessonPlan>, ApiError> {
    Ok(Json(state.planner.patch(&principal, id, request.sections).await?))
}

#[utoipa::path(delete, path = "/v1/lesson-plans/{id}", tag = "lessons", params(("id" = Uuid, Path)), responses((status = 204)))]
pub async fn delete(
    State(state): State<AppState>,
    principal: Principal,
    Path(id): Path<Uuid>,
) -> Result<StatusCode, ApiError> {
    if state.planner.plans().delete(&principal, id).await? {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(PlanError::NotFound.into())
    }
}

/// Writes one section again.
#[utoipa::path(
    post,
    path = "/v1/lesson-plans/{id}/sections/{name}/regenerate",
    tag = "lessons",
    params(("id" = Uuid, Path), ("name" = SectionName, Path)),
    responses((status = 200, body = LessonPlan))
)]
pub async fn regenerate(
    State(state): State<AppState>,
    principal: Principal,
    Path((id, name)): Path<(Uuid, String)>,
) -> Result<Json<LessonPlan>, ApiError> {
    let section = SectionName::from_id(&name).ok_or(ApiError::NotFound { what: "section", id: name })?;
    Ok(Json(state.planner.regenerate(&principal, id, section).await?))
}

#[derive(Clone, Copy, Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ExportFormat {
    #[default]
    Md,
    Json,
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct ExportQuery {
    #[serde(default)]
    #[param(inline)]
    format: ExportFormat,
}

/// The plan as a file.
#[utoipa::path(
    get,
    path = "/v1/lesson-plans/{id}/export",
    tag = "lessons",
    params(("id" = Uuid, Path), ExportQuery),
    responses((status = 200, content_type = "text/markdown"))
)]
pub async fn export(
    State(state): State<AppState>,
    principal: Principal,
    Path(id): Path<Uuid>,
    Query(query): Query<ExportQuery>,
) -> Result<Response, ApiError> {
    let plan = state.planner.get(&principal, id).await?;
    let (kind, extension, body) = match query.format {
        ExportFormat::Md => ("text/markdown; charset=utf-8", "md", to_markdown(&plan)),
        ExportFormat::Json => {
            let json = serde_json::to_string_pretty(&plan).map_err(|error| ApiError::Internal(error.to_string()))?;
            ("application/json", "json", json)
        }
    };
    let disposition = format!("attachment; filename=\"lesson-plan-{id}.{extension}\"");
    Ok(([(header::CONTENT_TYPE, kind.to_owned()), (header::CONTENT_DISPOSITION, disposition)], body).into_response())
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateMessage {
    /// A question about the plan, or a wish that changes a section of it; up to 500 characters.
    #[schema(example = "把导入改成生活情境")]
    text: String,
}

/// Asks about a plan, or changes it.
///
/// The answer is a stream of `message.delta` events; a wish also brings `section.started`, `section.delta` and
/// `section.completed` of the section that it changes. The last event is `done` with the message and, when the plan has
/// changed, the plan.
#[utoipa::path(
    post,
    path = "/v1/lesson-plans/{id}/messages",
    tag = "lessons",
    params(("id" = Uuid, Path)),
    request_body = CreateMessage,
    responses((status = 200, content_type = "text/event-stream"))
)]
pub async fn message(
    State(state): State<AppState>,
    context: RequestContext,
    principal: Principal,
    Path(id): Path<Uuid>,
    Json(request): Json<CreateMessage>,
) -> Result<Response, ApiError> {
    let answer = state.planner.message(principal, id, request.text).await?;
    Ok(forward(&state, context, answer))
}

#[derive(Serialize, ToSchema)]
pub struct MessageList {
    items: Vec<PlanMessage>,
    /// Always `null`: the newest 200 messages are all that is answered.
    next_cursor: Option<Uuid>,
}

/// The chat beside a plan, oldest first.
#[utoipa::path(get, path = "/v1/lesson-plans/{id}/messages", tag = "lessons", params(("id" = Uuid, Path)), responses((status = 200, body = MessageList)))]
pub async fn messages(
    State(state): State<AppState>,
    principal: Principal,
    Path(id): Path<Uuid>,
) -> Result<Json<MessageList>, ApiError> {
    let plan = state.planner.get(&principal, id).await?;
    let items = state.planner.plans().messages(plan.id, MAX_LIMIT).await?;
    Ok(Json(MessageList { items, next_cursor: None }))
}

fn wants_events(headers: &HeaderMap) -> bool {
    let accept = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    accept.flat_map(|value| value.split(',')).any(|kind| kind.trim().starts_with("text/event-stream"))
}

/// Passes the events on as they come. When the client leaves, dropping the stream stops the writing.
fn forward(state: &AppState, context: RequestContext, mut plan: PlanStream) -> Response {
    let (sender, stream) = EventStream::new(context, state.closing.clone());
    let forwarding = async move {
        loop {
            let event = tokio::select! {
                event = plan.recv() => event,
                () = sender.closed() => return,
            };
            let sent = match event {
                None => return,
                Some(Ok(event)) => sender.send(event.name(), &event).await,
                Some(Err(error)) => sender.send_error(&error.into()).await,
            };
            if sent.is_err() {
                return;
            }
        }
    };
    tokio::spawn(tracing::Instrument::in_current_span(forwarding));
    stream.into_response()
}

/// The last event of a plan.
async fn last(mut plan: PlanStream) -> Result<PlanEvent, ApiError> {
    let mut last = None;
    while let Some(event) = plan.recv().await {
        last = Some(event?);
    }
    last.ok_or_else(|| ApiError::Internal("the plan ended without an event".to_owned()))
}
