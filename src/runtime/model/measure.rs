//! Speed and memory of a decoder, for `zhujiao bench`.

use std::path::Path;
use std::time::{Duration, Instant};

use candle_core::Device;

use super::gguf::GgufFile;
use super::reference::ReferenceDecoder;
use super::{
    BLOCK_TOKENS, BlockId, Forward, KvCapacity, KvPrecision, KvSettings, LoadedDecoder, LogitsWanted, ModelError,
    SequenceStep,
};

/// Most tokens of all streams that one forward pass takes while prefilling.
const PREFILL_CHUNK: usize = 512;

/// What is to be computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Workload {
    /// Tokens of prompt per stream.
    pub prompt: usize,
    /// Tokens generated one by one per stream.
    pub generate: usize,
    /// Positions that stand before both the prompt and the generated tokens; filling them is not timed.
    pub depth: usize,
    /// Sequences at once. The reference knows no batches and computes them one after another.
    pub streams: usize,
}

/// What it took.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Measurement {
    /// Prompt tokens of all streams per second; 0 without a prompt.
    pub prefill_tokens_per_s: f64,
    /// Generated tokens of all streams per second; 0 when none are generated.
    pub decode_tokens_per_s: f64,
    /// Seconds to read the weights and to compute the first token, which also lays the weights out for the kernels.
    pub load_s: f64,
    /// Highest resident size of the process since the measurement began, where the system tells it. What the process held
    /// before counts.
    pub peak_rss_bytes: Option<u64>,
}

/// Measures this crate's decoder.
pub fn measure(path: &Path, device: &Device, workload: Workload) -> Result<Measurement, ModelError> {
    reset_peak();
    let started = Instant::now();
    let positions = workload.depth + workload.prompt.max(workload.generate).max(1);
    let per_stream = positions.div_ceil(BLOCK_TOKENS);
    let kv = KvSettings {
        capacity: KvCapacity::Blocks(per_stream * workload.streams.max(1)),
        precision: KvPrecision::default(),
    };
    let mut decoder = LoadedDecoder::load(&mut GgufFile::open(path)?, device, kv)?;
    let streams = Streams {
        tables: (0..workload.streams).map(|stream| table(stream, per_stream)).collect(),
        tokens: tokens(positions, decoder.config().vocabulary),
    };
    streams.prefill(&mut decoder, 0..2.min(positions))?;
    let load_s = started.elapsed().as_secs_f64();

    streams.prefill(&mut decoder, 0..workload.depth)?;
    let prefill = timed(|| streams.prefill(&mut decoder, workload.depth..workload.depth + workload.prompt))?;
    let decode = timed(|| {
        (workload.depth..workload.depth + workload.generate)
            .try_for_each(|position| streams.step(&mut decoder, position..position + 1, LogitsWanted::Last))
    })?;
    Ok(Measurement {
        prefill_tokens_per_s: rate(workload.prompt * workload.streams, prefill),
        decode_tokens_per_s: rate(workload.generate * workload.streams, decode),
        load_s,
        peak_rss_bytes: peak_rss(),
    })
}

/// Measures candle-transformers' decoder of the same architecture.
pub fn measure_reference(path: &Path, device: &Device, workload: Workload) -> Result<Measurement, ModelError> {
    reset_peak();
    let started = Instant::now();
    let mut decoder = ReferenceDecoder::load(path, device)?;
    let vocabulary = GgufFile::open(path)?.strings(super::gguf::keys::TOKENS)?.len();
    let tokens = tokens(workload.depth + workload.prompt.max(workload.generate).max(2), vocabulary);
    decoder.forward(&tokens[..2], 0)?;
    let load_s = started.elapsed().as_secs_f64();

    let (mut prefill, mut decode) = (Duration::ZERO, Duration::ZERO);
    for _ in 0..workload.streams {
        for (total, count, chunk) in
            [(&mut prefill, workload.prompt, PREFILL_CHUNK), (&mut decode, workload.generate, 1)]
        {
            let mut run = |positions: std::ops::Range<usize>, chunk: usize| -> Result<(), ModelError> {
                for start in positions.clone().step_by(chunk) {
                    decoder.forward(&tokens[start..positions.end.min(start + chunk)], start)?;
                }
                Ok(())
            };
            run(0..workload.depth, PREFILL_CHUNK)?;
            *total += timed(|| run(workload.depth..workload.depth + count, chunk))?;
        }
    }
    Ok(Measurement {
        prefill_tokens_per_s: rate(workload.prompt * workload.streams, prefill),
        decode_tokens_per_s: rate(workload.generate * workload.streams, decode),
        load_s,
        peak_rss_bytes: peak_rss(),
    })
}

/// Sequences of the same tokens, each with blocks of its own.
struct Streams {
    tables: Vec<Vec<BlockId>>,
    tokens: Vec<u32>,
}

impl Streams {
    fn prefill(&self, decoder: &mut LoadedDecoder, positions: std::ops::Range<usize>) -> Result<(), ModelError> {
        let chunk = (PREFILL_CHUNK / self.tables.len().max(1)).max(1);
        for start in positions.clone().step_by(chunk) {
            let end = positions.end.min(start + chunk);
            let logits = if end == positions.end { LogitsWanted::Last } else { LogitsWanted::None };
            self.step(decoder, start..end, logits)?;
        }
        Ok(())
    }

    fn step(
        &self,
        decoder: &mut LoadedDecoder,
        positions: std::ops::Range<usize>,
        logits: LogitsWanted,
    ) -> Result<(), ModelError> {
        let steps: Vec<SequenceStep<'_>> = self
            .tables
            .iter()
            .map(|blocks| SequenceStep {
                tokens: &self.tokens[positions.clone()],
                start: positions.start,
                blocks,
                logits,
            })
            .collect();
        decoder.forward(&steps).map(drop)
    }
}

fn table(stream: usize, blocks: usize) -> Vec<BlockId> {
    (stream * blocks..(stream + 1) * blocks).map(|block| BlockId(block as u32)).collect()
}

/// Tokens all over the vocabulary, the same in every run.
fn tokens(count: usize, vocabulary: usize) -> Vec<u32> {
    (0..count).map(|index| (index.wrapping_mul(7919) % vocabulary.max(1)) as u32).collect()
}

fn timed(work: impl FnOnce() -> Result<(), ModelError>) -> Result<Duration, ModelError> {
    let started = Instant::now();
    work()?;
    Ok(started.elapsed())
}

fn rate(tokens: usize, time: Duration) -> f64 {
    if tokens == 0 { 0.0 } else { tokens as f64 / time.as_secs_f64() }
}

/// Lets the kernel count the peak from now on; where that is refused, the peak covers the process's whole life.
fn reset_peak() {
    if let Err(error) = std::fs::write("/proc/self/clear_refs", "5") {
        tracing::debug!(%error, "the peak of the resident size counts from the start of the process");
    }
}

fn peak_rss() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kilobytes| kilobytes * 1024)
}
