//! The thread that owns the model.
//!
//! Each round: take what came through the channel, let go of what nobody waits for, plan a step, compute it, choose the
//! next tokens, send text. The worker waits only for commands, and only while it has no sequence; no reader can hold it up.

use std::any::Any;
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::Instant;

use rayon::prelude::*;

use super::admission::Admission;
use super::codec::TextCodec;
use super::counters::Counters;
use super::scheduler::{Scheduler, SequenceId, StepPlan};
use super::sequence::{Progress, Sequence, Submission};
use crate::runtime::model::{Forward, LogitsWanted, SequenceStep};
use crate::runtime::{FinishReason, GenerationError};

/// What the handles say to the worker. The channel is bounded by the [`Admission`] tickets that submissions carry.
pub(super) enum Command {
    Submit(Box<Submission>),
    /// End all generations and the thread.
    Stop,
}

/// How each sequence that reached its last token went on.
type Advances = Vec<(SequenceId, Result<Progress, GenerationError>)>;

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
        while self.receive() {
            self.sweep();
            let plan = self.scheduler.plan();
            self.counters.preempted(plan.preempted.len());
            self.report_load();
            if !plan.slices.is_empty() {
                self.step(&plan);
            }
        }
        self.stop();
    }

    /// Takes on what came; waits for something to come if there is nothing else to do. False when it is time to end.
    fn receive(&mut self) -> bool {
        if self.sequences.is_empty() {
            match self.commands.recv() {
                Ok(Command::Submit(submission)) => self.take_on(*submission),
                Ok(Command::Stop) | Err(_) => return false,
            }
        }
        loop {
            match self.commands.try_recv() {
                Ok(Command::Submit(submission)) => self.take_on(*submission),
                Ok(Command::Stop) => return false,
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => return true,
            }
        }
    }

    fn take_on(&mut self, submission: Submission) {
        let priority = submission.priority;
        self.counters.taken_on(submission.prompt.len());
        let mut sequence = Sequence::new(submission);
        match sequence.begin(self.codec.as_ref()) {
            Ok(Progress { finish: Some(reason), added, forced, .. }) => {
                self.counters.generated(added, forced);
                sequence.finish(reason);
            }
            Ok(Progress { finish: None, added, forced, .. }) => {
                self.counters.generated(added, forced);
                let now = sequence.submitted.saturating_duration_since(self.epoch);
                let id = self.scheduler.submit(priority, sequence.tokens().len(), now);
                self.sequences.insert(id, sequence);
            }
            Err(error) => sequence.fail(GenerationError::Internal(error.to_string())),
        }
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

    fn step(&mut self, plan: &StepPlan) {
        let begin = Instant::now();
        for slice in &plan.slices {
            if let Some(sequence) = self.sequences.get_mut(&slice.id) {
                sequence.started.get_or_insert(begin);
            }
        }
        // After a panic the store may hold anything at the positions of this step; they belong to sequences that are
        // failed below, and are written again before another sequence reads them.
        let outcome = catch_unwind(AssertUnwindSafe(|| self.compute(plan)));
        match outcome.unwrap_or_else(|panic| Err(format!("panic: {}", panic_text(panic.as_ref())))) {
            Ok(advanced) => {
                self.counters.stepped(begin.elapsed());
                advanced.into_iter().for_each(|(id, result)| self.settle(id, result));
            }
            Err(reason) => self.fail_running(&reason),
        }
    }

    /// Computes a step and chooses the next token of each sequence that reached its end.
    fn compute(&mut self, plan: &StepPlan) -> Result<Advances, String> {
        let steps: Vec<SequenceStep<'_>> = plan
            .slices
            .iter()
            .filter_map(|slice| {
                let tokens = self.sequences.get(&slice.id)?.tokens().get(slice.start..slice.start + slice.length)?;
                let logits = if slice.last { LogitsWanted::Last } else { LogitsWanted::None };
                Some(SequenceStep { tokens, start: slice.start, blocks: self.scheduler.blocks(slice.id), logits })
            })
            .collect();
        let rows = self.model.forward(&steps).map_err(|error| error.to_string())?;
        self.counters.passed(steps.len(), steps.iter().map(|step| step.tokens.len()).sum());

        let wanted: Vec<SequenceId> = plan.slices.iter().filter(|slice| slice.last).map(|slice| slice.id).collect();
        if rows.len() != wanted.len() || steps.len() != plan.slices.len() {
            return Err(format!("{} rows of logits for {} sequences", rows.len(), wanted.len()));
        }
        plan.slices.iter().for_each(|slice| self.scheduler.computed(slice));

        let mut rows: HashMap<SequenceId, Vec<f32>> = wanted.into_iter().zip(rows).collect();
        let ends: Vec<(SequenceId, &mut Sequence, Vec<f32>)> = self
            .sequences
            .iter_mut()
            .filter_map(|(&id, sequence)| rows.remove(&id).map(|logits| (id, sequence, logits)))
            .collect();
        let codec = self.codec.as_ref();
        // Each sequence has its own sampler and grammar, so neither order nor company changes what is chosen.
        Ok(ends.into_par_iter().map(|(id, sequence, logits)| (id, sequence.advance(logits, codec))).collect())
    }

    /// Books what a sequence's choice of tokens brought.
    fn settle(&mut self, id: SequenceId, result: Result<Progress, GenerationError>) {
        match result {
            Ok(progress) => {
                self.counters.generated(progress.added, progress.forced);
                self.scheduler.extend(id, progress.added);
                if let Some(duration) = progress.waited {
                    self.counters.first_token_after(duration);
                }
                if let Some(reason) = progress.finish {
                    self.finish(id, reason);
                }
            }
            Err(error) => {
                tracing::error!(%error, "a generation failed");
                if let Some(sequence) = self.release(id) {
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

    /// A pass failed: the sequences in it cannot go on, those that wait can.
    fn fail_running(&mut self, reason: &str) {
        tracing::error!(reason, sequences = self.scheduler.running().len(), "a forward pass failed");
        self.counters.failed();
        let running: Vec<SequenceId> = self.scheduler.running().collect();
        for id in running {
            if let Some(sequence) = self.release(id) {
                sequence.fail(GenerationError::Internal(reason.to_owned()));
            }
        }
    }

    /// Takes a sequence out of the engine; its blocks are free, and counted as free, before its reader learns of the end.
    fn release(&mut self, id: SequenceId) -> Option<Sequence> {
        self.scheduler.remove(id);
        self.report_load();
        self.sequences.remove(&id)
    }

    fn report_load(&self) {
        let scheduler = &self.scheduler;
        self.counters.load(scheduler.running().len(), scheduler.waiting(), scheduler.blocks_in_use());
    }

    fn stop(mut self) {
        let ids: Vec<SequenceId> = self.sequences.keys().copied().collect();
        let sequences: Vec<Sequence> = ids.into_iter().filter_map(|id| self.release(id)).collect();
        let late = self.commands.try_iter().filter_map(|command| match command {
            Command::Submit(submission) => Some(Sequence::new(*submission)),
            Command::Stop => None,
        });
        sequences.into_iter().chain(late).for_each(|sequence| sequence.fail(stopped()));
    }
}

/// The error of generations that the engine can no longer serve.
pub(super) fn stopped() -> GenerationError {
    GenerationError::Unavailable("the engine has stopped".to_owned())
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("without a message")
}
