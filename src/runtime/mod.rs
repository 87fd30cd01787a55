//! The language model and the engine that serves it. Knows no prompt, learner or HTTP.
//!
//! Callers see [`Generator`]: chat messages in, a stream of text out. [`engine::Engine`] implements it on one worker thread
//! that owns the model; tests implement it with scripted answers.

pub mod device;
pub mod engine;
pub mod kernels;
pub mod model;

use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

/// Who said a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChatRole {
    System,
    User,
    Assistant,
}

/// One message of a conversation, as the model's chat template receives it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChatMessage {
    pub role: ChatRole,
    pub content: String,
}

impl ChatMessage {
    pub fn system(content: impl Into<String>) -> Self {
        Self { role: ChatRole::System, content: content.into() }
    }

    pub fn user(content: impl Into<String>) -> Self {
        Self { role: ChatRole::User, content: content.into() }
    }

    pub fn assistant(content: impl Into<String>) -> Self {
        Self { role: ChatRole::Assistant, content: content.into() }
    }
}

/// How the next token is drawn.
#[derive(Clone, Debug, PartialEq)]
pub struct Sampling {
    /// 0 takes the most probable token.
    pub temperature: f32,
    /// Smallest set of tokens whose probability reaches this; 1 switches it off.
    pub top_p: f32,
    /// Number of most probable tokens kept; `None` keeps all.
    pub top_k: Option<usize>,
    /// Tokens below this fraction of the most probable one's probability are dropped; 0 switches it off.
    pub min_p: f32,
    /// Divides the positive logits (multiplies the negative ones) of tokens already in the sequence's last 256; 1 switches
    /// it off.
    pub repetition_penalty: f32,
    /// Same seed, same request, same batch-independent draw. `None` draws a random seed.
    pub seed: Option<u64>,
}

impl Default for Sampling {
    fn default() -> Self {
        Self { temperature: 0.7, top_p: 0.9, top_k: None, min_p: 0.0, repetition_penalty: 1.0, seed: None }
    }
}

impl Sampling {
    /// The most probable token each time.
    pub fn greedy() -> Self {
        Self { temperature: 0.0, top_p: 1.0, ..Self::default() }
    }
}

/// What the text must conform to, enforced token by token.
#[derive(Clone, Debug, PartialEq)]
pub enum Constraint {
    /// Any JSON object.
    JsonObject,
    /// JSON valid against this schema.
    JsonSchema(serde_json::Value),
}

/// Order of admission when sequences wait.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Priority {
    Batch,
    #[default]
    Interactive,
    Crisis,
}

/// One generation.
#[derive(Clone, Debug, Default)]
pub struct GenerationRequest {
    pub messages: Vec<ChatMessage>,
    pub sampling: Sampling,
    /// Most tokens to generate; `None` until the context is full.
    pub max_tokens: Option<usize>,
    /// Texts that end the generation; they are not part of the output.
    pub stop: Vec<String>,
    pub constraint: Option<Constraint>,
    pub priority: Priority,
    /// Longest time from submission to the last token; `None` takes the engine's default.
    pub deadline: Option<Duration>,
}

/// Why a generation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FinishReason {
    /// The model's end token, a stop text, or a completed constraint.
    Stop,
    /// `max_tokens` or the context's end.
    Length,
}

/// Token counts of one generation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    pub prompt_tokens: usize,
    /// Those of `prompt_tokens` that needed no computation, because an earlier request had begun with them.
    pub cached_tokens: usize,
    pub completion_tokens: usize,
}

/// What a [`GenerationStream`] yields: text pieces (whole UTF-8 characters), then exactly one `Finished`.
#[derive(Clone, Debug, PartialEq)]
pub enum GenerationEvent {
    Text(String),
    Finished { reason: FinishReason, usage: Usage },
}

/// Why a generation could not start or go on.
#[derive(Clone, Debug, thiserror::Error, PartialEq)]
pub enum GenerationError {
    /// The bounded queue is full.
    #[error("the generation queue is full")]
    QueueFull { retry_after: Duration },
    /// The prompt leaves no room for an answer.
    #[error("the prompt has {prompt_tokens} tokens, the model's context holds {context_length}")]
    PromptTooLong { prompt_tokens: usize, context_length: usize },
    /// A request value that cannot be used; `field` names it.
    #[error("{field}: {reason}")]
    InvalidRequest { field: &'static str, reason: String },
    #[error("the deadline passed before the answer was complete")]
    DeadlineExceeded,
    /// No model is loaded (yet), or the engine has stopped.
    #[error("no language model is ready: {0}")]
    Unavailable(String),
    /// A fault inside; the text is for the log, not for the caller.
    #[error("generation failed: {0}")]
    Internal(String),
}

/// A running generation. Dropping it cancels the sequence and frees its blocks.
pub type GenerationStream = mpsc::Receiver<Result<GenerationEvent, GenerationError>>;

/// What is known of a loaded model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelInfo {
    /// The manifest's name, used on the wire.
    pub name: String,
    pub architecture: String,
    pub context_length: usize,
}

/// Something that answers chat messages with text: the engine of this process, or a stand-in in tests.
#[async_trait]
pub trait Generator: Send + Sync {
    fn model(&self) -> ModelInfo;

    /// Starts a generation, or says at once why not.
    async fn generate(&self, request: GenerationRequest) -> Result<GenerationStream, GenerationError>;
}

/// The whole text of a generation, for callers that do not stream.
pub async fn collect(mut stream: GenerationStream) -> Result<(String, FinishReason, Usage), GenerationError> {
    let mut text = String::new();
    while let Some(event) = stream.recv().await {
        match event? {
            GenerationEvent::Text(piece) => text.push_str(&piece),
            GenerationEvent::Finished { reason, usage } => return Ok((text, reason, usage)),
        }
    }
    Err(GenerationError::Unavailable("the engine stopped".to_owned()))
}
