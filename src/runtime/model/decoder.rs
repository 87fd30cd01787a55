//! The decoder: one set of parts for all architectures, many sequences in one pass.

use candle_core::{Device, Tensor};

use super::architecture::{Hyperparameters, TOKEN_EMBEDDING};
use super::attention::BatchStep;
use super::gguf::GgufFile;
use super::kv::{KvSettings, KvStore};
use super::layer::{Batch, Layer, LayerStore};
use super::linear::{Embedding, Linear};
use super::norm::RmsNorm;
use super::rope::Rope;
use super::tensor_attention::DeviceRotations;
use super::{BLOCK_TOKENS, DecoderConfig, Forward, LogitsWanted, ModelError, SequenceStep};

/// Weights on a device together with the key-value store that they fill.
pub struct LoadedDecoder {
    hyper: Hyperparameters,
    device: Device,
    embedding: Embedding,
    layers: Vec<Layer>,
    norm: RmsNorm,
    output: Linear,
    ropes: Vec<Rope>,
    store: KvStore,
    blocks: usize,
}

impl LoadedDecoder {
    /// Reads the weights onto `device` and makes the store.
    pub fn load(file: &mut GgufFile, device: &Device, kv: KvSettings) -> Result<Self, ModelError> {
        let hyper = Hyperparameters::read(file)?;
        let config = &hyper.config;
        let matrix_shape = [config.vocabulary, config.hidden];
        let embedding = Embedding::load(file, TOKEN_EMBEDDING, matrix_shape, device)?;
        let output = if file.has_tensor("output.weight") { "output.weight" } else { TOKEN_EMBEDDING };
        let output = Linear::load(file, output, matrix_shape, device)?;
        let norm = RmsNorm::load(file, "output_norm.weight", &hyper, device)?;
        let layers =
            (0..config.layers).map(|index| Layer::load(file, index, &hyper, device)).collect::<Result<Vec<_>, _>>()?;
        let (store, blocks) = KvStore::new(config, kv, device)?;
        Ok(Self { device: device.clone(), embedding, layers, norm, output, ropes: hyper.ropes(), store, blocks, hyper })
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
        let positions = || steps.iter().flat_map(|step| step.start..step.start + step.tokens.len());
        let rotations: Vec<_> = self.ropes.iter().map(|rope| rope.rotations(positions())).collect();
        let device_rotations = match &self.store {
            KvStore::HostF16(_) | KvStore::HostF32(_) => Vec::new(),
            KvStore::Device(_) => rotations
                .iter()
                .map(|rotations| DeviceRotations::new(rotations, &self.device))
                .collect::<Result<_, _>>()?,
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
        let mut hidden = self.embedding.forward(tokens, &self.device)?;
        if self.hyper.parts.scaled_embedding {
            hidden = (hidden * (self.hyper.config.hidden as f64).sqrt())?;
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::model::testing::{ARCHITECTURES, TinyModel};
    use crate::runtime::model::{BlockId, KvCapacity, KvPrecision};

    const FULL: KvSettings = KvSettings { capacity: KvCapacity::Blocks(16), precision: KvPrecision::F32 };

    fn decoder(architecture: &'static str, kv: KvSettings) -> LoadedDecoder {
        let (_directory, path) = TinyModel::new(architecture).write();
        LoadedDecoder::load(&mut GgufFile::open(&path).expect("file"), &Device::Cpu, kv).expect("decoder")
    }

    fn with_tensor_store(mut decoder: LoadedDecoder, kv: KvSettings) -> LoadedDecoder {
        decoder.store = KvStore::on_device(&decoder.hyper.config, kv, &Device::Cpu).expect("store").0;
        decoder
    }

    /// Three sequences over interleaved blocks: a long prompt in two chunks, then chunk, decoding step and short prompt in
    /// one batch.
    fn run(decoder: &mut LoadedDecoder) -> Vec<Vec<f32>> {
        let tokens: Vec<u32> = (0..100).map(|i| i * 37 % 256).collect();
        let tables = [[9, 2, 4, 7], [0, 11, 3, 5], [1, 6, 8, 10]].map(|table| table.map(BlockId));
        let step = |sequence: usize, range: std::ops::Range<usize>, logits| SequenceStep {
            tokens: &tokens[range.clone()],
            start: range.start,
            blocks: &tables[sequence],
            logits,
        };
        let first = [step(0, 0..50, LogitsWanted::None), step(1, 0..64, LogitsWanted::None)];
        let second = [
            step(0, 50..99, LogitsWanted::Last),
            step(1, 64..65, LogitsWanted::Last),
            step(2, 0..3, LogitsWanted::All),
        ];
        let third = [step(0, 99..100, LogitsWanted::Last), step(2, 3..4, LogitsWanted::Last)];
        [&first[..], &second[..], &third[..]]
            .into_iter()
            .flat_map(|steps| decoder.forward(steps).expect("forward"))
            .collect()
    }

    fn assert_equal(a: &[Vec<f32>], b: &[Vec<f32>], tolerance: f32) {
        assert_eq!(a.len(), b.len());
        for (a, b) in a.iter().flatten().zip(b.iter().flatten()) {
            assert!((a - b).abs() <= tolerance * (1.0 + a.abs()), "{a} and {b}");
        }
    }

    #[test]
    fn host_attention_equals_attention_through_tensors() {
        for architecture in ARCHITECTURES {
            let host = run(&mut decoder(architecture, FULL));
            assert_eq!(host.len(), 7);
            let tensors = run(&mut with_tensor_store(decoder(architecture, FULL), FULL));
            assert_equal(&host, &tensors, 1e-4);
        }
    }

    #[test]
    fn half_precision_is_rounded_the_same_on_host_and_tensors() {
        let half = KvSettings { precision: KvPrecision::F16, ..FULL };
        for architecture in ARCHITECTURES {
            let host = run(&mut decoder(architecture, half));
            assert_equal(&host, &run(&mut with_tensor_store(decoder(architecture, half), half)), 1e-3);
            assert_equal(&host, &run(&mut decoder(architecture, FULL)), 2e-2);
        }
    }

    /// The same as [`run`], every token alone.
    fn run_token_by_token(decoder: &mut LoadedDecoder) -> Vec<Vec<f32>> {
        let tokens: Vec<u32> = (0..100).map(|i| i * 37 % 256).collect();
        let blocks = [9, 2, 4, 7].map(BlockId);
        let mut rows = Vec::new();
        for (start, token) in tokens.iter().enumerate() {
            let step = SequenceStep {
                tokens: std::slice::from_ref(token),
                start,
                blocks: &blocks,
                logits: LogitsWanted::Last,
            };
            rows.extend(decoder.forward(&[step]).expect("forward"));
        }
        [98, 64, 0, 1, 2, 99, 3].map(|position| rows[position].clone()).into()
    }

    #[test]
    fn batches_and_chunks_equal_every_token_alone() {
        for architecture in ARCHITECTURES {
            let alone = run_token_by_token(&mut decoder(architecture, FULL));
            assert_equal(&alone, &run(&mut decoder(architecture, FULL)), 1e-4);
        }
    }

    #[test]
    fn what_another_sequence_left_in_a_block_is_not_seen() {
        let mut used = decoder("llama", FULL);
        let blocks = (0..16).map(BlockId).collect::<Vec<_>>();
        let other: Vec<u32> = (0..256).collect();
        used.forward(&[SequenceStep { tokens: &other, start: 0, blocks: &blocks, logits: LogitsWanted::None }])
            .expect("forward");
        assert_equal(&run(&mut used), &run(&mut decoder("llama", FULL)), 0.0);
    }

    #[test]
    fn a_bound_on_memory_makes_as_many_blocks_as_fit() {
        let kv = |capacity| KvSettings { capacity, precision: KvPrecision::F16 };
        let config = decoder("llama", FULL).hyper.config;
        let bytes = kv(KvCapacity::Blocks(1)).block_bytes(&config);
        assert_eq!(
            bytes,
            2 * 2 * 2 * 2 * 16 * BLOCK_TOKENS,
            "keys and values, layers, heads, elements, two bytes each"
        );
        let bounded = decoder("llama", kv(KvCapacity::Bytes(3 * bytes as u64 + 1)));
        assert_eq!(bounded.blocks(), 3);
    }
}
