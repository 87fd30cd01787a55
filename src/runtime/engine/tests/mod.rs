mod faults;
mod sharing;
mod speculation;

use std::sync::mpsc::{Sender, channel};

use serde_json::json;

use super::toy::{ToyCodec, ToyModel, babble, echo};
use super::*;
use crate::runtime::model::{BLOCK_TOKENS, SequenceStep};
use crate::runtime::{ChatMessage, Constraint, FinishReason, GenerationEvent, Priority, Sampling, Usage, collect};

fn toy_info() -> ModelInfo {
    ModelInfo { name: "toy".to_owned(), architecture: "toy".to_owned(), context_length: 4_096 }
}

fn engine(model: ToyModel, config: EngineConfig) -> Engine {
    Engine::start(ModelParts { info: toy_info(), model: Box::new(model), codec: Arc::new(ToyCodec::default()) }, config)
        .unwrap()
}

/// Neither shared blocks nor drafts.
fn plain() -> EngineConfig {
    EngineConfig { prefix_cache_percent: 0, speculation_rows: 0, ..EngineConfig::default() }
}

/// Shared blocks, but no drafts.
fn plain_with_cache() -> EngineConfig {
    EngineConfig { speculation_rows: 0, ..EngineConfig::default() }
}

/// A greedy request to answer one message.
fn ask(text: &str) -> GenerationRequest {
    GenerationRequest {
        messages: vec![ChatMessage::user(text)],
        sampling: Sampling::greedy(),
        max_tokens: Some(200),
        ..GenerationRequest::default()
    }
}

async fn answer(engine: &Engine, request: GenerationRequest) -> Result<(String, FinishReason, Usage), GenerationError> {
    collect(engine.generate(request).await?).await
}

async fn submit(engine: &Engine, requests: Vec<GenerationRequest>) -> Vec<GenerationStream> {
    let mut streams = Vec::new();
    for request in requests {
        streams.push(engine.generate(request).await.unwrap());
    }
    streams
}

async fn texts(streams: Vec<GenerationStream>) -> Vec<Result<String, GenerationError>> {
    let mut texts = Vec::new();
    for stream in streams {
        texts.push(collect(stream).await.map(|(text, _, _)| text));
    }
    texts
}

/// A model whose passes each wait for a message; dropping the sender lets all pass.
fn gated(model: ToyModel) -> (ToyModel, Sender<()>) {
    let (open, gate) = channel();
    let model = model.before_pass(move |_: &[SequenceStep<'_>]| {
        let _ = gate.recv();
        Ok(())
    });
    (model, open)
}

fn assert_idle(engine: &Engine) {
    let counters = engine.counters();
    assert_eq!((counters.running, counters.waiting, counters.blocks_in_use), (0, 0, 0), "{counters:?}");
}

/// Twelve requests of different lengths, half of them with drawn tokens.
fn mixed_requests() -> Vec<GenerationRequest> {
    (0..12usize)
        .map(|index| {
            let drawn = Sampling { temperature: 1.0, seed: Some(index as u64), ..Sampling::default() };
            let sampling = if index % 2 == 0 { Sampling::greedy() } else { drawn };
            let prompt = "题".repeat(1 + 5 * index);
            GenerationRequest { sampling, max_tokens: Some(40 + index), ..ask(&prompt) }
        })
        .collect()
}

/// The answers to [`mixed_requests`], one after another on an engine with room for each.
async fn mixed_answers_alone() -> Vec<Result<String, GenerationError>> {
    let engine = engine(ToyModel::new(64, babble), plain());
    let mut alone = Vec::new();
    for request in mixed_requests() {
        alone.push(answer(&engine, request).await.map(|(text, _, _)| text));
    }
    alone
}

#[tokio::test]
async fn a_batch_answers_like_each_request_alone() {
    let (model, open) = gated(ToyModel::new(256, babble));
    let engine = engine(model, EngineConfig { prefill_chunk: 50, ..EngineConfig::default() });
    let batch = submit(&engine, mixed_requests()).await;
    drop(open);
    assert_eq!(texts(batch).await, mixed_answers_alone().await);
    let counters = engine.counters();
    assert!(counters.largest_batch >= 8, "{counters:?}");
    assert!(counters.forward_passes < counters.generated_tokens / 4, "{counters:?}");
    assert_eq!(counters.preemptions, 0);
    assert_idle(&engine);
}

#[tokio::test]
async fn preempted_sequences_answer_the_same() {
    let expected = mixed_answers_alone().await;
    for config in [plain(), EngineConfig::default()] {
        let (model, open) = gated(ToyModel::new(12, babble));
        let engine = engine(model, EngineConfig { prefill_chunk: 50, ..config });
        let batch = submit(&engine, mixed_requests()).await;
        drop(open);
        assert_eq!(texts(batch).await, expected);
        let counters = engine.counters();
        assert!(counters.preemptions > 0, "{counters:?}");
        let asked = counters.prompt_tokens + counters.generated_tokens;
        assert_eq!(counters.computed_tokens > asked, config.prefix_cache_percent == 0, "{counters:?}");
        assert_idle(&engine);
    }
}

#[tokio::test]
async fn the_end_token_ends_the_answer_and_is_no_text() {
    let engine = engine(ToyModel::new(8, echo), EngineConfig::default());
    let (text, reason, usage) = answer(&engine, ask("解：x＝3。")).await.unwrap();
    assert_eq!((text.as_str(), reason), ("解：x＝3。", FinishReason::Stop));
    let bytes = "解：x＝3。".len();
    assert_eq!(usage, Usage { prompt_tokens: bytes + 1, cached_tokens: 0, completion_tokens: bytes + 1 });
    assert_idle(&engine);
}

#[tokio::test]
async fn streamed_text_is_whole_characters() {
    let engine = engine(ToyModel::new(8, echo), EngineConfig::default());
    let mut stream = engine.generate(ask("方程🎓。")).await.unwrap();
    let mut pieces = Vec::new();
    while let Some(event) = stream.recv().await {
        match event.unwrap() {
            GenerationEvent::Text(piece) => pieces.push(piece),
            GenerationEvent::Finished { .. } => break,
        }
    }
    assert_eq!(pieces, ["方", "程", "🎓", "。"]);
    assert!(stream.recv().await.is_none());
}

#[tokio::test]
async fn max_tokens_and_the_context_limit_the_answer() {
    let engine = engine(ToyModel::new(2, babble), EngineConfig::default());
    let check = async |max_tokens, prompt: usize, completion_tokens| {
        let request = GenerationRequest { max_tokens, ..ask(&"a".repeat(prompt - 1)) };
        let (text, reason, usage) = answer(&engine, request).await.unwrap();
        assert_eq!((reason, usage.completion_tokens), (FinishReason::Length, completion_tokens));
        assert_eq!(text.len(), completion_tokens);
    };
    check(Some(1), 5, 1).await;
    check(Some(7), 5, 7).await;
    check(None, 5, 2 * BLOCK_TOKENS - 5).await;
    check(Some(1_000), 2 * BLOCK_TOKENS - 1, 1).await;
    assert_idle(&engine);
}

#[tokio::test]
async fn half_a_character_at_the_token_limit_is_not_sent() {
    let engine = engine(ToyModel::new(8, echo), EngineConfig::default());
    let request = GenerationRequest { max_tokens: Some(4), ..ask("方程") };
    assert_eq!(answer(&engine, request).await.unwrap().0, "方");
}

#[tokio::test]
async fn a_stop_text_ends_the_answer_before_itself() {
    let engine = engine(ToyModel::new(8, echo), EngineConfig::default());
    let check = async |stop: &[&str], text: &str, reason| {
        let stop = stop.iter().map(|stop| (*stop).to_owned()).collect();
        let (answer, finished, _) = answer(&engine, GenerationRequest { stop, ..ask("第一题。第二题") }).await.unwrap();
        assert_eq!((answer.as_str(), finished), (text, reason));
    };
    check(&["第二"], "第一题。", FinishReason::Stop).await;
    check(&["无", "题"], "第一", FinishReason::Stop).await;
    check(&["二题了"], "第一题。第二题", FinishReason::Stop).await;
    assert_idle(&engine);
}

#[tokio::test]
async fn the_same_seed_gives_the_same_answer() {
    let engine = engine(ToyModel::new(8, babble), EngineConfig::default());
    let drawn = |seed| {
        let sampling = Sampling { temperature: 1.0, seed, ..Sampling::default() };
        GenerationRequest { sampling, max_tokens: Some(40), ..ask("一") }
    };
    let requests = [Some(1), Some(1), Some(2), None, None].into_iter().map(drawn).collect();
    let texts = texts(submit(&engine, requests).await).await;
    assert_eq!(texts[0], texts[1]);
    assert_ne!(texts[0], texts[2]);
    assert_ne!(texts[3], texts[4]);
}

#[tokio::test]
async fn a_reader_who_leaves_frees_the_blocks() {
    let (model, open) = gated(ToyModel::new(64, babble));
    let engine = engine(model, EngineConfig { max_sequences: 1, ..EngineConfig::default() });
    let running = engine.generate(GenerationRequest { max_tokens: Some(1_000), ..ask("一") }).await.unwrap();
    let waiting = engine.generate(ask("二")).await.unwrap();
    (0..3).for_each(|_| open.send(()).unwrap());
    drop((running, waiting));
    drop(open);
    answer(&engine, GenerationRequest { max_tokens: Some(5), ..ask("三") }).await.unwrap();
    let counters = engine.counters();
    assert_eq!(counters.cancelled, 2);
    assert!(counters.generated_tokens < 20, "{counters:?}");
    assert_idle(&engine);
}

#[tokio::test]
async fn a_deadline_ends_the_running_and_the_waiting() {
    let engine = engine(ToyModel::new(1_024, babble), EngineConfig { max_sequences: 1, ..EngineConfig::default() });
    let request = |deadline| GenerationRequest { deadline: Some(deadline), max_tokens: None, ..ask("一") };
    // The babble of a full context takes longer than the deadline by orders of magnitude.
    let requests = vec![request(Duration::from_millis(30)), request(Duration::ZERO)];
    let ends = texts(submit(&engine, requests).await).await;
    assert_eq!(ends, [Err(GenerationError::DeadlineExceeded), Err(GenerationError::DeadlineExceeded)]);
    assert_idle(&engine);
    assert!(answer(&engine, GenerationRequest { deadline: Some(Duration::MAX), ..ask("二") }).await.is_ok());
}

#[tokio::test]
async fn what_exceeds_the_queue_is_refused_until_a_place_is_free() {
    let (model, open) = gated(ToyModel::new(64, echo));
    let config = EngineConfig { max_sequences: 2, queue_capacity: 1, ..EngineConfig::default() };
    let engine = engine(model, config);
    let streams = submit(&engine, vec![ask("一"); 3]).await;
    match engine.generate(ask("一")).await {
        Err(GenerationError::QueueFull { retry_after }) => assert!(retry_after >= Duration::from_secs(1)),
        other => panic!("{other:?}"),
    }
    assert!(engine.generate(GenerationRequest { priority: Priority::Crisis, ..ask("一") }).await.is_ok());
    drop(open);
    for stream in streams {
        assert_eq!(collect(stream).await.unwrap().0, "一");
        assert!(engine.generate(ask("一")).await.is_ok());
    }
}

#[tokio::test]
async fn a_refused_request_leaves_its_place() {
    let engine =
        engine(ToyModel::new(8, echo), EngineConfig { max_sequences: 1, queue_capacity: 0, ..EngineConfig::default() });
    for _ in 0..3 {
        let request = GenerationRequest { messages: Vec::new(), ..ask("一") };
        assert!(matches!(engine.generate(request).await, Err(GenerationError::InvalidRequest { .. })));
    }
    assert_eq!(answer(&engine, ask("一")).await.unwrap().0, "一");
}

#[tokio::test]
async fn priorities_decide_who_runs_next() {
    let order = Arc::new(Mutex::new(Vec::new()));
    let (open, gate) = channel::<()>();
    let model = ToyModel::new(64, echo).before_pass({
        let order = Arc::clone(&order);
        move |steps: &[SequenceStep<'_>]| {
            let _ = gate.recv();
            let prompts = steps.iter().filter(|step| step.start == 0).map(|step| step.tokens[0] as u8 as char);
            order.lock().unwrap().extend(prompts);
            Ok(())
        }
    });
    let engine = engine(model, EngineConfig { max_sequences: 1, ..EngineConfig::default() });
    let prioritised = |text: &str, priority| GenerationRequest { priority, ..ask(text) };
    let requests = vec![
        prioritised("crisis first", Priority::Crisis),
        prioritised("batch", Priority::Batch),
        prioritised("interactive", Priority::Interactive),
        prioritised("Crisis second", Priority::Crisis),
        prioritised("Interactive second", Priority::Interactive),
    ];
    let streams = submit(&engine, requests).await;
    drop(open);
    texts(streams).await;
    assert_eq!(order.lock().unwrap().iter().collect::<String>(), "cCiIb");
}

#[tokio::test]
async fn an_answer_under_a_schema_parses_and_its_forced_tokens_cost_no_pass() {
    let engine = engine(ToyModel::new(64, babble), plain());
    let schema = json!({"type": "object", "additionalProperties": false, "required": ["objectives", "minutes"], "properties": {
        "objectives": {"type": "array", "minItems": 2, "maxItems": 2, "items": {"enum": ["理解", "应用"]}},
        "minutes": {"type": "integer", "minimum": 40, "maximum": 45}}});
    let constraint = Some(Constraint::JsonSchema(schema.clone()));
    let (text, reason, usage) = answer(&engine, GenerationRequest { constraint, ..ask("教案") }).await.unwrap();
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert!(jsonschema::is_valid(&schema, &value), "{text}");
    assert_eq!(reason, FinishReason::Stop);
    let counters = engine.counters();
    assert_eq!(counters.generated_tokens, usage.completion_tokens as u64);
    assert_eq!(counters.forward_passes, counters.generated_tokens - counters.forced_tokens);
    assert!(counters.forced_tokens > 3 * counters.forward_passes, "{counters:?}");
}

#[tokio::test]
async fn a_constrained_answer_can_be_cut_by_the_token_limit() {
    let engine = engine(ToyModel::new(64, babble), EngineConfig::default());
    let check = async |max_tokens, text: &str, reason| {
        let constraint = Some(Constraint::JsonSchema(json!({"const": {"a": 1}})));
        let request = GenerationRequest { constraint, max_tokens: Some(max_tokens), ..ask("一") };
        let (answer, finished, _) = answer(&engine, request).await.unwrap();
        assert_eq!((answer.as_str(), finished), (text, reason));
    };
    check(5, r#"{"a":"#, FinishReason::Length).await;
    check(8, r#"{"a": 1}"#, FinishReason::Stop).await;
    assert_eq!(engine.counters().forward_passes, 0);
}

#[tokio::test]
async fn requests_that_cannot_be_served_are_refused_at_once() {
    let engine = engine(ToyModel::new(2, echo), EngineConfig::default());
    let check = async |change: fn(&mut GenerationRequest), expected: &str| {
        let mut request = ask("一");
        change(&mut request);
        match engine.generate(request).await {
            Err(GenerationError::InvalidRequest { field, .. }) => assert_eq!(field, expected),
            other => panic!("{expected}: {other:?}"),
        }
    };
    check(|request| request.messages.clear(), "messages").await;
    check(|request| request.max_tokens = Some(0), "max_tokens").await;
    check(|request| request.stop = vec![String::new()], "stop").await;
    check(|request| request.sampling.top_p = 2.0, "top_p").await;
    let broken =
        |request: &mut GenerationRequest| request.constraint = Some(Constraint::JsonSchema(json!({"type": 5})));
    check(broken, "response_format.json_schema").await;

    let too_long = engine.generate(ask(&"a".repeat(2 * BLOCK_TOKENS - 1))).await;
    let expected = GenerationError::PromptTooLong { prompt_tokens: 2 * BLOCK_TOKENS, context_length: 2 * BLOCK_TOKENS };
    assert_eq!(too_long.unwrap_err(), expected);
    assert_eq!(engine.counters().forward_passes, 0);
}

#[tokio::test]
async fn after_shutdown_nothing_runs_and_nothing_starts() {
    let (model, open) = gated(ToyModel::new(64, babble));
    let engine = engine(model, EngineConfig { max_sequences: 1, ..EngineConfig::default() });
    let running = engine.generate(ask("一")).await.unwrap();
    let waiting = engine.generate(ask("二")).await.unwrap();
    // The order is given before the gate opens: otherwise the toy model may be done first.
    engine.shared.commands.send(Command::Stop).unwrap();
    open.send(()).unwrap();
    drop(open);
    let ended = tokio::task::spawn_blocking({
        let engine = engine.clone();
        move || engine.shutdown()
    });
    ended.await.unwrap();
    assert_eq!(collect(running).await.map(|_| ()), Err(stopped()));
    assert_eq!(collect(waiting).await.map(|_| ()), Err(stopped()));
    assert_eq!(engine.generate(ask("三")).await.map(|_| ()), Err(stopped()));
    assert_idle(&engine);
    engine.shutdown();
}

#[test]
fn an_engine_that_cannot_work_does_not_start() {
    let start = |model: ToyModel, config| {
        let info = ModelInfo { name: "toy".to_owned(), architecture: "toy".to_owned(), context_length: 64 };
        Engine::start(ModelParts { info, model: Box::new(model), codec: Arc::new(ToyCodec::default()) }, config).err()
    };
    let zero = EngineConfig { max_sequences: 0, ..EngineConfig::default() };
    assert!(matches!(start(ToyModel::new(8, echo), zero), Some(EngineError::Configuration { field: "max_sequences" })));
    assert!(matches!(start(ToyModel::new(0, echo), EngineConfig::default()), Some(EngineError::NoBlocks)));
}
