//! The decoder on real weights: equal to candle-transformers, and equal to itself however a sequence is cut and batched.

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, OnceLock};

use candle_core::Device;
use zhujiao::runtime::model::reference::ReferenceDecoder;
use zhujiao::runtime::model::{
    BLOCK_TOKENS, BlockId, Forward, KvCapacity, KvPrecision, KvSettings, LoadedModel, LogitsWanted, SequenceStep, load,
};
use zhujiao::runtime::{ChatMessage, model::ModelError};

const SMOLLM: &str = "smollm2-135m/SmolLM2-135M-Instruct.Q4_1.gguf";
const QWEN: &str = "qwen2.5-coder-0.5b/qwen2.5-coder-0.5b-instruct-q4_k_m.gguf";

/// Largest difference of any logit that rounding explains when keys and values are kept in full precision. Logits of these
/// models span about 40.
const TOLERANCE: f32 = 5e-3;

fn path(file: &str) -> PathBuf {
    let directory = std::env::var_os("ZHUJIAO_MODELS_DIR")
        .map(PathBuf::from)
        .unwrap_or_else(|| PathBuf::from(std::env::var_os("HOME").expect("HOME")).join(".cache/zhujiao/models"));
    let path = directory.join(file);
    assert!(path.is_file(), "{} is missing: run `make test`, which pulls it", path.display());
    path
}

fn load_model(file: &str, precision: KvPrecision) -> LoadedModel {
    load(&path(file), &Device::Cpu, KvSettings { capacity: KvCapacity::Blocks(64), precision }).expect("model")
}

fn shared<T>(cell: &'static OnceLock<Mutex<T>>, make: impl FnOnce() -> T) -> MutexGuard<'static, T> {
    cell.get_or_init(|| Mutex::new(make())).lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

fn smollm() -> MutexGuard<'static, LoadedModel> {
    static MODEL: OnceLock<Mutex<LoadedModel>> = OnceLock::new();
    shared(&MODEL, || load_model(SMOLLM, KvPrecision::F32))
}

fn qwen() -> MutexGuard<'static, LoadedModel> {
    static MODEL: OnceLock<Mutex<LoadedModel>> = OnceLock::new();
    shared(&MODEL, || load_model(QWEN, KvPrecision::F32))
}

fn reference(file: &'static str) -> MutexGuard<'static, ReferenceDecoder> {
    static SMOLLM_REFERENCE: OnceLock<Mutex<ReferenceDecoder>> = OnceLock::new();
    static QWEN_REFERENCE: OnceLock<Mutex<ReferenceDecoder>> = OnceLock::new();
    let cell = if file == SMOLLM { &SMOLLM_REFERENCE } else { &QWEN_REFERENCE };
    shared(cell, || ReferenceDecoder::load(&path(file), &Device::Cpu).expect("reference"))
}

/// Blocks for 256 positions of sequence `index`, in an order of their own so that neighbours in the sequence are none in
/// the store.
fn table(index: u32) -> Vec<BlockId> {
    (0..8).rev().map(|block| BlockId(index * 8 + block)).collect()
}

fn step<'a>(tokens: &'a [u32], start: usize, blocks: &'a [BlockId], logits: LogitsWanted) -> SequenceStep<'a> {
    SequenceStep { tokens, start, blocks, logits }
}

fn run(model: &mut LoadedModel, steps: &[SequenceStep<'_>]) -> Vec<Vec<f32>> {
    model.decoder.forward(steps).expect("forward")
}

fn distance(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

#[track_caller]
fn assert_close(a: &[f32], b: &[f32]) {
    let distance = distance(a, b);
    eprintln!("largest difference {distance:e}");
    assert!(distance <= TOLERANCE, "largest difference {distance}");
}

fn argmax(logits: &[f32]) -> u32 {
    let best = (0..logits.len()).max_by(|a, b| logits[*a].total_cmp(&logits[*b]));
    u32::try_from(best.expect("logits")).expect("token id")
}

const TEXT: &str = "一元一次方程 2x + 3 = 7 的解是 x = 2。Solving an equation means finding every value of the unknown that \
                    makes both sides equal; moving a term across the equals sign changes its sign.";

fn logits_equal_the_reference(model: &mut LoadedModel, file: &'static str) {
    let tokens = model.tokenizer.encode(TEXT, false).expect("tokens");
    let (prompt, rest) = tokens.split_at(tokens.len() - 3);
    let blocks = table(1);
    let mut reference = reference(file);
    let ours = run(model, &[step(prompt, 0, &blocks, LogitsWanted::Last)]);
    assert_close(&ours[0], &reference.forward(prompt, 0).expect("reference"));
    for (offset, token) in rest.iter().enumerate() {
        let start = prompt.len() + offset;
        let ours = run(model, &[step(&[*token], start, &blocks, LogitsWanted::Last)]);
        assert_close(&ours[0], &reference.forward(&[*token], start).expect("reference"));
    }
}

#[test]
fn logits_of_llama_equal_the_reference() {
    logits_equal_the_reference(&mut smollm(), SMOLLM);
}

#[test]
fn logits_of_qwen2_equal_the_reference() {
    logits_equal_the_reference(&mut qwen(), QWEN);
}

#[test]
fn half_precision_keys_and_values_stay_close_to_full_precision() {
    for file in [SMOLLM, QWEN] {
        let mut half = load_model(file, KvPrecision::F16);
        let tokens = half.tokenizer.encode(TEXT, false).expect("tokens");
        let blocks = table(0);
        let steps = [step(&tokens, 0, &blocks, LogitsWanted::Last)];
        let rounded = run(&mut half, &steps);
        let mut full = if file == SMOLLM { smollm() } else { qwen() };
        let exact = run(&mut full, &steps);
        let distance = distance(&rounded[0], &exact[0]);
        eprintln!("{file}: {distance}");
        assert!(distance < 0.5, "{file}: largest difference {distance}");
        assert_eq!(argmax(&rounded[0]), argmax(&exact[0]));
    }
}

fn a_mixed_batch_equals_each_sequence_alone(model: &mut LoadedModel) {
    let tokens = model.tokenizer.encode(TEXT, false).expect("tokens");
    // A prefill chunk in the middle of a sequence, a decoding step, a whole prompt, and a prompt with all its logits.
    let parts: [(usize, usize, LogitsWanted); 4] = [
        (20, 45, LogitsWanted::None),
        (33, 34, LogitsWanted::Last),
        (0, 40, LogitsWanted::Last),
        (0, 3, LogitsWanted::All),
    ];
    let tables: Vec<Vec<BlockId>> = (0..4).map(|index| table(index)).collect();
    let steps: Vec<SequenceStep<'_>> = parts
        .iter()
        .zip(&tables)
        .map(|((start, end, logits), blocks)| step(&tokens[*start..*end], *start, blocks, *logits))
        .collect();
    let history = |model: &mut LoadedModel| {
        for ((start, _, _), blocks) in parts.iter().zip(&tables).filter(|((start, _, _), _)| *start > 0) {
            run(model, &[step(&tokens[..*start], 0, blocks, LogitsWanted::None)]);
        }
    };
    // What the batch writes has to be right too: each sequence decodes one more token afterwards.
    let next = |model: &mut LoadedModel| -> Vec<Vec<f32>> {
        let mut rows = Vec::new();
        for ((_, end, _), blocks) in parts.iter().zip(&tables) {
            rows.extend(run(model, &[step(&tokens[*end..*end + 1], *end, blocks, LogitsWanted::Last)]));
        }
        rows
    };
    history(model);
    let mut alone: Vec<Vec<f32>> = steps.iter().flat_map(|step| run(model, std::slice::from_ref(step))).collect();
    alone.extend(next(model));
    history(model);
    let mut together = run(model, &steps);
    assert_eq!(together.len(), 5, "one row for each decoded position and three for the prompt with all its logits");
    together.extend(next(model));
    for (alone, together) in alone.iter().zip(&together) {
        assert_close(alone, together);
    }
}

#[test]
fn a_mixed_batch_of_llama_equals_each_sequence_alone() {
    a_mixed_batch_equals_each_sequence_alone(&mut smollm());
}

#[test]
fn a_mixed_batch_of_qwen2_equals_each_sequence_alone() {
    a_mixed_batch_equals_each_sequence_alone(&mut qwen());
}

#[test]
fn chunked_prefill_equals_whole_prefill() {
    let mut model = smollm();
    let tokens = model.tokenizer.encode(&TEXT.repeat(2), false).expect("tokens");
    assert!(tokens.len() > 2 * BLOCK_TOKENS && tokens.len() <= 8 * BLOCK_TOKENS, "{} tokens", tokens.len());
    let (whole, chunked) = (table(0), table(1));
    let expected = run(&mut model, &[step(&tokens, 0, &whole, LogitsWanted::Last)]);
    for size in [1, 31, 32, 50] {
        let mut last = Vec::new();
        for start in (0..tokens.len()).step_by(size) {
            let end = tokens.len().min(start + size);
            last = run(&mut model, &[step(&tokens[start..end], start, &chunked, LogitsWanted::Last)]);
        }
        assert_close(&last[0], &expected[0]);
    }
}

#[test]
fn greedy_text_equals_the_reference() {
    const LENGTH: usize = 64;
    let questions = [
        "什么是一元一次方程？请举一个例子。",
        "用一句话解释勾股定理。",
        "写一个计算阶乘的 Python 函数。",
        "Explain photosynthesis to a seventh grader.",
        "What is the capital of France, and what is it known for?",
    ];
    let mut model = qwen();
    let mut sequences: Vec<Vec<u32>> = questions
        .iter()
        .map(|question| model.tokenizer.encode_chat(&model.template, &[ChatMessage::user(*question)]).expect("prompt"))
        .collect();
    let prompts = sequences.clone();
    let tables: Vec<Vec<BlockId>> = (0..5).map(table).collect();
    let mut starts = vec![0; sequences.len()];
    for _ in 0..LENGTH {
        let steps: Vec<_> = (0..sequences.len())
            .map(|i| step(&sequences[i][starts[i]..], starts[i], &tables[i], LogitsWanted::Last))
            .collect();
        let logits = run(&mut model, &steps);
        for (i, logits) in logits.iter().enumerate() {
            starts[i] = sequences[i].len();
            sequences[i].push(argmax(logits));
        }
    }
    let mut reference = reference(QWEN);
    for (sequence, prompt) in sequences.iter().zip(prompts) {
        let mut expected = prompt;
        let mut logits = reference.forward(&expected, 0).expect("reference");
        for _ in 0..LENGTH {
            let token = argmax(&logits);
            logits = reference.forward(&[token], expected.len()).expect("reference");
            expected.push(token);
        }
        let text = |tokens: &[u32]| {
            let bytes: Vec<u8> = tokens.iter().flat_map(|token| model.tokenizer.token_bytes(*token)).copied().collect();
            String::from_utf8_lossy(&bytes).into_owned()
        };
        eprintln!("{}", text(sequence));
        assert_eq!(text(sequence), text(&expected));
    }
}

#[test]
fn steps_that_break_the_contract_are_refused() {
    let mut model = smollm();
    let blocks = table(0);
    let vocabulary = u32::try_from(model.decoder.config().vocabulary).expect("vocabulary");
    let outside = [BlockId(64)];
    let good = step(&[1], 0, &blocks, LogitsWanted::Last);
    for bad in [
        step(&[], 0, &blocks, LogitsWanted::Last),
        step(&[vocabulary], 0, &blocks, LogitsWanted::Last),
        step(&[1], 8 * BLOCK_TOKENS, &blocks, LogitsWanted::Last),
        step(&[1], usize::MAX, &blocks, LogitsWanted::Last),
        step(&[1], 0, &outside, LogitsWanted::Last),
    ] {
        match model.decoder.forward(&[good.clone(), bad]) {
            Err(ModelError::InvalidStep { index: 1, .. }) => {}
            other => panic!("accepted or misnamed: {other:?}"),
        }
    }
    assert!(model.decoder.forward(&[]).expect("nothing to do").is_empty());
}
