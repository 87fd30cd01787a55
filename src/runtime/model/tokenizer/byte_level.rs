//! Byte-level BPE from the GGUF file's own vocabulary and merges.
//!
//! candle's `TokenizerFromGguf` is not used: it knows no SmolLM2 pre-tokenizer (it would add a leading space and keep
//! digits together), takes unused padding tokens for special ones, and recognises special tokens in any text. Here the
//! `tokenizers` model sees plain text only.

use std::collections::HashMap;

use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::normalizers::unicode::NFC;
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::tokenizer::SplitDelimiterBehavior;

use super::invalid;
use crate::runtime::model::ModelError;
use crate::runtime::model::gguf::{GgufFile, keys};

/// The split of Qwen2 and its successors (tokenizer.json of Qwen/Qwen2.5-0.5B-Instruct).
const QWEN2_SPLIT: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// GPT-2's printable stand-ins for the 256 bytes: printable Latin-1 characters stand for themselves, the other bytes take
/// the characters from U+0100 on, in order.
pub(in crate::runtime::model) fn byte_alphabet() -> HashMap<char, u8> {
    let printable = |byte: u8| matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
    let mut stand_ins = '\u{100}'..='\u{1FF}';
    (0..=u8::MAX)
        .filter_map(|byte| {
            let character = if printable(byte) { Some(char::from(byte)) } else { stand_ins.next() };
            character.map(|character| (character, byte))
        })
        .collect()
}

/// The BPE that the file's vocabulary, merges and name of a pre-tokenizer describe.
pub(super) fn build(file: &GgufFile, tokens: &[&str]) -> Result<tokenizers::Tokenizer, ModelError> {
    let failed = |error: tokenizers::Error| ModelError::Tokenizer(error.to_string());
    let merges = file
        .strings(keys::MERGES)?
        .into_iter()
        .map(|merge| {
            merge
                .split_once(' ')
                .map(|(left, right)| (left.to_owned(), right.to_owned()))
                .ok_or_else(|| invalid(keys::MERGES, format!("`{merge}` is no pair")))
        })
        .collect::<Result<Vec<_>, _>>()?;
    let vocabulary = tokens.iter().map(|token| (*token).to_owned()).zip(0u32..).collect::<Vocab>();
    let bpe = BPE::builder().vocab_and_merges(vocabulary, merges).build().map_err(failed)?;
    let mut tokenizer = tokenizers::Tokenizer::new(bpe);
    let bytes_only = ByteLevel::new(false, false, false);
    let steps: Vec<PreTokenizerWrapper> = match file.string(keys::TOKENIZER_PRE)? {
        "qwen2" => {
            tokenizer.with_normalizer(Some(NFC)).map_err(failed)?;
            let pattern = SplitPattern::Regex(QWEN2_SPLIT.to_owned());
            let split = Split::new(pattern, SplitDelimiterBehavior::Isolated, false).map_err(failed)?;
            vec![split.into(), bytes_only.into()]
        }
        // Digits one by one, then GPT-2's own split (tokenizer.json of HuggingFaceTB/SmolLM2-135M-Instruct).
        "smollm" => vec![Digits::new(true).into(), ByteLevel::new(false, true, true).into()],
        other => {
            let reason = format!("`{other}` is not supported: expected one of qwen2, smollm");
            return Err(invalid(keys::TOKENIZER_PRE, reason));
        }
    };
    tokenizer.with_pre_tokenizer(Some(Sequence::new(steps)));
    Ok(tokenizer)
}
