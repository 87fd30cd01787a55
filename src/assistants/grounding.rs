//! Checks that text written by the model says nothing that its material does not: numbers and formulas are compared
//! exactly, wording by overlap. What fails is written again or replaced, never shown.

use std::collections::HashSet;

/// Why a text was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ungrounded {
    /// A formula that the material does not contain.
    Formula(String),
    /// A number that the material does not contain.
    Number(String),
    /// A choice of an exercise: what is said of it would be a claim that nobody checks.
    Choice(char),
    /// Not a Chinese sentence, or not enough of one.
    NoSentence,
}

/// What the model was given, prepared for comparison.
#[derive(Clone, Debug, Default)]
pub struct Material {
    /// The formulas as they stand between dollar signs, without white space.
    formulas: HashSet<String>,
    numbers: HashSet<String>,
    /// Whether exercises with choices A, B, C… are among it.
    choices: bool,
}

impl Material {
    pub fn new<'a>(texts: impl IntoIterator<Item = &'a str>) -> Self {
        let mut material = Self::default();
        for text in texts {
            material.formulas.extend(split_formulas(text).0.iter().map(|formula| squeeze(formula)));
            material.numbers.extend(numbers(text));
            material.choices |= text.contains("A.") && text.contains("B.");
        }
        material
    }

    fn has(&self, formula: &str) -> bool {
        let formula = squeeze(formula);
        is_atom(&formula) || self.formulas.contains(&formula)
    }

    /// Refuses formulas and numbers that are not in the material, and words about single choices of an exercise (选项A, ③):
    /// which of them is right is for the exercise's own solution to say. A formula must be there whole: a part of one can be wrong
    /// (`x(x-1)=45` out of `\frac{1}{2}x(x-1)=45`); single letters and numbers are no formulas. Ordinals and counts of the
    /// classroom (例1, 第2组, 3分钟, 2人) are the author's own and pass when small.
    pub fn check(&self, text: &str) -> Result<(), Ungrounded> {
        if text.chars().filter(|character| is_han(*character)).count() < 4 {
            return Err(Ungrounded::NoSentence);
        }
        let (formulas, prose) = split_formulas(text);
        for formula in formulas {
            if !self.has(&formula) {
                return Err(Ungrounded::Formula(formula));
            }
        }
        if let Some(formula) = bare_formulas(&prose).into_iter().find(|formula| !self.has(formula)) {
            return Err(Ungrounded::Formula(formula));
        }
        if let Some(choice) = choice_in(&prose, self.choices) {
            return Err(Ungrounded::Choice(choice));
        }
        for (number, before, after) in numbers_in_context(&prose) {
            if !self.numbers.contains(&number) && !is_classroom_count(&number, before, after) {
                return Err(Ungrounded::Number(number));
            }
        }
        Ok(())
    }
}

/// The first circled number in a text, or letter that stands alone where letters name choices.
fn choice_in(prose: &str, letters: bool) -> Option<char> {
    let characters: Vec<char> = prose.chars().collect();
    let joined = |index: Option<usize>| {
        index.and_then(|index| characters.get(index)).is_some_and(|neighbour| neighbour.is_ascii_alphanumeric())
    };
    characters.iter().enumerate().find_map(|(index, character)| {
        let stands_alone = || !joined(index.checked_sub(1)) && !joined(Some(index + 1));
        let is_letter = letters && matches!(character, 'A'..='H') && stands_alone();
        (matches!(character, '①'..='⑳') || is_letter).then_some(*character)
    })
}

/// A letter or a number by itself.
fn is_atom(formula: &str) -> bool {
    let formula = formula.strip_prefix('-').unwrap_or(formula);
    let mut characters = formula.chars();
    formula.chars().all(|character| character.is_ascii_digit() || character == '.')
        || (characters.next().is_some_and(|character| character.is_ascii_alphabetic()) && characters.next().is_none())
}

/// Mends what JSON's escapes do to LaTeX that was written with single backslashes: `"\ne"` arrives as a line break and `e`.
/// Line breaks elsewhere become spaces: the texts checked here are single paragraphs.
pub fn mend_escapes(text: &str) -> String {
    let mut mended = String::with_capacity(text.len());
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        let before_letter = characters.peek().is_some_and(char::is_ascii_lowercase);
        match character {
            '\n' if before_letter => mended.push_str("\\n"),
            '\t' if before_letter => mended.push_str("\\t"),
            '\r' if before_letter => mended.push_str("\\r"),
            '\u{8}' if before_letter => mended.push_str("\\b"),
            '\u{c}' if before_letter => mended.push_str("\\f"),
            character if character.is_control() => mended.push(' '),
            character => mended.push(character),
        }
    }
    mended
}

/// Cuts a text that was ended by a length limit back to its last whole sentence; `None` when there is none.
pub fn whole_sentences(text: &str) -> Option<String> {
    let text = mend_escapes(text);
    let text = text.trim();
    let whole = whole_part(text)?;
    // A quotation that was cut off is closed, so that the rest reads as intended.
    let open = whole.matches('“').count() > whole.matches('”').count();
    Some(if open { format!("{whole}”") } else { whole })
}

fn whole_part(text: &str) -> Option<String> {
    // Small models end list items with semicolons; each stands alone in the plan.
    if let Some(text) = text.strip_suffix('；') {
        return Some(format!("{text}。"));
    }
    if text.ends_with(['。', '！', '？', '”', '）']) {
        return Some(text.to_owned());
    }
    if let Some(position) = text.rfind(['。', '！', '？', '；']) {
        let end = position + text[position..].chars().next().map_or(0, char::len_utf8);
        return Some(text[..end].to_owned());
    }
    // A short phrase without its full stop is whole; a long one was cut.
    (text.chars().count() >= 4 && text.chars().count() <= 40)
        .then(|| format!("{}。", text.trim_end_matches(['，', '、', ','])))
}

/// Share of the character pairs of `left` that `right` has too, 0 to 1.
pub fn overlap(left: &str, right: &str) -> f64 {
    let (left, right) = (bigrams(left), bigrams(right));
    if left.is_empty() {
        return 0.0;
    }
    left.intersection(&right).count() as f64 / left.len() as f64
}

/// Symmetric similarity of two texts by character pairs (Dice), 0 to 1.
pub fn similarity(left: &str, right: &str) -> f64 {
    let (left, right) = (bigrams(left), bigrams(right));
    if left.is_empty() || right.is_empty() {
        return f64::from(u8::from(left == right));
    }
    2.0 * left.intersection(&right).count() as f64 / (left.len() + right.len()) as f64
}

fn bigrams(text: &str) -> HashSet<(char, char)> {
    let characters: Vec<char> = text.chars().filter(|character| character.is_alphanumeric()).collect();
    characters.windows(2).map(|pair| (pair[0], pair[1])).collect()
}

fn squeeze(text: &str) -> String {
    text.chars().filter(|character| !character.is_whitespace()).collect()
}

fn is_han(character: char) -> bool {
    matches!(character, '\u{3400}'..='\u{9FFF}' | '\u{F900}'..='\u{FAFF}')
}

/// The `$…$` spans of a text, and the text without them.
fn split_formulas(text: &str) -> (Vec<String>, String) {
    let mut formulas = Vec::new();
    let mut prose = String::new();
    for (index, part) in text.split('$').enumerate() {
        if index % 2 == 1 {
            formulas.push(part.to_owned())
        } else {
            prose.push_str(part)
        }
        prose.push(' ');
    }
    (formulas, prose)
}

/// Runs of ASCII with an operator or a backslash in them: formulas that the model wrote without dollar signs.
fn bare_formulas(prose: &str) -> Vec<String> {
    prose
        .split(|character: char| !character.is_ascii_graphic())
        .map(|run| run.trim_matches(|character: char| ",.;:!?\"'()[]".contains(character)))
        .filter(|run| {
            run.len() >= 2
                && run.contains(['=', '+', '-', '*', '/', '^', '<', '>', '\\'])
                && run.contains(|character: char| character.is_ascii_alphanumeric())
        })
        .map(str::to_owned)
        .collect()
}

fn numbers(text: &str) -> impl Iterator<Item = String> {
    numbers_in_context(text).into_iter().map(|(number, _, _)| number)
}

/// Arabic numbers with the character before and after each.
fn numbers_in_context(text: &str) -> Vec<(String, Option<char>, Option<char>)> {
    let mut found = Vec::new();
    let mut before = None;
    let mut number = String::new();
    for character in text.chars().chain(['\0']) {
        if character.is_ascii_digit() || (character == '.' && !number.is_empty()) {
            number.push(character);
            continue;
        }
        if !number.is_empty() {
            let after = (character != '\0').then_some(character);
            found.push((std::mem::take(&mut number).trim_end_matches('.').to_owned(), before, after));
        }
        before = Some(character);
    }
    found
}

fn is_classroom_count(number: &str, before: Option<char>, after: Option<char>) -> bool {
    let small = number.parse::<u32>().is_ok_and(|number| (1..=10).contains(&number));
    let ordinal = before.is_some_and(|character| "例第习题组问步骤空格".contains(character));
    let counted = after.is_some_and(|character| "分人名组个道步遍次位种条点题句、.．)）".contains(character));
    small && (ordinal || counted || before == Some(' ') && after == Some(' '))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(material: &[&str], text: &str, expected: Result<(), Ungrounded>) {
        assert_eq!(Material::new(material.iter().copied()).check(text), expected, "{text}");
    }

    #[test]
    fn formulas_and_numbers_must_come_from_the_material() {
        let material = ["解方程 $3x + 7 = 2x - 5$。", "长 18 米"];
        check(&material, "引导学生观察 $3x+7=2x-5$ 的结构。", Ok(()));
        check(&material, "引导学生观察 $3x+7=2x-6$ 的结构。", Err(Ungrounded::Formula("3x+7=2x-6".into())));
        check(&material, "引导学生观察 $x + 7=2x$ 的结构。", Err(Ungrounded::Formula("x + 7=2x".into())));
        check(&material, "说出 x-1 的含义是什么。", Err(Ungrounded::Formula("x-1".into())));
        check(&material, "说出未知数 $x$ 的含义是什么。", Ok(()));
        check(&material, "引导学生观察 2x+1=3 的结构。", Err(Ungrounded::Formula("2x+1=3".into())));
        check(&material, "请学生测量 18 米的跑道。", Ok(()));
        check(&material, "请学生测量 25 米的跑道。", Err(Ungrounded::Number("25".into())));
    }

    #[test]
    fn nothing_is_said_of_single_choices() {
        let material =
            ["下列方程中，是一元一次方程的是（　　）。 A. $x+y=3$ B. $x^2=4x$", "判断：① $2x=3$；② $x^2=4$。"];
        check(&material, "教师指出选项A和D是正确的。", Err(Ungrounded::Choice('A')));
        check(&material, "讨论后说出D为什么正确。", Err(Ungrounded::Choice('D')));
        check(&material, "学生说出③是方程。", Err(Ungrounded::Choice('③')));
        check(&material, "学生独立完成，再逐项说明理由。", Ok(()));
        check(&["线段的长"], "请学生量出A到B的距离。", Ok(()));
    }

    #[test]
    fn small_classroom_counts_are_the_authors_own() {
        check(&[], "出示例1，给学生3分钟独立思考，再分2人一组讨论第2问。", Ok(()));
        check(&[], "给学生 45 分钟讨论。", Err(Ungrounded::Number("45".into())));
    }

    #[test]
    fn text_must_be_chinese_sentences() {
        check(&[], "def f(x): return x", Err(Ungrounded::NoSentence));
        check(&[], "", Err(Ungrounded::NoSentence));
    }

    #[test]
    fn cut_text_ends_at_its_last_sentence() {
        assert_eq!(whole_sentences("先独立思考。再小组讨").as_deref(), Some("先独立思考。"));
        assert_eq!(whole_sentences("引导学生观察").as_deref(), Some("引导学生观察。"));
        assert_eq!(whole_sentences("完整的一句。").as_deref(), Some("完整的一句。"));
        assert_eq!(whole_sentences("教师追问：“为什么？接着讨").as_deref(), Some("教师追问：“为什么？”"));
        assert_eq!(whole_sentences(""), None);
    }

    #[test]
    fn latex_survives_single_backslashes() {
        assert_eq!(mend_escapes("系数 $a\ne 0$，\n再看 $\times$"), "系数 $a\\ne 0$， 再看 $\\times$");
        assert_eq!(mend_escapes("$\u{c}rac{x}{3}=\u{8}eta$"), "$\\frac{x}{3}=\\beta$");
    }

    #[test]
    fn similarity_is_one_for_equal_texts_and_zero_for_unlike_ones() {
        assert!((similarity("理解方程的意义", "理解方程的意义") - 1.0).abs() < 1e-12);
        assert_eq!(similarity("理解方程", "光合作用"), 0.0);
    }
}
