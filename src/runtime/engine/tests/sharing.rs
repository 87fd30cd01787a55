//! What one request has computed, others do not compute again, and nobody can tell from the text.

use super::*;

/// Some instructions that many requests begin with, and a question. Has 3 tokens per character.
fn ask_after_instructions(question: &str) -> GenerationRequest {
    let messages = vec![ChatMessage::system("题".repeat(100)), ChatMessage::user(question)];
    GenerationRequest { messages, max_tokens: Some(20), ..ask("") }
}

const INSTRUCTIONS: usize = 300;
/// The full blocks of the instructions.
const SHARED: usize = INSTRUCTIONS / BLOCK_TOKENS * BLOCK_TOKENS;

#[tokio::test]
async fn the_next_request_with_the_same_beginning_computes_only_the_rest() {
    let reference = engine(ToyModel::new(64, babble), plain());
    let engine = engine(ToyModel::new(64, babble), plain_with_cache());
    let check = async |question: &str, cached_tokens| {
        let before = engine.counters().computed_tokens;
        let (text, _, usage) = answer(&engine, ask_after_instructions(question)).await.unwrap();
        assert_eq!(text, answer(&reference, ask_after_instructions(question)).await.unwrap().0);
        assert_eq!(usage.cached_tokens, cached_tokens);
        let computed = (engine.counters().computed_tokens - before) as usize;
        // The last generated token is not computed.
        assert_eq!(computed, usage.prompt_tokens - cached_tokens + usage.completion_tokens - 1);
    };
    check("甲", 0).await;
    check("乙", SHARED).await;
    check("甲", SHARED).await;
    assert_eq!(reference.counters().prefix_hits, 0);
    let counters = engine.counters();
    assert_eq!((counters.prefix_lookups, counters.prefix_hits), (3, 2 * SHARED as u64));
    assert_eq!(counters.prefix_tokens, counters.prompt_tokens);
    assert_eq!((counters.blocks_in_use, counters.prefix_evictions), (0, 0));
    assert!(counters.blocks_cached >= SHARED / BLOCK_TOKENS);
}

#[tokio::test]
async fn a_chat_goes_on_where_it_stood() {
    let engine = engine(ToyModel::new(64, babble), EngineConfig::default());
    let first = answer(&engine, GenerationRequest { max_tokens: Some(50), ..ask(&"a".repeat(100)) }).await.unwrap();
    // In the toy's format the separator comes behind all messages, so that the answer is not found, but the question.
    let question = ChatMessage::user("a".repeat(100));
    let messages = vec![question, ChatMessage::assistant(first.0), ChatMessage::user("b")];
    let second = answer(&engine, GenerationRequest { messages, max_tokens: Some(1), ..ask("") }).await.unwrap();
    assert_eq!(second.2.cached_tokens, 96);
}

#[tokio::test]
async fn requests_that_come_together_share_what_is_computed_meanwhile() {
    let (model, open) = gated(ToyModel::new(256, babble));
    let engine = engine(model, EngineConfig { prefill_chunk: 64, ..plain_with_cache() });
    let questions = ["甲", "乙", "丙", "丁", "戊", "己", "庚", "辛"];
    let streams = submit(&engine, questions.map(ask_after_instructions).into()).await;
    drop(open);
    let together = texts(streams).await;
    let counters = engine.counters();
    // Where one leaves a part of the chunk, the next one may compute a block at the same time.
    assert!(counters.prefix_hits >= 7 * (SHARED - 2 * BLOCK_TOKENS) as u64, "{counters:?}");
    assert!(counters.computed_tokens < counters.prompt_tokens / 3, "{counters:?}");
    let reference = self::engine(ToyModel::new(64, babble), plain());
    for (question, text) in questions.into_iter().zip(together) {
        assert_eq!(text.unwrap(), answer(&reference, ask_after_instructions(question)).await.unwrap().0);
    }
    assert_idle(&engine);
}

#[tokio::test]
async fn idle_blocks_make_room_for_new_texts() {
    let engine = engine(ToyModel::new(16, babble), EngineConfig { prefix_cache_percent: 50, ..plain_with_cache() });
    for letter in ["a", "b", "c", "d"] {
        let request = GenerationRequest { max_tokens: Some(4), ..ask(&letter.repeat(400)) };
        assert_eq!(answer(&engine, request).await.unwrap().2.cached_tokens, 0);
        assert_eq!(engine.counters().blocks_cached, 8);
    }
    assert!(engine.counters().prefix_evictions >= 24, "{:?}", engine.counters());
    assert_idle(&engine);
}

#[tokio::test]
async fn without_a_cache_nothing_is_kept() {
    let engine = engine(ToyModel::new(64, babble), plain());
    for _ in 0..2 {
        assert_eq!(answer(&engine, ask_after_instructions("甲")).await.unwrap().2.cached_tokens, 0);
    }
    let counters = engine.counters();
    assert_eq!((counters.prefix_hits, counters.blocks_cached), (0, 0));
}
