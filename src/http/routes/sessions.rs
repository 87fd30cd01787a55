//! Sessions, opened with a one-time sign-in link.

use axum::extract::State;
use axum::http::StatusCode;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::domain::Role;
use crate::http::{ApiError, AppState, Json};
use crate::store::keys::Caller;

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OpenSession {
    /// The token of a sign-in link; it works once.
    token: String,
}

#[derive(Serialize, ToSchema)]
pub struct OpenedSession {
    /// The bearer token of the calls that follow.
    #[schema(example = "zs_…")]
    token: String,
    role: Role,
    school: Option<String>,
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Timestamp>,
}

#[derive(Serialize, ToSchema)]
pub struct Session {
    role: Role,
    school: Option<String>,
    /// The session's end; keys have none.
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Timestamp>,
}

/// Exchanges a sign-in token for a session token.
#[utoipa::path(
    post,
    path = "/v1/sessions",
    tag = "access",
    request_body = OpenSession,
    responses((status = 201, body = OpenedSession), (status = 401, body = crate::http::Problem))
)]
pub async fn open(
    State(state): State<AppState>,
    Json(request): Json<OpenSession>,
) -> Result<(StatusCode, Json<OpenedSession>), ApiError> {
    let opened = state.keys.open_session(&request.token, Timestamp::now()).await?.ok_or(ApiError::InvalidSignIn)?;
    let Caller { principal, expires_at } = opened.caller;
    let token = opened.token.expose().to_owned();
    let session = OpenedSession { token, role: principal.role, school: principal.school, expires_at };
    Ok((StatusCode::CREATED, Json(session)))
}

/// Who the caller is.
#[utoipa::path(get, path = "/v1/session", tag = "access", responses((status = 200, body = Session)))]
pub async fn show(Caller { principal, expires_at }: Caller) -> Json<Session> {
    Json(Session { role: principal.role, school: principal.school, expires_at })
}
