//! The matrices of a decoder, and the products that belong together.
//!
//! On the CPU, quantized matrices are packed for the kernels of this crate, and a product is fused with what is before and
//! behind it: the norm before it with the rounding of its rows, matrices of the same rows in one parallel region, the gate
//! with its activation, the residual connection with the output. Elsewhere, and for types without a kernel, candle's own
//! products do the same step by step.

use std::borrow::Cow;

use candle_core::quantized::{GgmlDType, QMatMul, QStorage, QTensor};
use candle_core::{CpuStorage, CustomOp1, Device, Layout, Module, Shape, Tensor};

use super::ModelError;
use super::activation::Activation;
use super::gguf::{GgufFile, MappedBytes};
use super::host::host_rows;
use super::norm::RmsNorm;
use crate::runtime::kernels::{Activations, FileMatrix, Job, Operation, PackedMatrix, Preparation, execute};

/// A matrix of `[outputs, inputs]`.
pub(super) enum Linear {
    Packed(Packed),
    Candle(QMatMul),
}

/// A packed matrix as a candle operation on rows of `[…, inputs]` in host memory.
pub(super) struct Packed(PackedMatrix);

impl CustomOp1 for Packed {
    fn name(&self) -> &'static str {
        "packed-product"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        let Some((start, end)) = layout.contiguous_offsets() else {
            candle_core::bail!("the rows of a packed product must be contiguous");
        };
        let mut dims = layout.dims().to_vec();
        match dims.last_mut() {
            Some(last) if *last == self.0.inputs() => *last = self.0.outputs(),
            _ => candle_core::bail!("rows of {:?} for a matrix with {} inputs", layout.dims(), self.0.inputs()),
        }
        let rows = &storage.as_slice::<f32>()?[start..end];
        let activations = Activations::quantize(rows, self.0.inputs(), Preparation::None);
        let mut output = vec![0.0; activations.rows() * self.0.outputs()];
        execute(&activations, &mut [Job { operation: Operation::Product(&self.0), output: &mut output }]);
        Ok((CpuStorage::F32(output), dims.into()))
    }
}

impl Linear {
    /// Reads a matrix of `[outputs, inputs]`.
    pub fn load(file: &mut GgufFile, name: &str, shape: [usize; 2], device: &Device) -> Result<Self, ModelError> {
        let [matrix] = Self::load_together(file, [name], shape, device)?;
        Ok(matrix)
    }

    /// Reads matrices of one shape that are used in turn, and lays them out for that.
    pub fn load_together<const N: usize>(
        file: &mut GgufFile,
        names: [&str; N],
        [outputs, inputs]: [usize; 2],
        device: &Device,
    ) -> Result<[Self; N], ModelError> {
        let parts = names.iter().map(|name| file.tensor_bytes(name, &[outputs, inputs]));
        let parts = parts.collect::<Result<Vec<_>, _>>()?;
        let has_kernels = parts.iter().all(|(dtype, _)| PackedMatrix::supports(*dtype, inputs));
        if !has_kernels || !device.is_cpu() || dequantizes_all() {
            let shape = [outputs, inputs];
            let matrices =
                names.iter().map(|name| Ok(Self::Candle(QMatMul::from_qtensor(file.tensor(name, &shape, device)?)?)));
            return all(matrices);
        }
        let matrices = std::array::from_fn(|index| {
            let (dtype, bytes) = &parts[index];
            FileMatrix { dtype: *dtype, outputs, inputs, bytes }
        });
        let packed = PackedMatrix::pack_together(matrices)
            .map_err(|source| ModelError::Packing { name: names.join(", "), source })?;
        // So that the weights are never in memory twice.
        parts.iter().for_each(|(_, bytes)| bytes.release());
        Ok(packed.map(|matrix| Self::Packed(Packed(matrix))))
    }

    /// `[rows, inputs]` to `[rows, outputs]`.
    pub fn forward(&self, rows: &Tensor) -> Result<Tensor, ModelError> {
        Ok(match self {
            Self::Packed(matrix) => rows.apply_op1_no_bwd(matrix)?,
            Self::Candle(matrix) => matrix.forward(rows)?,
        })
    }

    fn packed(&self) -> Option<&PackedMatrix> {
        match self {
            Self::Packed(Packed(matrix)) => Some(matrix),
            Self::Candle(_) => None,
        }
    }

    /// `base + norm(rows W^T)`, without the norm where there is none.
    pub fn add_to(&self, base: &Tensor, rows: &Tensor, norm: Option<&RmsNorm>) -> Result<Tensor, ModelError> {
        match (self.packed(), norm) {
            (Some(matrix), None) => {
                let mut output = host_rows(base)?.as_slice()?.to_vec();
                let rows = host_rows(rows)?;
                let activations = Activations::quantize(rows.as_slice()?, matrix.inputs(), Preparation::None);
                execute(&activations, &mut [Job { operation: Operation::Add(matrix), output: &mut output }]);
                Ok(Tensor::from_vec(output, base.shape(), base.device())?)
            }
            (_, Some(norm)) => Ok((base + norm.forward(&self.forward(rows)?)?)?),
            (None, None) => Ok((base + self.forward(rows)?)?),
        }
    }
}

/// The matrices of `down(activation(gate(x)) * up(x))`.
pub(super) struct GatedNetwork {
    pub gate: Linear,
    pub up: Linear,
    pub down: Linear,
    pub activation: Activation,
}

/// candle's switch that turns its quantized products into exact ones; tests compare decoders under it.
fn dequantizes_all() -> bool {
    std::env::var("CANDLE_DEQUANTIZE_ALL").is_ok_and(|value| !value.is_empty() && value != "0")
}

/// Products of the same normalized rows with several matrices.
pub(super) fn products<const N: usize>(
    norm: &RmsNorm,
    matrices: [&Linear; N],
    hidden: &Tensor,
) -> Result<[Tensor; N], ModelError> {
    let packed: Vec<&PackedMatrix> = matrices.iter().filter_map(|matrix| matrix.packed()).collect();
    if packed.len() < N {
        let rows = norm.forward(hidden)?;
        return all(matrices.into_iter().map(|matrix| matrix.forward(&rows)));
    }
    let inputs = packed.first().map_or(0, |matrix| matrix.inputs());
    let activations = normalized(norm, inputs, hidden)?;
    let rows = activations.rows();
    let mut outputs: Vec<Vec<f32>> = packed.iter().map(|matrix| vec![0.0; rows * matrix.outputs()]).collect();
    let mut jobs: Vec<Job<'_>> = packed
        .iter()
        .zip(&mut outputs)
        .map(|(matrix, output)| Job { operation: Operation::Product(matrix), output })
        .collect();
    execute(&activations, &mut jobs);
    all(outputs
        .into_iter()
        .zip(packed)
        .map(|(output, matrix)| Ok(Tensor::from_vec(output, (rows, matrix.outputs()), hidden.device())?)))
}

/// `activation(x G^T) * x U^T` of the normalized rows `x`: what the network's last matrix takes.
pub(super) fn gated_product(norm: &RmsNorm, network: &GatedNetwork, hidden: &Tensor) -> Result<Tensor, ModelError> {
    let GatedNetwork { gate, up, activation, .. } = network;
    let (Some(gate), Some(up)) = (gate.packed(), up.packed()) else {
        let rows = norm.forward(hidden)?;
        return activation.multiply_tensors(&gate.forward(&rows)?, &up.forward(&rows)?);
    };
    let activations = normalized(norm, gate.inputs(), hidden)?;
    let mut output = vec![0.0; activations.rows() * gate.outputs()];
    let combine = |gates: &[f32], ups: &[f32], output: &mut [f32]| activation.multiply(gates, ups, output);
    let operation = Operation::Gated { gate, up, combine: &combine };
    execute(&activations, &mut [Job { operation, output: &mut output }]);
    Ok(Tensor::from_vec(output, (activations.rows(), gate.outputs()), hidden.device())?)
}

/// The rows, normalized and rounded.
fn normalized(norm: &RmsNorm, inputs: usize, hidden: &Tensor) -> Result<Activations, ModelError> {
    let rows = host_rows(hidden)?;
    Ok(Activations::quantize(rows.as_slice()?, inputs, norm.preparation()))
}

fn all<T, const N: usize>(items: impl Iterator<Item = Result<T, ModelError>>) -> Result<[T; N], ModelError> {
    let items = items.collect::<Result<Vec<_>, _>>()?;
    items.try_into().map_err(|_| ModelError::Compute(candle_core::Error::msg("a product is missing")))
}

/// The token embedding. In host memory its rows are read from the mapped file, so that only those in use are resident.
pub(super) enum Embedding {
    Mapped { bytes: MappedBytes, dtype: GgmlDType, shape: [usize; 2] },
    Tensor(QTensor),
}

impl Embedding {
    /// Reads a matrix of `[vocabulary, hidden]`.
    pub fn load(file: &GgufFile, name: &str, shape: [usize; 2], device: &Device) -> Result<Self, ModelError> {
        let (dtype, bytes) = file.tensor_bytes(name, &shape)?;
        if device.is_cpu() && shape[1].is_multiple_of(dtype.block_size()) {
            return Ok(Self::Mapped { bytes, dtype, shape });
        }
        Ok(Self::Tensor(file.tensor(name, &shape, device)?))
    }

    /// The rows of these tokens, all below the vocabulary's size: `[tokens, hidden]`.
    pub fn forward(&self, tokens: Vec<u32>, device: &Device) -> Result<Tensor, ModelError> {
        let count = tokens.len();
        Ok(match self {
            Self::Mapped { bytes, dtype, shape: [_, hidden] } => {
                let row_bytes = hidden / dtype.block_size() * dtype.type_size();
                let rows: Vec<&[u8]> =
                    tokens.iter().map(|token| &bytes[*token as usize * row_bytes..][..row_bytes]).collect();
                let storage = QStorage::from_data(Cow::Owned(rows.concat()), device, *dtype)?;
                QTensor::new(storage, (count, *hidden))?.dequantize(device)?
            }
            Self::Tensor(matrix) => matrix.embedding(&Tensor::from_vec(tokens, count, device)?)?,
        })
    }
}
