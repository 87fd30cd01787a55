//! Text that conforms to a JSON schema, enforced token by token with llguidance.
//!
//! Separators are fixed to `", "` and `": "` and no other white space is allowed outside strings: a small model that may
//! write white space tends to write nothing else. What can only go on in one way (keys, punctuation) is not sampled but
//! [forced](Grammar::forced).
//!
//! All escapes of JSON are allowed in strings. A model that writes LaTeX with single backslashes then gives `"\frac"`, which
//! parses as a form feed and `rac`; whoever reads formulas has to put the backslash back. Forbidding those escapes does not
//! make the 1.5B model write two backslashes: tried on twelve prompts, it went on with `\nu` instead, and without `\n` it
//! repeated backslashes to the token limit.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use llguidance::api::TopLevelGrammar;
use llguidance::toktrie::{SimpleVob, TokEnv, TokRxInfo, TokTrie, TokenizerEnv};
use llguidance::{JsonCompileOptions, Matcher, ParserFactory, panic_utils};
use serde_json::{Value, json};

use super::codec::TextCodec;
use crate::runtime::Constraint;

#[derive(Debug, thiserror::Error)]
pub enum GrammarError {
    /// The vocabulary cannot be used for constrained generation.
    #[error("vocabulary: {0}")]
    Vocabulary(String),
    /// The schema is invalid, contradictory, or uses what cannot be enforced.
    #[error("{0}")]
    Schema(String),
    /// A compiled grammar failed while it was followed.
    #[error("grammar: {0}")]
    State(String),
}

/// What the grammars of all requests share: the vocabulary as a trie. Built once per model.
pub struct GrammarEnvironment {
    factory: ParserFactory,
}

impl GrammarEnvironment {
    pub fn new(codec: Arc<dyn TextCodec>) -> Result<Self, GrammarError> {
        let build = || {
            let vocabulary: TokEnv = Arc::new(Vocabulary::new(codec));
            ParserFactory::new_simple(&vocabulary)
        };
        let mut factory = panic_utils::catch_unwind(AssertUnwindSafe(build))
            .map_err(|error| GrammarError::Vocabulary(error.to_string()))?;
        factory.quiet();
        factory.limits_mut().verbose_errors = false;
        Ok(Self { factory })
    }

    /// Compiles a constraint; the work is bounded by llguidance's limits.
    ///
    /// # Errors
    /// [`GrammarError::Schema`]; among what cannot be enforced are `oneOf` with overlapping alternatives, `not`, and
    /// references to other documents.
    pub fn compile(&self, constraint: &Constraint) -> Result<Grammar, GrammarError> {
        let mut schema = match constraint {
            Constraint::JsonObject => json!({ "type": "object" }),
            Constraint::JsonSchema(schema @ Value::Object(_)) => schema.clone(),
            Constraint::JsonSchema(_) => return Err(GrammarError::Schema("must be an object".to_owned())),
        };
        let options = JsonCompileOptions {
            item_separator: ", ".to_owned(),
            key_separator: ": ".to_owned(),
            whitespace_flexible: false,
            ..JsonCompileOptions::default()
        };
        options.apply_to(&mut schema);
        let grammar = TopLevelGrammar::from_json_schema(schema);
        let parser = panic_utils::catch_unwind(AssertUnwindSafe(|| self.factory.create_parser(grammar)))
            .map_err(|error| GrammarError::Schema(error.to_string()))?;
        Ok(Grammar { matcher: Matcher::new(Ok(parser)), prepared: None })
    }
}

/// The state of one generation under a constraint.
pub struct Grammar {
    matcher: Matcher,
    /// The tokens that may come next, when they are already known.
    prepared: Option<SimpleVob>,
}

impl Grammar {
    /// Finds out which tokens may come next. [`mask`](Self::mask) is quick after that; a grammar takes up to 16 ms to tell,
    /// which is time that the model needs anyway to compute the logits.
    pub fn prepare(&mut self) {
        // An error leaves the matcher in its error state, so that `mask` comes upon it again.
        self.prepared = self.matcher.compute_mask().ok();
    }

    /// Sets the logits of all tokens that must not come next to minus infinity. There is one logit per token of the
    /// vocabulary. An end token is left where the text may end.
    pub fn mask(&mut self, logits: &mut [f32]) -> Result<(), GrammarError> {
        let allowed = match self.prepared.take() {
            Some(allowed) => allowed,
            None => self.matcher.compute_mask().map_err(state)?,
        };
        allowed.iter_unset_entries(|id| {
            if let Some(logit) = logits.get_mut(id) {
                *logit = f32::NEG_INFINITY;
            }
        });
        Ok(())
    }

    /// Follows a token that the mask left.
    pub fn accept(&mut self, token: u32) -> Result<(), GrammarError> {
        self.prepared = None;
        self.matcher.consume_token(token).map_err(state)
    }

    /// Follows the tokens that must come next and returns them, ready to be computed in one pass. They are the tokens that
    /// the tokenizer itself makes of the forced text; where sampling could still choose another split, nothing is forced.
    pub fn forced(&mut self) -> Result<Vec<u32>, GrammarError> {
        if self.is_complete() {
            return Ok(Vec::new());
        }
        self.prepared = None;
        let tokens = self.matcher.consume_ff_tokens();
        match self.matcher.get_error() {
            Some(error) => Err(GrammarError::State(error)),
            None => Ok(tokens),
        }
    }

    /// How many of these tokens could come next, one after another. Follows none of them.
    pub fn accepts(&mut self, tokens: &[u32]) -> usize {
        // An error is come upon again by `mask`.
        self.matcher.validate_tokens(tokens).unwrap_or(0)
    }

    /// Nothing may follow.
    pub fn is_complete(&self) -> bool {
        self.matcher.is_stopped()
    }
}

fn state(error: impl std::fmt::Display) -> GrammarError {
    GrammarError::State(error.to_string())
}

/// A model's vocabulary as llguidance sees it.
struct Vocabulary {
    codec: Arc<dyn TextCodec>,
    trie: TokTrie,
}

impl Vocabulary {
    fn new(codec: Arc<dyn TextCodec>) -> Self {
        let count = u32::try_from(codec.vocabulary()).unwrap_or(u32::MAX);
        let word = |id| {
            // The marker keeps a special token from matching the text that spells it.
            let marker = codec.is_special(id).then_some(TokTrie::SPECIAL_TOKEN_MARKER);
            marker.into_iter().chain(codec.token_bytes(id).iter().copied()).collect()
        };
        let words: Vec<Vec<u8>> = (0..count).map(word).collect();
        let end = codec.end_tokens();
        let trie =
            TokTrie::from(&TokRxInfo::new(count, end.first().copied().unwrap_or(0)), &words).with_eos_tokens(end);
        Self { codec, trie }
    }
}

impl TokenizerEnv for Vocabulary {
    fn tok_trie(&self) -> &TokTrie {
        &self.trie
    }

    fn tokenize_bytes(&self, bytes: &[u8]) -> Vec<u32> {
        self.trie.tokenize_with_greedy_fallback(bytes, |text| {
            self.codec.encode(text).unwrap_or_else(|_| self.trie.greedy_tokenize(text.as_bytes()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::toy::ToyCodec;
    use super::*;

    fn environment() -> GrammarEnvironment {
        GrammarEnvironment::new(Arc::new(ToyCodec::default())).unwrap()
    }

    /// The text of a generation in which the bytes of `wishes` are sampled in turn; the highest allowed token instead of a
    /// byte that is not allowed, and after the last one.
    fn generate(schema: Value, wishes: &str) -> String {
        let codec = ToyCodec::default();
        let mut grammar = environment().compile(&Constraint::JsonSchema(schema)).unwrap();
        let mut bytes: Vec<u8> =
            grammar.forced().unwrap().iter().flat_map(|&id| codec.token_bytes(id).to_vec()).collect();
        let mut wishes = wishes.bytes();
        while !grammar.is_complete() {
            let mut logits = vec![0.0; codec.vocabulary()];
            grammar.mask(&mut logits).unwrap();
            let allowed = |id: u32| logits[id as usize] == 0.0;
            let wish = wishes.next().map(u32::from).filter(|&id| allowed(id));
            let end = codec.end_tokens()[0];
            let Some(token) = wish.or_else(|| (0..=end).rev().find(|&id| allowed(id))) else { break };
            if token == end {
                break;
            }
            grammar.accept(token).unwrap();
            let forced = grammar.forced().unwrap();
            bytes.extend([token].into_iter().chain(forced).flat_map(|id| codec.token_bytes(id).to_vec()));
        }
        String::from_utf8(bytes).unwrap()
    }

    fn check(schema: Value, wishes: &str, expected: &str) {
        assert_eq!(generate(schema.clone(), wishes), expected, "{schema}");
    }

    #[test]
    fn keys_and_punctuation_are_forced() {
        let schema = json!({"type": "object", "properties": {"a": {"type": "boolean"}, "b": {"enum": ["x", "yz"]}},
                            "required": ["a", "b"], "additionalProperties": false});
        check(schema, "fy", r#"{"a": false, "b": "yz"}"#);
    }

    #[test]
    fn what_can_be_only_one_text_needs_no_sampling() {
        check(json!({"const": {"单元": "一元一次方程"}}), "", r#"{"单元": "一元一次方程"}"#);
    }

    #[test]
    fn no_white_space_beside_the_separators() {
        let schema = json!({"type": "array", "items": {"type": "integer", "minimum": 1, "maximum": 3},
                            "minItems": 2, "maxItems": 3});
        check(schema.clone(), "12]", "[1, 2]");
        check(schema, "12,3", "[1, 2, 3]");
    }

    #[test]
    fn fixed_texts_may_hold_any_character() {
        let check = |schema: Value, wishes, expected: &str| {
            let value: Value = serde_json::from_str(&generate(schema.clone(), wishes)).unwrap();
            assert_eq!(value, json!(expected), "{schema}");
        };
        check(json!({"const": "\\frac\t"}), "", "\\frac\t");
        check(json!({"enum": ["a\tb", "c"]}), "a", "a\tb");
        check(json!({"type": "string", "pattern": "^a\\tb$"}), "", "a\tb");
    }

    #[test]
    fn a_schema_that_cannot_be_enforced_is_refused() {
        let check = |schema: Value| {
            let result = environment().compile(&Constraint::JsonSchema(schema.clone()));
            assert!(matches!(result, Err(GrammarError::Schema(_))), "{schema}");
        };
        check(json!("text"));
        check(json!(true));
        check(json!({"type": "no such type"}));
        check(json!({"type": "integer", "minimum": 3, "maximum": 1}));
        check(json!({"$ref": "https://example.org/schema.json"}));
        check(json!({"properties": 3}));
        check(json!({"not": {"type": "string"}}));
        check(json!({"oneOf": [{"type": "integer"}, {"type": "number"}]}));
        check(json!({"type": "string", "pattern": "("}));
    }

    #[test]
    fn a_mask_prepared_ahead_is_the_mask() {
        let mut grammar = environment().compile(&Constraint::JsonObject).unwrap();
        let size = ToyCodec::default().vocabulary();
        for token in std::iter::once(None).chain(r#"{"a": [1"#.bytes().map(Some)) {
            if let Some(byte) = token {
                grammar.prepare();
                grammar.accept(u32::from(byte)).unwrap();
            }
            let (mut at_once, mut ahead) = (vec![0.0; size], vec![0.0; size]);
            grammar.mask(&mut at_once).unwrap();
            grammar.prepare();
            grammar.mask(&mut ahead).unwrap();
            assert_eq!(at_once, ahead, "after {token:?}");
        }
    }

    #[test]
    fn a_draft_is_accepted_up_to_the_first_token_that_must_not_come() {
        let check = |draft: &str, expected| {
            let schema = json!({"type": "array", "items": {"type": "integer"}});
            let mut grammar = environment().compile(&Constraint::JsonSchema(schema)).unwrap();
            let tokens: Vec<u32> = draft.bytes().map(u32::from).collect();
            assert_eq!(grammar.accepts(&tokens), expected, "{draft}");
            grammar.accept(u32::from(b'[')).unwrap();
            assert_eq!(grammar.accepts(&tokens[1..]), expected - 1, "{draft}");
        };
        check("[1, 2]", 6);
        check("[1,2]", 3);
        check("[a", 1);
    }

    #[test]
    fn any_object_will_do_for_json_mode() {
        let mut grammar = environment().compile(&Constraint::JsonObject).unwrap();
        let forced = grammar.forced().unwrap();
        assert_eq!(forced, [u32::from(b'{')]);
        grammar.accept(u32::from(b'}')).unwrap();
        assert!(grammar.is_complete());
    }
}
