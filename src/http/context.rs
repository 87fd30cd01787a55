//! What surrounds every request: its id, the reader's language, a log line, metrics, and the last nets: a panic in a
//! handler becomes a problem, and problems are written in the reader's language.

use std::any::Any;
use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Instant;

use axum::extract::{FromRequestParts, MatchedPath, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::middleware::Next;
use axum::response::Response;
use futures::FutureExt;
use tracing::Instrument;
use uuid::Uuid;

use super::problem::{ApiError, PendingProblem};
use crate::domain::Language;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Longest request id taken over from a caller.
const MAX_REQUEST_ID: usize = 64;

/// The routes whose errors also carry OpenAI's shape.
const OPENAI_ROUTES: [&str; 3] = ["/v1/models", "/v1/chat/completions", "/v1/embeddings"];

/// Called every few seconds by machines: not worth a line of log each.
const PROBES: [&str; 3] = ["/healthz", "/readyz", "/metrics"];

/// What is known of a request before it is routed; handlers can extract it.
#[derive(Clone, Debug)]
pub struct RequestContext {
    /// The caller's `x-request-id` if it is sane, else one made here; returned and logged.
    pub id: String,
    /// From `Accept-Language`.
    pub language: Language,
    /// The route's template; absent when none matched.
    pub route: Option<String>,
}

impl RequestContext {
    /// Whether the route is one of OpenAI's.
    pub fn is_openai(&self) -> bool {
        self.route.as_deref().is_some_and(|route| OPENAI_ROUTES.contains(&route))
    }
}

/// The language in which this caller reads error texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PreferredLanguage(pub Language);

impl<S: Sync> FromRequestParts<S> for RequestContext {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let missing = || ApiError::Internal("the context layer is missing".to_owned());
        parts.extensions.get().cloned().ok_or_else(missing)
    }
}

impl<S: Sync> FromRequestParts<S> for PreferredLanguage {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self(preferred_language(&parts.headers)))
    }
}

/// The outermost layer of the API.
pub(super) async fn with_context(mut request: Request, next: Next) -> Response {
    let started = Instant::now();
    let method = request.method().clone();
    let context = RequestContext {
        id: request_id(request.headers()),
        language: preferred_language(request.headers()),
        route: request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned()),
    };
    request.extensions_mut().insert(context.clone());
    let route = context.route.clone().unwrap_or_else(|| "-".to_owned());
    let span = tracing::info_span!("request", id = %context.id, %method, route);

    async move {
        // Handlers share nothing that a panic could leave half-changed: state lives in the database, in channels and in
        // locks that recover.
        let outcome = AssertUnwindSafe(next.run(request)).catch_unwind().await;
        let mut response = outcome.unwrap_or_else(|panic| {
            let pending = PendingProblem(Arc::new(ApiError::Internal(panic_text(&*panic))));
            let mut response = Response::default();
            response.extensions_mut().insert(pending);
            response
        });
        if let Some(PendingProblem(error)) = response.extensions_mut().remove() {
            error.log();
            response = error.to_response(context.language, context.is_openai());
        }
        if let Ok(id) = HeaderValue::from_str(&context.id) {
            response.headers_mut().insert(REQUEST_ID, id);
        }
        response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));

        let elapsed = started.elapsed();
        let status = response.status().as_u16();
        // For streams this is the time to the response's head; the body goes on.
        let elapsed_ms = elapsed.as_millis() as u64;
        if PROBES.contains(&route.as_str()) {
            tracing::debug!(status, elapsed_ms, "answered");
        } else {
            tracing::info!(status, elapsed_ms, "answered");
        }
        let labels = [("method", method.to_string()), ("route", route), ("status", status.to_string())];
        metrics::counter!("zhujiao_http_requests_total", &labels).increment(1);
        metrics::histogram!("zhujiao_http_request_duration_seconds", &labels[..2]).record(elapsed);
        response
    }
    .instrument(span)
    .await
}

fn request_id(headers: &HeaderMap) -> String {
    let is_sane = |id: &&str| {
        (1..=MAX_REQUEST_ID).contains(&id.len())
            && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
    };
    let given = headers.get(REQUEST_ID).and_then(|value| value.to_str().ok()).filter(is_sane);
    given.map_or_else(|| Uuid::now_v7().to_string(), str::to_owned)
}

/// English when the header ranks it above Chinese, Chinese otherwise.
fn preferred_language(headers: &HeaderMap) -> Language {
    let mut best = (Language::Chinese, 0.0);
    let header = headers.get(header::ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    for range in header.split(',') {
        let mut parts = range.split(';');
        let tag = parts.next().unwrap_or_default().trim().to_ascii_lowercase();
        let weight = parts
            .find_map(|parameter| parameter.trim().strip_prefix("q="))
            .map_or(1.0, |weight| weight.parse::<f32>().unwrap_or(0.0));
        let language = match tag.split('-').next() {
            Some("zh") => Language::Chinese,
            Some("en") => Language::English,
            _ => continue,
        };
        // The first of equals wins.
        if weight > best.1 {
            best = (language, weight);
        }
    }
    best.0
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("panic: {}", text.unwrap_or("without a message"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(name: HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_str(value).unwrap())])
    }

    #[test]
    fn chinese_unless_english_is_preferred() {
        let check = |value: &str, expected| {
            assert_eq!(preferred_language(&header(header::ACCEPT_LANGUAGE, value)), expected, "{value}");
        };
        check("", Language::Chinese);
        check("*", Language::Chinese);
        check("fr", Language::Chinese);
        check("en", Language::English);
        check("en-GB,en;q=0.9,zh;q=0.8", Language::English);
        check("zh-CN,zh;q=0.9,en;q=0.8", Language::Chinese);
        check("fr, en;q=0.3, zh-TW;q=0.7", Language::Chinese);
        check("en;q=nonsense", Language::Chinese);
        check("en;q=0", Language::Chinese);
    }

    #[tokio::test]
    async fn a_panic_becomes_a_problem_without_its_text() {
        use axum::routing::get;
        use http_body_util::BodyExt;
        use tower::ServiceExt;

        async fn handler() {
            panic!("secret");
        }
        let app = axum::Router::new().route("/", get(handler)).layer(axum::middleware::from_fn(with_context));
        let response = app.oneshot(Request::get("/").body(axum::body::Body::empty()).unwrap()).await.unwrap();
        assert_eq!(response.status(), 500);
        assert!(response.headers().contains_key(REQUEST_ID));
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let body = std::str::from_utf8(&body).unwrap();
        assert!(body.contains("\"code\":\"internal\"") && !body.contains("secret"), "{body}");
    }

    #[test]
    fn a_request_id_is_taken_over_only_when_it_is_sane() {
        let check = |value: &str, taken: bool| {
            assert_eq!(request_id(&header(REQUEST_ID, value)) == value, taken, "{value}");
        };
        check("b7c1-2.x_Y", true);
        check("with space", false);
        check("inject\"quote", false);
        check(&"x".repeat(65), false);
        check("", false);
    }
}
