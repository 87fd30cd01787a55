//! Chinese word segmentation for full-text search.

use jieba_rs::Jieba;

/// Cuts text into the words that the full-text index stores and looks for.
pub struct Segmenter {
    jieba: Jieba,
}

impl Segmenter {
    /// Builds the dictionary (tens of milliseconds; do it once). `words` are terms that must stay whole, such as the
    /// labels of the knowledge graph.
    pub fn new<'a>(words: impl IntoIterator<Item = &'a str>) -> Self {
        let mut jieba = Jieba::new();
        for word in words {
            let word = fold(word.trim());
            // Longer labels are phrases, shorter ones are words already.
            if (2..=12).contains(&word.chars().count()) && !word.contains(char::is_whitespace) {
                jieba.add_word(&word, None, None);
            }
        }
        Self { jieba }
    }

    /// The words of a text in order, in lower case, together with the shorter dictionary words inside longer ones.
    /// Punctuation is left out.
    pub fn words(&self, text: &str) -> Vec<String> {
        let text = fold(text);
        let tokens = self.jieba.cut_for_search(&text, true);
        tokens
            .into_iter()
            .filter(|token| token.word.chars().any(char::is_alphanumeric))
            .map(|token| token.word.trim().to_owned())
            .collect()
    }

    /// The text as it is stored in the full-text index.
    pub fn joined(&self, text: &str) -> String {
        self.words(text).join(" ")
    }
}

/// Lower case, full-width forms as ASCII: `ＡＢ１` is found by `ab1`.
fn fold(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '\u{ff01}'..='\u{ff5e}' => char::from_u32(u32::from(c) - 0xfee0).unwrap_or(c),
            '\u{3000}' => ' ',
            other => other,
        })
        .flat_map(char::to_lowercase)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(words: &[&str], text: &str, expected: &[&str]) {
        assert_eq!(Segmenter::new(words.iter().copied()).words(text), expected, "{text:?}");
    }

    #[test]
    fn words_and_the_words_inside_them() {
        check(&[], "中华人民共和国", &["中华", "华人", "人民", "共和", "共和国", "中华人民共和国"]);
        check(&["一元一次方程"], "解一元一次方程。", &["解", "一元", "一次", "次方", "方程", "一元一次方程"]);
    }

    #[test]
    fn forms_are_folded_and_punctuation_dropped() {
        check(&[], "ＡＢＣ，abc！", &["abc", "abc"]);
        check(&[], "，。？ \n", &[]);
        check(&[], "", &[]);
    }
}
