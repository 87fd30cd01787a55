//! Text encoders: sentences in, unit vectors out.
//!
//! [`E5Encoder`] runs multilingual-e5-small (Wang et al. 2024, arXiv:2402.05672) on candle. [`E5Model`] is its
//! synchronous inside: file, tokenizer and forward pass.

mod e5_file;
mod e5_model;
mod encoder;
mod gelu;
mod unigram;

use async_trait::async_trait;

pub use e5_file::E5FileError;
pub use e5_model::{E5Error, E5Model};
pub use encoder::E5Encoder;

/// e5 models encode the two sides of a search with different prefixes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TextKind {
    /// What a user asks (`query: `).
    Query,
    /// What is found (`passage: `).
    Passage,
}

/// Why texts could not be encoded.
#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    #[error("no text encoder is ready: {0}")]
    Unavailable(String),
    #[error("encoding failed: {0}")]
    Internal(String),
}

/// The answer of [`TextEncoder::encode`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Encoded {
    /// One vector of length 1 per text, in order.
    pub vectors: Vec<Vec<f32>>,
    /// What the model read, in its own tokens: all texts, cut to the model's length, with prefixes and marks.
    pub tokens: usize,
}

/// A sentence encoder.
#[async_trait]
pub trait TextEncoder: Send + Sync {
    /// The manifest's name.
    fn name(&self) -> &str;

    /// Length of the vectors.
    fn dimensions(&self) -> usize;

    /// Encodes texts. Those past the model's length are cut.
    async fn encode(&self, kind: TextKind, texts: Vec<String>) -> Result<Encoded, EncodeError>;
}
