//! SentencePiece's BPE (Kudo and Richardson 2018, arXiv:1808.06226) from the scores of a GGUF file's vocabulary.
//!
//! Whatever the file's merges once were, its scores order them: of all neighbours that together are a token, those with the
//! highest score become one, the leftmost first, until none are left. Characters that are no token stay as their bytes.

use std::cmp::Ordering;
use std::collections::{BinaryHeap, HashMap};

use super::special::{Piece, SpecialMatcher};
use super::{TokenKind, invalid};
use crate::runtime::model::ModelError;
use crate::runtime::model::gguf::{GgufFile, keys};

/// Stands for a space in the vocabulary.
pub(super) const SPACE: char = '\u{2581}';

/// Merges characters into tokens.
pub(super) struct SentencePiece {
    /// Texts of normal tokens, with [`SPACE`] for spaces, and their scores.
    pieces: HashMap<Box<str>, (u32, f32)>,
    /// The tokens of the 256 bytes.
    bytes: Vec<u32>,
    /// Texts that are always one token: line breaks, runs of spaces, tags.
    user_defined: SpecialMatcher,
}

impl SentencePiece {
    /// Reads the scores.
    ///
    /// # Errors
    /// Refuses vocabularies without scores or byte tokens, and those that put a space in front of every text: what such a
    /// model writes would not be the text that it stands for.
    pub fn from_gguf(file: &GgufFile, tokens: &[&str], kinds: &[TokenKind]) -> Result<Self, ModelError> {
        if file.optional_bool(keys::ADD_SPACE_PREFIX)?.unwrap_or(true) {
            let reason = "vocabularies that begin every text with a space are not supported".to_owned();
            return Err(invalid(keys::ADD_SPACE_PREFIX, reason));
        }
        let scores = file.floats(keys::SCORES)?;
        if scores.len() != tokens.len() {
            return Err(invalid(keys::SCORES, format!("{} entries for {} tokens", scores.len(), tokens.len())));
        }
        let mut bytes = [None; 256];
        let mut pieces = HashMap::new();
        for (((id, text), kind), score) in (0u32..).zip(tokens).zip(kinds).zip(scores) {
            match kind {
                TokenKind::Normal => drop(pieces.insert(Box::from(*text), (id, score))),
                TokenKind::Byte => {
                    let byte = byte_of(text).ok_or_else(|| invalid(keys::TOKENS, format!("`{text}` is no byte")))?;
                    bytes[usize::from(byte)] = Some(id);
                }
                TokenKind::UserDefined | TokenKind::Control | TokenKind::Unused => {}
            }
        }
        let missing = |byte: usize| invalid(keys::TOKENS, format!("no token stands for the byte {byte:#04x}"));
        let bytes = (0..).zip(bytes).map(|(byte, id)| id.ok_or_else(|| missing(byte))).collect::<Result<_, _>>()?;
        let user_defined = (0u32..).zip(tokens).zip(kinds).filter(|(_, kind)| **kind == TokenKind::UserDefined);
        Ok(Self { pieces, bytes, user_defined: SpecialMatcher::new(user_defined.map(|((id, text), _)| (*text, id))) })
    }

    /// Appends the tokens of a text in which nothing is special.
    pub fn encode(&self, text: &str, ids: &mut Vec<u32>) {
        for piece in self.user_defined.split(text) {
            match piece {
                Piece::Special(id) => ids.push(id),
                Piece::Plain(plain) => self.merge(&plain.replace(' ', SPACE.encode_utf8(&mut [0; 4])), ids),
            }
        }
    }

    fn merge(&self, text: &str, ids: &mut Vec<u32>) {
        let mut symbols = Symbols::new(text);
        let mut queue = BinaryHeap::new();
        for left in 0..symbols.0.len() {
            queue.extend(self.pair(text, &symbols, left));
        }
        while let Some(pair) = queue.pop() {
            // Either half may have been merged with another neighbour since.
            if symbols.pair(pair.left).is_none_or(|(start, end)| (start, end) != (pair.start, pair.end)) {
                continue;
            }
            let before = symbols.join(pair.left);
            queue.extend(before.and_then(|left| self.pair(text, &symbols, left)));
            queue.extend(self.pair(text, &symbols, pair.left));
        }
        for symbol in symbols.0.iter().filter(|symbol| symbol.start < symbol.end) {
            let piece = &text[symbol.start..symbol.end];
            match self.pieces.get(piece) {
                Some((id, _)) => ids.push(*id),
                None => ids.extend(piece.bytes().map(|byte| self.bytes[usize::from(byte)])),
            }
        }
    }

    /// The token that symbol `left` and the next one make.
    fn pair(&self, text: &str, symbols: &Symbols, left: usize) -> Option<Pair> {
        let (start, end) = symbols.pair(left)?;
        let (_, score) = self.pieces.get(&text[start..end])?;
        Some(Pair { score: *score, left, start, end })
    }
}

/// `<0x0A>` is the byte 10.
pub(super) fn byte_of(token: &str) -> Option<u8> {
    let digits = token.strip_prefix("<0x")?.strip_suffix('>')?;
    if digits.len() == 2 { u8::from_str_radix(digits, 16).ok() } else { None }
}

/// A part of the text that is one symbol; empty once it belongs to the symbol before it.
struct Symbol {
    start: usize,
    end: usize,
    previous: Option<usize>,
    next: Option<usize>,
}

/// The text as a chain of symbols, at first its characters.
struct Symbols(Vec<Symbol>);

impl Symbols {
    fn new(text: &str) -> Self {
        let mut symbols: Vec<Symbol> = text
            .char_indices()
            .enumerate()
            .map(|(index, (start, character))| Symbol {
                start,
                end: start + character.len_utf8(),
                previous: index.checked_sub(1),
                next: Some(index + 1),
            })
            .collect();
        if let Some(last) = symbols.last_mut() {
            last.next = None;
        }
        Self(symbols)
    }

    /// Where the symbol `left` and the one behind it begin and end.
    fn pair(&self, left: usize) -> Option<(usize, usize)> {
        let symbol = &self.0[left];
        let next = &self.0[symbol.next?];
        (symbol.start < symbol.end).then_some((symbol.start, next.end))
    }

    /// Joins the symbol `left` with the one behind it; returns the one before it.
    fn join(&mut self, left: usize) -> Option<usize> {
        let right = self.0[left].next?;
        self.0[left].end = self.0[right].end;
        self.0[right].end = self.0[right].start;
        self.0[left].next = self.0[right].next;
        if let Some(next) = self.0[left].next {
            self.0[next].previous = Some(left);
        }
        self.0[left].previous
    }
}

/// Two neighbours that could become one token.
struct Pair {
    score: f32,
    left: usize,
    start: usize,
    end: usize,
}

impl Ord for Pair {
    fn cmp(&self, other: &Self) -> Ordering {
        self.score.total_cmp(&other.score).then_with(|| other.left.cmp(&self.left))
    }
}

impl PartialOrd for Pair {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Pair {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Pair {}
