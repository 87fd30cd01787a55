//! Markdown to blocks of plain text under their headings.

use pulldown_cmark::{Event, HeadingLevel, Options, Parser, Tag, TagEnd};

use super::chunk::Block;

/// A parsed document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ParsedMarkdown {
    /// The first first-level heading.
    pub title: Option<String>,
    pub blocks: Vec<Block>,
}

/// Reads CommonMark with tables and `$…$` formulas. Emphasis and link targets are dropped, formulas keep their dollar
/// signs, list items their marks; front matter is passed over.
pub(super) fn parse(text: &str) -> ParsedMarkdown {
    let options = Options::ENABLE_TABLES
        | Options::ENABLE_MATH
        | Options::ENABLE_STRIKETHROUGH
        | Options::ENABLE_TASKLISTS
        | Options::ENABLE_YAML_STYLE_METADATA_BLOCKS;
    let mut reader = Reader::default();
    for event in Parser::new_ext(text, options) {
        reader.take(event);
    }
    reader.flush();
    ParsedMarkdown { title: reader.title, blocks: reader.blocks }
}

#[derive(Default)]
struct Reader {
    title: Option<String>,
    blocks: Vec<Block>,
    headings: Vec<(HeadingLevel, String)>,
    /// The lists around, with the next number of ordered ones.
    lists: Vec<Option<u64>>,
    /// What goes before the next text: an item's mark.
    mark: String,
    text: String,
    metadata: bool,
}

impl Reader {
    fn take(&mut self, event: Event<'_>) {
        match event {
            Event::Start(tag) => self.open(tag),
            Event::End(tag) => self.close(tag),
            Event::Text(_) if self.metadata => {}
            Event::Text(text) | Event::Code(text) => self.text.push_str(&text),
            Event::InlineMath(formula) => self.text.push_str(&format!("${formula}$")),
            Event::DisplayMath(formula) => self.text.push_str(&format!("$${formula}$$")),
            Event::Html(html) | Event::InlineHtml(html) => self.text.push_str(&without_tags(&html)),
            Event::FootnoteReference(name) => self.text.push_str(&format!("[^{name}]")),
            // Chinese lines join without a space.
            Event::SoftBreak if self.text.ends_with(|c: char| !c.is_ascii()) => {}
            Event::SoftBreak => self.text.push(' '),
            Event::HardBreak => self.text.push('\n'),
            Event::Rule => self.flush(),
            Event::TaskListMarker(done) => self.mark.push_str(if done { "[x] " } else { "[ ] " }),
        }
    }

    fn open(&mut self, tag: Tag<'_>) {
        match tag {
            Tag::List(first) => {
                self.flush();
                self.lists.push(first);
            }
            Tag::Item => {
                self.flush();
                let indent = "  ".repeat(self.lists.len().saturating_sub(1));
                self.mark = match self.lists.last_mut() {
                    Some(Some(number)) => {
                        *number += 1;
                        format!("{indent}{}. ", *number - 1)
                    }
                    _ => format!("{indent}- "),
                };
            }
            Tag::TableCell if !self.text.is_empty() => self.text.push_str(" | "),
            Tag::MetadataBlock(_) => self.metadata = true,
            Tag::Heading { .. } | Tag::Paragraph | Tag::CodeBlock(_) | Tag::Table(_) | Tag::BlockQuote(_) => {
                self.flush()
            }
            _ => {}
        }
    }

    fn close(&mut self, tag: TagEnd) {
        match tag {
            TagEnd::Heading(level) => self.heading(level),
            TagEnd::List(_) => {
                self.flush();
                self.lists.pop();
            }
            TagEnd::MetadataBlock(_) => self.metadata = false,
            TagEnd::Paragraph
            | TagEnd::Item
            | TagEnd::TableHead
            | TagEnd::TableRow
            | TagEnd::CodeBlock
            | TagEnd::HtmlBlock
            | TagEnd::BlockQuote(_) => self.flush(),
            _ => {}
        }
    }

    fn heading(&mut self, level: HeadingLevel) {
        let text = std::mem::take(&mut self.text).trim().to_owned();
        if level == HeadingLevel::H1 && self.title.is_none() && !text.is_empty() {
            // The title stands on the document, not in every locator.
            self.title = Some(text);
            self.headings.clear();
            return;
        }
        self.headings.retain(|(above, _)| *above < level);
        self.headings.push((level, text));
    }

    fn flush(&mut self) {
        let text = std::mem::take(&mut self.text);
        let text = text.trim_matches('\n').trim_end();
        if text.trim().is_empty() {
            return;
        }
        let mark = std::mem::take(&mut self.mark);
        let headings = self.headings.iter().map(|(_, text)| text.clone()).filter(|text| !text.is_empty()).collect();
        self.blocks.push(Block { headings, text: format!("{mark}{text}") });
    }
}

/// Text of an HTML fragment; a line break for `<br>`.
fn without_tags(html: &str) -> String {
    let mut out = String::new();
    let mut rest = html;
    while let Some(start) = rest.find('<') {
        out.push_str(&rest[..start]);
        let tag = &rest[start..];
        let (end, length) = if tag.starts_with("<!--") { ("-->", 3) } else { (">", 1) };
        let Some(stop) = tag.find(end) else {
            return out;
        };
        if tag.to_ascii_lowercase().starts_with("<br") {
            out.push('\n');
        }
        rest = &tag[stop + length..];
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(text: &str, title: Option<&str>, expected: &[(&str, &str)]) {
        let parsed = parse(text);
        let found: Vec<(String, &str)> =
            parsed.blocks.iter().map(|b| (b.headings.join("/"), b.text.as_str())).collect();
        let found: Vec<(&str, &str)> = found.iter().map(|(path, text)| (path.as_str(), *text)).collect();
        assert_eq!((parsed.title.as_deref(), found.as_slice()), (title, expected), "{text:?}");
    }

    #[test]
    fn headings_make_the_path() {
        check(
            "# 题目\n\n前言\n\n## 一\n\n甲\n\n### 二\n\n乙\n\n## 三\n\n丙",
            Some("题目"),
            &[("", "前言"), ("一", "甲"), ("一/二", "乙"), ("三", "丙")],
        );
        check("正文", None, &[("", "正文")]);
    }

    #[test]
    fn lists_keep_their_marks() {
        check("1. 甲\n2. 乙\n   - 丙\n", None, &[("", "1. 甲"), ("", "2. 乙"), ("", "  - 丙")]);
        check("- 甲\n\n  续\n- [x] 乙", None, &[("", "- 甲"), ("", "续"), ("", "- [x] 乙")]);
    }

    #[test]
    fn inline_marks_go_and_formulas_stay() {
        check("**设** $x>0$，见[书](http://a)。\n下一行\nend\nof", None, &[("", "设 $x>0$，见书。下一行end of")]);
        check("$$a^2$$", None, &[("", "$$a^2$$")]);
    }

    #[test]
    fn tables_code_html_and_front_matter() {
        check("| 步骤 | 依据 |\n| --- | --- |\n| 移项 | 性质 1 |", None, &[("", "步骤 | 依据"), ("", "移项 | 性质 1")]);
        check("```\na\n b\n```", None, &[("", "a\n b")]);
        check("<div>文字<br>换行<!-- 注 --></div>", None, &[("", "文字\n换行")]);
        check("---\ntitle: 某\n---\n正文", None, &[("", "正文")]);
    }

    proptest! {
        #[test]
        fn no_word_is_lost(
            words in proptest::collection::vec("[一-龥a-z]{1,8}", 1..40),
            marks in proptest::collection::vec(0usize..7, 40),
        ) {
            let mut text = String::new();
            for (word, mark) in words.iter().zip(&marks) {
                let line = match mark {
                    0 => format!("# {word}\n\n"),
                    1 => format!("### {word}\n\n"),
                    2 => format!("- {word}\n"),
                    3 => format!("> {word}\n\n"),
                    4 => format!("\n1. **{word}**\n"),
                    5 => format!("\n| {word} |\n| --- |\n\n"),
                    _ => format!("\n{word}\n\n"),
                };
                text.push_str(&line);
            }
            let parsed = parse(&text);
            let mut found = parsed.title.clone().unwrap_or_default();
            // A heading with nothing under it is in no block: only what stands in blocks and paths is searched.
            for block in &parsed.blocks {
                found.push_str(&block.headings.concat());
                found.push_str(&block.text);
            }
            for (word, mark) in words.iter().zip(&marks).filter(|(_, mark)| **mark > 1) {
                prop_assert!(found.contains(word.as_str()), "{word} ({mark}) is not in {found:?}");
            }
        }
    }
}
