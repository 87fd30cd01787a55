//! What goes wrong hits those that it must, and nobody else.

use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::runtime::engine::toy::END;

#[tokio::test]
async fn a_failing_pass_fails_its_sequences_and_no_others() {
    let check = async |fault: fn() -> Result<(), ModelError>| {
        let (open, gate) = channel::<()>();
        let mut pass = 0;
        let model = ToyModel::new(64, echo).before_pass(move |_: &[SequenceStep<'_>]| {
            let _ = gate.recv();
            pass += 1;
            if pass == 3 { fault() } else { Ok(()) }
        });
        let engine = engine(model, EngineConfig { max_sequences: 2, ..EngineConfig::default() });
        let streams = submit(&engine, ["一", "二", "三"].map(ask).into()).await;
        drop(open);
        let ends = texts(streams).await;
        assert!(matches!(&ends[0], Err(GenerationError::Internal(reason)) if reason.contains("broken")), "{ends:?}");
        assert!(matches!(&ends[1], Err(GenerationError::Internal(_))), "{ends:?}");
        assert_eq!(ends[2].as_deref(), Ok("三"));
        assert_eq!(engine.counters().failed_passes, 1);
        assert_idle(&engine);
        assert_eq!(answer(&engine, ask("四")).await.unwrap().0, "四");
    };
    check(|| Err(ModelError::Compute(candle_core::Error::Msg("broken".to_owned())))).await;
    check(|| panic!("broken")).await;
}

fn is_fault(end: &Result<String, GenerationError>) -> bool {
    matches!(end, Err(GenerationError::Internal(reason)) if reason.contains("broken"))
}

/// The toy's codec, until the text of one letter cannot be told any more.
#[derive(Default)]
struct BrokenLetter(ToyCodec, AtomicBool);

impl TextCodec for BrokenLetter {
    fn encode_chat(&self, messages: &[ChatMessage]) -> Result<Vec<u32>, ModelError> {
        self.0.encode_chat(messages)
    }

    fn encode(&self, text: &str) -> Result<Vec<u32>, ModelError> {
        self.0.encode(text)
    }

    fn token_bytes(&self, id: u32) -> &[u8] {
        assert!(id != u32::from(b'x') || !self.1.load(Ordering::Relaxed), "broken");
        self.0.token_bytes(id)
    }

    fn is_special(&self, id: u32) -> bool {
        self.0.is_special(id)
    }

    fn end_tokens(&self) -> &[u32] {
        &[END]
    }

    fn vocabulary(&self) -> usize {
        self.0.vocabulary()
    }
}

#[tokio::test]
async fn a_panic_while_a_token_is_chosen_fails_that_sequence_alone() {
    let (model, open) = gated(ToyModel::new(64, echo));
    let codec = Arc::new(BrokenLetter::default());
    let parts = ModelParts { info: toy_info(), model: Box::new(model), codec: codec.clone() };
    let engine = Engine::start(parts, EngineConfig::default()).unwrap();
    // Building the grammar environment has asked for the text of every token.
    codec.1.store(true, Ordering::Relaxed);
    let streams = submit(&engine, ["abc", "axc", "xyz", "def"].map(ask).into()).await;
    drop(open);
    let ends = texts(streams).await;
    assert_eq!((ends[0].as_deref(), ends[3].as_deref()), (Ok("abc"), Ok("def")));
    assert!(is_fault(&ends[1]) && is_fault(&ends[2]), "{ends:?}");
    let counters = engine.counters();
    assert_eq!((counters.panics, counters.failed_passes), (2, 0));
    assert_idle(&engine);
}

#[tokio::test]
async fn a_panic_outside_the_passes_fails_what_was_computed_and_the_engine_begins_anew() {
    let (open, gate) = channel::<()>();
    let (entered, begun) = channel();
    let model = ToyModel::new(64, echo).before_pass(move |_: &[SequenceStep<'_>]| {
        let _ = entered.send(());
        let _ = gate.recv();
        Ok(())
    });
    let engine = engine(model, EngineConfig { max_sequences: 2, ..EngineConfig::default() });
    let mut streams = submit(&engine, vec![ask("一")]).await;
    tokio::task::spawn_blocking(move || begun.recv()).await.unwrap().unwrap();
    streams.extend(submit(&engine, ["二", "三"].map(ask).into()).await);
    engine.shared.commands.send(Command::Panic).unwrap();
    drop(open);
    let ends = texts(streams).await;
    assert!(is_fault(&ends[0]), "{ends:?}");
    assert_eq!((ends[1].as_deref(), ends[2].as_deref()), (Ok("二"), Ok("三")));
    let counters = engine.counters();
    assert_eq!((counters.panics, counters.failed_passes), (1, 0));
    assert_idle(&engine);
    assert_eq!(answer(&engine, ask("四")).await.unwrap().0, "四");
}

#[tokio::test]
async fn a_panic_with_nothing_to_do_stops_nothing() {
    let engine = engine(ToyModel::new(64, echo), EngineConfig::default());
    for _ in 0..3 {
        engine.shared.commands.send(Command::Panic).unwrap();
        assert_eq!(answer(&engine, ask("四")).await.unwrap().0, "四");
    }
    assert_eq!(engine.counters().panics, 3);
}

#[tokio::test]
async fn no_block_outlives_a_fault() {
    let check = async |fault: fn() -> Result<(), ModelError>| {
        let mut pass = 0;
        let model = ToyModel::new(64, echo).before_pass(move |_: &[SequenceStep<'_>]| {
            pass += 1;
            if pass == 3 { fault() } else { Ok(()) }
        });
        let engine = engine(model, plain_with_cache());
        let request = || GenerationRequest { max_tokens: Some(2), ..ask(&"题".repeat(40)) };
        answer(&engine, request()).await.unwrap();
        assert!(engine.counters().blocks_cached > 0);
        assert!(answer(&engine, request()).await.is_err());
        assert_eq!(engine.counters().blocks_cached, 0);
        assert_eq!(answer(&engine, request()).await.unwrap().2.cached_tokens, 0);
    };
    check(|| Err(ModelError::Compute(candle_core::Error::Msg("broken".to_owned())))).await;
    check(|| panic!("broken")).await;
}

#[tokio::test]
async fn a_generation_that_is_lost_says_so_and_leaves_its_place() {
    let admission = Admission::new(1, 0);
    let (reader, stream) = Reader::new(1, admission.enter(Priority::Interactive).unwrap());
    drop(reader);
    assert!(matches!(collect(stream).await, Err(GenerationError::Internal(_))));
    assert!(admission.enter(Priority::Interactive).is_ok());
}
