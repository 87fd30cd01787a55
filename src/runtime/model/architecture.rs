//! What sets one architecture apart from another, read from the file's header.

use super::gguf::GgufFile;
use super::rope::RopeLayout;
use super::{DecoderConfig, ModelError};

/// Head sizes are multiples of this: the attention kernel works on panels of so many columns.
pub(super) const HEAD_DIM_STEP: usize = 16;

/// Everything that the common decoder needs to know to become one particular model.
#[derive(Clone, Debug)]
pub(super) struct Hyperparameters {
    pub config: DecoderConfig,
    /// Width of the feed-forward layer.
    pub feed_forward: usize,
    pub rms_epsilon: f32,
    pub rope_layout: RopeLayout,
    pub rope_base: f32,
    /// Whether the query, key and value projections have biases.
    pub qkv_bias: bool,
}

impl Hyperparameters {
    /// Reads and checks the header.
    pub fn read(file: &GgufFile) -> Result<Self, ModelError> {
        let architecture = file.architecture()?;
        // llama.cpp permutes the query and key rows of llama models at conversion so that neighbouring elements rotate
        // together; qwen2 keeps the halves layout of the original weights (`llama_model_rope_type`).
        let (rope_layout, qkv_bias) = match architecture {
            "qwen2" => (RopeLayout::Halves, true),
            "llama" => (RopeLayout::Interleaved, false),
            other => return Err(ModelError::UnsupportedArchitecture(other.to_owned())),
        };
        let key = |name: &str| format!("{architecture}.{name}");
        let positive = |name: &str| {
            let number = file.integer(&key(name))?;
            if number == 0 { Err(invalid(key(name), "must not be 0".to_owned())) } else { Ok(number) }
        };
        refuse_extensions(file, architecture)?;

        let hidden = positive("embedding_length")?;
        let heads = positive("attention.head_count")?;
        let kv_heads = file.optional_integer(&key("attention.head_count_kv"))?.unwrap_or(heads);
        if kv_heads == 0 || !heads.is_multiple_of(kv_heads) {
            let reason = format!("{heads} query heads cannot share {kv_heads} key heads evenly");
            return Err(invalid(key("attention.head_count_kv"), reason));
        }
        let head_dim = file.optional_integer(&key("attention.key_length"))?.unwrap_or(hidden / heads);
        if head_dim == 0 || !head_dim.is_multiple_of(HEAD_DIM_STEP) {
            let reason = format!("heads of {head_dim} elements: expected a multiple of {HEAD_DIM_STEP}");
            return Err(invalid(key("attention.head_count"), reason));
        }
        for (name, expected) in [("rope.dimension_count", head_dim), ("attention.value_length", head_dim)] {
            if let Some(found) = file.optional_integer(&key(name))?.filter(|found| *found != expected) {
                let reason = format!("{found}: only the head size, {expected}, is supported");
                return Err(invalid(key(name), reason));
            }
        }
        let &[vocabulary, _] = file.tensor_shape(TOKEN_EMBEDDING)? else {
            return Err(invalid(TOKEN_EMBEDDING.to_owned(), "is no matrix".to_owned()));
        };
        let rope_base = file.optional_float(&key("rope.freq_base"))?.unwrap_or(10_000.0);
        let rms_epsilon = file.float(&key("attention.layer_norm_rms_epsilon"))?;
        if rope_base <= 0.0 || rms_epsilon < 0.0 {
            let reason = format!("rope base {rope_base} or epsilon {rms_epsilon} is out of range");
            return Err(invalid(key("rope.freq_base"), reason));
        }
        Ok(Self {
            config: DecoderConfig {
                architecture: architecture.to_owned(),
                vocabulary,
                layers: positive("block_count")?,
                hidden,
                heads,
                kv_heads,
                head_dim,
                context_length: positive("context_length")?,
            },
            feed_forward: positive("feed_forward_length")?,
            rms_epsilon,
            rope_layout,
            rope_base,
            qkv_bias,
        })
    }
}

/// Name of the token embedding matrix.
pub(super) const TOKEN_EMBEDDING: &str = "token_embd.weight";

/// Refuses variants of a known architecture that this decoder would compute wrongly without noticing.
fn refuse_extensions(file: &GgufFile, architecture: &str) -> Result<(), ModelError> {
    let experts = format!("{architecture}.expert_count");
    if file.optional_integer(&experts)?.is_some_and(|count| count > 0) {
        return Err(invalid(experts, "mixtures of experts are not supported".to_owned()));
    }
    let scaling = format!("{architecture}.rope.scaling.type");
    if let Some(kind) = file.optional_string(&scaling)?.filter(|kind| *kind != "none") {
        return Err(invalid(scaling, format!("rope scaling `{kind}` is not supported")));
    }
    if file.has_tensor("rope_freqs.weight") {
        return Err(invalid("rope_freqs.weight".to_owned(), "rope frequency factors are not supported".to_owned()));
    }
    Ok(())
}

fn invalid(key: String, reason: String) -> ModelError {
    ModelError::InvalidMetadata { key, reason }
}
