//! A model of bytes for tests: its "keys and values" are the tokens themselves, so that any mistake with blocks, positions
//! or batches changes what it says.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};

use super::codec::TextCodec;
use crate::runtime::ChatMessage;
use crate::runtime::model::{BLOCK_TOKENS, BlockId, DecoderConfig, Forward, LogitsWanted, ModelError, SequenceStep};

/// Stands between the messages and the answer.
const SEPARATOR: u32 = 256;
pub const END: u32 = 257;
const VOCABULARY: usize = 258;
/// Rows of logits are longer than the vocabulary, as those of real models are.
const ROW: usize = 264;

/// One token per byte. A conversation is its contents, one after another, and a separator.
pub struct ToyCodec {
    tokens: Vec<Vec<u8>>,
}

impl Default for ToyCodec {
    fn default() -> Self {
        let bytes = (0..=u8::MAX).map(|byte| vec![byte]);
        Self { tokens: bytes.chain([b"<sep>".to_vec(), b"<end>".to_vec()]).collect() }
    }
}

impl TextCodec for ToyCodec {
    fn encode_chat(&self, messages: &[ChatMessage]) -> Result<Vec<u32>, ModelError> {
        let bytes = messages.iter().flat_map(|message| message.content.bytes());
        Ok(bytes.map(u32::from).chain([SEPARATOR]).collect())
    }

    fn encode(&self, text: &str) -> Result<Vec<u32>, ModelError> {
        Ok(text.bytes().map(u32::from).collect())
    }

    fn token_bytes(&self, id: u32) -> &[u8] {
        self.tokens.get(id as usize).map_or(&[], Vec::as_slice)
    }

    fn is_special(&self, id: u32) -> bool {
        id >= SEPARATOR
    }

    fn end_tokens(&self) -> &[u32] {
        &[END]
    }

    fn vocabulary(&self) -> usize {
        VOCABULARY
    }
}

/// From a sequence's tokens to the logits of the next one.
type Rule = fn(&[u32]) -> Vec<f32>;

/// Repeats the conversation, then ends.
pub fn echo(tokens: &[u32]) -> Vec<f32> {
    let mut logits = vec![0.0; ROW];
    let prompt = tokens.iter().position(|&token| token == SEPARATOR).unwrap_or(tokens.len());
    let said = tokens.len() - prompt - 1;
    let next = if said < prompt { tokens[said] } else { END };
    logits[next as usize] = 30.0;
    logits
}

/// Letters that depend on every token before, without an end.
pub fn babble(tokens: &[u32]) -> Vec<f32> {
    let mut logits = vec![-100.0; ROW];
    for letter in b'a'..=b'z' {
        let mut hasher = DefaultHasher::new();
        (tokens, letter).hash(&mut hasher);
        logits[usize::from(letter)] = (hasher.finish() % 1_000) as f32 / 250.0;
    }
    logits
}

/// A few letters and signs of JSON that depend on the two tokens before, so that the text repeats itself, but not for ever.
pub fn stutter(tokens: &[u32]) -> Vec<f32> {
    let mut logits = vec![-100.0; ROW];
    for letter in *b"abc\"\\[{]}:, 1" {
        let mut hasher = DefaultHasher::new();
        (&tokens[tokens.len().saturating_sub(2)..], tokens.len() / 40, letter).hash(&mut hasher);
        let base = if letter.is_ascii_alphabetic() { 4.0 } else { 0.0 };
        logits[usize::from(letter)] = base + (hasher.finish() % 1_000) as f32 / 250.0;
    }
    logits
}

/// Called before each pass with its steps.
type BeforePass = Box<dyn FnMut(&[SequenceStep<'_>]) -> Result<(), ModelError> + Send>;

pub struct ToyModel {
    config: DecoderConfig,
    /// The token at each position of each block.
    store: Vec<[u32; BLOCK_TOKENS]>,
    rule: Rule,
    before_pass: BeforePass,
}

impl ToyModel {
    pub fn new(blocks: usize, rule: Rule) -> Self {
        let config = DecoderConfig {
            architecture: "toy".to_owned(),
            vocabulary: ROW,
            layers: 1,
            hidden: 1,
            heads: 1,
            kv_heads: 1,
            head_dim: 1,
            context_length: usize::MAX,
        };
        Self { config, store: vec![[u32::MAX; BLOCK_TOKENS]; blocks], rule, before_pass: Box::new(|_| Ok(())) }
    }

    pub fn before_pass(
        mut self,
        hook: impl FnMut(&[SequenceStep<'_>]) -> Result<(), ModelError> + Send + 'static,
    ) -> Self {
        self.before_pass = Box::new(hook);
        self
    }

    fn slot(&mut self, blocks: &[BlockId], position: usize) -> &mut u32 {
        &mut self.store[blocks[position / BLOCK_TOKENS].0 as usize][position % BLOCK_TOKENS]
    }
}

impl Forward for ToyModel {
    fn config(&self) -> &DecoderConfig {
        &self.config
    }

    fn forward(&mut self, steps: &[SequenceStep<'_>]) -> Result<Vec<Vec<f32>>, ModelError> {
        (self.before_pass)(steps)?;
        for (index, step) in steps.iter().enumerate() {
            let written = &step.blocks[step.start / BLOCK_TOKENS..];
            let others = steps.iter().enumerate().filter(|(other, _)| *other != index);
            for (_, other) in others {
                assert!(!other.blocks.iter().any(|block| written.contains(block)), "a block is written and shared");
            }
        }
        for step in steps {
            assert!(!step.tokens.is_empty());
            for (index, &token) in step.tokens.iter().enumerate() {
                *self.slot(step.blocks, step.start + index) = token;
            }
        }
        let mut rows = Vec::new();
        for step in steps {
            let end = step.start + step.tokens.len();
            let wanted = match step.logits {
                LogitsWanted::None => end..end,
                LogitsWanted::Last => end - 1..end,
                LogitsWanted::All => step.start..end,
            };
            let tokens: Vec<u32> = (0..end).map(|position| *self.slot(step.blocks, position)).collect();
            rows.extend(wanted.map(|position| (self.rule)(&tokens[..=position])));
        }
        Ok(rows)
    }

    fn blocks(&self) -> usize {
        self.store.len()
    }
}
