//! A tiny model file for unit tests.

use std::fs::File;
use std::path::PathBuf;

use candle_core::quantized::gguf_file::{Value, write};
use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{Device, Tensor};
use tempfile::TempDir;

use super::gguf::keys;

/// A model with random weights. Its vocabulary is that of [`byte_level_tokenizer`] or, for gemma3, of
/// [`sentence_piece_tokenizer`]. What a test wants to be different, it changes before writing.
pub(super) struct TinyModel {
    pub metadata: Vec<(String, Value)>,
    pub tensors: Vec<(String, Vec<usize>)>,
}

/// The window of sliding layers: neither a whole number of blocks nor as long as the sequences of the tests.
pub(super) const WINDOW: usize = 37;

/// All architectures, in the order in which they are listed to users.
pub(super) use super::architecture::SUPPORTED as ARCHITECTURES;

impl TinyModel {
    pub fn new(architecture: &'static str) -> Self {
        let (layers, hidden, heads, kv_heads, wide) = (2, 64, 4, 2, 96);
        // Where the header gives the size of heads, it is not what the width would make of it.
        let dim = if ["qwen2", "llama"].contains(&architecture) { 16 } else { 32 };
        let tokenizer = if architecture == "gemma3" { sentence_piece_tokenizer() } else { byte_level_tokenizer() };
        let vocabulary = tokenizer
            .iter()
            .find_map(|(key, value)| match value {
                Value::Array(tokens) if key == keys::TOKENS => Some(tokens.len()),
                _ => None,
            })
            .expect("tokens");
        let mut tensors = vec![
            ("token_embd.weight".to_owned(), vec![vocabulary, hidden]),
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
            if ["qwen3", "gemma3"].contains(&architecture) {
                add("attn_q_norm.weight", &[dim]);
                add("attn_k_norm.weight", &[dim]);
            }
            if architecture == "gemma3" {
                add("post_attention_norm.weight", &[hidden]);
                add("post_ffw_norm.weight", &[hidden]);
            }
            add("attn_output.weight", &[hidden, heads * dim]);
            add("ffn_gate.weight", &[wide, hidden]);
            add("ffn_up.weight", &[wide, hidden]);
            add("ffn_down.weight", &[hidden, wide]);
        }
        let mut entries = vec![
            ("block_count", integer(layers)),
            ("embedding_length", integer(hidden)),
            ("feed_forward_length", integer(wide)),
            ("context_length", integer(256)),
            ("attention.head_count", integer(heads)),
            ("attention.head_count_kv", integer(kv_heads)),
            ("attention.layer_norm_rms_epsilon", Value::F32(1e-6)),
        ];
        if architecture == "llama" {
            entries.push(("rope.dimension_count", integer(dim)));
        }
        if dim != hidden / heads {
            entries.extend([("attention.key_length", integer(dim)), ("attention.value_length", integer(dim))]);
            entries.push(("rope.freq_base", Value::F32(1e6)));
        }
        if architecture == "gemma3" {
            // The first layer slides, the second one sees everything.
            entries.push(("attention.sliding_window", integer(WINDOW)));
            entries.push(("attention.sliding_window_pattern", integer(2)));
        }
        let mut metadata: Vec<(String, Value)> =
            entries.into_iter().map(|(key, value)| (format!("{architecture}.{key}"), value)).collect();
        metadata.push((keys::ARCHITECTURE.to_owned(), Value::String(architecture.to_owned())));
        metadata.extend(tokenizer);
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

fn integer(number: usize) -> Value {
    Value::U32(u32::try_from(number).expect("small"))
}

/// The 256 bytes, four special tokens and an unused row.
fn byte_level_tokenizer() -> Vec<(String, Value)> {
    let mut bytes: Vec<(u8, char)> =
        super::tokenizer::byte_alphabet().into_iter().map(|(character, byte)| (byte, character)).collect();
    bytes.sort_unstable();
    let mut tokens: Vec<(String, i32)> = bytes.into_iter().map(|(_, character)| (character.to_string(), 1)).collect();
    for (text, kind) in
        [("<|im_start|>", 3), ("<|im_end|>", 3), ("<|endoftext|>", 3), ("<tool_call>", 4), ("[PAD260]", 5)]
    {
        tokens.push((text.to_owned(), kind));
    }
    let mut metadata = vocabulary("gpt2", &tokens);
    metadata.extend([
        (keys::TOKENIZER_PRE.to_owned(), Value::String("qwen2".to_owned())),
        (keys::MERGES.to_owned(), Value::Array(Vec::new())),
        (keys::EOS.to_owned(), Value::U32(257)),
    ]);
    metadata
}

/// Six special tokens, the 256 bytes from 6 on, line breaks and spaces as user-defined tokens from 262 on, and some pieces
/// from 265 on, the better ones first.
fn sentence_piece_tokenizer() -> Vec<(String, Value)> {
    let mut tokens: Vec<(String, i32)> = ["<pad>", "<eos>", "<bos>", "<unk>", "<start_of_turn>", "<end_of_turn>"]
        .map(|text| (text.to_owned(), 3))
        .into();
    tokens.extend((0..=255).map(|byte| (format!("<0x{byte:02X}>"), 6)));
    tokens.extend(["\n", "\n\n", "  "].map(|text| (text.to_owned(), 4)));
    let pieces = ["ab", "bc", "abc", "▁a", "▁ab", "数学", "er", "▁", "a", "b", "c", "e", "r", "数", "学", "<", ">"];
    tokens.extend(pieces.map(|text| (text.to_owned(), 1)));
    let scores = (0..tokens.len()).map(|index| Value::F32(-(index as f32))).collect();
    let mut metadata = vocabulary("llama", &tokens);
    metadata.extend([
        (keys::SCORES.to_owned(), Value::Array(scores)),
        (keys::ADD_SPACE_PREFIX.to_owned(), Value::Bool(false)),
        (keys::BOS.to_owned(), Value::U32(2)),
        (keys::EOS.to_owned(), Value::U32(1)),
    ]);
    metadata
}

/// Tokens with their kinds.
fn vocabulary(model: &str, tokens: &[(String, i32)]) -> Vec<(String, Value)> {
    vec![
        (keys::TOKENIZER_MODEL.to_owned(), Value::String(model.to_owned())),
        (keys::TOKENS.to_owned(), Value::Array(tokens.iter().map(|(text, _)| Value::String(text.clone())).collect())),
        (keys::TOKEN_TYPE.to_owned(), Value::Array(tokens.iter().map(|(_, kind)| Value::I32(*kind)).collect())),
    ]
}
