//! Errors on the wire: problem+json (RFC 9457) with a stable `code`.
//!
//! [`ApiError`] is everything that a handler can fail with. Its status, code and texts are in one match
//! (`describe.rs`) that the compiler keeps complete. What is inside an error is logged with the request's id and
//! never sent. [`Problem`] is the body, of error responses and of the SSE `error` event alike.

mod describe;

use std::sync::Arc;
use std::time::Duration;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use self::describe::Description;
use crate::assistants::lesson::PlanError;
use crate::domain::Language;
use crate::embedding::EncodeError;
use crate::graph::LinkedConcept;
use crate::retrieval::SearchError;
use crate::runtime::GenerationError;
use crate::store::StoreError;

/// Loading a model takes seconds to a minute.
const RETRY_UNAVAILABLE: Duration = Duration::from_secs(10);

/// Why a request was not answered.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// 401: the route needs a key and there is none.
    #[error("no bearer token")]
    Unauthenticated,
    /// 401: the key or session is unknown, revoked or expired.
    #[error("the bearer token is not valid")]
    InvalidToken,
    /// 401: the sign-in link is unknown, used or expired.
    #[error("the sign-in token is not valid")]
    InvalidSignIn,
    /// 403: the caller's role may not do this.
    #[error("the role is not allowed to do this")]
    Forbidden,
    /// 403: a handler without a row in the policy table; a fault of ours that the caller cannot mend.
    #[error("the route has no policy")]
    NoPolicy,
    /// 404: no such route.
    #[error("no such route")]
    RouteNotFound,
    /// 404: no such thing. `what` is the kind (`concept`).
    #[error("no {what} `{id}`")]
    NotFound { what: &'static str, id: String },
    /// 405: the route exists, with the methods in `allow` (`GET, HEAD`).
    #[error("method not allowed")]
    MethodNotAllowed { allow: String },
    /// 413.
    #[error("the body is larger than {limit} bytes")]
    BodyTooLarge { limit: usize },
    /// 400: the client left or stalled before the body was complete.
    #[error("the body could not be read: {0}")]
    BodyUnreadable(String),
    /// 415: `expected` is the content type that the route takes.
    #[error("expected {expected}")]
    UnsupportedMediaType { expected: &'static str },
    /// 400: the body is not JSON at all.
    #[error("malformed JSON: {0}")]
    MalformedJson(String),
    /// 422: the request is well-formed and cannot be used; the list says which fields and why. Never empty.
    #[error("invalid fields: {}", .0.iter().map(|error| error.field.as_str()).collect::<Vec<_>>().join(", "))]
    InvalidFields(Vec<FieldError>),
    /// 503: the server is shutting down.
    #[error("the server is shutting down")]
    ShuttingDown,
    #[error(transparent)]
    Generation(#[from] GenerationError),
    #[error(transparent)]
    Encode(#[from] EncodeError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Search(#[from] SearchError),
    /// 422: the graph has nothing on the topic; the nearest concepts are offered.
    #[error("unknown topic `{topic}`")]
    UnknownTopic { topic: String, suggestions: Vec<LinkedConcept> },
    /// 429: as many lesson plans are being written as the configuration permits.
    #[error("too many lesson plans at once")]
    TooManyPlans { retry_after: Duration },
    /// 409: someone else changed it meanwhile.
    #[error("changed meanwhile")]
    Conflict,
    /// 500: a fault inside; the text is for the log.
    #[error("{0}")]
    Internal(String),
}

/// A field of the request that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct FieldError {
    /// Path in the body or name in the query: `messages[0].content`.
    pub field: String,
    pub detail: String,
}

/// The body of an error.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Problem {
    /// `urn:zhujiao:problem:` and the code.
    #[serde(rename = "type")]
    pub kind: String,
    /// What kind of problem this is, the same each time.
    pub title: &'static str,
    /// The HTTP status.
    pub status: u16,
    /// Stable, for programs.
    #[schema(example = "queue_full")]
    pub code: &'static str,
    /// What happened, for people: Chinese, or English for those who prefer it.
    pub detail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub errors: Option<Vec<FieldError>>,
    /// For an unknown topic: the nearest concepts of the graph.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub suggestions: Vec<LinkedConcept>,
    /// Seconds until another try makes sense: what `Retry-After` says, for events, which have no headers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<u64>,
    /// The same in the shape of OpenAI's API, on the routes that are compatible with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<OpenAiError>,
}

/// An error as OpenAI's clients read it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct OpenAiError {
    pub message: String,
    /// The group: `invalid_request_error`, `authentication_error`, …
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// The field that is wrong.
    pub param: Option<String>,
    pub code: &'static str,
}

impl From<PlanError> for ApiError {
    fn from(error: PlanError) -> Self {
        match error {
            PlanError::UnknownTopic { topic, suggestions } => Self::UnknownTopic { topic, suggestions },
            PlanError::InvalidField { field, reason } => Self::invalid_field(field, reason),
            PlanError::Busy { retry_after } => Self::TooManyPlans { retry_after },
            PlanError::NotFound => Self::NotFound { what: "lesson plan", id: "这份教案".to_owned() },
            PlanError::Conflict => Self::Conflict,
            PlanError::Generation(error) => Self::Generation(error),
            PlanError::Store(error) => Self::Store(error),
            PlanError::Internal(reason) => Self::Internal(reason),
        }
    }
}

impl ApiError {
    /// One field cannot be used.
    pub fn invalid_field(field: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::InvalidFields(vec![FieldError { field: field.into(), detail: detail.into() }])
    }

    /// Whole seconds, at least one.
    fn retry_after(&self) -> Option<u64> {
        let wait = match self {
            Self::Generation(GenerationError::QueueFull { retry_after }) | Self::TooManyPlans { retry_after } => {
                *retry_after
            }
            Self::Generation(GenerationError::Unavailable(_))
            | Self::Encode(EncodeError::Unavailable(_))
            | Self::ShuttingDown => RETRY_UNAVAILABLE,
            _ => return None,
        };
        Some((wait.as_secs() + u64::from(wait.subsec_nanos() > 0)).max(1))
    }

    /// The body, in the reader's language. `openai` adds the `error` member.
    pub fn problem(&self, language: Language, openai: bool) -> Problem {
        let Description { status, code, title, zh, en } = self.describe();
        let errors = match self {
            Self::InvalidFields(errors) => Some(errors.clone()),
            Self::Generation(GenerationError::InvalidRequest { field, reason }) => {
                Some(vec![FieldError { field: (*field).to_owned(), detail: reason.clone() }])
            }
            _ => None,
        };
        let detail = match language {
            Language::Chinese => zh,
            Language::English => en,
        };
        let error = openai.then(|| OpenAiError {
            message: detail.clone(),
            kind: openai_type(status),
            param: errors.as_ref().and_then(|errors| errors.first()).map(|error| error.field.clone()),
            code,
        });
        let kind = format!("urn:zhujiao:problem:{code}");
        let retry_after = self.retry_after();
        let suggestions = match self {
            Self::UnknownTopic { suggestions, .. } => suggestions.clone(),
            _ => Vec::new(),
        };
        Problem { kind, title, status: status.as_u16(), code, detail, errors, suggestions, retry_after, error }
    }

    /// Logs what is inside. Called once per error, by whoever sends it, within the request's span.
    pub(super) fn log(&self) {
        let Description { status, code, .. } = self.describe();
        if status.is_server_error() || matches!(self, Self::NoPolicy) {
            tracing::error!(code, status = status.as_u16(), error = %self, "request failed");
        } else {
            tracing::debug!(code, status = status.as_u16(), error = %self, "request refused");
        }
    }

    /// The whole response.
    pub(super) fn to_response(&self, language: Language, openai: bool) -> Response {
        let problem = self.problem(language, openai);
        let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, axum::Json(problem)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        // Chinese or English by the request's header: caches must not mix them.
        headers.insert(header::VARY, HeaderValue::from_static("accept-language"));
        if let Some(seconds) = self.retry_after() {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Self::MethodNotAllowed { allow } = self
            && let Ok(allow) = HeaderValue::from_str(allow)
        {
            headers.insert(header::ALLOW, allow);
        }
        response
    }
}

fn openai_type(status: StatusCode) -> &'static str {
    match status {
        StatusCode::UNAUTHORIZED => "authentication_error",
        StatusCode::FORBIDDEN => "permission_error",
        StatusCode::TOO_MANY_REQUESTS => "rate_limit_error",
        status if status.is_client_error() => "invalid_request_error",
        _ => "server_error",
    }
}

/// Rides on the response until [`super::context`], which knows the reader's language, writes the body.
#[derive(Clone)]
pub(super) struct PendingProblem(pub(super) Arc<ApiError>);

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = self.to_response(Language::Chinese, false);
        response.extensions_mut().insert(PendingProblem(Arc::new(self)));
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(error: ApiError, status: u16, code: &str) {
        let problem = error.problem(Language::Chinese, false);
        assert_eq!((problem.status, problem.code), (status, code), "{error:?}");
        assert!(problem.detail.chars().any(|c| ('\u{4e00}'..='\u{9fff}').contains(&c)), "{}", problem.detail);
        let english = error.problem(Language::English, false).detail;
        assert!(english.is_ascii() || english.contains('…'), "{english}");
    }

    #[test]
    fn each_error_has_its_status_and_code() {
        check(ApiError::Unauthenticated, 401, "unauthenticated");
        check(ApiError::Forbidden, 403, "forbidden");
        check(ApiError::NotFound { what: "concept", id: "math:x".to_owned() }, 404, "not_found");
        check(ApiError::BodyTooLarge { limit: 9 }, 413, "body_too_large");
        check(ApiError::invalid_field("grade", "too big"), 422, "invalid_request");
        check(GenerationError::QueueFull { retry_after: Duration::ZERO }.into(), 429, "queue_full");
        check(GenerationError::PromptTooLong { prompt_tokens: 2, context_length: 1 }.into(), 422, "prompt_too_long");
        check(GenerationError::DeadlineExceeded.into(), 504, "deadline_exceeded");
        check(GenerationError::Unavailable("loading".to_owned()).into(), 503, "model_unavailable");
        check(EncodeError::Unavailable("loading".to_owned()).into(), 503, "model_unavailable");
        check(ApiError::Internal("secret".to_owned()), 500, "internal");
    }

    #[test]
    fn the_inside_is_never_sent() {
        let errors: [ApiError; 4] = [
            ApiError::Internal("/etc/passwd".to_owned()),
            GenerationError::Internal("/etc/passwd".to_owned()).into(),
            EncodeError::Internal("/etc/passwd".to_owned()).into(),
            StoreError::Corrupt("/etc/passwd".to_owned()).into(),
        ];
        for error in errors {
            for language in [Language::Chinese, Language::English] {
                let body = serde_json::to_string(&error.problem(language, true)).unwrap();
                assert!(!body.contains("passwd"), "{body}");
            }
        }
    }

    #[test]
    fn retry_after_is_in_whole_seconds_and_at_least_one() {
        for (wait, expected) in
            [(Duration::ZERO, "1"), (Duration::from_millis(2100), "3"), (Duration::from_secs(4), "4")]
        {
            let error = ApiError::from(GenerationError::QueueFull { retry_after: wait });
            assert_eq!(error.to_response(Language::Chinese, false).headers()[header::RETRY_AFTER], expected);
        }
    }

    #[test]
    fn openai_clients_find_their_shape_beside_the_problem() {
        let problem = ApiError::invalid_field("tools", "not supported").problem(Language::English, true);
        let body = serde_json::to_value(problem).unwrap();
        assert_eq!(body["type"], "urn:zhujiao:problem:invalid_request");
        assert_eq!(body["errors"][0]["field"], "tools");
        assert_eq!(body["error"]["param"], "tools");
        assert_eq!(body["error"]["type"], "invalid_request_error");
    }
}
