//! One generation in the worker: its tokens, how the next one is chosen, and where the text goes.

use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::admission::Ticket;
use super::codec::TextCodec;
use super::detokenizer::Detokenizer;
use super::grammar::{Grammar, GrammarError};
use super::sampling::Sampler;
use super::stop::StopMatcher;
use crate::runtime::{FinishReason, GenerationError, GenerationEvent, GenerationStream, Priority, Sampling, Usage};

/// A request made ready for the worker: checked, encoded, its grammar compiled.
pub(super) struct Submission {
    pub prompt: Vec<u32>,
    /// At least 1; together with the prompt no more than a sequence can hold.
    pub max_tokens: usize,
    pub sampling: Sampling,
    pub stop: Vec<String>,
    pub grammar: Option<Grammar>,
    pub priority: Priority,
    pub submitted: Instant,
    /// `None`: so far away that no clock can tell.
    pub deadline: Option<Instant>,
    pub ticket: Ticket,
    pub events: EventSender,
}

pub(super) type EventSender = mpsc::Sender<Result<GenerationEvent, GenerationError>>;

/// A channel that holds all events which a generation of `max_tokens` can send, so that the worker never waits for a
/// reader: at most a text per token, the text held back at the end, and the final event.
pub(super) fn event_channel(max_tokens: usize) -> (EventSender, GenerationStream) {
    mpsc::channel(max_tokens + 2)
}

/// What an [advance](Sequence::advance) brought.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Progress {
    /// Tokens added to the sequence.
    pub added: usize,
    /// Those of `added` that were not sampled.
    pub forced: usize,
    /// Time from submission to the first sampled token, when this is the one.
    pub waited: Option<Duration>,
    pub finish: Option<FinishReason>,
}

pub(super) struct Sequence {
    /// The prompt's tokens and those generated.
    tokens: Vec<u32>,
    prompt_tokens: usize,
    max_tokens: usize,
    sampler: Sampler,
    grammar: Option<Grammar>,
    detokenizer: Detokenizer,
    stops: StopMatcher,
    /// Text ready to be sent.
    text: String,
    pub submitted: Instant,
    pub deadline: Option<Instant>,
    /// When the first pass with this sequence began.
    pub started: Option<Instant>,
    has_sampled: bool,
    ticket: Ticket,
    events: EventSender,
}

impl Sequence {
    pub fn new(submission: Submission) -> Self {
        Self {
            prompt_tokens: submission.prompt.len(),
            tokens: submission.prompt,
            max_tokens: submission.max_tokens,
            sampler: Sampler::new(submission.sampling),
            grammar: submission.grammar,
            detokenizer: Detokenizer::default(),
            stops: StopMatcher::new(submission.stop),
            text: String::new(),
            submitted: submission.submitted,
            deadline: submission.deadline,
            started: None,
            has_sampled: false,
            ticket: submission.ticket,
            events: submission.events,
        }
    }

    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    pub fn usage(&self) -> Usage {
        Usage { prompt_tokens: self.prompt_tokens, completion_tokens: self.tokens.len() - self.prompt_tokens }
    }

    /// Nobody will read what this sequence generates.
    pub fn is_abandoned(&self) -> bool {
        self.events.is_closed()
    }

    /// Adds the tokens with which the grammar makes every answer begin; they are computed together with the prompt.
    pub fn begin(&mut self, codec: &dyn TextCodec) -> Result<Progress, GrammarError> {
        let Some(grammar) = &mut self.grammar else { return Ok(Progress::default()) };
        let forced = grammar.forced()?;
        Ok(self.add(&forced, 0, codec))
    }

    /// Chooses the next token from the logits after the last one, adds it and the tokens that it forces, and sends the
    /// text that became certain.
    pub fn advance(&mut self, mut logits: Vec<f32>, codec: &dyn TextCodec) -> Result<Progress, GenerationError> {
        // Rows beyond the vocabulary are padding.
        logits.truncate(codec.vocabulary());
        let internal = |error: GrammarError| GenerationError::Internal(error.to_string());
        if let Some(grammar) = &mut self.grammar {
            grammar.mask(&mut logits).map_err(internal)?;
        }
        let sampled = self
            .sampler
            .sample(&mut logits, &self.tokens)
            .ok_or_else(|| GenerationError::Internal("no logit is a number".to_owned()))?;
        let waited = (!self.has_sampled).then(|| self.submitted.elapsed());
        self.has_sampled = true;
        if codec.end_tokens().contains(&sampled) {
            self.tokens.push(sampled);
            return Ok(Progress { added: 1, forced: 0, waited, finish: Some(FinishReason::Stop) });
        }
        let mut chosen = vec![sampled];
        if let Some(grammar) = &mut self.grammar {
            grammar.accept(sampled).map_err(internal)?;
            chosen.extend(grammar.forced().map_err(internal)?);
        }
        let progress = Progress { waited, ..self.add(&chosen, 1, codec) };
        if progress.finish.is_none() && !self.text.is_empty() {
            send(&self.events, Ok(GenerationEvent::Text(std::mem::take(&mut self.text))));
        }
        Ok(progress)
    }

    /// Adds tokens, the first `sampled` of which were sampled, up to the one that ends the generation.
    fn add(&mut self, chosen: &[u32], sampled: usize, codec: &dyn TextCodec) -> Progress {
        let complete = self.grammar.as_ref().is_some_and(Grammar::is_complete);
        let mut progress = Progress::default();
        for (index, &token) in chosen.iter().enumerate() {
            self.tokens.push(token);
            progress.added += 1;
            progress.forced += usize::from(index >= sampled);
            let bytes = if codec.is_special(token) { &[] } else { codec.token_bytes(token) };
            let outcome = self.stops.push(&self.detokenizer.push(bytes));
            self.text.push_str(&outcome.text);
            if outcome.stopped || (complete && index + 1 == chosen.len()) {
                progress.finish = Some(FinishReason::Stop);
            } else if self.usage().completion_tokens == self.max_tokens {
                progress.finish = Some(FinishReason::Length);
            }
            if progress.finish.is_some() {
                break;
            }
        }
        progress
    }

    /// Sends the rest of the text and the end. The place in the engine is free before the reader knows.
    pub fn finish(mut self, reason: FinishReason) {
        let usage = self.usage();
        let mut rest = std::mem::take(&mut self.text);
        rest.push_str(&self.stops.finish());
        let Self { events, ticket, .. } = self;
        drop(ticket);
        if !rest.is_empty() {
            send(&events, Ok(GenerationEvent::Text(rest)));
        }
        send(&events, Ok(GenerationEvent::Finished { reason, usage }));
    }

    /// Ends with an error; text not sent yet is lost.
    pub fn fail(self, error: GenerationError) {
        let Self { events, ticket, .. } = self;
        drop(ticket);
        send(&events, Err(error));
    }
}

fn send(events: &EventSender, event: Result<GenerationEvent, GenerationError>) {
    // Full it cannot be, see `event_channel`; that the reader left is noticed before the next step.
    if let Err(mpsc::error::TrySendError::Full(_)) = events.try_send(event) {
        tracing::error!("a generation sent more events than it has tokens");
    }
}
