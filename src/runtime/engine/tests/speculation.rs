//! Drafts save passes and change no answer.

use super::*;
use crate::runtime::engine::toy::stutter;

fn with_drafts(speculation_rows: usize) -> EngineConfig {
    EngineConfig { speculation_rows, ..plain() }
}

/// All events of a generation; two are equal if the pieces of text are.
async fn events(engine: &Engine, request: GenerationRequest) -> Vec<Result<GenerationEvent, GenerationError>> {
    let mut stream = engine.generate(request).await.unwrap();
    let mut events = Vec::new();
    while let Some(event) = stream.recv().await {
        events.push(event);
    }
    events
}

/// Greedy and drawn, with penalty, grammar and stop texts, short and long, over texts that repeat themselves.
fn requests() -> Vec<GenerationRequest> {
    let schema = json!({"type": "array", "minItems": 2, "maxItems": 4, "items": {"type": "object",
        "additionalProperties": false, "required": ["text", "level"], "properties": {
            "text": {"type": "string", "maxLength": 30}, "level": {"enum": ["easy", "medium", "hard"]}}}});
    let drawn = |seed, temperature| Sampling { temperature, seed: Some(seed), ..Sampling::default() };
    let with = |change: &dyn Fn(&mut GenerationRequest)| {
        let mut request = ask("abcabcabdabc");
        change(&mut request);
        request
    };
    let mut requests = vec![
        with(&|_| {}),
        with(&|request| request.max_tokens = Some(1)),
        with(&|request| request.max_tokens = Some(7)),
        with(&|request| request.max_tokens = None),
        with(&|request| request.stop = vec!["ca".to_owned(), "bca".to_owned()]),
        with(&|request| request.sampling.repetition_penalty = 1.3),
        with(&|request| request.constraint = Some(Constraint::JsonSchema(schema.clone()))),
        with(&|request| request.constraint = Some(Constraint::JsonObject)),
    ];
    for seed in 0..12 {
        requests.push(with(&|request| request.sampling = drawn(seed, 0.6)));
        requests.push(with(&|request| {
            request.sampling = Sampling { repetition_penalty: 1.1, ..drawn(seed, 1.2) };
            request.constraint = Some(Constraint::JsonSchema(schema.clone()));
            request.max_tokens = Some(150);
        }));
        requests.push(with(&|request| {
            request.sampling = drawn(seed, 0.9);
            request.stop = vec![["aa", "bb", "cc"][seed as usize % 3].to_owned()];
        }));
    }
    requests
}

#[tokio::test]
async fn answers_are_the_same_with_and_without_drafts() {
    let reference = engine(ToyModel::new(16, stutter), plain());
    let mut expected = Vec::new();
    for request in requests() {
        expected.push(events(&reference, request).await);
    }
    assert_eq!(reference.counters().drafted_tokens, 0);
    for rows in [2, 8, 40] {
        let engine = engine(ToyModel::new(16, stutter), with_drafts(rows));
        for (request, expected) in requests().into_iter().zip(&expected) {
            assert_eq!(&events(&engine, request.clone()).await, expected, "{rows} rows, {request:?}");
        }
        let (with, without) = (engine.counters(), reference.counters());
        assert!(with.accepted_tokens > 0 && with.drafted_tokens > with.accepted_tokens, "{with:?}");
        assert_eq!((with.generated_tokens, with.forced_tokens), (without.generated_tokens, without.forced_tokens));
        assert!(with.forward_passes < without.forward_passes);
        assert_idle(&engine);
    }
}

#[tokio::test]
async fn a_batch_with_drafts_shared_blocks_and_preemptions_answers_the_same() {
    let reference = engine(ToyModel::new(16, stutter), plain());
    let mut expected = Vec::new();
    for request in requests() {
        expected.push(answer(&reference, request).await.map(|(text, _, _)| text));
    }
    let (model, open) = gated(ToyModel::new(16, stutter));
    let config = EngineConfig { speculation_rows: 24, prefill_chunk: 20, ..EngineConfig::default() };
    let engine = engine(model, config);
    let streams = submit(&engine, requests()).await;
    drop(open);
    assert_eq!(texts(streams).await, expected);
    let counters = engine.counters();
    assert!(counters.preemptions > 0 && counters.accepted_tokens > 0 && counters.prefix_hits > 0, "{counters:?}");
    assert_idle(&engine);
}

#[tokio::test]
async fn a_quotation_takes_a_fraction_of_the_passes() {
    let question = "解方程 3x + 5 = 20：移项，得 3x = 20 - 5；合并同类项，得 3x = 15；系数化为 1，得 x = 5。";
    let passes = async |config| {
        let engine = engine(ToyModel::new(16, echo), config);
        assert_eq!(answer(&engine, ask(question)).await.unwrap().0, question);
        let counters = engine.counters();
        assert!(counters.accepted_tokens <= counters.drafted_tokens);
        counters.forward_passes
    };
    assert!(passes(with_drafts(8)).await * 3 < passes(plain()).await);
}

#[tokio::test]
async fn a_text_that_cannot_be_guessed_costs_few_rows() {
    let engine = engine(ToyModel::new(64, babble), with_drafts(8));
    answer(&engine, GenerationRequest { max_tokens: Some(1_000), ..ask("一") }).await.unwrap();
    let counters = engine.counters();
    assert!(counters.drafted_tokens < 100, "{counters:?}");
    assert!(counters.forward_passes + counters.accepted_tokens >= 1_000, "{counters:?}");
}
