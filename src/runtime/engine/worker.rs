//! The thread that owns the model.
//!
//! Each round: take what came through the channel, let go of what nobody waits for, plan a step, draft, compute, choose the
//! next tokens, send text. The worker waits only for commands, and only while it has no sequence; no reader can hold it up.
//!
//! # Faults
//! A panic while one sequence's tokens are chosen fails that sequence. A pass that fails, and a panic anywhere else, fail
//! every sequence that has been in a pass. Scheduler and prefix cache then begin anew, since neither the books nor any
//! block's contents can be trusted; the sequences that only waited are submitted again, with their old turns.

use std::any::Any;
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::Instant;

use rayon::prelude::*;

use super::admission::Admission;
use super::codec::TextCodec;
use super::counters::Counters;
use super::scheduler::{Scheduler, SequenceId, Slice, StepPlan};
use super::sequence::{Progress, Sequence, Submission};
use crate::runtime::model::{Forward, LogitsWanted, SequenceStep};
use crate::runtime::{FinishReason, GenerationError};

/// What the handles say to the worker. The channel is bounded by the [`Admission`] tickets that submissions carry.
pub(super) enum Command {
    Submit(Box<Submission>),
    /// End all generations and the thread.
    Stop,
    #[cfg(test)]
    Panic,
}

/// A slice with its tokens.
struct Part {
    slice: Slice,
    /// The slice's known tokens, then the drafted ones.
    tokens: Vec<u32>,
}

impl Part {
    fn drafts(&self) -> &[u32] {
        &self.tokens[self.slice.length..]
    }

    fn wanted(&self) -> LogitsWanted {
        match (self.slice.last, self.slice.drafts) {
            (false, _) => LogitsWanted::None,
            (true, 0) => LogitsWanted::Last,
            (true, _) => LogitsWanted::All,
        }
    }

    /// Rows of logits that a pass gives for this part, and how many of them, at the end, are of use.
    fn rows(&self) -> (usize, usize) {
        match self.wanted() {
            LogitsWanted::None => (0, 0),
            LogitsWanted::Last => (1, 1),
            LogitsWanted::All => (self.tokens.len(), self.slice.drafts + 1),
        }
    }
}

/// How each sequence whose last token was computed went on.
type Advances = HashMap<SequenceId, Result<Progress, GenerationError>>;

pub(super) struct Worker {
    model: Box<dyn Forward>,
    codec: Arc<dyn TextCodec>,
    scheduler: Scheduler,
    sequences: HashMap<SequenceId, Sequence>,
    commands: Receiver<Command>,
    admission: Arc<Admission>,
    counters: Arc<Counters>,
    /// The moment that the scheduler's times count from.
    epoch: Instant,
}

/// What the worker shares with the handles.
pub(super) struct WorkerLinks {
    pub commands: Receiver<Command>,
    pub admission: Arc<Admission>,
    pub counters: Arc<Counters>,
}

impl Worker {
    pub fn new(model: Box<dyn Forward>, codec: Arc<dyn TextCodec>, scheduler: Scheduler, links: WorkerLinks) -> Self {
        let WorkerLinks { commands, admission, counters } = links;
        let (sequences, epoch) = (HashMap::new(), Instant::now());
        Self { model, codec, scheduler, sequences, commands, admission, counters, epoch }
    }

    /// Works until it is told to stop, or until all handles are gone and all generations have ended.
    pub fn run(mut self) {
        // `recover` throws away what a panic may have left half done.
        while let Err(panic) = catch_unwind(AssertUnwindSafe(|| self.work())) {
            self.counters.panicked();
            self.recover(&panic_text(panic.as_ref()));
        }
        self.stop();
    }

    fn work(&mut self) {
        while self.receive() {
            self.sweep();
            let mut plan = self.scheduler.plan();
            self.counters.preempted(plan.preempted.len());
            for id in &plan.preempted {
                if let Some(sequence) = self.sequences.get_mut(id) {
                    sequence.preempt();
                }
            }
            for &(id, tokens) in &plan.reused {
                if let Some(sequence) = self.sequences.get_mut(&id) {
                    sequence.reuse(tokens);
                }
            }
            let parts = self.draft(&mut plan);
            self.report_load();
            if !parts.is_empty()
                && let Err(reason) = self.step(&parts)
            {
                self.counters.failed();
                self.recover(&reason);
            }
        }
    }

    /// Takes on what came; waits for something to come if there is nothing else to do. False when it is time to end.
    fn receive(&mut self) -> bool {
        if self.sequences.is_empty() {
            let Ok(command) = self.commands.recv() else { return false };
            if !self.obey(command) {
                return false;
            }
        }
        while let Ok(command) = self.commands.try_recv() {
            if !self.obey(command) {
                return false;
            }
        }
        true
    }

    /// False when the worker is to end.
    fn obey(&mut self, command: Command) -> bool {
        match command {
            Command::Submit(submission) => self.take_on(*submission),
            Command::Stop => return false,
            #[cfg(test)]
            Command::Panic => panic!("broken"),
        }
        true
    }

    fn take_on(&mut self, submission: Submission) {
        self.counters.taken_on(submission.prompt.len());
        let mut sequence = Sequence::new(submission);
        match isolated(&self.counters, || sequence.begin(self.codec.as_ref())) {
            Ok(progress) => {
                self.counters.generated(progress.tokens.len(), progress.forced);
                match progress.finish {
                    Some(reason) => sequence.finish(reason),
                    None => self.submit(sequence),
                }
            }
            Err(error) => sequence.fail(error),
        }
    }

    fn submit(&mut self, sequence: Sequence) {
        let now = sequence.submitted.saturating_duration_since(self.epoch);
        let id = self.scheduler.submit(sequence.priority, sequence.tokens().to_vec(), now);
        self.sequences.insert(id, sequence);
    }

    /// Lets go of sequences whose reader left or whose time is up.
    fn sweep(&mut self) {
        let now = Instant::now();
        let over: Vec<SequenceId> = self
            .sequences
            .iter()
            .filter(|(_, sequence)| {
                sequence.is_abandoned() || sequence.deadline.is_some_and(|deadline| deadline <= now)
            })
            .map(|(&id, _)| id)
            .collect();
        for id in over {
            if let Some(sequence) = self.release(id) {
                if sequence.is_abandoned() {
                    self.counters.cancelled();
                } else {
                    sequence.fail(GenerationError::DeadlineExceeded);
                }
            }
        }
    }

    /// Fills the rows that the plan leaves with drafts, and gathers the tokens of all its slices.
    fn draft(&mut self, plan: &mut StepPlan) -> Vec<Part> {
        let (sequences, mut drafts) = (&mut self.sequences, HashMap::new());
        self.scheduler.speculate(plan, |id, most| {
            let draft = sequences.get_mut(&id).map_or(&[][..], |sequence| sequence.draft(most));
            if !draft.is_empty() {
                drafts.insert(id, draft.to_vec());
            }
            draft.len()
        });
        let part = |slice: &Slice| {
            let mut tokens = self.scheduler.tokens(slice.id)[slice.start..slice.start + slice.length].to_vec();
            tokens.extend(drafts.remove(&slice.id).unwrap_or_default());
            Part { slice: *slice, tokens }
        };
        plan.slices.iter().map(part).collect()
    }

    /// Computes a step and chooses the next tokens of each sequence that reached its end.
    fn step(&mut self, parts: &[Part]) -> Result<(), String> {
        let begin = Instant::now();
        for part in parts {
            if let Some(sequence) = self.sequences.get_mut(&part.slice.id) {
                sequence.started.get_or_insert(begin);
            }
        }
        let pass = catch_unwind(AssertUnwindSafe(|| self.pass(parts)));
        let rows = pass.unwrap_or_else(|panic| {
            self.counters.panicked();
            Err(panic_text(panic.as_ref()))
        })?;
        self.counters.passed(parts.len(), parts.iter().map(|part| part.tokens.len()).sum());
        let mut results = self.choose(parts, rows)?;
        for part in parts {
            match results.remove(&part.slice.id) {
                Some(result) => self.settle(&part.slice, result),
                None => self.scheduler.computed(&part.slice, 0, &[]),
            }
        }
        self.counters.stepped(begin.elapsed());
        Ok(())
    }

    /// Computes the logits, and meanwhile the masks that will be laid on them.
    fn pass(&mut self, parts: &[Part]) -> Result<Vec<Vec<f32>>, String> {
        let ends = |id: &SequenceId| parts.iter().any(|part| part.slice.id == *id && part.slice.last);
        let masked: Vec<_> = self
            .sequences
            .iter_mut()
            .filter_map(|(id, sequence)| if ends(id) { sequence.grammar() } else { None })
            .collect();
        let scheduler = &self.scheduler;
        let steps: Vec<SequenceStep<'_>> = parts
            .iter()
            .map(|part| SequenceStep {
                tokens: &part.tokens,
                start: part.slice.start,
                blocks: scheduler.blocks(part.slice.id),
                logits: part.wanted(),
            })
            .collect();
        // This thread is none of the pool's: it sleeps until the masks are ready, should the logits come first.
        let rows = rayon::in_place_scope(|scope| {
            for grammar in masked {
                scope.spawn(|_| grammar.prepare());
            }
            self.model.forward(&steps)
        });
        rows.map_err(|error| error.to_string())
    }

    /// Chooses the next tokens of the sequences that `rows` are for.
    fn choose(&mut self, parts: &[Part], rows: Vec<Vec<f32>>) -> Result<Advances, String> {
        let expected: usize = parts.iter().map(|part| part.rows().0).sum();
        if rows.len() != expected {
            return Err(format!("{} rows of logits instead of {expected}", rows.len()));
        }
        let mut rows = rows.into_iter();
        let mut ends = HashMap::new();
        for part in parts {
            let (given, useful) = part.rows();
            let rows: Vec<Vec<f32>> = rows.by_ref().take(given).skip(given - useful).collect();
            if !rows.is_empty() {
                ends.insert(part.slice.id, (rows, part.drafts()));
            }
        }
        let work: Vec<_> = self
            .sequences
            .iter_mut()
            .filter_map(|(&id, sequence)| ends.remove(&id).map(|(rows, drafts)| (id, sequence, rows, drafts)))
            .collect();
        let (codec, counters) = (self.codec.as_ref(), self.counters.as_ref());
        // Each sequence has its own sampler and grammar, so neither order nor company changes what is chosen.
        let advance = |(id, sequence, rows, drafts): (SequenceId, &mut Sequence, Vec<Vec<f32>>, &[u32])| {
            (id, isolated(counters, || sequence.advance(rows, drafts, codec)))
        };
        Ok(work.into_par_iter().map(advance).collect())
    }

    /// Books what a sequence's choice of tokens brought.
    fn settle(&mut self, slice: &Slice, result: Result<Progress, GenerationError>) {
        match result {
            Ok(progress) => {
                self.counters.generated(progress.tokens.len(), progress.forced);
                self.counters.speculated(slice.drafts, progress.kept);
                self.scheduler.computed(slice, progress.kept, &progress.tokens);
                if let Some(duration) = progress.waited {
                    self.counters.first_token_after(duration);
                }
                if let Some(reason) = progress.finish {
                    self.finish(slice.id, reason);
                }
            }
            Err(error) => {
                tracing::error!(%error, "a generation failed");
                if let Some(sequence) = self.release(slice.id) {
                    sequence.fail(error);
                }
            }
        }
    }

    fn finish(&mut self, id: SequenceId, reason: FinishReason) {
        if let Some(sequence) = self.release(id) {
            if let Some(started) = sequence.started {
                self.admission.served_in(started.elapsed());
            }
            sequence.finish(reason);
        }
    }

    /// After a fault: fails the sequences that it may have touched and begins anew with the others.
    fn recover(&mut self, reason: &str) {
        let mut sequences: Vec<(SequenceId, Sequence)> = self.sequences.drain().collect();
        sequences.sort_unstable_by_key(|(id, _)| *id);
        self.scheduler = Scheduler::new(self.scheduler.limits());
        let touched = sequences.iter().filter(|(_, sequence)| sequence.started.is_some()).count();
        tracing::error!(reason, sequences = touched, "the engine begins anew after a fault");
        let mut failed = Vec::new();
        for (_, sequence) in sequences {
            // A fault with nothing computed comes from something that waits: were it kept, so would the fault.
            if touched == 0 || sequence.started.is_some() {
                failed.push(sequence);
            } else {
                self.submit(sequence);
            }
        }
        self.report_load();
        failed.into_iter().for_each(|sequence| sequence.fail(GenerationError::Internal(reason.to_owned())));
    }

    /// Takes a sequence out of the engine; its blocks are free, and counted as free, before its reader learns of the end.
    fn release(&mut self, id: SequenceId) -> Option<Sequence> {
        self.scheduler.remove(id);
        self.report_load();
        self.sequences.remove(&id)
    }

    fn report_load(&mut self) {
        self.counters.load(&self.scheduler);
        self.counters.looked_up(self.scheduler.take_prefix_work());
    }

    fn stop(mut self) {
        let ids: Vec<SequenceId> = self.sequences.keys().copied().collect();
        let sequences: Vec<Sequence> = ids.into_iter().filter_map(|id| self.release(id)).collect();
        let late = self.commands.try_iter().filter_map(|command| match command {
            Command::Submit(submission) => Some(Sequence::new(*submission)),
            _ => None,
        });
        sequences.into_iter().chain(late).for_each(|sequence| sequence.fail(stopped()));
    }
}

/// The error of generations that the engine can no longer serve.
pub(super) fn stopped() -> GenerationError {
    GenerationError::Unavailable("the engine has stopped".to_owned())
}

/// Work on one sequence alone: a panic in it is that sequence's failure.
fn isolated<T>(counters: &Counters, work: impl FnOnce() -> Result<T, GenerationError>) -> Result<T, GenerationError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        counters.panicked();
        Err(GenerationError::Internal(panic_text(panic.as_ref())))
    })
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("panic: {}", text.unwrap_or("without a message"))
}
