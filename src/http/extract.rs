//! axum's extractors with our problems as rejections, naming the field that is wrong.

use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, FailedToBufferBody, PathRejection};
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::problem::{ApiError, FieldError};
use super::state::AppState;

/// A JSON body, in and out.
#[derive(Clone, Copy, Debug)]
pub struct Json<T>(pub T);

impl<T: DeserializeOwned> FromRequest<AppState> for Json<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &AppState) -> Result<Self, ApiError> {
        if !is_json(request.headers()) {
            return Err(ApiError::UnsupportedMediaType { expected: "application/json" });
        }
        let body = Bytes::from_request(request, state).await.map_err(|rejection| match rejection {
            BytesRejection::FailedToBufferBody(FailedToBufferBody::LengthLimitError(_)) => {
                ApiError::BodyTooLarge { limit: state.server.max_body_bytes }
            }
            other => ApiError::BodyUnreadable(other.body_text()),
        })?;
        parse_json(&body).map(Self)
    }
}

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        axum::Json(self.0).into_response()
    }
}

/// The query string. An empty parameter (`?grade=`) counts as absent.
#[derive(Clone, Copy, Debug)]
pub struct Query<T>(pub T);

impl<T: DeserializeOwned, S: Sync> FromRequestParts<S> for Query<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        use axum::extract::Query as AxumQuery;
        let present = parts.uri.query().unwrap_or_default().split('&').filter(|pair| !pair.ends_with('='));
        let uri = format!("/?{}", present.collect::<Vec<_>>().join("&"));
        let uri: Uri = uri.parse().map_err(|error| ApiError::Internal(format!("query: {error}")))?;
        AxumQuery::try_from_uri(&uri).map(|AxumQuery(query)| Self(query)).map_err(|rejection| {
            // axum's text is `Failed to deserialize query string: [field: ]reason`.
            let text = std::error::Error::source(&rejection).map_or_else(|| rejection.body_text(), ToString::to_string);
            ApiError::InvalidFields(vec![field_error(&text, "query")])
        })
    }
}

/// The parameters of the path. A segment that cannot be one (an id that is no UUID) names nothing: 404.
#[derive(Clone, Copy, Debug)]
pub struct Path<T>(pub T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        use axum::extract::Path as AxumPath;
        AxumPath::from_request_parts(parts, state).await.map(|AxumPath(value)| Self(value)).map_err(
            |rejection: PathRejection| match rejection.status() {
                StatusCode::INTERNAL_SERVER_ERROR => ApiError::Internal(rejection.body_text()),
                _ => ApiError::RouteNotFound,
            },
        )
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let Some(value) = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()) else { return false };
    let essence = value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json"))
}

fn parse_json<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    let malformed = |error: &serde_json::Error| ApiError::MalformedJson(error.to_string());
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let value = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let path = error.path().to_string();
        let inner = error.into_inner();
        if !inner.is_data() {
            return malformed(&inner);
        }
        let message = inner.to_string();
        // The place in the text helps nobody who is told the field.
        let reason = message.rsplit_once(" at line ").map_or(message.as_str(), |(reason, _)| reason);
        let field = if path == "." { missing_field(reason).unwrap_or("body").to_owned() } else { path };
        ApiError::invalid_field(field, reason)
    })?;
    deserializer.end().map_err(|error| malformed(&error))?;
    Ok(value)
}

/// Splits `field: reason`.
fn field_error(text: &str, default_field: &str) -> FieldError {
    match text.split_once(": ") {
        Some((field, reason)) if !field.contains(' ') => {
            FieldError { field: field.to_owned(), detail: reason.to_owned() }
        }
        _ => {
            let field = missing_field(text).unwrap_or(default_field).to_owned();
            FieldError { field, detail: text.to_owned() }
        }
    }
}

/// serde reports a missing or unknown field at its parent, with the name in the text.
fn missing_field(reason: &str) -> Option<&str> {
    let name = reason.strip_prefix("missing field `").or_else(|| reason.strip_prefix("unknown field `"))?;
    name.split('`').next()
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Body {
        #[serde(rename = "grade")]
        _grade: u8,
        #[serde(default, rename = "items")]
        _items: Vec<Item>,
    }

    #[derive(Debug, Deserialize)]
    struct Item {
        #[serde(rename = "text")]
        _text: String,
    }

    fn check_field(body: &str, expected: &str) {
        match parse_json::<Body>(body.as_bytes()).unwrap_err() {
            ApiError::InvalidFields(errors) => {
                assert_eq!(errors[0].field, expected, "{body}: {errors:?}");
                assert!(!errors[0].detail.contains("line"), "{errors:?}");
            }
            other => panic!("{body}: {other:?}"),
        }
    }

    #[test]
    fn wrong_fields_are_named() {
        check_field(r#"{"grade": "seven"}"#, "grade");
        check_field(r#"{"grade": 300}"#, "grade");
        check_field(r#"{"grade": 7, "items": [{"text": "a"}, {"text": 1}]}"#, "items[1].text");
        check_field(r#"{"grade": 7, "items": {}}"#, "items");
        check_field(r#"{}"#, "grade");
        check_field(r#"{"grade": 7, "colour": 1}"#, "colour");
        check_field(r#"[]"#, "body");
        check_field(r#""text""#, "body");
    }

    #[test]
    fn broken_json_is_told_apart() {
        for body in ["", "{", "{\"grade\": 7", "{\"grade\": 7} x", "{grade: 7}", "\u{feff}{}"] {
            let error = parse_json::<Body>(body.as_bytes()).unwrap_err();
            assert!(matches!(error, ApiError::MalformedJson(_)), "{body}: {error:?}");
        }
    }

    #[test]
    fn json_has_many_content_types() {
        let check = |value: &str, expected: bool| {
            let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, value.parse().unwrap())]);
            assert_eq!(is_json(&headers), expected, "{value}");
        };
        check("application/json", true);
        check("Application/JSON; charset=utf-8", true);
        check("application/merge-patch+json", true);
        check("text/plain", false);
        check("multipart/form-data; boundary=x", false);
    }

    #[test]
    fn query_errors_name_the_parameter() {
        let check = |text: &str, field: &str| assert_eq!(field_error(text, "query").field, field, "{text}");
        check("limit: invalid digit found in string", "limit");
        check("missing field `from`", "from");
        check("something else went wrong", "query");
    }
}
