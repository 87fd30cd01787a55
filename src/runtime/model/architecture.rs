//! What sets one architecture apart from another, read from the file's header.

use super::activation::Activation;
use super::gguf::GgufFile;
use super::rope::{Rope, RopeLayout, RopeSpeed};
use super::{DecoderConfig, ModelError};

/// Head sizes are multiples of this: the attention kernel works on panels of so many columns.
pub(super) const HEAD_DIM_STEP: usize = 16;

/// What a layer is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Parts {
    pub rope_layout: RopeLayout,
    /// The query, key and value projections have biases.
    pub qkv_bias: bool,
    /// Every head of the queries and keys is normalized before its rotation.
    pub head_norms: bool,
    /// What attention and feed-forward network return is normalized before it is added to their input.
    pub post_norms: bool,
    pub activation: Activation,
    /// Token vectors are multiplied by the square root of their length.
    pub scaled_embedding: bool,
    /// Most layers see a window only, and have a rope of their own.
    pub sliding_layers: bool,
}

/// Architectures that [`Parts::of`] knows.
pub(super) const SUPPORTED: [&str; 4] = ["qwen2", "qwen3", "llama", "gemma3"];

impl Parts {
    fn of(architecture: &str) -> Option<Self> {
        let plain = Self {
            rope_layout: RopeLayout::Halves,
            qkv_bias: false,
            head_norms: false,
            post_norms: false,
            activation: Activation::Silu,
            scaled_embedding: false,
            sliding_layers: false,
        };
        match architecture {
            "qwen2" => Some(Self { qkv_bias: true, ..plain }),
            "qwen3" => Some(Self { head_norms: true, ..plain }),
            // llama.cpp permutes the query and key rows of llama models at conversion so that neighbouring elements rotate
            // together; the others keep the halves layout of the original weights (`llama_model_rope_type`).
            "llama" => Some(Self { rope_layout: RopeLayout::Interleaved, ..plain }),
            // The published norms multiply by 1 + weight; conversion to GGUF has added the 1.
            "gemma3" => Some(Self {
                head_norms: true,
                post_norms: true,
                activation: Activation::GeluTanh,
                scaled_embedding: true,
                sliding_layers: true,
                ..plain
            }),
            _ => None,
        }
    }
}

/// The layers that see a window only: all but every `period`th.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct SlidingLayers {
    /// Positions that a query sees, its own included.
    pub window: usize,
    pub period: usize,
    pub rope: RopeSpeed,
}

/// Everything that the common decoder needs to know to become one particular model.
#[derive(Clone, Debug)]
pub(super) struct Hyperparameters {
    pub config: DecoderConfig,
    pub parts: Parts,
    /// Width of the feed-forward layer.
    pub feed_forward: usize,
    pub rms_epsilon: f32,
    /// Factor of the scores before the softmax.
    pub attention_scale: f32,
    /// Of layers that see everything.
    pub rope: RopeSpeed,
    pub sliding: Option<SlidingLayers>,
}

impl Hyperparameters {
    /// Reads and checks the header.
    pub fn read(file: &GgufFile) -> Result<Self, ModelError> {
        let architecture = file.architecture()?;
        let parts =
            Parts::of(architecture).ok_or_else(|| ModelError::UnsupportedArchitecture(architecture.to_owned()))?;
        let header = Header { file, architecture };
        header.refuse_extensions()?;
        let config = header.config()?;
        Ok(Self {
            feed_forward: header.positive("feed_forward_length")?,
            rms_epsilon: header.rms_epsilon()?,
            attention_scale: attention_scale(&config),
            rope: header.rope()?,
            sliding: if parts.sliding_layers { Some(header.sliding_layers()?) } else { None },
            parts,
            config,
        })
    }

    /// The sliding layers' description, if layer `index` is one of them.
    fn sliding_layer(&self, index: usize) -> Option<&SlidingLayers> {
        self.sliding.as_ref().filter(|sliding| !(index + 1).is_multiple_of(sliding.period))
    }

    /// How many positions a query of layer `index` sees; all when absent.
    pub fn window(&self, index: usize) -> Option<usize> {
        self.sliding_layer(index).map(|sliding| sliding.window)
    }

    /// Which of [`Hyperparameters::ropes`] rotates layer `index`.
    pub fn rope(&self, index: usize) -> usize {
        usize::from(self.sliding_layer(index).is_some())
    }

    /// The rope of layers that see everything, and that of sliding layers if there are any.
    pub fn ropes(&self) -> Vec<Rope> {
        std::iter::once(self.rope)
            .chain(self.sliding.map(|sliding| sliding.rope))
            .map(|speed| Rope::new(self.parts.rope_layout, speed, self.config.head_dim))
            .collect()
    }
}

/// Gemma 3 27B scales by the width per head, which is not the head's size; its header does not say so (llama.cpp tells it
/// by its 62 layers as well).
fn attention_scale(config: &DecoderConfig) -> f32 {
    let is_gemma3_27b = config.architecture == "gemma3" && config.layers == 62;
    let width = if is_gemma3_27b { config.hidden / config.heads } else { config.head_dim };
    1.0 / (width as f32).sqrt()
}

/// The metadata of one architecture.
struct Header<'a> {
    file: &'a GgufFile,
    architecture: &'a str,
}

impl Header<'_> {
    fn key(&self, name: &str) -> String {
        format!("{}.{name}", self.architecture)
    }

    fn positive(&self, name: &str) -> Result<usize, ModelError> {
        let number = self.file.integer(&self.key(name))?;
        if number == 0 { Err(invalid(self.key(name), "must not be 0".to_owned())) } else { Ok(number) }
    }

    fn config(&self) -> Result<DecoderConfig, ModelError> {
        let file = self.file;
        let hidden = self.positive("embedding_length")?;
        let heads = self.positive("attention.head_count")?;
        let kv_heads = file.optional_integer(&self.key("attention.head_count_kv"))?.unwrap_or(heads);
        if kv_heads == 0 || !heads.is_multiple_of(kv_heads) {
            let reason = format!("{heads} query heads cannot share {kv_heads} key heads evenly");
            return Err(invalid(self.key("attention.head_count_kv"), reason));
        }
        let &[vocabulary, _] = file.tensor_shape(TOKEN_EMBEDDING)? else {
            return Err(invalid(TOKEN_EMBEDDING.to_owned(), "is no matrix".to_owned()));
        };
        Ok(DecoderConfig {
            architecture: self.architecture.to_owned(),
            vocabulary,
            layers: self.positive("block_count")?,
            hidden,
            heads,
            kv_heads,
            head_dim: self.head_dim(hidden, heads)?,
            context_length: self.positive("context_length")?,
        })
    }

    fn head_dim(&self, hidden: usize, heads: usize) -> Result<usize, ModelError> {
        let (key, head_dim) = match self.file.optional_integer(&self.key("attention.key_length"))? {
            Some(length) => ("attention.key_length", length),
            None => ("attention.head_count", hidden / heads),
        };
        if head_dim == 0 || !head_dim.is_multiple_of(HEAD_DIM_STEP) {
            let reason = format!("heads of {head_dim} elements: expected a multiple of {HEAD_DIM_STEP}");
            return Err(invalid(self.key(key), reason));
        }
        for name in ["rope.dimension_count", "attention.value_length"] {
            if let Some(found) = self.file.optional_integer(&self.key(name))?.filter(|found| *found != head_dim) {
                let reason = format!("{found}: only the head size, {head_dim}, is supported");
                return Err(invalid(self.key(name), reason));
            }
        }
        Ok(head_dim)
    }

    fn rms_epsilon(&self) -> Result<f32, ModelError> {
        let key = self.key("attention.layer_norm_rms_epsilon");
        let epsilon = self.file.float(&key)?;
        if epsilon < 0.0 { Err(invalid(key, format!("{epsilon} is negative"))) } else { Ok(epsilon) }
    }

    fn positive_float(&self, name: &str, default: f32) -> Result<f32, ModelError> {
        let key = self.key(name);
        let number = self.file.optional_float(&key)?.unwrap_or(default);
        if number > 0.0 { Ok(number) } else { Err(invalid(key, format!("{number} is not positive"))) }
    }

    fn rope(&self) -> Result<RopeSpeed, ModelError> {
        let base = self.positive_float("rope.freq_base", 10_000.0)?;
        // A factor without a type means linear scaling (llama.cpp).
        let scaling = self.key("rope.scaling.type");
        let stretch = match self.file.optional_string(&scaling)? {
            None | Some("linear") => self.positive_float("rope.scaling.factor", 1.0)?,
            Some("none") => 1.0,
            Some(other) => return Err(invalid(scaling, format!("rope scaling `{other}` is not supported"))),
        };
        Ok(RopeSpeed { base, stretch })
    }

    fn sliding_layers(&self) -> Result<SlidingLayers, ModelError> {
        let period = "attention.sliding_window_pattern";
        Ok(SlidingLayers {
            window: self.positive("attention.sliding_window")?,
            period: match self.file.optional_integer(&self.key(period))? {
                Some(_) => self.positive(period)?,
                None => 6,
            },
            rope: RopeSpeed { base: self.positive_float("rope.freq_base_swa", 10_000.0)?, stretch: 1.0 },
        })
    }

    /// Refuses variants of a known architecture that this decoder would compute wrongly without noticing.
    fn refuse_extensions(&self) -> Result<(), ModelError> {
        let experts = self.key("expert_count");
        if self.file.optional_integer(&experts)?.is_some_and(|count| count > 0) {
            return Err(invalid(experts, "mixtures of experts are not supported".to_owned()));
        }
        let softcap = self.key("final_logit_softcapping");
        if self.file.optional_float(&softcap)?.is_some_and(|cap| cap != 0.0) {
            return Err(invalid(softcap, "capped logits are not supported".to_owned()));
        }
        if self.file.has_tensor("rope_freqs.weight") {
            let reason = "rope frequency factors are not supported".to_owned();
            return Err(invalid("rope_freqs.weight".to_owned(), reason));
        }
        Ok(())
    }
}

/// Name of the token embedding matrix.
pub(super) const TOKEN_EMBEDDING: &str = "token_embd.weight";

fn invalid(key: String, reason: String) -> ModelError {
    ModelError::InvalidMetadata { key, reason }
}
