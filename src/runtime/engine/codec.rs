//! The text side of a model, as the engine needs it.

use crate::runtime::ChatMessage;
use crate::runtime::model::{ChatTemplate, ModelError, Tokenizer};

/// Text to token ids and back. [`ChatCodec`] is a real model's; tests bring small ones of their own.
pub trait TextCodec: Send + Sync {
    /// Token ids of a conversation, ending where the assistant's answer begins.
    fn encode_chat(&self, messages: &[ChatMessage]) -> Result<Vec<u32>, ModelError>;

    /// Token ids of plain text: what spells a special token is ordinary characters. Of all the sequences of tokens that
    /// stand for the text, the one that the model was trained on.
    fn encode(&self, text: &str) -> Result<Vec<u32>, ModelError>;

    /// The bytes that a token stands for; a character may be spread over several tokens.
    fn token_bytes(&self, id: u32) -> &[u8];

    /// Whether a token is a mark of the chat format rather than text.
    fn is_special(&self, id: u32) -> bool;

    /// Tokens that end the answer; at least one.
    fn end_tokens(&self) -> &[u32];

    /// Number of tokens; a row of logits may be padded beyond it.
    fn vocabulary(&self) -> usize;
}

/// A model's own tokenizer and chat template.
pub struct ChatCodec {
    pub tokenizer: Tokenizer,
    pub template: ChatTemplate,
}

impl TextCodec for ChatCodec {
    fn encode_chat(&self, messages: &[ChatMessage]) -> Result<Vec<u32>, ModelError> {
        self.tokenizer.encode_chat(&self.template, messages)
    }

    fn encode(&self, text: &str) -> Result<Vec<u32>, ModelError> {
        self.tokenizer.encode(text, false)
    }

    fn token_bytes(&self, id: u32) -> &[u8] {
        self.tokenizer.token_bytes(id)
    }

    fn is_special(&self, id: u32) -> bool {
        self.tokenizer.is_special(id)
    }

    fn end_tokens(&self) -> &[u32] {
        self.tokenizer.end_tokens()
    }

    fn vocabulary(&self) -> usize {
        self.tokenizer.vocabulary()
    }
}
