//! Attention through candle's own operations, for devices other than the CPU: each sequence's slots are gathered out of the
//! store and attended to at once.

use candle_core::{D, DType, Device, Tensor};

use super::attention::BatchStep;
use super::heads::{HeadNorm, Heads};
use super::kv::TensorLayer;
use super::rope::{RopeLayout, Rotations};
use super::{BLOCK_TOKENS, ModelError};

/// The angles of the batch's rows on the device: `[rows, head_dim / 2]`.
pub(super) struct DeviceRotations {
    layout: RopeLayout,
    cos: Tensor,
    sin: Tensor,
}

impl DeviceRotations {
    pub fn new(rotations: &Rotations, device: &Device) -> Result<Self, ModelError> {
        let shape = (rotations.cos.len() / rotations.pairs, rotations.pairs);
        Ok(Self {
            layout: rotations.layout,
            cos: Tensor::from_slice(&rotations.cos, shape, device)?,
            sin: Tensor::from_slice(&rotations.sin, shape, device)?,
        })
    }

    /// Rotates `[rows, heads, head_dim]`.
    fn apply(&self, heads: &Tensor) -> Result<Tensor, ModelError> {
        // candle rotates `[batch, heads, rows, head_dim]`.
        let x = heads.transpose(0, 1)?.unsqueeze(0)?.contiguous()?;
        let rotated = match self.layout {
            RopeLayout::Halves => candle_nn::rotary_emb::rope(&x, &self.cos, &self.sin)?,
            RopeLayout::Interleaved => candle_nn::rotary_emb::rope_i(&x, &self.cos, &self.sin)?,
        };
        Ok(rotated.squeeze(0)?.transpose(0, 1)?.contiguous()?)
    }
}

/// Normalizes and rotates the batch's keys (`[rows, kv_heads * head_dim]`, bias added) and writes keys and values to the
/// store.
pub(super) fn write(
    layer: &TensorLayer,
    heads: &Heads,
    steps: &[BatchStep<'_>],
    (keys, values): (&Tensor, &Tensor),
    rotations: &DeviceRotations,
) -> Result<(), ModelError> {
    let dtype = layer.keys.dtype();
    let shape = ((), heads.layout.kv_heads, heads.layout.head_dim);
    let keys = normalized(keys.reshape(shape)?, heads.key_norm.as_ref())?;
    let keys = rotations.apply(&keys)?.to_dtype(dtype)?;
    let values = values.reshape(shape)?.to_dtype(dtype)?;
    for step in steps {
        let mut offset = 0;
        while offset < step.rows {
            let position = step.start + offset;
            let slot = position % BLOCK_TOKENS;
            // Slots of one block are neighbours: written together.
            let run = (BLOCK_TOKENS - slot).min(step.rows - offset);
            let target = step.blocks[position / BLOCK_TOKENS].0 as usize * BLOCK_TOKENS + slot;
            layer.keys.slice_set(&keys.narrow(0, step.row + offset, run)?.contiguous()?, 0, target)?;
            layer.values.slice_set(&values.narrow(0, step.row + offset, run)?.contiguous()?, 0, target)?;
            offset += run;
        }
    }
    Ok(())
}

/// Attends from every row (`[rows, heads * head_dim]`, bias added) to its own sequence; same shape as the queries.
pub(super) fn attend(
    layer: &TensorLayer,
    heads: &Heads,
    steps: &[BatchStep<'_>],
    queries: &Tensor,
    rotations: &DeviceRotations,
) -> Result<Tensor, ModelError> {
    let queries = queries.reshape(((), heads.layout.heads, heads.layout.head_dim))?;
    let queries = rotations.apply(&normalized(queries, heads.query_norm.as_ref())?)?;
    let queries = (queries * f64::from(heads.scale))?;
    let outputs = steps
        .iter()
        .map(|step| attend_step(layer, heads, step, &queries.narrow(0, step.row, step.rows)?))
        .collect::<Result<Vec<_>, ModelError>>()?;
    Ok(Tensor::cat(&outputs, 0)?)
}

fn normalized(heads: Tensor, norm: Option<&HeadNorm>) -> Result<Tensor, ModelError> {
    match norm {
        Some(norm) => norm.forward(&heads),
        None => Ok(heads),
    }
}

fn attend_step(
    layer: &TensorLayer,
    heads: &Heads,
    step: &BatchStep<'_>,
    queries: &Tensor,
) -> Result<Tensor, ModelError> {
    let (layout, group, dim) = (heads.layout, heads.layout.group(), heads.layout.head_dim);
    // What no row of the step sees is not gathered.
    let positions = heads.first_seen(step.start)..step.start + step.rows;
    let length = positions.len();
    let slots: Vec<u32> = positions
        .clone()
        .map(|position| step.blocks[position / BLOCK_TOKENS].0 * BLOCK_TOKENS as u32 + (position % BLOCK_TOKENS) as u32)
        .collect();
    let slots = Tensor::from_vec(slots, length, queries.device())?;
    // [kv_heads, length, head_dim]
    let gather = |store: &Tensor| -> Result<Tensor, ModelError> {
        Ok(store.index_select(&slots, 0)?.to_dtype(DType::F32)?.transpose(0, 1)?.contiguous()?)
    };
    let (keys, values) = (gather(&layer.keys)?, gather(&layer.values)?);
    // The rows of all query heads that share a key head form one matrix: [kv_heads, rows * group, head_dim].
    let queries = queries
        .reshape((step.rows, layout.kv_heads, group, dim))?
        .transpose(0, 1)?
        .contiguous()?
        .reshape((layout.kv_heads, step.rows * group, dim))?;
    let mut scores = queries.matmul(&keys.transpose(1, 2)?.contiguous()?)?;
    if step.rows > 1 {
        let mask: Vec<f32> = (0..step.rows * group)
            .flat_map(|vector| {
                let last = step.start + vector / group;
                let seen = heads.first_seen(last)..=last;
                positions.clone().map(move |position| if seen.contains(&position) { 0.0 } else { f32::NEG_INFINITY })
            })
            .collect();
        let mask = Tensor::from_vec(mask, (1, step.rows * group, length), scores.device())?;
        scores = scores.broadcast_add(&mask)?;
    }
    let weights = candle_nn::ops::softmax(&scores, D::Minus1)?;
    let output = weights.matmul(&values)?.reshape((layout.kv_heads, step.rows, group, dim))?;
    Ok(output.transpose(0, 1)?.reshape((step.rows, layout.heads * dim))?)
}
