//! The unigram tokenizer of the XLM-R family (Kudo 2018, arXiv:1804.10959), with the pieces, scores and normalizer
//! rules that the encoder's file carries.
//!
//! Text is normalized character by character, runs of spaces become one, a space is put in front, and spaces become
//! `▁`. The pieces are then the most probable segmentation (Viterbi).

use super::e5_file::TokenizerData;

const METASPACE: char = '▁';

/// How far below the worst piece an unknown character scores; SentencePiece's constant.
const UNKNOWN_PENALTY: f32 = 10.0;

pub(super) struct UnigramTokenizer {
    data: TokenizerData,
    /// Open addressing over the pieces' FNV-1a hashes: piece + 1, or 0 for an empty slot. At most half full.
    slots: Vec<u32>,
    unknown_score: f32,
    longest_piece: usize,
}

impl UnigramTokenizer {
    pub fn new(data: TokenizerData) -> Self {
        let count = data.scores.len();
        let mut slots = vec![0; (count * 2).next_power_of_two()];
        let mut longest_piece = 1;
        for piece in 0..count {
            let text = piece_text(&data, piece);
            longest_piece = longest_piece.max(text.len());
            if text.is_empty() {
                continue;
            }
            let mut slot = slot_of(hash(HASH_START, text), slots.len());
            while slots[slot] != 0 {
                slot = (slot + 1) % slots.len();
            }
            slots[slot] = piece as u32 + 1;
        }
        let unknown_score = data.scores.iter().copied().fold(f32::INFINITY, f32::min) - UNKNOWN_PENALTY;
        Self { data, slots, unknown_score, longest_piece }
    }

    /// `<s>`, the pieces of `text`, `</s>`: at most `limit` tokens, cut at the end of the text.
    pub fn encode(&self, text: &str, limit: usize) -> Vec<u32> {
        let content = limit.saturating_sub(2);
        // What lies beyond the reach of the longest pieces cannot become one of the tokens kept.
        let characters = content.saturating_mul(self.longest_piece);
        let mut ids = Vec::with_capacity(limit.min(text.len() + 2));
        ids.push(self.data.bos);
        ids.extend(self.pieces(&self.normalize(text, characters)).into_iter().take(content));
        ids.push(self.data.eos);
        ids
    }

    fn normalize(&self, text: &str, limit: usize) -> String {
        let rules = &self.data.rules;
        let replace = |c: char| match rules.binary_search_by_key(&c, |rule| rule.0) {
            Ok(rule) => either(&rules[rule].1, None),
            Err(_) => either(&[], Some(c)),
        };
        let mut out = String::with_capacity(text.len() + METASPACE.len_utf8());
        let mut after_space = false;
        for c in text.chars().take(limit).flat_map(replace) {
            let space = c == ' ';
            if out.is_empty() && !space {
                out.push(METASPACE);
            }
            if !(space && after_space) {
                out.push(if space { METASPACE } else { c });
            }
            after_space = space;
        }
        if out.is_empty() {
            out.push(METASPACE);
        }
        out
    }

    /// The most probable segmentation of a normalized text.
    fn pieces(&self, text: &str) -> Vec<u32> {
        #[derive(Clone, Copy)]
        struct Best {
            score: f32,
            piece: u32,
            from: usize,
        }
        // Indexed by byte; only character boundaries are ever reached.
        let mut best = vec![Best { score: f32::NEG_INFINITY, piece: self.data.unk, from: 0 }; text.len() + 1];
        best[0].score = 0.0;
        for (start, first) in text.char_indices() {
            let here = best[start].score;
            let mut state = HASH_START;
            for (offset, c) in text[start..].char_indices() {
                let length = offset + c.len_utf8();
                if length > self.longest_piece {
                    break;
                }
                let end = start + length;
                state = hash(state, &text.as_bytes()[start + offset..end]);
                if let Some(piece) = self.find(state, &text.as_bytes()[start..end]) {
                    let score = here + self.data.scores[piece as usize];
                    if score > best[end].score {
                        best[end] = Best { score, piece, from: start };
                    }
                }
            }
            let end = start + first.len_utf8();
            let score = here + self.unknown_score;
            if score > best[end].score {
                best[end] = Best { score, piece: self.data.unk, from: start };
            }
        }
        let mut ids = Vec::new();
        let mut at = text.len();
        while at > 0 {
            ids.push(best[at].piece);
            at = best[at].from;
        }
        ids.reverse();
        ids
    }

    fn find(&self, state: u64, text: &[u8]) -> Option<u32> {
        let mut slot = slot_of(state, self.slots.len());
        while self.slots[slot] != 0 {
            let piece = self.slots[slot] - 1;
            if piece != self.data.unk && piece_text(&self.data, piece as usize) == text {
                return Some(piece);
            }
            slot = (slot + 1) % self.slots.len();
        }
        None
    }
}

fn either(replacement: &[char], kept: Option<char>) -> impl Iterator<Item = char> + use<'_> {
    replacement.iter().copied().chain(kept)
}

fn piece_text(data: &TokenizerData, piece: usize) -> &[u8] {
    &data.blob[data.offsets[piece] as usize..data.offsets[piece + 1] as usize]
}

const HASH_START: u64 = 0xcbf2_9ce4_8422_2325;

/// FNV-1a, continued from `state`, so that each longer candidate costs only its last character.
fn hash(state: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(state, |state, &byte| (state ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// `slots` is a power of two.
fn slot_of(hash: u64, slots: usize) -> usize {
    hash as usize & (slots - 1)
}

#[cfg(test)]
mod tests {
    use super::super::e5_file::{E5File, tests::file};
    use super::*;

    const PIECES: &[(&str, f32)] = &[
        ("<s>", 0.0),
        ("<pad>", 0.0),
        ("</s>", 0.0),
        ("<unk>", 0.0),
        ("▁", -2.0),
        ("方程", -3.0),
        ("方", -4.0),
        ("程", -4.0),
        ("▁方程", -4.5),
        ("ab", -5.0),
        ("a", -2.0),
        ("b", -2.5),
    ];

    fn check(text: &str, limit: usize, expected: &[u32]) {
        let data = file(PIECES, &[('\u{7f}', ""), ('\u{3000}', " "), ('㏂', "ab"), ('Ａ', "a")]);
        let tokenizer = UnigramTokenizer::new(E5File::parse(&data).unwrap().tokenizer);
        assert_eq!(tokenizer.encode(text, limit), expected, "{text:?}");
    }

    #[test]
    fn the_most_probable_segmentation_wins() {
        check("方程", 9, &[0, 8, 2]);
        check("方程方程", 9, &[0, 8, 5, 2]);
        check("ab", 9, &[0, 4, 10, 11, 2]);
    }

    #[test]
    fn text_is_normalized_first() {
        check("Ａ", 9, &[0, 4, 10, 2]);
        check("㏂", 9, &[0, 4, 10, 11, 2]);
        check("a\u{3000} \u{3000}b", 9, &[0, 4, 10, 4, 11, 2]);
        check(" a", 9, &[0, 4, 10, 2]);
        check("\u{7f}a", 9, &[0, 4, 10, 2]);
    }

    #[test]
    fn empty_and_unknown_texts_have_tokens() {
        check("", 9, &[0, 4, 2]);
        check("\u{7f}", 9, &[0, 4, 2]);
        check("é", 9, &[0, 4, 3, 2]);
    }

    #[test]
    fn long_texts_are_cut_before_the_end_mark() {
        check("方程方程方程", 4, &[0, 8, 5, 2]);
    }
}
