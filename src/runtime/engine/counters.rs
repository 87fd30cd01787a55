//! What the engine has done: raw numbers for tests and benchmarks, and the same as metrics `zhujiao_engine_*`.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use super::scheduler::{PrefixWork, Scheduler};

/// Work done by one engine since its start, and its present load.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EngineCounters {
    /// Passes over the weights.
    pub forward_passes: u64,
    /// Passes that failed or panicked.
    pub failed_passes: u64,
    /// Panics in the worker, in passes or elsewhere; each failed the generations that it may have touched.
    pub panics: u64,
    /// Tokens that went through a pass: prompts, generated tokens, drafts, and what was computed again after a preemption.
    pub computed_tokens: u64,
    /// Tokens of the prompts taken on.
    pub prompt_tokens: u64,
    /// Tokens of the answers.
    pub generated_tokens: u64,
    /// Those of `generated_tokens` that a grammar forced, so that they were not sampled.
    pub forced_tokens: u64,
    /// Tokens that were only guessed when they went through a pass.
    pub drafted_tokens: u64,
    /// Those of `drafted_tokens` that became part of the answer.
    pub accepted_tokens: u64,
    /// Sequences whose tokens were looked up in the prefix cache: each at every admission, so after a preemption too.
    pub prefix_lookups: u64,
    /// Tokens of those sequences.
    pub prefix_tokens: u64,
    /// Those of `prefix_tokens` that were found and not computed.
    pub prefix_hits: u64,
    /// Blocks of the prefix cache whose place was needed.
    pub prefix_evictions: u64,
    pub preemptions: u64,
    /// Generations whose reader left.
    pub cancelled: u64,
    /// Most sequences in one pass.
    pub largest_batch: usize,
    pub running: usize,
    pub waiting: usize,
    /// Blocks held by sequences.
    pub blocks_in_use: usize,
    /// Blocks that nobody holds and that the prefix cache keeps.
    pub blocks_cached: usize,
}

/// Written by the worker, read by anyone. Each number is exact; together they are of about the same moment.
#[derive(Debug, Default)]
pub(super) struct Counters {
    forward_passes: AtomicU64,
    failed_passes: AtomicU64,
    panics: AtomicU64,
    computed_tokens: AtomicU64,
    prompt_tokens: AtomicU64,
    generated_tokens: AtomicU64,
    forced_tokens: AtomicU64,
    drafted_tokens: AtomicU64,
    accepted_tokens: AtomicU64,
    prefix_lookups: AtomicU64,
    prefix_tokens: AtomicU64,
    prefix_hits: AtomicU64,
    prefix_evictions: AtomicU64,
    preemptions: AtomicU64,
    cancelled: AtomicU64,
    largest_batch: AtomicUsize,
    running: AtomicUsize,
    waiting: AtomicUsize,
    blocks_in_use: AtomicUsize,
    blocks_cached: AtomicUsize,
}

impl Counters {
    /// Names and units of the metrics; for the recorder that the process has installed.
    pub fn describe() {
        use metrics::Unit::{Count, Seconds};
        use metrics::{describe_counter, describe_gauge, describe_histogram};
        describe_counter!("zhujiao_engine_forward_passes_total", Count, "Passes over the model's weights");
        describe_counter!("zhujiao_engine_failed_passes_total", Count, "Passes that failed or panicked");
        describe_counter!("zhujiao_engine_panics_total", Count, "Panics in the worker, in passes or elsewhere");
        describe_counter!("zhujiao_engine_computed_tokens_total", Count, "Tokens that went through a pass");
        describe_counter!("zhujiao_engine_prompt_tokens_total", Count, "Tokens of the prompts taken on");
        describe_counter!("zhujiao_engine_generated_tokens_total", Count, "Tokens of the answers");
        describe_counter!("zhujiao_engine_drafted_tokens_total", Count, "Guessed tokens that went through a pass");
        describe_counter!(
            "zhujiao_engine_accepted_tokens_total",
            Count,
            "Guessed tokens that became part of the answer"
        );
        describe_counter!("zhujiao_engine_prefix_lookups_total", Count, "Sequences looked up in the prefix cache");
        describe_counter!("zhujiao_engine_prefix_tokens_total", Count, "Tokens looked up in the prefix cache");
        describe_counter!("zhujiao_engine_prefix_hit_tokens_total", Count, "Tokens found in the prefix cache");
        describe_counter!("zhujiao_engine_prefix_evictions_total", Count, "Blocks that the prefix cache gave up");
        describe_counter!("zhujiao_engine_preemptions_total", Count, "Sequences that lost their KV blocks for a time");
        describe_counter!("zhujiao_engine_cancelled_total", Count, "Generations whose reader left");
        describe_counter!("zhujiao_engine_refused_total", Count, "Generations refused because the queue was full");
        describe_gauge!("zhujiao_engine_running_sequences", Count, "Sequences that take part in the passes");
        describe_gauge!("zhujiao_engine_queue_depth", Count, "Sequences that wait");
        describe_gauge!("zhujiao_engine_blocks_in_use", Count, "KV blocks held by sequences");
        describe_gauge!("zhujiao_engine_blocks_cached", Count, "Idle KV blocks kept by the prefix cache");
        describe_histogram!("zhujiao_engine_step_seconds", Seconds, "Duration of a pass with sampling");
        describe_histogram!("zhujiao_engine_time_to_first_token_seconds", Seconds, "Submission to first sampled token");
    }

    pub fn snapshot(&self) -> EngineCounters {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let level = |level: &AtomicUsize| level.load(Ordering::Relaxed);
        EngineCounters {
            forward_passes: count(&self.forward_passes),
            failed_passes: count(&self.failed_passes),
            panics: count(&self.panics),
            computed_tokens: count(&self.computed_tokens),
            prompt_tokens: count(&self.prompt_tokens),
            generated_tokens: count(&self.generated_tokens),
            forced_tokens: count(&self.forced_tokens),
            drafted_tokens: count(&self.drafted_tokens),
            accepted_tokens: count(&self.accepted_tokens),
            prefix_lookups: count(&self.prefix_lookups),
            prefix_tokens: count(&self.prefix_tokens),
            prefix_hits: count(&self.prefix_hits),
            prefix_evictions: count(&self.prefix_evictions),
            preemptions: count(&self.preemptions),
            cancelled: count(&self.cancelled),
            largest_batch: level(&self.largest_batch),
            running: level(&self.running),
            waiting: level(&self.waiting),
            blocks_in_use: level(&self.blocks_in_use),
            blocks_cached: level(&self.blocks_cached),
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

    pub fn panicked(&self) {
        add(&self.panics, 1);
        metrics::counter!("zhujiao_engine_panics_total").increment(1);
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

    pub fn speculated(&self, drafted: usize, accepted: usize) {
        add(&self.drafted_tokens, drafted);
        add(&self.accepted_tokens, accepted);
        metrics::counter!("zhujiao_engine_drafted_tokens_total").increment(drafted as u64);
        metrics::counter!("zhujiao_engine_accepted_tokens_total").increment(accepted as u64);
    }

    pub fn looked_up(&self, work: PrefixWork) {
        let PrefixWork { lookups, tokens, hits, evictions } = work;
        add(&self.prefix_lookups, lookups);
        add(&self.prefix_tokens, tokens);
        add(&self.prefix_hits, hits);
        add(&self.prefix_evictions, evictions);
        metrics::counter!("zhujiao_engine_prefix_lookups_total").increment(lookups as u64);
        metrics::counter!("zhujiao_engine_prefix_tokens_total").increment(tokens as u64);
        metrics::counter!("zhujiao_engine_prefix_hit_tokens_total").increment(hits as u64);
        metrics::counter!("zhujiao_engine_prefix_evictions_total").increment(evictions as u64);
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

    pub fn load(&self, scheduler: &Scheduler) {
        let level = |level: &AtomicUsize, gauge: metrics::Gauge, now: usize| {
            level.store(now, Ordering::Relaxed);
            gauge.set(now as f64);
        };
        level(&self.running, metrics::gauge!("zhujiao_engine_running_sequences"), scheduler.running().len());
        level(&self.waiting, metrics::gauge!("zhujiao_engine_queue_depth"), scheduler.waiting());
        level(&self.blocks_in_use, metrics::gauge!("zhujiao_engine_blocks_in_use"), scheduler.blocks_in_use());
        level(&self.blocks_cached, metrics::gauge!("zhujiao_engine_blocks_cached"), scheduler.blocks_idle());
    }
}

fn add(counter: &AtomicU64, amount: usize) {
    counter.fetch_add(amount as u64, Ordering::Relaxed);
}
