//! Server-sent events: named events, a comment heartbeat, problems as `error` events.
//!
//! A handler starts a task that holds the [`SseSender`] and returns the [`EventStream`]. When the client leaves, the
//! stream is dropped; the task then sees [`SseSender::closed`] (or its next `send` fail) and must stop its work.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::http::{HeaderName, HeaderValue};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::{Stream, StreamExt};
use serde::Serialize;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::context::RequestContext;
use super::problem::ApiError;

/// Proxies and browsers give up on silent connections; most do so after 30 s or more.
const HEARTBEAT: Duration = Duration::from_secs(10);

/// Events between the task that makes them and the connection. Small: a slow reader slows its own generation down, and
/// costs no memory.
const CAPACITY: usize = 16;

/// Tells proxies (nginx) to pass events on at once.
const NO_BUFFERING: (HeaderName, HeaderValue) =
    (HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));

/// The writing end.
#[derive(Clone, Debug)]
pub struct SseSender {
    events: mpsc::Sender<Event>,
    context: RequestContext,
}

/// The client has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the client has left")]
pub struct ClientGone;

impl SseSender {
    /// Sends `event: name` with `data` as JSON.
    pub async fn send(&self, name: &str, data: &impl Serialize) -> Result<(), ClientGone> {
        self.push(Event::default().event(name).data(to_json(data))).await
    }

    /// Sends `data` as JSON without a name, as OpenAI's streams do.
    pub async fn send_unnamed(&self, data: &impl Serialize) -> Result<(), ClientGone> {
        self.push(Event::default().data(to_json(data))).await
    }

    /// Sends text that is no JSON (`[DONE]`).
    pub async fn send_text(&self, text: &str) -> Result<(), ClientGone> {
        self.push(Event::default().data(text)).await
    }

    /// Logs the error and sends its problem as an `error` event. The stream should end after it.
    pub async fn send_error(&self, error: &ApiError) -> Result<(), ClientGone> {
        error.log();
        self.send("error", &error.problem(self.context.language, self.context.is_openai())).await
    }

    /// Resolves when the client has left.
    pub async fn closed(&self) {
        self.events.closed().await;
    }

    async fn push(&self, event: Event) -> Result<(), ClientGone> {
        self.events.send(event).await.map_err(|_| ClientGone)
    }
}

fn to_json(data: &impl Serialize) -> String {
    // Fails only for maps whose keys are no strings, which no wire type has.
    serde_json::to_string(data).unwrap_or_else(|error| {
        tracing::error!(%error, "an event cannot be written as JSON");
        "null".to_owned()
    })
}

/// The response of a streaming route.
#[derive(Debug)]
pub struct EventStream {
    events: mpsc::Receiver<Event>,
    context: RequestContext,
    closing: CancellationToken,
}

impl EventStream {
    /// Both ends. `closing` ends the stream with a `shutting_down` error ([`AppState::closing`](super::AppState)).
    pub fn new(context: RequestContext, closing: CancellationToken) -> (SseSender, Self) {
        let (sender, events) = mpsc::channel(CAPACITY);
        (SseSender { events: sender, context: context.clone() }, Self { events, context, closing })
    }
}

impl IntoResponse for EventStream {
    fn into_response(self) -> Response {
        let Self { events, context, closing } = self;
        let farewell = futures::stream::once(closing.clone().cancelled_owned()).map(move |()| {
            let problem = ApiError::ShuttingDown.problem(context.language, context.is_openai());
            Event::default().event("error").data(to_json(&problem))
        });
        let stream = UntilClosing { events: Some(events), farewell: Box::pin(farewell) };
        let sse = Sse::new(stream).keep_alive(KeepAlive::new().interval(HEARTBEAT));
        ([NO_BUFFERING], sse).into_response()
    }
}

/// The events; on closing, the farewell and the end, with the events' receiver dropped so that the work behind stops.
struct UntilClosing {
    events: Option<mpsc::Receiver<Event>>,
    farewell: Pin<Box<dyn Stream<Item = Event> + Send>>,
}

impl Stream for UntilClosing {
    type Item = Result<Event, Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(events) = &mut self.events else { return Poll::Ready(None) };
        if let Poll::Ready(event) = events.poll_recv(context) {
            if event.is_none() {
                self.events = None;
            }
            return Poll::Ready(event.map(Ok));
        }
        match self.farewell.poll_next_unpin(context) {
            Poll::Ready(event) => {
                self.events = None;
                Poll::Ready(event.map(Ok))
            }
            Poll::Pending => Poll::Pending,
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::body::BodyDataStream;

    use super::*;
    use crate::domain::Language;

    fn open() -> (SseSender, BodyDataStream, CancellationToken) {
        let closing = CancellationToken::new();
        let context = RequestContext { id: "test".to_owned(), language: Language::English, route: None };
        let (sender, stream) = EventStream::new(context, closing.clone());
        (sender, stream.into_response().into_body().into_data_stream(), closing)
    }

    async fn next(body: &mut BodyDataStream) -> Option<String> {
        let bytes = body.next().await?.unwrap();
        Some(String::from_utf8(bytes.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn events_have_names_and_json() {
        let (sender, mut body, _) = open();
        sender.send("section.delta", &serde_json::json!({"text": "一\n二"})).await.unwrap();
        sender.send_text("[DONE]").await.unwrap();
        drop(sender);
        assert_eq!(next(&mut body).await.unwrap(), "event: section.delta\ndata: {\"text\":\"一\\n二\"}\n\n");
        assert_eq!(next(&mut body).await.unwrap(), "data: [DONE]\n\n");
        assert_eq!(next(&mut body).await, None);
    }

    #[tokio::test]
    async fn an_error_event_carries_the_problem() {
        let (sender, mut body, _) = open();
        sender.send_error(&ApiError::Internal("secret".to_owned())).await.unwrap();
        let event = next(&mut body).await.unwrap();
        assert!(event.starts_with("event: error\ndata: {\"type\":\"urn:zhujiao:problem:internal\""), "{event}");
        assert!(!event.contains("secret"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_stream_beats_every_ten_seconds() {
        let (_sender, mut body, _) = open();
        let start = tokio::time::Instant::now();
        for beat in 1..=3 {
            let comment = next(&mut body).await.unwrap();
            assert!(comment.starts_with(':'), "{comment}");
            assert_eq!(start.elapsed().as_secs(), 10 * beat);
        }
    }

    #[tokio::test]
    async fn closing_says_so_and_stops_the_work() {
        let (sender, mut body, closing) = open();
        closing.cancel();
        assert!(next(&mut body).await.unwrap().contains("shutting_down"));
        assert_eq!(next(&mut body).await, None);
        sender.closed().await;
        assert_eq!(sender.send_text("late").await, Err(ClientGone));
    }

    #[tokio::test]
    async fn a_client_that_leaves_is_noticed() {
        let (sender, body, _) = open();
        drop(body);
        sender.closed().await;
    }
}
