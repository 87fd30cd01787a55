//! Who is calling. Bearer tokens only, no cookies: there is nothing for another site to make a browser send.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};

use super::problem::ApiError;
use crate::domain::Principal;
use crate::store::keys::{Caller, KeyStore};

/// Finds out whose bearer token a request carries.
pub(super) async fn authenticate(headers: &HeaderMap, keys: &KeyStore) -> Result<Caller, ApiError> {
    let token = bearer_token(headers).ok_or(ApiError::Unauthenticated)?;
    keys.caller(token, jiff::Timestamp::now()).await?.ok_or(ApiError::InvalidToken)
}

fn bearer_token(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

/// The caller as the policy layer found it. On a public route there is none, and extracting it answers 401.
impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        parts.extensions.get::<Self>().cloned().ok_or(ApiError::Unauthenticated)
    }
}

impl<S: Sync> FromRequestParts<S> for Principal {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        Caller::from_request_parts(parts, state).await.map(|caller| caller.principal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_bearer_token_counts() {
        let check = |value: &str, expected: Option<&str>| {
            let headers = HeaderMap::from_iter([(header::AUTHORIZATION, value.parse().unwrap())]);
            assert_eq!(bearer_token(&headers), expected, "{value}");
        };
        check("Bearer zj_a", Some("zj_a"));
        check("bearer  zj_a ", Some("zj_a"));
        check("Basic dXNlcg==", None);
        check("Bearer ", None);
        check("zj_a", None);
    }
}
