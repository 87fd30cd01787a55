//! The nonlinearity of gated feed-forward networks (Shazeer 2020, arXiv:2002.05202).

use candle_core::Tensor;

use super::{ModelError, parallel};

/// What the gate goes through before it is multiplied with the other half.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Activation {
    /// `x * sigmoid(x)`.
    Silu,
    /// GELU by its approximation with a hyperbolic tangent.
    GeluTanh,
}

impl Activation {
    /// `activation(gate) * up` for host memory; all three of one length.
    pub fn multiply(self, gates: &[f32], ups: &[f32], output: &mut [f32]) {
        let pairs = output.iter_mut().zip(gates).zip(ups);
        match self {
            Self::Silu => pairs.for_each(|((output, gate), up)| *output = gate * sigmoid(*gate) * up),
            // (1 + tanh(u)) / 2 is the logistic function of 2 u.
            Self::GeluTanh => {
                const TWICE_ROOT_2_OVER_PI: f32 = 1.595_769;
                pairs.for_each(|((output, gate), up)| {
                    let inner = TWICE_ROOT_2_OVER_PI * (gate + 0.044_715 * gate * gate * gate);
                    *output = gate * sigmoid(inner) * up;
                });
            }
        }
    }

    /// `activation(gate) * up` on any device.
    pub fn multiply_tensors(self, gate: &Tensor, up: &Tensor) -> Result<Tensor, ModelError> {
        let gate = match self {
            Self::Silu => gate.silu()?,
            Self::GeluTanh => gate.gelu()?,
        };
        Ok((gate * up)?)
    }
}

#[inline(always)]
fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + parallel::exp(-x))
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    #[test]
    fn host_and_tensors_agree() {
        let gates: Vec<f32> = (-200..=200).map(|i| i as f32 / 10.0).collect();
        let ups: Vec<f32> = gates.iter().map(|gate| gate * 0.3 - 1.0).collect();
        for activation in [Activation::Silu, Activation::GeluTanh] {
            let mut host = vec![0.0; gates.len()];
            activation.multiply(&gates, &ups, &mut host);
            let tensor = |values: &[f32]| Tensor::from_slice(values, values.len(), &Device::Cpu).expect("tensor");
            let tensors = activation.multiply_tensors(&tensor(&gates), &tensor(&ups)).expect("product");
            for (a, b) in host.iter().zip(tensors.to_vec1::<f32>().expect("values")) {
                assert!((a - b).abs() <= 1e-5 * (1.0 + a.abs()), "{activation:?}: {a} and {b}");
            }
        }
    }
}
