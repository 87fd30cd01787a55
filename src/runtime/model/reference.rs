//! candle-transformers' decoders behind one face: what the tests compare with and the benchmark measures against.

use std::collections::HashMap;
use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use candle_core::quantized::gguf_file::{Content, Value};
use candle_core::{DType, Device, Tensor};
use candle_nn::{Activation, VarBuilder};
use candle_transformers::models::{gemma3, quantized_llama, quantized_qwen2, quantized_qwen3};

use super::ModelError;
use super::architecture::Hyperparameters;
use super::gguf::GgufFile;

/// Most positions that the reference for gemma3 computes; it makes a table of angles for each layer.
const GEMMA3_POSITIONS: usize = 4096;

/// One sequence at a time; its keys and values are kept inside the layers.
pub struct ReferenceDecoder {
    model: Model,
    device: Device,
}

enum Model {
    Qwen2(quantized_qwen2::ModelWeights),
    Qwen3(quantized_qwen3::ModelWeights),
    Llama(quantized_llama::ModelWeights),
    Gemma3(Gemma3),
}

struct Gemma3 {
    model: Box<gemma3::Model>,
    /// Positions that can be computed several at once. Beyond the window its masks do not fit, and it fails to write the
    /// values of more than one key head.
    joint: usize,
}

impl Gemma3 {
    fn forward(&mut self, tokens: &[u32], start: usize, device: &Device) -> candle_core::Result<Tensor> {
        if start == 0 {
            self.model.clear_kv_cache();
        }
        let mut logits = None;
        let (joint, single) = tokens.split_at(tokens.len().min(self.joint.saturating_sub(start)));
        for (position, tokens) in [(start, joint)].into_iter().chain((start + joint.len()..).zip(single.chunks(1))) {
            if !tokens.is_empty() {
                logits = Some(self.model.forward(&Tensor::new(tokens, device)?.unsqueeze(0)?, position)?);
            }
        }
        logits.ok_or_else(|| candle_core::Error::msg("no tokens"))?.squeeze(1)
    }
}

impl ReferenceDecoder {
    pub fn load(path: &Path, device: &Device) -> Result<Self, ModelError> {
        let gguf = GgufFile::open(path)?;
        let architecture = gguf.architecture()?.to_owned();
        let file = File::open(path).map_err(|source| ModelError::Io { path: path.to_owned(), source })?;
        let mut reader = BufReader::new(file);
        let mut content = Content::read(&mut reader)?;
        let model = match architecture.as_str() {
            "qwen2" => Model::Qwen2(quantized_qwen2::ModelWeights::from_gguf(content, &mut reader, device)?),
            "qwen3" => {
                // Else it computes angles in half precision, wrong by whole radians at some hundred positions.
                content.metadata.insert("general.dtype".to_owned(), Value::U32(0));
                Model::Qwen3(quantized_qwen3::ModelWeights::from_gguf(content, &mut reader, device)?)
            }
            "llama" => Model::Llama(quantized_llama::ModelWeights::from_gguf(content, &mut reader, device)?),
            "gemma3" => gemma3_reference(&Hyperparameters::read(&gguf)?, &content, &mut reader, device)?,
            _ => return Err(ModelError::UnsupportedArchitecture(architecture)),
        };
        Ok(Self { model, device: device.clone() })
    }

    /// Logits of the last of `tokens`, which stand at positions from `start`; a `start` of 0 begins a new sequence.
    pub fn forward(&mut self, tokens: &[u32], start: usize) -> Result<Vec<f32>, ModelError> {
        let batch = Tensor::new(tokens, &self.device)?.unsqueeze(0)?;
        let logits = match &mut self.model {
            Model::Qwen2(model) => model.forward(&batch, start)?,
            Model::Qwen3(model) => {
                if start == 0 {
                    model.clear_kv_cache();
                }
                model.forward(&batch, start)?
            }
            Model::Llama(model) => model.forward(&batch, start)?,
            Model::Gemma3(model) => model.forward(tokens, start, &self.device)?,
        };
        Ok(logits.squeeze(0)?.to_vec1()?)
    }
}

/// candle's decoder for the published weights, on the file's weights dequantized: its decoder for GGUF files has SiLU where
/// Gemma has GELU, and its sliding layers see everything while decoding.
fn gemma3_reference(
    hyper: &Hyperparameters,
    content: &Content,
    reader: &mut BufReader<File>,
    device: &Device,
) -> Result<Model, ModelError> {
    let mut tensors = HashMap::new();
    for name in content.tensor_infos.keys() {
        let mut tensor = content.tensor(reader, name, device)?.dequantize(device)?;
        if name.ends_with("norm.weight") {
            // Conversion to GGUF adds the 1 that the published norms add when they are applied.
            tensor = (tensor - 1.0)?;
        }
        tensors.insert(published_name(name), tensor);
    }
    let config = &hyper.config;
    let sliding = hyper.sliding.ok_or_else(|| candle_core::Error::msg("gemma3 without sliding layers"))?;
    let config = gemma3::Config {
        attention_bias: false,
        head_dim: config.head_dim,
        hidden_activation: Activation::GeluPytorchTanh,
        hidden_size: config.hidden,
        intermediate_size: hyper.feed_forward,
        num_attention_heads: config.heads,
        num_hidden_layers: config.layers,
        num_key_value_heads: config.kv_heads,
        rms_norm_eps: f64::from(hyper.rms_epsilon),
        rope_theta: f64::from(hyper.rope.base),
        rope_local_base_freq: f64::from(sliding.rope.base),
        vocab_size: config.vocabulary,
        final_logit_softcapping: None,
        attn_logit_softcapping: None,
        query_pre_attn_scalar: config.head_dim,
        sliding_window: sliding.window,
        sliding_window_pattern: sliding.period,
        max_position_embeddings: config.context_length.min(GEMMA3_POSITIONS),
    };
    let joint = if config.num_key_value_heads == 1 { sliding.window } else { 0 };
    let model = gemma3::Model::new(false, &config, VarBuilder::from_tensors(tensors, DType::F32, device))?;
    Ok(Model::Gemma3(Gemma3 { model: Box::new(model), joint }))
}

/// What a tensor of a GGUF file is called in the published weights.
fn published_name(name: &str) -> String {
    let mut name = format!("model.{}", name.replacen("blk.", "layers.", 1));
    for (part, published) in [
        ("token_embd", "embed_tokens"),
        ("output_norm", "norm"),
        ("attn_norm", "input_layernorm"),
        ("attn_q_norm", "self_attn.q_norm"),
        ("attn_k_norm", "self_attn.k_norm"),
        ("attn_q.", "self_attn.q_proj."),
        ("attn_k.", "self_attn.k_proj."),
        ("attn_v.", "self_attn.v_proj."),
        ("attn_output", "self_attn.o_proj"),
        ("post_attention_norm", "post_attention_layernorm"),
        ("post_ffw_norm", "post_feedforward_layernorm"),
        ("ffn_norm", "pre_feedforward_layernorm"),
        ("ffn_gate", "mlp.gate_proj"),
        ("ffn_up", "mlp.up_proj"),
        ("ffn_down", "mlp.down_proj"),
    ] {
        name = name.replace(part, published);
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::model::testing::{ARCHITECTURES, TinyModel, WINDOW};
    use crate::runtime::model::{
        BlockId, Forward, KvCapacity, KvPrecision, KvSettings, LoadedDecoder, LogitsWanted, SequenceStep,
    };

    /// Whole, in chunks and token by token, over sequences longer than the window.
    #[test]
    fn every_architecture_equals_the_reference() {
        for architecture in ARCHITECTURES {
            let (_directory, path) = TinyModel::new(architecture).write();
            let kv = KvSettings { capacity: KvCapacity::Blocks(4), precision: KvPrecision::F32 };
            let mut file = GgufFile::open(&path).expect("file");
            let mut decoder = LoadedDecoder::load(&mut file, &Device::Cpu, kv).expect("decoder");
            let mut reference = ReferenceDecoder::load(&path, &Device::Cpu).expect("reference");
            let tokens: Vec<u32> = (0..3 * WINDOW as u32).map(|i| i * 37 % 256).collect();
            let blocks = [2, 0, 3, 1].map(BlockId);
            for chunk in [tokens.len(), WINDOW, 11, 1] {
                for start in (0..tokens.len()).step_by(chunk) {
                    let tokens = &tokens[start..tokens.len().min(start + chunk)];
                    let step = SequenceStep { tokens, start, blocks: &blocks, logits: LogitsWanted::Last };
                    let ours = decoder.forward(&[step]).expect("forward");
                    // Its llama and qwen2 have no masks for chunks behind the first.
                    let theirs = if tokens.len() == 1 || start == 0 || ["qwen3", "gemma3"].contains(&architecture) {
                        reference.forward(tokens, start).expect("reference")
                    } else {
                        let one = |(position, token): (usize, &u32)| {
                            reference.forward(&[*token], position).expect("reference")
                        };
                        (start..).zip(tokens).map(one).last().expect("tokens")
                    };
                    for (a, b) in ours[0].iter().zip(&theirs) {
                        assert!((a - b).abs() <= 1e-4 * (1.0 + a.abs()), "{architecture} at {start}: {a} and {b}");
                    }
                }
            }
        }
    }
}
