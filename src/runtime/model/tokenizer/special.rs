//! Special tokens in text: found where they count, broken where they must not.

use std::collections::HashMap;

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    Plain(&'a str),
    Special(u32),
}

/// Finds special tokens in text; at each place the longest one wins.
pub(super) struct SpecialMatcher {
    ids: HashMap<String, u32>,
    /// The lengths of the texts that begin with a byte, longest first. Vocabularies have thousands of special tokens, but
    /// only a few lengths.
    lengths: HashMap<u8, Vec<usize>>,
}

impl SpecialMatcher {
    pub fn new<'a>(specials: impl Iterator<Item = (&'a str, u32)>) -> Self {
        let mut lengths: HashMap<u8, Vec<usize>> = HashMap::new();
        let mut ids = HashMap::new();
        for (text, id) in specials {
            if let Some(first) = text.bytes().next() {
                lengths.entry(first).or_default().push(text.len());
                ids.insert(text.to_owned(), id);
            }
        }
        for lengths in lengths.values_mut() {
            lengths.sort_unstable_by_key(|length| std::cmp::Reverse(*length));
            lengths.dedup();
        }
        Self { ids, lengths }
    }

    pub fn id(&self, text: &str) -> Option<u32> {
        self.ids.get(text).copied()
    }

    /// The special token that `text` begins with: its length in bytes and its id.
    fn match_at(&self, text: &str) -> Option<(usize, u32)> {
        let lengths = self.lengths.get(text.as_bytes().first()?)?;
        lengths.iter().find_map(|length| Some((*length, self.id(text.get(..*length)?)?)))
    }

    /// The plain and special pieces of a text, in order; plain pieces are not empty.
    pub fn split<'a>(&self, text: &'a str) -> Vec<Piece<'a>> {
        let mut pieces = Vec::new();
        let (mut plain_from, mut at) = (0, 0);
        while at < text.len() {
            let matched = if text.is_char_boundary(at) { self.match_at(&text[at..]) } else { None };
            let Some((length, id)) = matched else {
                at += 1;
                continue;
            };
            if plain_from < at {
                pieces.push(Piece::Plain(&text[plain_from..at]));
            }
            pieces.push(Piece::Special(id));
            at += length;
            plain_from = at;
        }
        if plain_from < text.len() {
            pieces.push(Piece::Plain(&text[plain_from..]));
        }
        pieces
    }

    /// `content` with a guard inside everything that is, or that together with a neighbour's text could become, a special
    /// token: after the first character of every occurrence, before a beginning that could end one and behind an end that
    /// could begin one.
    pub fn guard(&self, content: &str, guard: char) -> String {
        let mut guarded = String::with_capacity(content.len());
        let specials = || self.ids.keys().map(String::as_str);
        if specials().any(|special| proper_suffixes(special).any(|suffix| content.starts_with(suffix))) {
            guarded.push(guard);
        }
        for (at, character) in content.char_indices() {
            guarded.push(character);
            if self.match_at(&content[at..]).is_some() {
                guarded.push(guard);
            }
        }
        if specials().any(|special| proper_prefixes(special).any(|prefix| content.ends_with(prefix))) {
            guarded.push(guard);
        }
        guarded
    }
}

/// The non-empty beginnings of `text` that are shorter than it.
fn proper_prefixes(text: &str) -> impl Iterator<Item = &str> {
    text.char_indices().skip(1).map(|(at, _)| &text[..at])
}

/// The non-empty ends of `text` that are shorter than it.
fn proper_suffixes(text: &str) -> impl Iterator<Item = &str> {
    text.char_indices().skip(1).map(|(at, _)| &text[at..])
}
