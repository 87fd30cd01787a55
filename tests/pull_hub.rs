//! Pulling from a server that answers like the hub.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use sha2::{Digest, Sha256};
use tokio::net::TcpListener;
use zhujiao::model_store::{Fetcher, Manifest, ModelStore, PullError, SourceKind};

const CONTENT: &[u8] = b"the bytes of a model";

/// The ranges that were asked for.
type Ranges = Arc<Mutex<Vec<String>>>;

async fn file(
    State(ranges): State<Ranges>,
    Path((owner, name)): Path<(String, String)>,
    headers: HeaderMap,
) -> Response {
    match (owner.as_str(), name.as_str()) {
        ("org", "model") => {}
        ("org", "gated") => return (StatusCode::UNAUTHORIZED, [("x-error-code", "GatedRepo")]).into_response(),
        _ => return (StatusCode::NOT_FOUND, [("x-error-code", "RepoNotFound")]).into_response(),
    }
    let Some(range) = headers.get(header::RANGE) else { return CONTENT.into_response() };
    let range = range.to_str().unwrap().to_owned();
    let start: usize = range.trim_start_matches("bytes=").split('-').next().unwrap().parse().unwrap();
    ranges.lock().unwrap().push(range);
    (StatusCode::PARTIAL_CONTENT, &CONTENT[start..]).into_response()
}

async fn hub() -> (String, Ranges) {
    let ranges = Ranges::default();
    let app = Router::new().route("/{owner}/{name}/resolve/{revision}/weights/f.gguf", get(file_of_revision));
    let app = app.with_state(ranges.clone());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    (endpoint, ranges)
}

async fn file_of_revision(
    state: State<Ranges>,
    Path((owner, name, revision)): Path<(String, String, String)>,
    headers: HeaderMap,
) -> Response {
    assert_eq!(revision, "v1");
    file(state, Path((owner, name)), headers).await
}

fn store(dir: &std::path::Path, endpoint: String, repo: &str) -> ModelStore {
    let sha256: String = Sha256::digest(CONTENT).iter().map(|byte| format!("{byte:02x}")).collect();
    let manifest = format!(
        "name = 'm'\ntitle = 'M'\nrole = 'generator'\narchitecture = 'llama'\nlicence = 'MIT'\n\
         [[files]]\nname = 'f.gguf'\nsize = {}\nsha256 = '{sha256}'\n\
         [[files.sources]]\nkind = 'hub'\nrepo = '{repo}'\nrevision = 'v1'\npath = 'weights/f.gguf'\n",
        CONTENT.len()
    );
    ModelStore::new(dir)
        .unwrap()
        .with_manifest(Manifest::parse(&manifest, "test").unwrap())
        .with_fetch(Arc::new(Fetcher { hub_endpoint: Some(endpoint), ..Fetcher::default() }))
}

#[tokio::test]
async fn a_file_comes_from_the_hub_and_is_resumed_by_range() {
    let (endpoint, ranges) = hub().await;
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path(), endpoint, "org/model");
    let paths = store.pull("m", |progress| assert_eq!(progress.source, SourceKind::Hub)).await.unwrap();
    assert_eq!(std::fs::read(&paths[0]).unwrap(), CONTENT);

    std::fs::remove_file(&paths[0]).unwrap();
    std::fs::write(dir.path().join("m/f.gguf.part"), &CONTENT[..9]).unwrap();
    store.pull("m", |_| {}).await.unwrap();
    assert_eq!(std::fs::read(&paths[0]).unwrap(), CONTENT);
    assert_eq!(*ranges.lock().unwrap(), ["bytes=0-19", "bytes=9-19"]);
}

async fn check_refusal(endpoint: String, repo: &str, expected: &[&str]) {
    let dir = tempfile::tempdir().unwrap();
    let error = store(dir.path(), endpoint, repo).pull("m", |_| {}).await.unwrap_err();
    assert!(matches!(error, PullError::AllSourcesFailed { .. }));
    for part in expected {
        assert!(error.to_string().contains(part), "{part}: {error}");
    }
}

#[tokio::test]
async fn a_refusal_says_what_to_do() {
    let (endpoint, _) = hub().await;
    check_refusal(endpoint.clone(), "org/gated", &[&endpoint, "Set HF_TOKEN"]).await;
    check_refusal(endpoint, "org/other", &["org/other", "Check the manifest"]).await;
    check_refusal("no address".to_owned(), "org/model", &["Check HF_ENDPOINT"]).await;
    // Bound and freed again: nobody listens there.
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    check_refusal(format!("http://{nobody}"), "org/model", &["Set HF_ENDPOINT to a mirror"]).await;
}
