//! GGUF loading, the decoder over candle tensors, tokenizer and chat template.
//!
//! The seam to [`super::engine`] is [`Forward`]: a decoder keeps nothing between calls except the keys and values in its
//! [`kv::KvStore`], and which block of the store belongs to which sequence is the engine's business.

mod activation;
mod architecture;
mod attention;
mod decoder;
mod error;
pub mod gguf;
mod heads;
mod host;
mod kv;
mod layer;
mod linear;
pub mod measure;
mod norm;
pub(super) mod parallel;
pub mod reference;
mod rope;
mod template;
mod tensor_attention;
#[cfg(test)]
mod testing;
mod tokenizer;

use std::path::Path;

use candle_core::Device;

use super::ModelInfo;

pub use decoder::LoadedDecoder;
pub use error::ModelError;
pub use kv::{KvCapacity, KvPrecision, KvSettings};
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
    /// Number of positions of this sequence already in the store. Positions from here on may have been written before (a
    /// draft that was wrong); they are written anew and not read before.
    pub start: usize,
    /// The sequence's blocks in order; covers at least `start + tokens.len()` positions. Written blocks belong to this
    /// sequence alone; the full ones before them may be other sequences' too, in this call as well.
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

/// A language model ready to run.
pub struct LoadedModel {
    /// `name` is the file's stem; the caller that knows the manifest's name replaces it.
    pub info: ModelInfo,
    pub decoder: LoadedDecoder,
    pub tokenizer: Tokenizer,
    pub template: ChatTemplate,
}

/// Reads a GGUF file onto `device` and sets up a key-value store.
///
/// # Errors
/// Names the file, metadata key or tensor that cannot be used.
pub fn load(path: &Path, device: &Device, kv: KvSettings) -> Result<LoadedModel, ModelError> {
    let mut file = gguf::GgufFile::open(path)?;
    let tokenizer = Tokenizer::from_gguf(&file)?;
    let template = ChatTemplate::from_gguf(&file)?;
    let decoder = LoadedDecoder::load(&mut file, device, kv)?;
    // CUDA's queue of commands is the thread's own: what this thread queued must be done before another one computes.
    device.synchronize()?;
    let config = decoder.config();
    if tokenizer.vocabulary() > config.vocabulary {
        return Err(ModelError::InvalidMetadata {
            key: gguf::keys::TOKENS.to_owned(),
            reason: format!("{} tokens, but the output matrix has {} rows", tokenizer.vocabulary(), config.vocabulary),
        });
    }
    let info = ModelInfo {
        name: path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default(),
        architecture: config.architecture.clone(),
        context_length: config.context_length,
    };
    Ok(LoadedModel { info, decoder, tokenizer, template })
}
