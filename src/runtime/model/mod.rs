//! GGUF loading, the decoder over candle tensors, tokenizer and chat template.
//!
//! The seam to [`super::engine`]: a [`Decoder`] is stateless between calls; all sequence state is in a [`KvStore`] whose
//! blocks the engine hands out.

use candle_core::Device;
use std::path::Path;

/// Index of a block of [`KvStore`]; a block holds the keys and values of [`BLOCK_TOKENS`] positions for every layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BlockId(pub u32);

/// Positions per KV block.
pub const BLOCK_TOKENS: usize = 32;

/// What is read from the file's header.
#[derive(Clone, Debug, PartialEq)]
pub struct DecoderConfig {
    pub architecture: String,
    pub vocabulary: usize,
    pub layers: usize,
    pub hidden: usize,
    pub heads: usize,
    pub kv_heads: usize,
    pub head_dim: usize,
    pub context_length: usize,
}

/// Which positions of a step need logits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogitsWanted {
    /// A prefill chunk that is not the last one.
    None,
    /// The last token of the step.
    Last,
    /// Every token of the step (evaluation, speculation).
    All,
}

/// The part of one sequence that a forward pass computes.
#[derive(Clone, Debug)]
pub struct SequenceStep<'a> {
    /// The tokens at positions `start .. start + tokens.len()`; never empty.
    pub tokens: &'a [u32],
    /// Number of positions of this sequence already in the store.
    pub start: usize,
    /// The sequence's blocks in order; covers at least `start + tokens.len()` positions. Written blocks belong to this
    /// sequence alone.
    pub blocks: &'a [BlockId],
    pub logits: LogitsWanted,
}
