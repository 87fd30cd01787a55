//! Bias and the exact GELU in one pass.
//!
//! candle's `gelu_erf` calls libm's scalar `erff` per element, which costs as much as a matrix product here. This one
//! is written so that the compiler vectorizes it.

use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor, bail};

/// `gelu(xs + bias)` with `xs: [.., n]`, `bias: [n]`.
pub(super) fn bias_gelu(xs: &Tensor, bias: &Tensor) -> Result<Tensor> {
    if xs.device().is_cpu() { xs.apply_op2_no_bwd(bias, &BiasGelu) } else { xs.broadcast_add(bias)?.gelu_erf() }
}

struct BiasGelu;

impl CustomOp2 for BiasGelu {
    fn name(&self) -> &'static str {
        "bias-gelu"
    }

    fn cpu_fwd(&self, xs: &CpuStorage, xl: &Layout, bias: &CpuStorage, bl: &Layout) -> Result<(CpuStorage, Shape)> {
        let (Some((x_start, x_end)), Some((b_start, b_end))) = (xl.contiguous_offsets(), bl.contiguous_offsets())
        else {
            bail!("bias-gelu wants contiguous tensors");
        };
        let (xs, bias) = (&xs.as_slice::<f32>()?[x_start..x_end], &bias.as_slice::<f32>()?[b_start..b_end]);
        if bias.is_empty() || xl.dims().last() != Some(&bias.len()) {
            bail!("bias-gelu of {:?} with a bias of {}", xl.dims(), bias.len());
        }
        let mut out = Vec::with_capacity(xs.len());
        for row in xs.chunks_exact(bias.len()) {
            out.extend(row.iter().zip(bias).map(|(x, b)| gelu(x + b)));
        }
        Ok((CpuStorage::F32(out), xl.shape().clone()))
    }
}

#[inline(always)]
fn gelu(x: f32) -> f32 {
    0.5 * x * (1.0 + erf(x * std::f32::consts::FRAC_1_SQRT_2))
}

/// Abramowitz and Stegun 7.1.26, absolute error below 5e-7 in f32.
#[inline(always)]
fn erf(x: f32) -> f32 {
    let magnitude = x.abs();
    let t = 1.0 / magnitude.mul_add(0.327_591_1, 1.0);
    let series = 1.061_405_4f32
        .mul_add(t, -1.453_152_1)
        .mul_add(t, 1.421_413_8)
        .mul_add(t, -0.284_496_72)
        .mul_add(t, 0.254_829_6);
    (1.0 - series * t * exp_of_negative(-magnitude * magnitude)).copysign(x)
}

/// `exp(x)` for `x <= 0`, relative error below 3e-7; 0 where the result would be below 1e-37.
#[inline(always)]
fn exp_of_negative(x: f32) -> f32 {
    let x = x.max(-86.0);
    let whole = (x * std::f32::consts::LOG2_E).round_ties_even();
    let rest = whole.mul_add(-std::f32::consts::LN_2, x);
    let series = (1.0f32 / 720.0)
        .mul_add(rest, 1.0 / 120.0)
        .mul_add(rest, 1.0 / 24.0)
        .mul_add(rest, 1.0 / 6.0)
        .mul_add(rest, 0.5)
        .mul_add(rest, 1.0)
        .mul_add(rest, 1.0);
    // `whole` lies in [-125, 0]: the exponent stays that of a normal number.
    series * f32::from_bits(((whole as i32 + 127) as u32) << 23)
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn equals_the_library_function() {
        let xs: Vec<f32> = (-4_000..4_000).map(|i| i as f32 / 400.0).chain([-1e30, 1e30, 0.0, -0.0]).collect();
        let shape = (xs.len() / 2, 2);
        let xs = Tensor::from_vec(xs, shape, &Device::Cpu).unwrap();
        let bias = Tensor::new(&[0.25f32, -0.5], &Device::Cpu).unwrap();
        let expected = xs.broadcast_add(&bias).unwrap().gelu_erf().unwrap();
        let difference = (bias_gelu(&xs, &bias).unwrap() - expected).unwrap().abs().unwrap();
        let largest = difference.flatten_all().unwrap().max(0).unwrap().to_scalar::<f32>().unwrap();
        assert!(largest < 2e-6, "{largest}");
    }

    #[test]
    fn a_bias_of_another_width_is_an_error() {
        let xs = Tensor::zeros((2, 3), candle_core::DType::F32, &Device::Cpu).unwrap();
        let bias = Tensor::zeros(2, candle_core::DType::F32, &Device::Cpu).unwrap();
        assert!(bias_gelu(&xs, &bias).is_err());
    }
}
