//! The decoder: one set of parts for all architectures, many sequences in one pass.

use std::sync::Arc;

use candle_core::quantized::{QMatMul, QTensor};
use candle_core::{Device, Module, Tensor};

use super::architecture::{Hyperparameters, TOKEN_EMBEDDING};
use super::attention::BatchStep;
use super::gguf::GgufFile;
use super::kv::{KvSettings, KvStore};
use super::layer::{Batch, Layer, LayerStore, RmsNorm, matrix};
use super::rope::Rope;
use super::tensor_attention::DeviceRotations;
use super::{BLOCK_TOKENS, DecoderConfig, Forward, LogitsWanted, ModelError, SequenceStep};

/// Weights on a device together with the key-value store that they fill.
pub struct LoadedDecoder {
    hyper: Hyperparameters,
    device: Device,
    /// Quantized as in the file: only the rows of the batch's tokens are ever dequantized.
    embedding: Arc<QTensor>,
    layers: Vec<Layer>,
    norm: RmsNorm,
    output: QMatMul,
    rope: Rope,
    store: KvStore,
    blocks: usize,
}

impl LoadedDecoder {
    /// Reads the weights onto `device` and makes the store.
    pub fn load(file: &mut GgufFile, device: &Device, kv: KvSettings) -> Result<Self, ModelError> {
        let hyper = Hyperparameters::read(file)?;
        let config = &hyper.config;
        let matrix_shape = [config.vocabulary, config.hidden];
        let embedding = Arc::new(file.tensor(TOKEN_EMBEDDING, &matrix_shape, device)?);
        let output = if file.has_tensor("output.weight") {
            matrix(file, "output.weight", matrix_shape, device)?
        } else {
            QMatMul::from_arc(embedding.clone())?
        };
        let norm = RmsNorm::load(file, "output_norm.weight", &hyper, device)?;
        let layers =
            (0..config.layers).map(|index| Layer::load(file, index, &hyper, device)).collect::<Result<Vec<_>, _>>()?;
        let rope = Rope::new(hyper.rope_layout, hyper.rope_base, config.head_dim);
        let (store, blocks) = KvStore::new(config, kv, device)?;
        Ok(Self { device: device.clone(), embedding, layers, norm, output, rope, store, blocks, hyper })
    }

    fn check(&self, steps: &[SequenceStep<'_>]) -> Result<(), ModelError> {
        let config = &self.hyper.config;
        for (index, step) in steps.iter().enumerate() {
            let refuse = |reason: String| Err(ModelError::InvalidStep { index, reason });
            let Some(end) = step.start.checked_add(step.tokens.len()).filter(|end| *end <= config.context_length)
            else {
                return refuse(format!("positions from {} leave the context of {}", step.start, config.context_length));
            };
            if step.tokens.is_empty() {
                return refuse("no tokens".to_owned());
            }
            if let Some(token) = step.tokens.iter().find(|token| **token as usize >= config.vocabulary) {
                return refuse(format!("token {token} is not among {}", config.vocabulary));
            }
            if step.blocks.len() < end.div_ceil(BLOCK_TOKENS) {
                return refuse(format!("{} blocks do not cover {end} positions", step.blocks.len()));
            }
            if let Some(block) = step.blocks.iter().find(|block| block.0 as usize >= self.blocks) {
                return refuse(format!("block {} is not among {}", block.0, self.blocks));
            }
        }
        Ok(())
    }

    fn batch<'a>(&self, steps: &'a [SequenceStep<'a>]) -> Result<Batch<'a>, ModelError> {
        let mut row = 0;
        let batch_steps: Vec<BatchStep<'a>> = steps
            .iter()
            .map(|step| {
                let first = row;
                row += step.tokens.len();
                BatchStep { row: first, rows: step.tokens.len(), start: step.start, blocks: step.blocks }
            })
            .collect();
        let positions = steps.iter().flat_map(|step| step.start..step.start + step.tokens.len());
        let rotations = self.rope.rotations(positions);
        let device_rotations = match &self.store {
            KvStore::HostF16(_) | KvStore::HostF32(_) => None,
            KvStore::Device(_) => Some(DeviceRotations::new(&rotations, &self.device)?),
        };
        Ok(Batch { steps: batch_steps, rotations, device_rotations })
    }
}

impl Forward for LoadedDecoder {
    fn config(&self) -> &DecoderConfig {
        &self.hyper.config
    }

    fn forward(&mut self, steps: &[SequenceStep<'_>]) -> Result<Vec<Vec<f32>>, ModelError> {
        self.check(steps)?;
        if steps.is_empty() {
            return Ok(Vec::new());
        }
        let batch = self.batch(steps)?;
        let wanted = wanted_rows(steps);
        let tokens: Vec<u32> = steps.iter().flat_map(|step| step.tokens).copied().collect();
        let rows = tokens.len();
        let mut hidden = self.embedding.embedding(&Tensor::from_vec(tokens, rows, &self.device)?)?;
        for (index, layer) in self.layers.iter().enumerate() {
            let store = match &mut self.store {
                KvStore::HostF16(layers) => LayerStore::HostF16(&mut layers[index]),
                KvStore::HostF32(layers) => LayerStore::HostF32(&mut layers[index]),
                KvStore::Device(layers) => LayerStore::Device(&layers[index]),
            };
            let mut attended = layer.attend(&hidden, store, &batch)?;
            if index + 1 == self.layers.len() && wanted.len() < rows {
                // From here on rows no longer meet: only those whose logits are wanted go on.
                if wanted.is_empty() {
                    return Ok(Vec::new());
                }
                let wanted = Tensor::from_slice(&wanted, wanted.len(), &self.device)?;
                hidden = hidden.index_select(&wanted, 0)?;
                attended = attended.index_select(&wanted, 0)?;
            }
            hidden = layer.finish(&hidden, &attended)?;
        }
        Ok(self.output.forward(&self.norm.forward(&hidden)?)?.to_vec2()?)
    }

    fn blocks(&self) -> usize {
        self.blocks
    }
}

/// Rows of the batch whose logits are wanted, in order.
fn wanted_rows(steps: &[SequenceStep<'_>]) -> Vec<u32> {
    let mut wanted = Vec::new();
    let mut row = 0;
    for step in steps {
        let end = row + step.tokens.len() as u32;
        match step.logits {
            LogitsWanted::None => {}
            LogitsWanted::Last => wanted.push(end - 1),
            LogitsWanted::All => wanted.extend(row..end),
        }
        row = end;
    }
    wanted
}
