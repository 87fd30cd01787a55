//! Keys, for administrators.

use axum::extract::State;
use axum::http::StatusCode;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::domain::{Principal, Role};
use crate::http::{ApiError, AppState, Json};
use crate::store::keys::NewKey;

/// Longest name or school id, in characters.
const MAX_TEXT: usize = 200;

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateKey {
    role: Role,
    /// The school whose data the key may see. Without one, a key that a school's administrator makes is of that school.
    school: Option<String>,
    /// Tells keys apart.
    #[schema(example = "王老师的电脑")]
    name: String,
}

/// A new key. `key` is shown this once.
#[derive(Serialize, ToSchema)]
pub struct CreatedKey {
    id: Uuid,
    #[schema(example = "zj_…")]
    key: String,
    role: Role,
    school: Option<String>,
    name: String,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
}

/// Makes a key.
#[utoipa::path(
    post,
    path = "/v1/keys",
    tag = "access",
    request_body = CreateKey,
    responses((status = 201, body = CreatedKey))
)]
pub async fn create(
    State(state): State<AppState>,
    principal: Principal,
    Json(request): Json<CreateKey>,
) -> Result<(StatusCode, Json<CreatedKey>), ApiError> {
    let name = checked("name", &request.name)?;
    let school = request.school.as_deref().map(|school| checked("school", school)).transpose()?;
    let school = match (principal.school, school) {
        // A school's administrator stays inside the school.
        (Some(own), Some(other)) if own != other => return Err(ApiError::Forbidden),
        (Some(own), _) => Some(own),
        (None, school) => school,
    };
    let (key, secret) = state.keys.create(NewKey { role: request.role, school, name }, Timestamp::now()).await?;
    tracing::info!(key = %key.id, by = %principal.key_id, role = ?key.role, "key created");
    let created = CreatedKey {
        id: key.id,
        key: secret.expose().to_owned(),
        role: key.role,
        school: key.school,
        name: key.name,
        created_at: key.created_at,
    };
    Ok((StatusCode::CREATED, Json(created)))
}

fn checked(field: &str, text: &str) -> Result<String, ApiError> {
    let text = text.trim();
    match text.chars().count() {
        1..=MAX_TEXT => Ok(text.to_owned()),
        _ => Err(ApiError::invalid_field(field, format!("must have 1 to {MAX_TEXT} characters"))),
    }
}
