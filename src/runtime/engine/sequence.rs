//! One generation in the worker: its tokens, how the next one is chosen, and where the text goes.

use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::admission::Ticket;
use super::codec::TextCodec;
use super::detokenizer::Detokenizer;
use super::grammar::{Grammar, GrammarError};
use super::sampling::Sampler;
use super::speculation::Speculator;
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
    pub reader: Reader,
}

type Event = Result<GenerationEvent, GenerationError>;

/// Whoever waits for the text of a generation, and the generation's place in the engine.
///
/// However a generation ends, even in a panic, its reader is told and its place becomes free, in the reverse order.
pub(super) struct Reader {
    events: mpsc::Sender<Event>,
    /// `None` once the reader was told of the end.
    ticket: Option<Ticket>,
}

impl Reader {
    /// The channel holds all events which a generation of `max_tokens` can send, so that the worker never waits for a
    /// reader: at most a text per token, the text held back at the end, and the final event.
    pub fn new(max_tokens: usize, ticket: Ticket) -> (Self, GenerationStream) {
        let (events, stream) = mpsc::channel(max_tokens + 2);
        (Self { events, ticket: Some(ticket) }, stream)
    }

    fn is_gone(&self) -> bool {
        self.events.is_closed()
    }

    fn send(&self, event: Event) {
        // Full it cannot be, see `new`; that the reader left is noticed before the next step.
        if let Err(mpsc::error::TrySendError::Full(_)) = self.events.try_send(event) {
            tracing::error!("a generation sent more events than it has tokens");
        }
    }

    /// Sends text that is left and the last event.
    fn end(mut self, rest: String, event: Event) {
        self.ticket = None;
        if !rest.is_empty() {
            self.send(Ok(GenerationEvent::Text(rest)));
        }
        self.send(event);
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        if self.ticket.take().is_some() {
            self.send(Err(GenerationError::Internal("the generation was lost in a fault".to_owned())));
        }
    }
}

/// What an [advance](Sequence::advance) brought.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Progress {
    /// Tokens added to the sequence.
    pub tokens: Vec<u32>,
    /// How many of `tokens` were not sampled.
    pub forced: usize,
    /// How many of `tokens`, from the first on, were drafted, so that their keys and values are computed.
    pub kept: usize,
    /// Time from submission to the first sampled token, when this is the one.
    pub waited: Option<Duration>,
    pub finish: Option<FinishReason>,
}

pub(super) struct Sequence {
    /// The prompt's tokens and those generated.
    tokens: Vec<u32>,
    prompt_tokens: usize,
    /// Prompt tokens that needed no computation.
    cached_tokens: usize,
    max_tokens: usize,
    sampler: Sampler,
    grammar: Option<Grammar>,
    speculator: Speculator,
    detokenizer: Detokenizer,
    stops: StopMatcher,
    /// Text ready to be sent.
    text: String,
    pub priority: Priority,
    pub submitted: Instant,
    pub deadline: Option<Instant>,
    /// When the first pass with this sequence began.
    pub started: Option<Instant>,
    has_sampled: bool,
    was_preempted: bool,
    reader: Reader,
}

impl Sequence {
    pub fn new(submission: Submission) -> Self {
        Self {
            prompt_tokens: submission.prompt.len(),
            tokens: submission.prompt,
            cached_tokens: 0,
            max_tokens: submission.max_tokens,
            sampler: Sampler::new(submission.sampling),
            grammar: submission.grammar,
            speculator: Speculator::default(),
            detokenizer: Detokenizer::default(),
            stops: StopMatcher::new(submission.stop),
            text: String::new(),
            priority: submission.priority,
            submitted: submission.submitted,
            deadline: submission.deadline,
            started: None,
            has_sampled: false,
            was_preempted: false,
            reader: submission.reader,
        }
    }

    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    pub fn usage(&self) -> Usage {
        Usage {
            prompt_tokens: self.prompt_tokens,
            cached_tokens: self.cached_tokens,
            completion_tokens: self.completion_tokens(),
        }
    }

    fn completion_tokens(&self) -> usize {
        self.tokens.len() - self.prompt_tokens
    }

    /// Nobody will read what this sequence generates.
    pub fn is_abandoned(&self) -> bool {
        self.reader.is_gone()
    }

    /// So many more of the first tokens need not be computed.
    pub fn reuse(&mut self, tokens: usize) {
        // What a preempted sequence finds again, it has once computed itself.
        if !self.was_preempted {
            self.cached_tokens = (self.cached_tokens + tokens).min(self.prompt_tokens);
        }
    }

    pub fn preempt(&mut self) {
        self.was_preempted = true;
    }

    /// Guesses up to `most` of the next tokens, as long as guessing pays; [`advance`](Self::advance) judges the guess.
    pub fn draft(&mut self, most: usize) -> &[u32] {
        // The pass also brings the token after the draft.
        let room = (self.max_tokens - self.completion_tokens()).saturating_sub(1);
        let grammar = &mut self.grammar;
        let accepts = |draft: &[u32]| grammar.as_mut().map_or(draft.len(), |grammar| grammar.accepts(draft));
        self.speculator.draft(&self.tokens, most.min(room), accepts)
    }

    /// The grammar, for its mask to be [prepared](Grammar::prepare) while the logits are computed.
    pub fn grammar(&mut self) -> Option<&mut Grammar> {
        self.grammar.as_mut()
    }

    /// Adds the tokens with which the grammar makes every answer begin; they are computed together with the prompt.
    pub fn begin(&mut self, codec: &dyn TextCodec) -> Result<Progress, GenerationError> {
        let mut progress = Progress::default();
        if let Some(grammar) = &mut self.grammar {
            let forced = grammar.forced().map_err(internal)?;
            self.add(&forced, 0, &mut progress, codec);
        }
        Ok(progress)
    }

    /// Chooses the next tokens, adds them and those that they force, and sends the text that became certain.
    ///
    /// `rows` are the logits after the last token and then after each token of `drafts`. A row counts only if the tokens
    /// before it came exactly as drafted: then it is the row that a pass without the draft would have given.
    pub fn advance(
        &mut self,
        rows: Vec<Vec<f32>>,
        drafts: &[u32],
        codec: &dyn TextCodec,
    ) -> Result<Progress, GenerationError> {
        let mut progress = Progress::default();
        let mut rows: Vec<Option<Vec<f32>>> = rows.into_iter().map(Some).collect();
        while let Some(logits) = rows.get_mut(progress.tokens.len()).and_then(Option::take) {
            self.choose(logits, &mut progress, codec)?;
            if progress.finish.is_some() || !drafts.starts_with(&progress.tokens) {
                break;
            }
        }
        progress.kept = drafts.iter().zip(&progress.tokens).take_while(|(drafted, came)| drafted == came).count();
        self.speculator.observe(&progress.tokens);
        Ok(progress)
    }

    /// Chooses one token from a row of logits; see [`advance`](Self::advance).
    fn choose(
        &mut self,
        mut logits: Vec<f32>,
        progress: &mut Progress,
        codec: &dyn TextCodec,
    ) -> Result<(), GenerationError> {
        // Rows beyond the vocabulary are padding.
        logits.truncate(codec.vocabulary());
        if let Some(grammar) = &mut self.grammar {
            grammar.mask(&mut logits).map_err(internal)?;
        }
        let sampled = self
            .sampler
            .sample(&mut logits, &self.tokens)
            .ok_or_else(|| GenerationError::Internal("no logit is a number".to_owned()))?;
        if !self.has_sampled {
            progress.waited = Some(self.submitted.elapsed());
            self.has_sampled = true;
        }
        if codec.end_tokens().contains(&sampled) {
            self.tokens.push(sampled);
            progress.tokens.push(sampled);
            progress.finish = Some(FinishReason::Stop);
            return Ok(());
        }
        let mut chosen = vec![sampled];
        if let Some(grammar) = &mut self.grammar {
            grammar.accept(sampled).map_err(internal)?;
            chosen.extend(grammar.forced().map_err(internal)?);
        }
        self.add(&chosen, 1, progress, codec);
        if progress.finish.is_none() && !self.text.is_empty() {
            self.reader.send(Ok(GenerationEvent::Text(std::mem::take(&mut self.text))));
        }
        Ok(())
    }

    /// Adds tokens, the first `sampled` of which were sampled, up to the one that ends the generation.
    fn add(&mut self, chosen: &[u32], sampled: usize, progress: &mut Progress, codec: &dyn TextCodec) {
        let complete = self.grammar.as_ref().is_some_and(Grammar::is_complete);
        for (index, &token) in chosen.iter().enumerate() {
            self.tokens.push(token);
            progress.tokens.push(token);
            progress.forced += usize::from(index >= sampled);
            let bytes = if codec.is_special(token) { &[] } else { codec.token_bytes(token) };
            let outcome = self.stops.push(&self.detokenizer.push(bytes));
            self.text.push_str(&outcome.text);
            if outcome.stopped || (complete && index + 1 == chosen.len()) {
                progress.finish = Some(FinishReason::Stop);
            } else if self.completion_tokens() == self.max_tokens {
                progress.finish = Some(FinishReason::Length);
            }
            if progress.finish.is_some() {
                break;
            }
        }
    }

    /// Sends the rest of the text and the end. The place in the engine is free before the reader knows.
    pub fn finish(mut self, reason: FinishReason) {
        let usage = self.usage();
        let mut rest = std::mem::take(&mut self.text);
        rest.push_str(&self.stops.finish());
        self.reader.end(rest, Ok(GenerationEvent::Finished { reason, usage }));
    }

    /// Ends with an error; text not sent yet is lost.
    pub fn fail(self, error: GenerationError) {
        self.reader.end(String::new(), Err(error));
    }
}

fn internal(error: GrammarError) -> GenerationError {
    GenerationError::Internal(error.to_string())
}
