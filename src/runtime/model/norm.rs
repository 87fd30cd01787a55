//! Root-mean-square norms (Zhang and Sennrich 2019, arXiv:1910.07467).

use candle_core::{Device, Tensor};

use super::ModelError;
use super::architecture::Hyperparameters;
use super::gguf::GgufFile;
use crate::runtime::kernels::Preparation;

/// `x / rms(x) * weight` over the last dimension.
pub(super) struct RmsNorm {
    weight: Tensor,
    host: Vec<f32>,
    epsilon: f32,
}

impl RmsNorm {
    pub fn load(file: &mut GgufFile, name: &str, hyper: &Hyperparameters, device: &Device) -> Result<Self, ModelError> {
        let weight = file.tensor(name, &[hyper.config.hidden], device)?.dequantize(device)?;
        Ok(Self { host: weight.to_vec1()?, weight, epsilon: hyper.rms_epsilon })
    }

    pub fn forward(&self, rows: &Tensor) -> Result<Tensor, ModelError> {
        Ok(candle_nn::ops::rms_norm(rows, &self.weight, self.epsilon)?)
    }

    /// The same as a step before a product on the CPU.
    pub fn preparation(&self) -> Preparation<'_> {
        Preparation::RmsNorm { weight: &self.host, epsilon: self.epsilon }
    }
}
