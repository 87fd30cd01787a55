//! GGUF loading, the decoder over candle tensors, tokenizer and chat template.
//!
//! The seam to [`super::engine`] is [`Forward`]: a decoder keeps nothing between calls except the keys and values in its
//! [`kv::KvStore`], and which block of the store belongs to which sequence is the engine's business.

mod error;
pub mod gguf;
mod template;
mod tokenizer;

pub use error::ModelError;
pub use template::ChatTemplate;
pub use tokenizer::Tokenizer;

/// Index of a block of the key-value store; a block holds the keys and values of [`BLOCK_TOKENS`] positions for every
/// layer.
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

/// A decoder together with its key-value store.
pub trait Forward: Send {
    fn config(&self) -> &DecoderConfig;

    /// Computes all steps in one pass over the weights and writes their keys and values to the store.
    ///
    /// Returns one row of `vocabulary` logits per wanted position, in the order of the steps. The steps must belong to
    /// different sequences: a step does not see what another step of the same call writes.
    ///
    /// # Errors
    /// [`ModelError::InvalidStep`] when a step breaks its contract (nothing is computed then), [`ModelError::Compute`]
    /// when the device fails.
    fn forward(&mut self, steps: &[SequenceStep<'_>]) -> Result<Vec<Vec<f32>>, ModelError>;

    /// Capacity of the store: block ids are `0 .. blocks()`.
    fn blocks(&self) -> usize;
}
