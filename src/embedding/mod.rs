//! Text encoders: sentences in, unit vectors out.

use async_trait::async_trait;

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

/// A sentence encoder.
#[async_trait]
pub trait TextEncoder: Send + Sync {
    /// The manifest's name.
    fn name(&self) -> &str;

    /// Length of the vectors.
    fn dimensions(&self) -> usize;

    /// One vector of length 1 per text, in order. Texts past the model's length are cut.
    async fn encode(&self, kind: TextKind, texts: Vec<String>) -> Result<Vec<Vec<f32>>, EncodeError>;
}
