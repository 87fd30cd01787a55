//! The engine: many generations at the same time on one model.
//!
//! ```text
//! Engine (handle, any number)          worker thread (one)
//!   generate: place in the engine  ->    queue -> Scheduler -> Forward -> Sampler/Grammar -> text
//!             encode, compile            ^                                    |
//!             submit by channel          +---------- next token --------------+--> GenerationStream
//! ```
//!
//! - [`admission`] bounds the work taken on, [`scheduler`] orders it and hands out [`blocks`], which [`prefix_cache`] keeps
//!   for those who ask for the same text again: all are pure.
//! - `worker` owns the model; `sequence` is one generation in it, made of [`sampling`], [`grammar`], [`detokenizer`],
//!   [`stop`] and [`speculation`].
//! - What is absent: locks around the model, and any way in which one request's reader can slow down another's.

pub mod admission;
pub mod blocks;
pub mod codec;
mod counters;
pub mod detokenizer;
pub mod grammar;
pub mod prefix_cache;
pub mod sampling;
pub mod scheduler;
mod sequence;
pub mod speculation;
pub mod stop;
mod worker;

#[cfg(test)]
mod tests;
#[cfg(test)]
mod toy;

use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use async_trait::async_trait;

use self::admission::{Admission, Ticket};
pub use self::codec::{ChatCodec, TextCodec};
use self::counters::Counters;
pub use self::counters::EngineCounters;
use self::grammar::{GrammarEnvironment, GrammarError};
use self::scheduler::{Scheduler, SchedulerLimits};
use self::sequence::{Reader, Submission};
use self::worker::{Command, Worker, WorkerLinks, stopped};
use super::model::{Forward, LoadedModel, ModelError};
use super::{GenerationError, GenerationRequest, GenerationStream, Generator, ModelInfo};

/// How the engine shares the model out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EngineConfig {
    /// Most generations computed together.
    pub max_sequences: usize,
    /// Most generations waiting beside them; 0 refuses what cannot start at once.
    pub queue_capacity: usize,
    /// Most prompt tokens computed per step beside the decoding sequences: larger reads prompts faster, smaller keeps the
    /// text of others flowing.
    pub prefill_chunk: usize,
    /// Share of the KV blocks, in percent, that may be kept for common beginnings while no generation holds them; they
    /// still count as free. 0 switches the sharing of blocks off.
    pub prefix_cache_percent: usize,
    /// Rows up to which drafted tokens may fill a pass, beside those that are computed anyway: as many as the device
    /// computes in about the time of one. Below 2 nothing is drafted.
    pub speculation_rows: usize,
    /// For requests that bring none.
    pub default_deadline: Duration,
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self {
            max_sequences: 16,
            queue_capacity: 64,
            prefill_chunk: 256,
            prefix_cache_percent: 100,
            speculation_rows: 8,
            default_deadline: Duration::from_secs(600),
        }
    }
}

/// Why an engine cannot start.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    #[error("{field} must be at least 1")]
    Configuration { field: &'static str },
    #[error("the model has no KV blocks")]
    NoBlocks,
    #[error("the tokenizer has {tokenizer} tokens, the model {model}")]
    Vocabulary { tokenizer: usize, model: usize },
    #[error(transparent)]
    Grammar(#[from] GrammarError),
    #[error("cannot start the worker thread: {0}")]
    Thread(#[from] std::io::Error),
}

/// A model, ready to be served.
pub struct ModelParts {
    /// A KV store that holds fewer positions shortens `context_length`.
    pub info: ModelInfo,
    pub model: Box<dyn Forward>,
    pub codec: Arc<dyn TextCodec>,
}

impl From<LoadedModel> for ModelParts {
    fn from(loaded: LoadedModel) -> Self {
        let LoadedModel { info, decoder, tokenizer, template } = loaded;
        Self { info, model: Box::new(decoder), codec: Arc::new(ChatCodec { tokenizer, template }) }
    }
}

/// A handle to a running engine; clones are cheap and speak to the same one.
///
/// When the last handle is dropped, the generations in flight are finished and then the thread ends.
#[derive(Clone)]
pub struct Engine {
    shared: Arc<Shared>,
}

struct Shared {
    info: ModelInfo,
    config: EngineConfig,
    codec: Arc<dyn TextCodec>,
    grammars: GrammarEnvironment,
    admission: Arc<Admission>,
    counters: Arc<Counters>,
    commands: Sender<Command>,
    worker: Mutex<Option<JoinHandle<()>>>,
}

impl Engine {
    /// Starts the worker thread, after building the grammar environment of the vocabulary. Blocks while it does.
    pub fn start(parts: ModelParts, config: EngineConfig) -> Result<Self, EngineError> {
        let ModelParts { mut info, model, codec } = parts;
        let at_least_one = [("max_sequences", config.max_sequences), ("prefill_chunk", config.prefill_chunk)];
        if let Some((field, _)) = at_least_one.into_iter().find(|(_, value)| *value == 0) {
            return Err(EngineError::Configuration { field });
        }
        let blocks = model.blocks();
        if blocks == 0 {
            return Err(EngineError::NoBlocks);
        }
        if codec.vocabulary() > model.config().vocabulary {
            let (tokenizer, model) = (codec.vocabulary(), model.config().vocabulary);
            return Err(EngineError::Vocabulary { tokenizer, model });
        }
        let longest = Scheduler::longest(blocks).min(model.config().context_length);
        info.context_length = info.context_length.min(longest);

        Counters::describe();
        let grammars = GrammarEnvironment::new(Arc::clone(&codec))?;
        let admission = Arc::new(Admission::new(config.max_sequences, config.queue_capacity));
        let counters = Arc::new(Counters::default());
        let (commands, receiver) = mpsc::channel();
        let limits = SchedulerLimits {
            blocks,
            max_sequences: config.max_sequences,
            prefill_chunk: config.prefill_chunk,
            // A share that is too small for one block still means that sharing is wanted.
            idle_blocks: (blocks * config.prefix_cache_percent.min(100)).div_ceil(100),
            speculation_rows: config.speculation_rows,
        };
        let links =
            WorkerLinks { commands: receiver, admission: Arc::clone(&admission), counters: Arc::clone(&counters) };
        let worker = Worker::new(model, Arc::clone(&codec), Scheduler::new(limits), links);
        let thread = std::thread::Builder::new().name("zhujiao-engine".to_owned()).spawn(move || worker.run())?;
        let worker = Mutex::new(Some(thread));
        let shared = Shared { info, config, codec, grammars, admission, counters, commands, worker };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Work done so far and present load.
    pub fn counters(&self) -> EngineCounters {
        self.shared.counters.snapshot()
    }

    /// Ends all generations with [`GenerationError::Unavailable`] after the present step and waits until the thread has
    /// ended. Blocks; the second call returns at once.
    pub fn shutdown(&self) {
        // The thread may have ended already; then there is nobody to tell.
        let _ = self.shared.commands.send(Command::Stop);
        let thread = self.shared.worker.lock().unwrap_or_else(PoisonError::into_inner).take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the engine's thread had panicked");
        }
    }
}

#[async_trait]
impl Generator for Engine {
    /// `context_length` is the longest prompt and answer together that this engine can hold.
    fn model(&self) -> ModelInfo {
        self.shared.info.clone()
    }

    async fn generate(&self, request: GenerationRequest) -> Result<GenerationStream, GenerationError> {
        let submitted = Instant::now();
        let ticket = self.shared.admission.enter(request.priority).map_err(|retry_after| {
            self.shared.counters.refused();
            GenerationError::QueueFull { retry_after }
        })?;
        // Encoding a long prompt or compiling a schema is computation: too long for a thread that serves others.
        let shared = Arc::clone(&self.shared);
        let prepare = move || shared.prepare(request, ticket, submitted);
        let (submission, stream) = tokio::task::spawn_blocking(prepare)
            .await
            .map_err(|error| GenerationError::Internal(format!("preparing the request: {error}")))??;
        self.shared.commands.send(Command::Submit(Box::new(submission))).map_err(|_| stopped())?;
        Ok(stream)
    }
}

impl Shared {
    /// Checks a request, encodes its prompt and compiles its constraint.
    fn prepare(
        &self,
        request: GenerationRequest,
        ticket: Ticket,
        submitted: Instant,
    ) -> Result<(Submission, GenerationStream), GenerationError> {
        let refuse = |field, reason: &str| Err(GenerationError::InvalidRequest { field, reason: reason.to_owned() });
        if request.messages.is_empty() {
            return refuse("messages", "must not be empty");
        }
        if request.max_tokens == Some(0) {
            return refuse("max_tokens", "must be at least 1");
        }
        if request.stop.iter().any(String::is_empty) {
            return refuse("stop", "must not contain an empty text");
        }
        sampling::validate(&request.sampling)?;
        let prompt = self.codec.encode_chat(&request.messages).map_err(|error| match error {
            // A template refuses what its model was not made for, such as two user messages in a row.
            ModelError::Template(error) => {
                GenerationError::InvalidRequest { field: "messages", reason: error.to_string() }
            }
            error => GenerationError::Internal(format!("encoding the prompt: {error}")),
        })?;
        if prompt.is_empty() {
            return Err(GenerationError::Internal("the chat template gives no tokens".to_owned()));
        }
        let context_length = self.info.context_length;
        let room = context_length.saturating_sub(prompt.len());
        if room == 0 {
            return Err(GenerationError::PromptTooLong { prompt_tokens: prompt.len(), context_length });
        }
        let compile = |constraint| {
            self.grammars.compile(&constraint).map_err(|error| match error {
                GrammarError::Schema(reason) => {
                    GenerationError::InvalidRequest { field: "response_format.json_schema", reason }
                }
                GrammarError::Vocabulary(reason) | GrammarError::State(reason) => GenerationError::Internal(reason),
            })
        };
        let grammar = request.constraint.map(compile).transpose()?;
        let max_tokens = request.max_tokens.unwrap_or(room).min(room);
        let (reader, stream) = Reader::new(max_tokens, ticket);
        let submission = Submission {
            prompt,
            max_tokens,
            sampling: request.sampling,
            stop: request.stop,
            grammar,
            priority: request.priority,
            submitted,
            deadline: submitted.checked_add(request.deadline.unwrap_or(self.config.default_deadline)),
            reader,
        };
        Ok((submission, stream))
    }
}
