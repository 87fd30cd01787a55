//! How labels and what people type are made comparable.

use std::collections::BTreeSet;

/// Words around a topic that say nothing about which concept is meant. Longer ones come before their parts.
const FILLERS: [&str; 62] = [
    "为什么",
    "是什么",
    "什么是",
    "什么叫",
    "怎么样",
    "怎样",
    "怎么",
    "如何",
    "什么",
    "哪些",
    "请问",
    "请帮我",
    "帮我",
    "请给我",
    "给我",
    "我想",
    "我要",
    "备课",
    "备一节",
    "教学设计",
    "教案",
    "课件",
    "设计",
    "讲解",
    "讲讲",
    "讲一下",
    "讲",
    "复习",
    "预习",
    "学习",
    "教学",
    "一节课",
    "一节",
    "一堂课",
    "七年级",
    "八年级",
    "九年级",
    "年级",
    "初一",
    "初二",
    "初三",
    "初中",
    "数学",
    "分钟",
    "练习题",
    "习题",
    "例题",
    "题目",
    "步骤",
    "方法",
    "技巧",
    "不会做",
    "做题",
    "不懂",
    "吗",
    "呢",
    "吧",
    "啊",
    "课",
    "题",
    "做",
    "算",
];
const ENGLISH_FILLERS: [&str; 30] = [
    "a", "an", "the", "of", "in", "to", "for", "on", "and", "with", "how", "what", "is", "are", "do", "i", "me", "my",
    "please", "lesson", "plan", "teach", "about", "grade", "explain", "by", "help", "one", "two", "three",
];

pub(super) fn is_han(char: char) -> bool {
    matches!(u32::from(char), 0x3400..=0x9FFF | 0xF900..=0xFAFF | 0x20000..=0x3FFFF)
}

/// Spellings in use besides those of the textbooks.
const VARIANTS: [(&str, &str); 4] = [("图像", "图象"), ("计数法", "记数法"), ("座标", "坐标"), ("方程式组", "方程组")];

/// Half width, lower case, textbook spelling, without 的, without space around Chinese characters; other signs become one space.
pub(super) fn normalise(text: &str) -> String {
    let mut normal = String::with_capacity(text.len());
    let mut space = false;
    for char in text.chars() {
        let char = match u32::from(char) {
            code @ 0xFF01..=0xFF5E => char::from_u32(code - 0xFEE0).unwrap_or(char),
            _ => char,
        };
        if char == '的' {
            continue;
        }
        if char.is_alphanumeric() {
            let joins = normal.chars().next_back().is_some_and(|last| is_han(last) || is_han(char));
            if space && !normal.is_empty() && !joins {
                normal.push(' ');
            }
            space = false;
            normal.extend(char.to_lowercase());
        } else if char.is_whitespace() || char == '-' || char == '_' {
            space = true;
        } else {
            // Punctuation parts even Chinese words.
            if !normal.is_empty() && !normal.ends_with(' ') {
                normal.push(' ');
            }
            space = false;
        }
    }
    VARIANTS.iter().fold(normal.trim_end().to_owned(), |text, (from, to)| text.replace(from, to))
}

/// A normalised text without filler words.
pub(super) fn without_fillers(normal: &str) -> String {
    let mut text = normal.to_owned();
    for filler in FILLERS {
        text = text.replace(filler, " ");
    }
    text
}

/// What two texts are compared by: pairs of neighbouring Chinese characters, and English words without plural s.
pub(super) fn features(normal: &str) -> BTreeSet<String> {
    let mut features = BTreeSet::new();
    for word in normal.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()) {
        let chars: Vec<char> = word.chars().collect();
        for run in chars.chunk_by(|a, b| is_han(*a) == is_han(*b)) {
            if is_han(run[0]) {
                features.extend(run.windows(2).map(String::from_iter));
            } else {
                let word: String = run.iter().collect();
                if !ENGLISH_FILLERS.contains(&word.as_str()) {
                    features.insert(stem(&word).to_owned());
                }
            }
        }
    }
    features
}

/// An English word without the s of the plural.
pub(super) fn stem(word: &str) -> &str {
    word.strip_suffix('s').filter(|stem| stem.len() > 2 && !stem.ends_with('s')).unwrap_or(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spelling_variants_become_one() {
        for (text, normal) in [
            ("一元 一次 方程", "一元一次方程"),
            ("有理数的加法", "有理数加法"),
            ("Ｌinear  Equations", "linear equations"),
            ("方程、函数", "方程 函数"),
            ("  ", ""),
            ("x-axis", "x axis"),
            ("函数图像", "函数图象"),
        ] {
            assert_eq!(normalise(text), normal, "{text}");
        }
    }

    #[test]
    fn features_ignore_plurals_and_small_words() {
        assert_eq!(features("the linear equations"), features("linear equation"));
        assert_eq!(features("一次函数").len(), 3);
    }
}
