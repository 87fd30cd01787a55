//! The router and the server around it.

use std::future::Future;
use std::io;
use std::time::Duration;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::serve::ListenerExt;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tower_http::compression::CompressionLayer;
use utoipa_swagger_ui::{Config, SwaggerUi};

use super::context::with_context;
use super::policy::enforce;
use super::state::AppState;
use super::{openapi, routes, web};

/// After the grace period: time for the last event of each stream to reach its reader.
const FAREWELL: Duration = Duration::from_secs(2);

/// The whole application.
pub fn app(state: AppState) -> Router {
    let (api, document) = routes::api().split_for_parts();
    // `validator_url`: the reader would otherwise send the document's address to a service on the internet.
    let reader = SwaggerUi::new("/docs")
        .url("/openapi.json", openapi::finish(document))
        .config(Config::default().validator_url("none").try_it_out_enabled(true));
    api.merge(reader)
        .fallback(web::serve)
        .layer(from_fn_with_state(state.clone(), enforce))
        .layer(DefaultBodyLimit::max(state.server.max_body_bytes))
        .layer(from_fn(with_context))
        // Leaves event streams alone, which must not be held back.
        .layer(CompressionLayer::new().gzip(true))
        .with_state(state)
}

/// Serves until `shutdown` resolves. Then no connection is accepted, requests in flight have the grace period, streams
/// that still run end with an `error` event, and what is left after a moment is cut. Cancelling
/// [`AppState::closing`] ends the grace period early.
pub async fn serve(
    listener: TcpListener,
    state: AppState,
    shutdown: impl Future<Output = ()> + Send,
) -> io::Result<()> {
    let grace = state.server.shutdown_grace;
    let closing = state.closing.clone();
    let stop = CancellationToken::new();
    let listener = listener.tap_io(|connection| {
        // Without this, the kernel holds a token of a stream back until the one before is acknowledged.
        if let Err(error) = connection.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY");
        }
    });
    let server = axum::serve(listener, app(state)).with_graceful_shutdown(stop.clone().cancelled_owned());
    let mut server = std::pin::pin!(server.into_future());

    tokio::select! {
        stopped = &mut server => return stopped,
        () = shutdown => {}
    }
    tracing::info!(grace_s = grace.as_secs(), "shutting down");
    stop.cancel();
    tokio::select! {
        stopped = &mut server => return stopped,
        () = tokio::time::sleep(grace) => closing.cancel(),
        () = closing.cancelled() => {}
    }
    match tokio::time::timeout(FAREWELL, &mut server).await {
        Ok(stopped) => stopped,
        Err(_) => {
            tracing::warn!("connections were still open after the grace period");
            Ok(())
        }
    }
}
