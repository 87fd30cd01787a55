//! One transformer layer: attention and a gated feed-forward network, each behind a root-mean-square norm and a residual
//! connection.

use std::ops::Deref;

use candle_core::quantized::{QMatMul, QTensor};
use candle_core::{Device, Module, Storage, Tensor};

use super::ModelError;
use super::activation::Activation;
use super::architecture::Hyperparameters;
use super::attention::{self, BatchStep, Projection};
use super::gguf::GgufFile;
use super::heads::{HeadNorm, Heads};
use super::kv::{Element, HostLayer, TensorLayer};
use super::parallel;
use super::rope::Rotations;
use super::tensor_attention::{self, DeviceRotations};

/// `x / rms(x) * weight` over the last dimension.
pub(super) struct RmsNorm {
    weight: Tensor,
    epsilon: f32,
}

impl RmsNorm {
    pub fn load(file: &mut GgufFile, name: &str, hyper: &Hyperparameters, device: &Device) -> Result<Self, ModelError> {
        let weight = file.tensor(name, &[hyper.config.hidden], device)?.dequantize(device)?;
        Ok(Self { weight, epsilon: hyper.rms_epsilon })
    }

    pub fn forward(&self, rows: &Tensor) -> Result<Tensor, ModelError> {
        Ok(candle_nn::ops::rms_norm(rows, &self.weight, self.epsilon)?)
    }
}

/// `input + norm(branch)`, where the branch has a norm of its own (gemma3).
fn add_branch(input: &Tensor, branch: Tensor, norm: Option<&RmsNorm>) -> Result<Tensor, ModelError> {
    let branch = match norm {
        Some(norm) => norm.forward(&branch)?,
        None => branch,
    };
    Ok((input + branch)?)
}

/// Biases of the query, key and value projections, for the host kernel and for devices.
struct Bias {
    tensor: Tensor,
    host: Vec<f32>,
}

impl Bias {
    fn load(file: &mut GgufFile, name: &str, width: usize, device: &Device) -> Result<Self, ModelError> {
        let tensor = file.tensor(name, &[width], device)?.dequantize(device)?;
        Ok(Self { host: tensor.to_vec1()?, tensor })
    }
}

/// A projection whose bias is added by whoever uses its rows.
struct BiasedLinear {
    weight: QMatMul,
    bias: Option<Bias>,
}

impl BiasedLinear {
    fn load(
        file: &mut GgufFile,
        name: &str,
        (width, hyper): (usize, &Hyperparameters),
        device: &Device,
    ) -> Result<Self, ModelError> {
        let weight = matrix(file, &format!("{name}.weight"), [width, hyper.config.hidden], device)?;
        let bias =
            if hyper.parts.qkv_bias { Some(Bias::load(file, &format!("{name}.bias"), width, device)?) } else { None };
        Ok(Self { weight, bias })
    }

    fn projection<'a>(&'a self, rows: &'a [f32], norm: Option<&'a HeadNorm>) -> Projection<'a> {
        Projection { rows, bias: self.bias.as_ref().map(|bias| bias.host.as_slice()), norm }
    }

    fn add_bias(&self, rows: Tensor) -> Result<Tensor, ModelError> {
        match &self.bias {
            Some(bias) => Ok(rows.broadcast_add(&bias.tensor)?),
            None => Ok(rows),
        }
    }
}

/// The batch that a forward pass computes, as the layers see it.
pub(super) struct Batch<'a> {
    pub steps: Vec<BatchStep<'a>>,
    /// One for each rope of the model.
    pub rotations: Vec<Rotations>,
    /// The same on the device; only where attention runs on tensors.
    pub device_rotations: Vec<DeviceRotations>,
}

/// Where a layer keeps its keys and values.
pub(super) enum LayerStore<'a> {
    HostF16(&'a mut HostLayer<u16>),
    HostF32(&'a mut HostLayer<f32>),
    Device(&'a TensorLayer),
}

pub(super) struct Layer {
    heads: Heads,
    attention_norm: RmsNorm,
    query: BiasedLinear,
    key: BiasedLinear,
    value: BiasedLinear,
    attention_output: QMatMul,
    post_attention_norm: Option<RmsNorm>,
    feed_forward_norm: RmsNorm,
    feed_forward: GatedNetwork,
    post_feed_forward_norm: Option<RmsNorm>,
}

impl Layer {
    pub fn load(
        file: &mut GgufFile,
        index: usize,
        hyper: &Hyperparameters,
        device: &Device,
    ) -> Result<Self, ModelError> {
        let heads = Heads::load(file, index, hyper, device)?;
        let (layout, hidden) = (heads.layout, hyper.config.hidden);
        let (queries, keys) = (layout.heads * layout.head_dim, layout.kv_heads * layout.head_dim);
        let name = |part: &str| format!("blk.{index}.{part}");
        let mut post_norm = |part: &str| -> Result<Option<RmsNorm>, ModelError> {
            if !hyper.parts.post_norms {
                return Ok(None);
            }
            RmsNorm::load(file, &name(part), hyper, device).map(Some)
        };
        Ok(Self {
            post_attention_norm: post_norm("post_attention_norm.weight")?,
            post_feed_forward_norm: post_norm("post_ffw_norm.weight")?,
            heads,
            attention_norm: RmsNorm::load(file, &name("attn_norm.weight"), hyper, device)?,
            query: BiasedLinear::load(file, &name("attn_q"), (queries, hyper), device)?,
            key: BiasedLinear::load(file, &name("attn_k"), (keys, hyper), device)?,
            value: BiasedLinear::load(file, &name("attn_v"), (keys, hyper), device)?,
            attention_output: matrix(file, &name("attn_output.weight"), [hidden, queries], device)?,
            feed_forward_norm: RmsNorm::load(file, &name("ffn_norm.weight"), hyper, device)?,
            feed_forward: GatedNetwork::load(file, index, hyper, device)?,
        })
    }

    /// Writes the batch's keys and values and attends to them: `[rows, hidden]` to `[rows, heads * head_dim]`.
    pub fn attend(&self, hidden: &Tensor, store: LayerStore<'_>, batch: &Batch<'_>) -> Result<Tensor, ModelError> {
        let rows = self.attention_norm.forward(hidden)?;
        let [queries, keys, values] = products([&self.query.weight, &self.key.weight, &self.value.weight], &rows)?;
        match store {
            LayerStore::HostF16(store) => self.attend_on_host(store, [queries, keys, values], batch),
            LayerStore::HostF32(store) => self.attend_on_host(store, [queries, keys, values], batch),
            LayerStore::Device(store) => {
                let Some(rotations) = batch.device_rotations.get(self.heads.rope) else {
                    return Err(ModelError::KvStore("a device store needs rotations on the device".to_owned()));
                };
                let (keys, values) = (self.key.add_bias(keys)?, self.value.add_bias(values)?);
                tensor_attention::write(store, &self.heads, &batch.steps, (&keys, &values), rotations)?;
                let queries = self.query.add_bias(queries)?;
                tensor_attention::attend(store, &self.heads, &batch.steps, &queries, rotations)
            }
        }
    }

    fn attend_on_host<E: Element>(
        &self,
        store: &mut HostLayer<E>,
        [queries, keys, values]: [Tensor; 3],
        batch: &Batch<'_>,
    ) -> Result<Tensor, ModelError> {
        let (keys, values) = (host_rows(&keys)?, host_rows(&values)?);
        let rotations = &batch.rotations[self.heads.rope];
        let keys = self.key.projection(keys.as_slice()?, self.heads.key_norm.as_ref());
        let values = self.value.projection(values.as_slice()?, None);
        attention::write(store, self.heads.layout, &batch.steps, (keys, values), rotations);
        let rows = host_rows(&queries)?;
        let projection = self.query.projection(rows.as_slice()?, self.heads.query_norm.as_ref());
        let output = attention::attend(store, &self.heads, &batch.steps, projection, rotations);
        Ok(Tensor::from_vec(output, queries.shape(), queries.device())?)
    }

    /// What follows attention: its output projection, both residual connections and the feed-forward network.
    /// `hidden` is what [`Layer::attend`] was given, `attended` what it returned.
    pub fn finish(&self, hidden: &Tensor, attended: &Tensor) -> Result<Tensor, ModelError> {
        let attended = self.attention_output.forward(attended)?;
        let hidden = add_branch(hidden, attended, self.post_attention_norm.as_ref())?;
        let output = self.feed_forward.forward(&self.feed_forward_norm.forward(&hidden)?)?;
        add_branch(&hidden, output, self.post_feed_forward_norm.as_ref())
    }
}

/// `down(activation(gate(x)) * up(x))`.
struct GatedNetwork {
    gate: QMatMul,
    up: QMatMul,
    down: QMatMul,
    activation: Activation,
}

impl GatedNetwork {
    fn load(file: &mut GgufFile, index: usize, hyper: &Hyperparameters, device: &Device) -> Result<Self, ModelError> {
        let (hidden, wide) = (hyper.config.hidden, hyper.feed_forward);
        let mut part = |name: &str, shape| matrix(file, &format!("blk.{index}.{name}.weight"), shape, device);
        Ok(Self {
            gate: part("ffn_gate", [wide, hidden])?,
            up: part("ffn_up", [wide, hidden])?,
            down: part("ffn_down", [hidden, wide])?,
            activation: hyper.parts.activation,
        })
    }

    /// `[rows, hidden]` to the same shape.
    fn forward(&self, rows: &Tensor) -> Result<Tensor, ModelError> {
        let [gate, up] = products([&self.gate, &self.up], rows)?;
        let wide = if gate.device().is_cpu() {
            gated_product(self.activation, &gate, &up)?
        } else {
            self.activation.multiply_tensors(&gate, &up)?
        };
        Ok(self.down.forward(&wide)?)
    }
}

/// Reads a matrix of `[outputs, inputs]`.
pub(super) fn matrix(
    file: &mut GgufFile,
    name: &str,
    shape: [usize; 2],
    device: &Device,
) -> Result<QMatMul, ModelError> {
    Ok(QMatMul::from_qtensor(file.tensor(name, &shape, device)?)?)
}

/// Products of the same rows with several matrices. Where candle can, those of one quantization share the quantized rows
/// and one parallel region.
fn products<const N: usize>(matrices: [&QMatMul; N], rows: &Tensor) -> Result<[Tensor; N], ModelError> {
    let quantized: Vec<(usize, &QTensor)> = matrices
        .iter()
        .enumerate()
        .filter_map(|(index, matrix)| match matrix {
            QMatMul::QTensor(tensor) => Some((index, tensor.as_ref())),
            QMatMul::Tensor(_) | QMatMul::TensorF16(_) => None,
        })
        .collect();
    let mut results: [Option<Tensor>; N] = std::array::from_fn(|_| None);
    if let Some((_, first)) = quantized.first() {
        let same: Vec<_> = quantized.iter().filter(|(_, tensor)| tensor.dtype() == first.dtype()).collect();
        let tensors: Vec<&QTensor> = same.iter().map(|(_, tensor)| *tensor).collect();
        if let Some(products) = QTensor::gemv_fused_shared_lhs(&tensors, rows)? {
            for ((index, _), product) in same.into_iter().zip(products) {
                results[*index] = Some(product);
            }
        }
    }
    let mut complete = Vec::with_capacity(N);
    for (matrix, result) in matrices.iter().zip(results) {
        complete.push(match result {
            Some(product) => product,
            None => matrix.forward(rows)?,
        });
    }
    complete.try_into().map_err(|_| ModelError::Compute(candle_core::Error::msg("a product is missing")))
}

/// `activation(gate) * up` in one pass over host memory.
fn gated_product(activation: Activation, gate: &Tensor, up: &Tensor) -> Result<Tensor, ModelError> {
    const CHUNK: usize = 1 << 14;
    let (gates, ups) = (host_rows(gate)?, host_rows(up)?);
    let (gates, ups) = (gates.as_slice()?, ups.as_slice()?);
    let mut output = vec![0.0; gates.len()];
    let chunks = output.chunks_mut(CHUNK).zip(gates.chunks(CHUNK)).zip(ups.chunks(CHUNK)).collect();
    parallel::for_each(chunks, |((output, gates), ups): ((&mut [f32], &[f32]), &[f32])| {
        activation.multiply(gates, ups, output);
    });
    Ok(Tensor::from_vec(output, gate.shape(), gate.device())?)
}

/// The elements of a contiguous f32 tensor in host memory, without a copy.
struct HostRows<G> {
    storage: G,
    range: std::ops::Range<usize>,
}

fn host_rows(tensor: &Tensor) -> Result<HostRows<impl Deref<Target = Storage>>, ModelError> {
    let (storage, layout) = tensor.storage_and_layout();
    let Some((start, end)) = layout.contiguous_offsets() else {
        return Err(ModelError::Compute(candle_core::Error::msg("host rows must be contiguous")));
    };
    Ok(HostRows { storage, range: start..end })
}

impl<G: Deref<Target = Storage>> HostRows<G> {
    fn as_slice(&self) -> Result<&[f32], ModelError> {
        match &*self.storage {
            Storage::Cpu(storage) => Ok(&storage.as_slice::<f32>()?[self.range.clone()]),
            Storage::Cuda(_) | Storage::Metal(_) => {
                Err(ModelError::Compute(candle_core::Error::msg("host rows must be in host memory")))
            }
        }
    }
}
