//! The web app, built into the binary from `web/dist`.

use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use rust_embed::{Embed, EmbeddedFile};

use super::context::PreferredLanguage;
use super::problem::ApiError;
use crate::domain::Language;

#[derive(Embed)]
#[folder = "web/dist/"]
#[allow_missing = true]
struct Dist;

/// The app loads nothing from elsewhere. Inline styles are what typeset formulas need; images may be made in the page.
const CONTENT_SECURITY_POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' data:; \
     object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
);

/// Paths that programs call: an unknown one is a problem, not the page.
const API_PREFIXES: [&str; 6] = ["/v1/", "/xapi/", "/docs/", "/healthz", "/readyz", "/metrics"];

const MISSING_PAGE_ZH: &str = "<!doctype html><html lang=\"zh-CN\"><meta charset=\"utf-8\"><title>助教</title>\
    <h1>服务正在运行，但没有网页</h1><p>此程序编译时没有构建网页。请在源码目录执行 <code>make web</code> 后重新编译；\
    API 可以照常使用，见 <a href=\"/docs/\">/docs</a>。</p>";
const MISSING_PAGE_EN: &str = "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Zhujiao</title>\
    <h1>The server runs, without its web app</h1><p>This binary was compiled before the web app was built. Run \
    <code>make web</code> in the source folder and compile again. The API works: see <a href=\"/docs/\">/docs</a>.</p>";

/// The fallback of the router: a file of the app, the app's page for paths that the app routes itself, else 404.
pub(super) async fn serve(method: Method, uri: Uri, language: PreferredLanguage, headers: HeaderMap) -> Response {
    if method != Method::GET && method != Method::HEAD {
        return ApiError::RouteNotFound.into_response();
    }
    let path = uri.path().trim_start_matches('/');
    if !path.is_empty()
        && let Some(file) = Dist::get(path)
    {
        return file_response(path, &file, &headers);
    }
    let is_api = API_PREFIXES.iter().any(|prefix| uri.path().starts_with(prefix));
    let wants_page = headers
        .get_all(header::ACCEPT)
        .iter()
        .any(|accept| accept.to_str().is_ok_and(|accept| accept.contains("text/html")));
    if is_api || !(path.is_empty() || wants_page) {
        return ApiError::RouteNotFound.into_response();
    }
    match Dist::get("index.html") {
        Some(file) => file_response("index.html", &file, &headers),
        None => missing_page(language),
    }
}

fn missing_page(PreferredLanguage(language): PreferredLanguage) -> Response {
    let page = match language {
        Language::Chinese => MISSING_PAGE_ZH,
        Language::English => MISSING_PAGE_EN,
    };
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8")),
        (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    (headers, page).into_response()
}

fn file_response(path: &str, file: &EmbeddedFile, request: &HeaderMap) -> Response {
    let hash = file.metadata.sha256_hash();
    let etag: String = hash[..16].iter().map(|byte| format!("{byte:02x}")).collect();
    let etag = format!("\"{etag}\"");
    // Vite puts a hash of the content into the names under assets/; the other names are asked for again each time.
    let caching = if path.starts_with("assets/") { "public, max-age=31536000, immutable" } else { "no-cache" };
    let mut response = if request.get(header::IF_NONE_MATCH).is_some_and(|known| known.as_bytes() == etag.as_bytes()) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        file.data.to_vec().into_response()
    };
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(caching));
    if let Ok(etag) = HeaderValue::from_str(&etag) {
        headers.insert(header::ETAG, etag);
    }
    let kind = mime_guess::from_path(path).first_or_octet_stream();
    let is_text = kind.type_() == mime_guess::mime::TEXT;
    let kind = if is_text { format!("{kind}; charset=utf-8") } else { kind.to_string() };
    if let Ok(kind) = HeaderValue::from_str(&kind) {
        headers.insert(header::CONTENT_TYPE, kind);
    }
    headers.insert(header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY);
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}
