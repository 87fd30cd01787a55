//! How the heads of one layer attend: what the attention on the CPU and the one through tensors both go by.

use candle_core::{Device, Tensor};

use super::architecture::Hyperparameters;
use super::gguf::GgufFile;
use super::{DecoderConfig, ModelError};

/// Sizes of a layer's projections.
#[derive(Clone, Copy, Debug)]
pub(super) struct HeadLayout {
    pub heads: usize,
    pub kv_heads: usize,
    pub head_dim: usize,
}

impl HeadLayout {
    pub fn new(config: &DecoderConfig) -> Self {
        Self { heads: config.heads, kv_heads: config.kv_heads, head_dim: config.head_dim }
    }

    /// Query heads per key head.
    pub fn group(&self) -> usize {
        self.heads / self.kv_heads
    }
}

/// The attention of one layer.
pub(super) struct Heads {
    pub layout: HeadLayout,
    /// Factor of the scores before the softmax.
    pub scale: f32,
    /// How many positions a query sees, its own and those right before it; all of them when absent.
    pub window: Option<usize>,
    /// Which of the batch's rotations applies.
    pub rope: usize,
    pub query_norm: Option<HeadNorm>,
    pub key_norm: Option<HeadNorm>,
}

impl Heads {
    pub fn load(
        file: &mut GgufFile,
        index: usize,
        hyper: &Hyperparameters,
        device: &Device,
    ) -> Result<Self, ModelError> {
        let mut norm = |part: &str| -> Result<Option<HeadNorm>, ModelError> {
            if !hyper.parts.head_norms {
                return Ok(None);
            }
            HeadNorm::load(file, &format!("blk.{index}.{part}.weight"), hyper, device).map(Some)
        };
        Ok(Self {
            query_norm: norm("attn_q_norm")?,
            key_norm: norm("attn_k_norm")?,
            layout: HeadLayout::new(&hyper.config),
            scale: hyper.attention_scale,
            window: hyper.window(index),
            rope: hyper.rope(index),
        })
    }

    /// The first position that a query at `position` sees.
    pub fn first_seen(&self, position: usize) -> usize {
        self.window.map_or(0, |window| (position + 1).saturating_sub(window))
    }
}

/// The root-mean-square norm of every single head of the queries or keys, before their rotation (Henry et al. 2020,
/// arXiv:2010.04245).
pub(super) struct HeadNorm {
    weight: Tensor,
    host: Vec<f32>,
    epsilon: f32,
}

impl HeadNorm {
    fn load(file: &mut GgufFile, name: &str, hyper: &Hyperparameters, device: &Device) -> Result<Self, ModelError> {
        let weight = file.tensor(name, &[hyper.config.head_dim], device)?.dequantize(device)?;
        Ok(Self { host: weight.to_vec1()?, weight, epsilon: hyper.rms_epsilon })
    }

    /// Normalizes one head in place.
    pub fn apply(&self, head: &mut [f32]) {
        let squares: f32 = head.iter().map(|value| value * value).sum();
        let scale = 1.0 / (squares / head.len() as f32 + self.epsilon).sqrt();
        head.iter_mut().zip(&self.host).for_each(|(value, weight)| *value *= scale * weight);
    }

    /// Normalizes `[rows, heads, head_dim]`.
    pub fn forward(&self, heads: &Tensor) -> Result<Tensor, ModelError> {
        Ok(candle_nn::ops::rms_norm(heads, &self.weight, self.epsilon)?)
    }
}
