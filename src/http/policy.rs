//! Which role may use which route: one table, and the layer that enforces it. A route without a row is refused.

use axum::extract::{MatchedPath, Request, State};
use axum::http::Method;
use axum::middleware::Next;
use axum::response::Response;

use super::auth::authenticate;
use super::problem::ApiError;
use super::state::AppState;
use crate::domain::Role::{self, Administrator, Counsellor, Guardian, Integrator, Student, Teacher};

/// Who may use a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Everybody, without a key.
    Public,
    /// Callers with a key or session of one of these roles.
    Roles(&'static [Role]),
}

/// A row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    pub method: &'static str,
    /// The route's template (`/v1/graph/concepts/{id}`).
    pub path: &'static str,
    pub access: Access,
}

const fn rule(method: &'static str, path: &'static str, access: Access) -> Rule {
    Rule { method, path, access }
}

const PUBLIC: Access = Access::Public;
const ADMINISTRATORS: Access = Access::Roles(&[Administrator]);
const EVERYONE: Access = Access::Roles(&[Administrator, Teacher, Student, Counsellor, Guardian, Integrator]);
const TEACHERS: Access = Access::Roles(&[Administrator, Teacher]);
/// The language model without an assistant around it. Not for pupils and their families: what minors get is what the
/// assistants say, inside their safety policy.
const STAFF: Access = Access::Roles(&[Administrator, Teacher, Counsellor, Integrator]);

/// Every route of the server. `HEAD` goes with `GET`.
pub const TABLE: &[Rule] = &[
    rule("GET", "/healthz", PUBLIC),
    rule("GET", "/readyz", PUBLIC),
    rule("GET", "/metrics", PUBLIC),
    rule("GET", "/openapi.json", PUBLIC),
    rule("GET", "/docs", PUBLIC),
    rule("GET", "/docs/", PUBLIC),
    rule("GET", "/docs/{*rest}", PUBLIC),
    rule("GET", "/v1/models", STAFF),
    rule("POST", "/v1/chat/completions", STAFF),
    rule("POST", "/v1/embeddings", STAFF),
    rule("POST", "/v1/search", EVERYONE),
    rule("GET", "/v1/graph/subjects", EVERYONE),
    rule("GET", "/v1/graph/concepts", EVERYONE),
    rule("GET", "/v1/graph/concepts/{id}", EVERYONE),
    rule("GET", "/v1/graph/concepts/{id}/neighbourhood", EVERYONE),
    rule("GET", "/v1/graph/path", EVERYONE),
    rule("POST", "/v1/lesson-plans", TEACHERS),
    rule("GET", "/v1/lesson-plans", TEACHERS),
    rule("GET", "/v1/lesson-plans/{id}", TEACHERS),
    rule("PATCH", "/v1/lesson-plans/{id}", TEACHERS),
    rule("DELETE", "/v1/lesson-plans/{id}", TEACHERS),
    rule("POST", "/v1/lesson-plans/{id}/sections/{name}/regenerate", TEACHERS),
    rule("GET", "/v1/lesson-plans/{id}/export", TEACHERS),
    rule("POST", "/v1/lesson-plans/{id}/messages", TEACHERS),
    rule("GET", "/v1/lesson-plans/{id}/messages", TEACHERS),
    rule("POST", "/v1/keys", ADMINISTRATORS),
    rule("POST", "/v1/sessions", PUBLIC),
    rule("GET", "/v1/session", EVERYONE),
];

/// The row for a request, or the refusal.
fn find(method: &Method, path: &str) -> Result<Access, ApiError> {
    let method = if method == Method::HEAD { &Method::GET } else { method };
    if let Some(rule) = TABLE.iter().find(|rule| rule.path == path && rule.method == method.as_str()) {
        return Ok(rule.access);
    }
    // Answered here rather than by the router, so that a handler whose row was forgotten is never reached.
    let allowed: Vec<_> = TABLE.iter().filter(|rule| rule.path == path).map(|rule| rule.method).collect();
    if allowed.is_empty() {
        return Err(ApiError::NoPolicy);
    }
    Err(ApiError::MethodNotAllowed { allow: allowed.join(", ") })
}

/// The layer around all routes. Leaves the [`Caller`](crate::store::keys::Caller) in the request.
pub(super) async fn enforce(
    State(state): State<AppState>,
    mut request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    // No route matched: the fallback answers, with the web app or 404.
    let Some(path) = request.extensions().get::<MatchedPath>() else { return Ok(next.run(request).await) };
    if let Access::Roles(roles) = find(request.method(), path.as_str())? {
        let caller = authenticate(request.headers(), &state.keys).await?;
        if !roles.contains(&caller.principal.role) {
            return Err(ApiError::Forbidden);
        }
        request.extensions_mut().insert(caller);
    }
    Ok(next.run(request).await)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn head_goes_with_get() {
        assert_eq!(find(&Method::HEAD, "/healthz").unwrap(), Access::Public);
    }

    #[test]
    fn a_known_path_with_another_method_lists_the_methods() {
        match find(&Method::DELETE, "/v1/keys").unwrap_err() {
            ApiError::MethodNotAllowed { allow } => assert_eq!(allow, "POST"),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_path_without_a_row_is_refused() {
        assert!(matches!(find(&Method::GET, "/v1/forgotten"), Err(ApiError::NoPolicy)));
    }

    #[tokio::test]
    async fn a_handler_without_a_row_is_not_reached() {
        use axum::routing::get;
        use tower::ServiceExt;

        let state = AppState::for_tests().await;
        let app = axum::Router::new()
            .route("/v1/forgotten", get(async || "reached"))
            .route("/v1/keys", get(async || "reached"))
            .layer(axum::middleware::from_fn_with_state(state, enforce));
        for (path, expected) in [("/v1/forgotten", 403), ("/v1/keys", 405)] {
            let request = Request::get(path).body(axum::body::Body::empty()).unwrap();
            assert_eq!(app.clone().oneshot(request).await.unwrap().status(), expected, "{path}");
        }
    }

    #[test]
    fn no_route_has_two_rows() {
        for (index, rule) in TABLE.iter().enumerate() {
            let again = TABLE[index + 1..].iter().any(|other| (other.method, other.path) == (rule.method, rule.path));
            assert!(!again, "{} {}", rule.method, rule.path);
        }
    }
}
