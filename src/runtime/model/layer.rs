//! One transformer layer: attention and a gated feed-forward network, each behind a root-mean-square norm and a residual
//! connection.

use candle_core::{Device, Tensor};

use super::ModelError;
use super::architecture::Hyperparameters;
use super::attention::{self, BatchStep, Projection};
use super::gguf::GgufFile;
use super::heads::{HeadNorm, Heads};
use super::host::host_rows;
use super::kv::{Element, HostLayer, TensorLayer};
use super::linear::{self, GatedNetwork, Linear};
use super::norm::RmsNorm;
use super::rope::Rotations;
use super::tensor_attention::{self, DeviceRotations};

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
    weight: Linear,
    bias: Option<Bias>,
}

impl BiasedLinear {
    fn load(
        file: &mut GgufFile,
        name: &str,
        (width, hyper): (usize, &Hyperparameters),
        device: &Device,
    ) -> Result<Self, ModelError> {
        let weight = Linear::load(file, &format!("{name}.weight"), [width, hyper.config.hidden], device)?;
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
    attention_output: Linear,
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
            attention_output: Linear::load(file, &name("attn_output.weight"), [hidden, queries], device)?,
            feed_forward_norm: RmsNorm::load(file, &name("ffn_norm.weight"), hyper, device)?,
            feed_forward: GatedNetwork::load(file, index, hyper, device)?,
        })
    }

    /// Writes the batch's keys and values and attends to them: `[rows, hidden]` to `[rows, heads * head_dim]`.
    pub fn attend(&self, hidden: &Tensor, store: LayerStore<'_>, batch: &Batch<'_>) -> Result<Tensor, ModelError> {
        let matrices = [&self.query.weight, &self.key.weight, &self.value.weight];
        let [queries, keys, values] = linear::products(&self.attention_norm, matrices, hidden)?;
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
        let hidden = self.attention_output.add_to(hidden, attended, self.post_attention_norm.as_ref())?;
        let network = &self.feed_forward;
        let wide = linear::gated_product(&self.feed_forward_norm, network, &hidden)?;
        network.down.add_to(&hidden, &wide, self.post_feed_forward_norm.as_ref())
    }
}

impl GatedNetwork {
    fn load(file: &mut GgufFile, index: usize, hyper: &Hyperparameters, device: &Device) -> Result<Self, ModelError> {
        let (hidden, wide) = (hyper.config.hidden, hyper.feed_forward);
        let name = |part: &str| format!("blk.{index}.{part}.weight");
        let (gate, up) = (name("ffn_gate"), name("ffn_up"));
        let [gate, up] = Linear::load_together(file, [gate.as_str(), up.as_str()], [wide, hidden], device)?;
        Ok(Self {
            gate,
            up,
            down: Linear::load(file, &name("ffn_down"), [hidden, wide], device)?,
            activation: hyper.parts.activation,
        })
    }
}
