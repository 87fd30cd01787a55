//! From token bytes to text, piece by piece.

/// Joins the bytes of successive tokens into UTF-8 text.
///
/// A byte-level vocabulary may spread one character over several tokens. Bytes are held back only while they are the
/// beginning of one character (at most three of them); bytes that cannot be part of any character become U+FFFD. Whatever
/// the split into tokens, the pieces concatenate to the same text.
#[derive(Debug, Default)]
pub struct Detokenizer {
    /// The beginning of a character whose other bytes have not come yet.
    pending: Vec<u8>,
}

impl Detokenizer {
    /// The characters that are complete after these bytes; often one, sometimes none.
    ///
    /// What is still pending when the text ends is half a character, cut off by the token limit: it is not text.
    pub fn push(&mut self, bytes: &[u8]) -> String {
        self.pending.extend_from_slice(bytes);
        let mut text = String::with_capacity(self.pending.len());
        let mut incomplete = 0;
        let mut chunks = self.pending.utf8_chunks().peekable();
        while let Some(chunk) = chunks.next() {
            text.push_str(chunk.valid());
            let invalid = chunk.invalid();
            if chunks.peek().is_none() && is_incomplete(invalid) {
                incomplete = invalid.len();
            } else if !invalid.is_empty() {
                text.push(char::REPLACEMENT_CHARACTER);
            }
        }
        self.pending.drain(..self.pending.len() - incomplete);
        text
    }
}

/// Whether more bytes could still make these a character.
fn is_incomplete(bytes: &[u8]) -> bool {
    !bytes.is_empty() && std::str::from_utf8(bytes).is_err_and(|error| error.error_len().is_none())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pieces(chunks: &[&[u8]]) -> Vec<String> {
        let mut detokenizer = Detokenizer::default();
        chunks.iter().map(|chunk| detokenizer.push(chunk)).collect()
    }

    fn check(chunks: &[&[u8]], expected: &[&str]) {
        assert_eq!(pieces(chunks), expected, "{chunks:?}");
    }

    #[test]
    fn half_a_character_waits_for_its_other_half() {
        check(&[&[0xe6], &[0x96], &[0xb9]], &["", "", "方"]);
        check(&[&[b'a', 0xe6, 0x96], &[0xb9, 0xe7]], &["a", "方"]);
        check(&[&[0xf0, 0x9f, 0x8e], &[0x93]], &["", "🎓"]);
    }

    #[test]
    fn chinese_punctuation_is_not_held_back() {
        check(&["解：".as_bytes(), "，".as_bytes(), "。".as_bytes()], &["解：", "，", "。"]);
    }

    #[test]
    fn bytes_that_are_no_character_are_replaced_at_once() {
        check(&[&[0xff], b"a"], &["\u{fffd}", "a"]);
        check(&[&[0xe6, 0x96], b"a"], &["", "\u{fffd}a"]);
        check(&[&[0xc0, 0x80]], &["\u{fffd}\u{fffd}"]);
    }

    #[test]
    fn half_a_character_at_the_end_is_no_text() {
        check(&["好".as_bytes(), &[0xe6, 0x96]], &["好", ""]);
    }

    proptest! {
        #[test]
        fn the_split_into_tokens_does_not_matter(text in "\\PC{0,40}", cuts in prop::collection::vec(0usize..160, 0..12)) {
            let bytes = text.as_bytes();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).chain([0, bytes.len()]).collect();
            cuts.sort_unstable();
            let chunks: Vec<&[u8]> = cuts.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();
            prop_assert_eq!(pieces(&chunks).concat(), text);
        }
    }
}
