//! The engine on real weights: batches answer like single requests, streams are whole characters, constrained answers are
//! valid.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Duration;

use candle_core::Device;
use serde_json::{Value, json};
use zhujiao::runtime::engine::{Engine, EngineConfig};
use zhujiao::runtime::model::{KvSettings, load};
use zhujiao::runtime::{
    ChatMessage, Constraint, FinishReason, GenerationEvent, GenerationRequest, GenerationStream, Generator, Sampling,
    Usage, collect,
};

const SMALL: &str = "qwen2.5-coder-0.5b/qwen2.5-coder-0.5b-instruct-q4_k_m.gguf";
const DEFAULT: &str = "qwen2.5-coder-1.5b/qwen2.5-coder-1.5b-instruct-q4_k_m.gguf";

fn start(file: &str, blocks: usize) -> Engine {
    start_with(file, blocks, EngineConfig::default())
}

fn start_with(file: &str, blocks: usize, config: EngineConfig) -> Engine {
    let directory = std::env::var_os("ZHUJIAO_MODELS_DIR")
        .map(PathBuf::from)
        .unwrap_or_else(|| PathBuf::from(std::env::var_os("HOME").expect("HOME")).join(".cache/zhujiao/models"));
    let path = directory.join(file);
    assert!(path.is_file(), "{} is missing: run `make test`, which pulls it", path.display());
    let model = load(&path, &Device::Cpu, KvSettings::blocks(blocks)).expect("model");
    // However busy the machine is, what counts is the answers.
    let config = EngineConfig { default_deadline: Duration::MAX, ..config };
    Engine::start(model.into(), config).expect("engine")
}

fn small() -> &'static Engine {
    static ENGINE: OnceLock<Engine> = OnceLock::new();
    ENGINE.get_or_init(|| start(SMALL, 64))
}

fn ask(text: &str, max_tokens: usize) -> GenerationRequest {
    GenerationRequest {
        messages: vec![ChatMessage::user(text)],
        sampling: Sampling::greedy(),
        max_tokens: Some(max_tokens),
        ..GenerationRequest::default()
    }
}

async fn submit(engine: &Engine, requests: Vec<GenerationRequest>) -> Vec<GenerationStream> {
    let mut streams = Vec::new();
    for request in requests {
        streams.push(engine.generate(request).await.expect("accepted"));
    }
    streams
}

async fn answer(stream: GenerationStream) -> (String, FinishReason, Usage) {
    collect(stream).await.expect("answer")
}

#[tokio::test]
async fn eight_concurrent_requests_answer_like_each_alone() {
    let requests: Vec<GenerationRequest> = [
        "用一句话解释什么是方程。",
        "What is a prime number?",
        "3x + 5 = 20, x = ?",
        "请写出勾股定理，并举一个例子说明它在生活中的用处。",
        "把下面的句子翻译成英语：今天我们学习一元一次方程。",
        "Write a haiku about school.",
        "列出三种平面图形。",
        "用 Rust 写一个求最大公约数的函数。",
    ]
    .into_iter()
    .map(|text| ask(text, 16))
    .collect();
    let engine = small();
    let mut together = Vec::new();
    for stream in submit(engine, requests.clone()).await {
        together.push(answer(stream).await);
    }
    assert!(engine.counters().largest_batch >= 8, "{:?}", engine.counters());
    for (request, together) in requests.into_iter().zip(together) {
        let mut alone = answer(engine.generate(request).await.expect("accepted")).await;
        // The second time, the beginning of the prompt is cached.
        alone.2.cached_tokens = together.2.cached_tokens;
        assert_eq!(together, alone);
    }
}

#[tokio::test]
async fn drafts_and_cached_prompts_change_no_answer() {
    let plain = EngineConfig { prefix_cache_percent: 0, speculation_rows: 0, ..EngineConfig::default() };
    let (plain, engine) = (start_with(SMALL, 16, plain), start(SMALL, 16));
    for prompt in [
        "把下面这句话原样写三遍，不要写别的：移项要变号，合并同类项以后，再把系数化为 1。",
        "Write out the multiplication table of 7 from 7 x 1 to 7 x 9, one line each.",
    ] {
        let expected = answer(plain.generate(ask(prompt, 60)).await.expect("accepted")).await;
        for _ in 0..2 {
            let (text, reason, _) = answer(engine.generate(ask(prompt, 60)).await.expect("accepted")).await;
            assert_eq!((text, reason), (expected.0.clone(), expected.1));
        }
    }
    let (with, without) = (engine.counters(), plain.counters());
    eprintln!("{with:?}");
    assert!(with.prefix_hits > 0 && with.accepted_tokens > 0, "{with:?}");
    assert!(with.forward_passes < 2 * without.forward_passes, "{with:?} {without:?}");
}

#[tokio::test]
async fn a_streamed_chinese_answer_is_the_whole_answer_in_whole_characters() {
    let engine = small();
    let request = ask("用中文简单介绍一元一次方程，使用中文标点。", 48);
    let mut stream = engine.generate(request.clone()).await.expect("accepted");
    let mut pieces = Vec::new();
    let usage = loop {
        match stream.recv().await.expect("an end").expect("no error") {
            GenerationEvent::Text(piece) => pieces.push(piece),
            GenerationEvent::Finished { usage, .. } => break usage,
        }
    };
    let streamed = pieces.concat();
    assert!(!streamed.contains(char::REPLACEMENT_CHARACTER), "{streamed}");
    assert!(streamed.contains("方程"), "{streamed}");
    assert!(pieces.len() > usage.completion_tokens / 2, "{pieces:?}");
    assert_eq!(answer(engine.generate(request).await.expect("accepted")).await.0, streamed);
}

fn text(most: usize) -> Value {
    json!({ "type": "string", "minLength": 1, "maxLength": most })
}

fn integer(least: i64, most: i64) -> Value {
    json!({ "type": "integer", "minimum": least, "maximum": most })
}

fn list(items: Value, least: usize, most: usize) -> Value {
    json!({ "type": "array", "items": items, "minItems": least, "maxItems": most })
}

/// An object with exactly these properties.
fn object<const N: usize>(properties: [(&str, Value); N]) -> Value {
    let required: Vec<&str> = properties.iter().map(|(name, _)| *name).collect();
    let properties: serde_json::Map<String, Value> =
        properties.iter().map(|(name, schema)| ((*name).to_owned(), schema.clone())).collect();
    json!({ "type": "object", "properties": properties, "required": required, "additionalProperties": false })
}

/// Prompts and the schemas that their answers must satisfy.
fn structured_tasks() -> Vec<(&'static str, Value)> {
    let choice = || json!({ "enum": ["A", "B", "C", "D"] });
    vec![
        ("北京在哪个国家？", object([("国家", text(12))])),
        ("3 加 4 等于几？", object([("answer", integer(0, 100))])),
        ("给“一元一次方程”写两个教学目标。", object([("目标", list(text(24), 2, 2))])),
        ("9 是奇数还是偶数？", object([("parity", json!({ "enum": ["奇数", "偶数"] }))])),
        ("地球绕太阳转，对吗？", object([("correct", json!({ "type": "boolean" })), ("why", text(20))])),
        ("Name three colours.", object([("colours", list(text(10), 3, 3))])),
        ("给一名学生打分。", object([("姓名", text(6)), ("分数", integer(0, 100))])),
        ("1、2、3 的平方各是多少？", list(integer(1, 9), 3, 3)),
        ("圆周率约是多少？", object([("pi", json!({ "type": "number", "minimum": 3, "maximum": 4 }))])),
        ("Which planet is red?", object([("planet", json!({ "enum": ["Venus", "Mars", "Jupiter"] }))])),
        ("把 45 分钟的课分成两个环节。", list(object([("环节", text(10)), ("分钟", integer(1, 45))]), 2, 2)),
        ("出一道关于分数的选择题。", object([("题干", text(30)), ("选项", list(text(8), 4, 4)), ("答案", choice())])),
        (
            "描述一个三角形。",
            object([
                ("形状", object([("边数", integer(3, 3)), ("名称", text(8))])),
                ("直角", json!({ "type": "boolean" })),
            ]),
        ),
        (
            "一周有几天？有名字吗？",
            object([("days", integer(1, 31)), ("note", json!({ "type": ["string", "null"], "maxLength": 16 }))]),
        ),
        ("给出坐标 (2, -3)。", object([("x", integer(-10, 10)), ("y", integer(-10, 10))])),
        ("列出 1 到 3 个易错点。", object([("易错点", list(text(16), 1, 3))])),
        (
            "学生说“我不会”。判断意图。",
            object([("intent", json!({ "enum": ["求助", "闲聊", "投诉"] })), ("confidence", integer(1, 5))]),
        ),
        (
            "课程日期是 2024 年 9 月 1 日。",
            object([("date", json!({ "type": "string", "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}$" }))]),
        ),
        (
            "给出一个二元一次方程的解。",
            json!({
                "$defs": { "root": integer(-20, 20) },
                "type": "object", "required": ["x", "y"], "additionalProperties": false,
                "properties": { "x": { "$ref": "#/$defs/root" }, "y": { "$ref": "#/$defs/root" } }
            }),
        ),
        (
            "选一种作业：练习或阅读。",
            json!({ "anyOf": [object([("练习", integer(1, 20))]), object([("阅读", text(12))])] }),
        ),
    ]
}

#[tokio::test]
async fn answers_of_the_default_model_always_satisfy_their_schema() {
    let engine = start(DEFAULT, 128);
    let tasks = structured_tasks();
    assert_eq!(tasks.len(), 20);
    let requests = tasks.iter().enumerate().map(|(index, (prompt, schema))| GenerationRequest {
        sampling: Sampling { seed: Some(index as u64), ..Sampling::default() },
        constraint: Some(Constraint::JsonSchema(schema.clone())),
        ..ask(&format!("{prompt}\n用 JSON 回答。"), 120)
    });
    let streams = submit(&engine, requests.collect()).await;
    for ((prompt, schema), stream) in tasks.iter().zip(streams) {
        let (text, reason, usage) = answer(stream).await;
        eprintln!("{prompt} {text} ({usage:?})");
        assert_eq!(reason, FinishReason::Stop, "{prompt}: {text}");
        let value: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{prompt}: {error}: {text}"));
        assert!(jsonschema::is_valid(schema, &value), "{prompt}: {text}");
    }
    let counters = engine.counters();
    eprintln!("{counters:?}");
    assert!(counters.largest_batch >= 8);
    assert!(counters.forced_tokens > 0);
    assert_eq!(counters.blocks_in_use, 0);
    engine.shutdown();
}
