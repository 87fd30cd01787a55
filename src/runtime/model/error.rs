use std::path::PathBuf;

use candle_core::quantized::GgmlDType;

use super::architecture::SUPPORTED;

/// Why a model cannot be loaded or a forward pass cannot be computed.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    #[error("cannot read {}: {source}", path.display())]
    Io { path: PathBuf, source: std::io::Error },
    /// The header is no GGUF header, is cut off, or declares more than the file holds.
    #[error("{}: not a usable GGUF file: {reason}", path.display())]
    Malformed { path: PathBuf, reason: String },
    #[error("architecture `{0}` is not supported: expected one of {supported}", supported = SUPPORTED.join(", "))]
    UnsupportedArchitecture(String),
    #[error("the file lacks the metadata `{0}`")]
    MissingMetadata(String),
    #[error("metadata `{key}`: {reason}")]
    InvalidMetadata { key: String, reason: String },
    #[error("the file lacks the tensor `{0}`")]
    MissingTensor(String),
    #[error("tensor `{name}` has shape {found:?}, the header calls for {expected:?}")]
    TensorShape { name: String, expected: Vec<usize>, found: Vec<usize> },
    #[error("tensor `{name}` ({dtype:?}) cannot be read: {source}")]
    Tensor { name: String, dtype: GgmlDType, source: candle_core::Error },
    #[error("tokenizer: {0}")]
    Tokenizer(String),
    #[error("chat template: {0}")]
    Template(#[from] minijinja::Error),
    /// The key-value store cannot be made as asked.
    #[error("key-value store: {0}")]
    KvStore(String),
    /// A step that breaks the contract of [`super::SequenceStep`].
    #[error("step {index}: {reason}")]
    InvalidStep { index: usize, reason: String },
    #[error("computation failed: {0}")]
    Compute(#[from] candle_core::Error),
    /// The weights cannot be laid out for the CPU's kernels.
    #[error("tensor `{name}`: {source}")]
    Packing { name: String, source: crate::runtime::kernels::KernelError },
}
