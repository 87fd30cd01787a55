//! From blocks of text to passages of a size that the encoder reads whole.

/// Most characters of a passage of several blocks or sentences. Chinese text has about two tokens for three characters,
/// so this stays far below the encoder's 512 tokens with title and headings in front.
const LIMIT: usize = 400;

/// A passage of a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// The headings above, from the outermost: `导入 › 情境一`.
    pub locator: Option<String>,
    pub text: String,
}

/// A paragraph, list item, table row or code block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Block {
    /// Headings above, from the outermost.
    pub headings: Vec<String>,
    pub text: String,
}

/// Packs blocks under the same headings into passages of at most [`LIMIT`] characters. A longer block is cut between
/// sentences; a longer sentence stays whole.
pub(super) fn pack(blocks: &[Block]) -> Vec<Chunk> {
    let mut chunks = Vec::new();
    for section in blocks.chunk_by(|a, b| a.headings == b.headings) {
        let headings = &section[0].headings;
        let locator = (!headings.is_empty()).then(|| headings.join(" › "));
        let mut text = String::new();
        let mut size = 0;
        let mut flush = |text: &mut String, size: &mut usize| {
            let done = std::mem::take(text);
            *size = 0;
            if !done.trim().is_empty() {
                chunks.push(Chunk { locator: locator.clone(), text: done.trim().to_owned() });
            }
        };
        for block in section {
            let length = block.text.chars().count();
            // A block that fits into a passage of its own is not torn to fill up the one before.
            if size > 0 && size + length > LIMIT && length <= LIMIT {
                flush(&mut text, &mut size);
            }
            for sentence in sentences(&block.text) {
                let length = sentence.chars().count();
                if size > 0 && size + length > LIMIT {
                    flush(&mut text, &mut size);
                }
                text.push_str(sentence);
                size += length;
            }
            text.push('\n');
            size += 1;
        }
        flush(&mut text, &mut size);
    }
    chunks
}

/// The blocks of a plain text: paragraphs between empty lines.
pub(super) fn plain_blocks(text: &str) -> Vec<Block> {
    let lines: Vec<&str> = text.lines().collect();
    lines
        .split(|line| line.trim().is_empty())
        .filter(|lines| !lines.is_empty())
        .map(|lines| Block { headings: Vec::new(), text: lines.join("\n") })
        .collect()
}

/// Cuts after sentence ends (with the closing quotes and brackets that follow) and line breaks, not inside `$…$`. The
/// pieces joined are the text.
fn sentences(text: &str) -> Vec<&str> {
    let mut pieces = Vec::new();
    let mut start = 0;
    let mut formula = false;
    let mut characters = text.char_indices().peekable();
    while let Some((at, c)) = characters.next() {
        if c == '$' {
            formula = !formula;
        }
        let next = characters.peek().map(|&(_, next)| next);
        let end = match c {
            '\n' => true,
            '。' | '！' | '？' | '；' | '…' => !formula,
            // An English sentence ends before a space; `3.5` and `x!` do not end one.
            '.' | '!' | '?' | ';' => !formula && next.is_some_and(char::is_whitespace),
            _ => false,
        };
        if !end {
            continue;
        }
        if c == '\n' {
            // An unpaired dollar sign must not swallow the rest of the text.
            formula = false;
        }
        let mut stop = at + c.len_utf8();
        while let Some(&(at, c)) = characters.peek() {
            if !"。！？；….!?”’」』）)】》\"' \t".contains(c) {
                break;
            }
            stop = at + c.len_utf8();
            characters.next();
        }
        pieces.push(&text[start..stop]);
        start = stop;
    }
    if start < text.len() {
        pieces.push(&text[start..]);
    }
    pieces
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(text: &str, expected: &[&str]) {
        assert_eq!(sentences(text), expected, "{text:?}");
    }

    fn visible(text: &str) -> String {
        text.split_whitespace().collect()
    }

    #[test]
    fn sentences_keep_their_ends_and_closing_marks() {
        check("先读题。再列式！", &["先读题。", "再列式！"]);
        check("他说：“为什么？”然后写。", &["他说：“为什么？”", "然后写。"]);
        check("Pi is 3.14. So what? Fine", &["Pi is 3.14. ", "So what? ", "Fine"]);
        check("等一等……好", &["等一等……", "好"]);
        check("", &[]);
    }

    #[test]
    fn formulas_stay_whole() {
        check("由 $a! ; b$ 得。完", &["由 $a! ; b$ 得。", "完"]);
        check("价格 $5。\n下一行。", &["价格 $5。\n", "下一行。"]);
    }

    #[test]
    fn short_blocks_share_a_passage_under_one_heading() {
        let block = |heading: &str, text: &str| Block { headings: vec![heading.to_owned()], text: text.to_owned() };
        let chunks = pack(&[block("甲", "一。"), block("甲", "二。"), block("乙", "三。")]);
        let found: Vec<(&str, &str)> =
            chunks.iter().map(|c| (c.locator.as_deref().unwrap(), c.text.as_str())).collect();
        assert_eq!(found, [("甲", "一。\n二。"), ("乙", "三。")]);
    }

    #[test]
    fn a_block_is_not_torn_when_it_fits_alone() {
        let text = |length: usize| format!("{}。", "字".repeat(length / 2)).repeat(2);
        let chunks = pack(&plain_blocks(&format!("{}\n\n{}", text(300), text(200))));
        assert_eq!(chunks.iter().map(|c| c.text.chars().count()).collect::<Vec<_>>(), [302, 202]);
    }

    #[test]
    fn a_sentence_longer_than_a_passage_stays_whole() {
        let long = format!("{}。", "长".repeat(3 * LIMIT));
        let chunks = pack(&plain_blocks(&format!("短。{long}短。")));
        assert_eq!(chunks.iter().map(|c| c.text.as_str()).collect::<Vec<_>>(), ["短。", &long, "短。"]);
    }

    proptest! {
        #[test]
        fn no_text_is_lost(text in "([一-龥a-z0-9 $。！？；.!?\n“”]{0,60}(\n\n)?){0,30}") {
            let chunks = pack(&plain_blocks(&text));
            let joined: String = chunks.iter().map(|chunk| visible(&chunk.text)).collect();
            prop_assert_eq!(joined, visible(&text));
        }

        #[test]
        fn a_passage_over_the_limit_is_one_sentence(text in "[一-龥]{0,30}(。|！|\n\n)([一-龥]{0,500}(。|\n)){0,20}") {
            for chunk in pack(&plain_blocks(&text)) {
                let size = chunk.text.chars().count();
                prop_assert!(size <= LIMIT || sentences(&chunk.text).len() == 1, "{} characters", size);
            }
        }
    }
}
