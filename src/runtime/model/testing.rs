//! A tiny model file for unit tests.

use std::fs::File;
use std::path::PathBuf;

use candle_core::quantized::gguf_file::{Value, write};
use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{Device, Tensor};
use tempfile::TempDir;

/// A model with random weights and a vocabulary of the 256 bytes, four special tokens and an unused row. What a test wants
/// to be different, it changes before writing.
pub(super) struct TinyModel {
    pub metadata: Vec<(String, Value)>,
    pub tensors: Vec<(String, Vec<usize>)>,
}

pub(super) const VOCABULARY: usize = 261;

impl TinyModel {
    pub fn new(architecture: &'static str) -> Self {
        let (layers, hidden, heads, kv_heads, dim, wide) = (2, 64, 4, 2, 16, 96);
        let mut tensors = vec![
            ("token_embd.weight".to_owned(), vec![VOCABULARY, hidden]),
            ("output_norm.weight".to_owned(), vec![hidden]),
        ];
        for layer in 0..layers {
            let mut add = |name: &str, shape: &[usize]| tensors.push((format!("blk.{layer}.{name}"), shape.to_vec()));
            add("attn_norm.weight", &[hidden]);
            add("ffn_norm.weight", &[hidden]);
            for (name, width) in [("attn_q", heads * dim), ("attn_k", kv_heads * dim), ("attn_v", kv_heads * dim)] {
                add(&format!("{name}.weight"), &[width, hidden]);
                if architecture == "qwen2" {
                    add(&format!("{name}.bias"), &[width]);
                }
            }
            add("attn_output.weight", &[hidden, heads * dim]);
            add("ffn_gate.weight", &[wide, hidden]);
            add("ffn_up.weight", &[wide, hidden]);
            add("ffn_down.weight", &[hidden, wide]);
        }
        let integer = |number: usize| Value::U32(u32::try_from(number).expect("small"));
        let mut metadata: Vec<(String, Value)> = [
            ("block_count", integer(layers)),
            ("embedding_length", integer(hidden)),
            ("feed_forward_length", integer(wide)),
            ("context_length", integer(256)),
            ("attention.head_count", integer(heads)),
            ("attention.head_count_kv", integer(kv_heads)),
            ("attention.layer_norm_rms_epsilon", Value::F32(1e-6)),
        ]
        .into_iter()
        .map(|(key, value)| (format!("{architecture}.{key}"), value))
        .collect();
        metadata.push(("general.architecture".to_owned(), Value::String(architecture.to_owned())));
        metadata.extend(tokenizer_metadata());
        Self { metadata, tensors }
    }

    pub fn set(&mut self, key: &str, value: Value) {
        self.remove(key);
        self.metadata.push((key.to_owned(), value));
    }

    pub fn remove(&mut self, key: &str) {
        self.metadata.retain(|(name, _)| name != key);
    }

    pub fn remove_tensor(&mut self, name: &str) {
        self.tensors.retain(|(found, _)| found != name);
    }

    /// Writes the file; it is gone with the directory.
    pub fn write(&self) -> (TempDir, PathBuf) {
        let directory = tempfile::tempdir().expect("directory");
        let path = directory.path().join("tiny.gguf");
        let mut state = 0x2545_f491_4f6c_dd1d_u64;
        let mut random = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / (1_u64 << 24) as f32 - 0.5
        };
        let tensors: Vec<(&str, QTensor)> = self
            .tensors
            .iter()
            .map(|(name, shape)| {
                let values: Vec<f32> = (0..shape.iter().product()).map(|_| random()).collect();
                let tensor = Tensor::from_vec(values, shape.clone(), &Device::Cpu).expect("tensor");
                (name.as_str(), QTensor::quantize(&tensor, GgmlDType::F32).expect("tensor"))
            })
            .collect();
        let tensors: Vec<(&str, &QTensor)> = tensors.iter().map(|(name, tensor)| (*name, tensor)).collect();
        let metadata: Vec<(&str, &Value)> = self.metadata.iter().map(|(key, value)| (key.as_str(), value)).collect();
        write(&mut File::create(&path).expect("file"), &metadata, &tensors).expect("written");
        (directory, path)
    }
}

fn tokenizer_metadata() -> Vec<(String, Value)> {
    let text = |text: &str| Value::String(text.to_owned());
    let mut bytes: Vec<(u8, char)> =
        super::tokenizer::byte_alphabet().into_iter().map(|(character, byte)| (byte, character)).collect();
    bytes.sort_unstable();
    let mut tokens: Vec<Value> = bytes.into_iter().map(|(_, character)| text(&character.to_string())).collect();
    tokens.extend(["<|im_start|>", "<|im_end|>", "<|endoftext|>", "<tool_call>", "[PAD260]"].map(text));
    let mut kinds = vec![Value::I32(1); 256];
    kinds.extend([3, 3, 3, 4, 5].map(Value::I32));
    [
        ("tokenizer.ggml.model", text("gpt2")),
        ("tokenizer.ggml.pre", text("qwen2")),
        ("tokenizer.ggml.tokens", Value::Array(tokens)),
        ("tokenizer.ggml.token_type", Value::Array(kinds)),
        ("tokenizer.ggml.merges", Value::Array(Vec::new())),
        ("tokenizer.ggml.eos_token_id", Value::U32(257)),
    ]
    .into_iter()
    .map(|(key, value)| (key.to_owned(), value))
    .collect()
}
