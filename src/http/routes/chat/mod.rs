//! `POST /v1/chat/completions`, as OpenAI's clients call it.

mod request;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use serde::Serialize;
use tracing::Instrument;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::http::sse::ClientGone;
use crate::http::{ApiError, AppState, EventStream, Json, RequestContext, SseSender};
use crate::runtime::{self, FinishReason, GenerationError, GenerationEvent, GenerationStream, Generator, Usage};
use request::ChatRequest;

#[derive(Serialize, ToSchema)]
pub struct ChatCompletion {
    #[schema(example = "chatcmpl-0199")]
    id: String,
    /// `chat.completion`
    object: &'static str,
    /// Unix seconds.
    created: i64,
    model: String,
    choices: [Choice; 1],
    usage: TokenUsage,
}

#[derive(Serialize, ToSchema)]
struct Choice {
    index: u32,
    message: Answer,
    finish_reason: FinishReasonId,
}

#[derive(Serialize, ToSchema)]
struct Answer {
    /// `assistant`
    role: &'static str,
    content: String,
}

/// A part of the answer; the stream ends with `data: [DONE]`, or with an `error` event.
#[derive(Serialize, ToSchema)]
pub struct ChatCompletionChunk {
    id: String,
    /// `chat.completion.chunk`
    object: &'static str,
    created: i64,
    model: String,
    /// Empty in the chunk with the token counts.
    choices: Vec<ChunkChoice>,
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<TokenUsage>,
}

#[derive(Serialize, ToSchema)]
struct ChunkChoice {
    index: u32,
    delta: Delta,
    finish_reason: Option<FinishReasonId>,
}

#[derive(Default, Serialize, ToSchema)]
struct Delta {
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<String>,
}

/// `stop`: the model, a stop text or the format ended the answer; `length`: it was cut.
#[derive(Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum FinishReasonId {
    Stop,
    Length,
}

impl From<FinishReason> for FinishReasonId {
    fn from(reason: FinishReason) -> Self {
        match reason {
            FinishReason::Stop => Self::Stop,
            FinishReason::Length => Self::Length,
        }
    }
}

#[derive(Clone, Copy, Serialize, ToSchema)]
struct TokenUsage {
    prompt_tokens: usize,
    completion_tokens: usize,
    total_tokens: usize,
    prompt_tokens_details: PromptTokensDetails,
}

/// `cached_tokens` of the prompt needed no computation, because an earlier request had begun with them.
#[derive(Clone, Copy, Serialize, ToSchema)]
struct PromptTokensDetails {
    cached_tokens: usize,
}

impl From<Usage> for TokenUsage {
    fn from(Usage { prompt_tokens, cached_tokens, completion_tokens }: Usage) -> Self {
        Self {
            prompt_tokens,
            completion_tokens,
            total_tokens: prompt_tokens + completion_tokens,
            prompt_tokens_details: PromptTokensDetails { cached_tokens },
        }
    }
}

/// Answers a conversation, whole or as a stream of chunks.
#[utoipa::path(
    post,
    path = "/v1/chat/completions",
    tag = "models",
    request_body = ChatRequest,
    responses(
        (status = 200, description = "The answer", content(
            (ChatCompletion = "application/json"),
            (ChatCompletionChunk = "text/event-stream"),
        )),
        (status = 422, body = crate::http::Problem),
        (status = 429, description = "The queue is full; see `Retry-After`", body = crate::http::Problem),
        (status = 503, body = crate::http::Problem),
    )
)]
pub async fn complete(
    State(state): State<AppState>,
    context: RequestContext,
    Json(request): Json<ChatRequest>,
) -> Result<Response, ApiError> {
    let generator = &state.models.generator;
    if request.model != generator.name() {
        return Err(ApiError::NotFound { what: "model", id: request.model });
    }
    let wants_stream = request.stream.unwrap_or(false);
    let wants_usage = request.stream_options.as_ref().and_then(|options| options.include_usage).unwrap_or(false);
    let head = Head {
        id: format!("chatcmpl-{}", Uuid::now_v7().simple()),
        created: Timestamp::now().as_second(),
        model: request.model.clone(),
    };
    let generation = generator.generate(request.into_generation()?).await?;
    if wants_stream {
        let (sender, stream) = EventStream::new(context, state.closing.clone());
        tokio::spawn(send_chunks(generation, sender, head, wants_usage).in_current_span());
        return Ok(stream.into_response());
    }
    let (content, reason, usage) = runtime::collect(generation).await?;
    let message = Answer { role: "assistant", content };
    let choice = Choice { index: 0, message, finish_reason: reason.into() };
    let Head { id, created, model } = head;
    let completion =
        ChatCompletion { id, object: "chat.completion", created, model, choices: [choice], usage: usage.into() };
    Ok(Json(completion).into_response())
}

/// What all chunks of an answer share.
struct Head {
    id: String,
    created: i64,
    model: String,
}

impl Head {
    fn chunk(&self, choices: Vec<ChunkChoice>, usage: Option<TokenUsage>) -> ChatCompletionChunk {
        let Self { id, created, model } = self;
        let (id, model) = (id.clone(), model.clone());
        ChatCompletionChunk { id, object: "chat.completion.chunk", created: *created, model, choices, usage }
    }

    fn delta(&self, delta: Delta, finish_reason: Option<FinishReason>) -> ChatCompletionChunk {
        let finish_reason = finish_reason.map(FinishReasonId::from);
        self.chunk(vec![ChunkChoice { index: 0, delta, finish_reason }], None)
    }
}

/// Passes a generation on until it ends or the client leaves, which drops `generation` and so cancels it.
async fn send_chunks(generation: GenerationStream, sender: SseSender, head: Head, wants_usage: bool) {
    let sent = tokio::select! {
        sent = try_send_chunks(generation, &sender, &head, wants_usage) => sent,
        () = sender.closed() => Err(ClientGone),
    };
    if let Err(gone) = sent {
        tracing::debug!("generation cancelled: {gone}");
    }
}

async fn try_send_chunks(
    mut generation: GenerationStream,
    sender: &SseSender,
    head: &Head,
    wants_usage: bool,
) -> Result<(), ClientGone> {
    let first = Delta { role: Some("assistant"), content: Some(String::new()) };
    sender.send_unnamed(&head.delta(first, None)).await?;
    loop {
        match generation.recv().await {
            Some(Ok(GenerationEvent::Text(text))) => {
                sender.send_unnamed(&head.delta(Delta { role: None, content: Some(text) }, None)).await?;
            }
            Some(Ok(GenerationEvent::Finished { reason, usage })) => {
                sender.send_unnamed(&head.delta(Delta::default(), Some(reason))).await?;
                if wants_usage {
                    sender.send_unnamed(&head.chunk(Vec::new(), Some(usage.into()))).await?;
                }
                return sender.send_text("[DONE]").await;
            }
            Some(Err(error)) => return sender.send_error(&error.into()).await,
            None => {
                let error = GenerationError::Unavailable("the engine stopped".to_owned());
                return sender.send_error(&error.into()).await;
            }
        }
    }
}
