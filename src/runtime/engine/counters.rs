//! What the engine has done: raw numbers for tests and benchmarks, and the same as metrics `zhujiao_engine_*`.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

/// Work done by one engine since its start, and its present load.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EngineCounters {
    /// Passes over the weights.
    pub forward_passes: u64,
    /// Passes that failed or panicked.
    pub failed_passes: u64,
    /// Tokens that went through a pass: prompts, generated tokens, and what was computed again after a preemption.
    pub computed_tokens: u64,
    /// Tokens of the prompts taken on.
    pub prompt_tokens: u64,
    /// Tokens of the answers.
    pub generated_tokens: u64,
    /// Those of `generated_tokens` that a grammar forced, so that they were not sampled.
    pub forced_tokens: u64,
    pub preemptions: u64,
    /// Generations whose reader left.
    pub cancelled: u64,
    /// Most sequences in one pass.
    pub largest_batch: usize,
    pub running: usize,
    pub waiting: usize,
    pub blocks_in_use: usize,
}

/// Written by the worker, read by anyone. Each number is exact; together they are of about the same moment.
#[derive(Debug, Default)]
pub(super) struct Counters {
    forward_passes: AtomicU64,
    failed_passes: AtomicU64,
    computed_tokens: AtomicU64,
    prompt_tokens: AtomicU64,
    generated_tokens: AtomicU64,
    forced_tokens: AtomicU64,
    preemptions: AtomicU64,
    cancelled: AtomicU64,
    largest_batch: AtomicUsize,
    running: AtomicUsize,
    waiting: AtomicUsize,
    blocks_in_use: AtomicUsize,
}

impl Counters {
    /// Names and units of the metrics; for the recorder that the process has installed.
    pub fn describe() {
        use metrics::Unit::{Count, Seconds};
        use metrics::{describe_counter, describe_gauge, describe_histogram};
        describe_counter!("zhujiao_engine_forward_passes_total", Count, "Passes over the model's weights");
        describe_counter!("zhujiao_engine_failed_passes_total", Count, "Passes that failed or panicked");
        describe_counter!("zhujiao_engine_computed_tokens_total", Count, "Tokens that went through a pass");
        describe_counter!("zhujiao_engine_prompt_tokens_total", Count, "Tokens of the prompts taken on");
        describe_counter!("zhujiao_engine_generated_tokens_total", Count, "Tokens of the answers");
        describe_counter!("zhujiao_engine_preemptions_total", Count, "Sequences that lost their KV blocks for a time");
        describe_counter!("zhujiao_engine_cancelled_total", Count, "Generations whose reader left");
        describe_counter!("zhujiao_engine_refused_total", Count, "Generations refused because the queue was full");
        describe_gauge!("zhujiao_engine_running_sequences", Count, "Sequences that take part in the passes");
        describe_gauge!("zhujiao_engine_queue_depth", Count, "Sequences that wait");
        describe_gauge!("zhujiao_engine_blocks_in_use", Count, "KV blocks held by sequences");
        describe_histogram!("zhujiao_engine_step_seconds", Seconds, "Duration of a pass with sampling");
        describe_histogram!("zhujiao_engine_time_to_first_token_seconds", Seconds, "Submission to first sampled token");
    }

    pub fn snapshot(&self) -> EngineCounters {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let level = |level: &AtomicUsize| level.load(Ordering::Relaxed);
        EngineCounters {
            forward_passes: count(&self.forward_passes),
            failed_passes: count(&self.failed_passes),
            computed_tokens: count(&self.computed_tokens),
            prompt_tokens: count(&self.prompt_tokens),
            generated_tokens: count(&self.generated_tokens),
            forced_tokens: count(&self.forced_tokens),
            preemptions: count(&self.preemptions),
            cancelled: count(&self.cancelled),
            largest_batch: level(&self.largest_batch),
            running: level(&self.running),
            waiting: level(&self.waiting),
            blocks_in_use: level(&self.blocks_in_use),
        }
    }

    pub fn passed(&self, sequences: usize, tokens: usize) {
        add(&self.forward_passes, 1);
        add(&self.computed_tokens, tokens);
        self.largest_batch.fetch_max(sequences, Ordering::Relaxed);
        metrics::counter!("zhujiao_engine_forward_passes_total").increment(1);
        metrics::counter!("zhujiao_engine_computed_tokens_total").increment(tokens as u64);
    }

    pub fn stepped(&self, duration: Duration) {
        metrics::histogram!("zhujiao_engine_step_seconds").record(duration);
    }

    pub fn failed(&self) {
        add(&self.failed_passes, 1);
        metrics::counter!("zhujiao_engine_failed_passes_total").increment(1);
    }

    pub fn taken_on(&self, prompt_tokens: usize) {
        add(&self.prompt_tokens, prompt_tokens);
        metrics::counter!("zhujiao_engine_prompt_tokens_total").increment(prompt_tokens as u64);
    }

    pub fn generated(&self, tokens: usize, forced: usize) {
        add(&self.generated_tokens, tokens);
        add(&self.forced_tokens, forced);
        metrics::counter!("zhujiao_engine_generated_tokens_total").increment(tokens as u64);
    }

    pub fn first_token_after(&self, duration: Duration) {
        metrics::histogram!("zhujiao_engine_time_to_first_token_seconds").record(duration);
    }

    pub fn preempted(&self, sequences: usize) {
        add(&self.preemptions, sequences);
        metrics::counter!("zhujiao_engine_preemptions_total").increment(sequences as u64);
    }

    pub fn cancelled(&self) {
        add(&self.cancelled, 1);
        metrics::counter!("zhujiao_engine_cancelled_total").increment(1);
    }

    pub fn refused(&self) {
        metrics::counter!("zhujiao_engine_refused_total").increment(1);
    }

    pub fn load(&self, running: usize, waiting: usize, blocks_in_use: usize) {
        self.running.store(running, Ordering::Relaxed);
        self.waiting.store(waiting, Ordering::Relaxed);
        self.blocks_in_use.store(blocks_in_use, Ordering::Relaxed);
        metrics::gauge!("zhujiao_engine_running_sequences").set(running as f64);
        metrics::gauge!("zhujiao_engine_queue_depth").set(waiting as f64);
        metrics::gauge!("zhujiao_engine_blocks_in_use").set(blocks_in_use as f64);
    }
}

fn add(counter: &AtomicU64, amount: usize) {
    counter.fetch_add(amount as u64, Ordering::Relaxed);
}
