//! Exercises and answers as people and language models write them, brought into the checking language.

use super::check::{Verdict, check};
use super::{CheckError, Result};

/// Longest exercise or answer, in characters.
const MAX_LENGTH: usize = 600;
const MAX_DEPTH: usize = 20;

/// LaTeX commands and typographic signs with a plain equivalent. Longer commands come before their prefixes.
const SIGNS: [(&str, &str); 56] = [
    ("\\leqslant", "<="),
    ("\\geqslant", ">="),
    ("\\left", ""),
    ("\\right", ""),
    ("\\leq", "<="),
    ("\\geq", ">="),
    ("\\le", "<="),
    ("\\ge", ">="),
    ("\\lt", "<"),
    ("\\gt", ">"),
    ("\\times", "*"),
    ("\\cdot", "*"),
    ("\\div", "/"),
    ("\\pi", " pi "),
    ("\\quad", " "),
    ("\\begin{cases}", ""),
    ("\\end{cases}", ""),
    ("\\\\", ","),
    ("\\,", ""),
    ("\\;", ""),
    ("\\ ", " "),
    ("$", " "),
    ("&", ""),
    ("×", "*"),
    ("·", "*"),
    ("∙", "*"),
    ("÷", "/"),
    ("−", "-"),
    ("–", "-"),
    ("≤", "<="),
    ("⩽", "<="),
    ("≦", "<="),
    ("≥", ">="),
    ("⩾", ">="),
    ("≧", ">="),
    ("²", "^2"),
    ("³", "^3"),
    ("π", " pi "),
    ("，", ","),
    ("、", ","),
    ("；", ","),
    (";", ","),
    ("。", " "),
    ("：", " "),
    (":", " "),
    ("？", " "),
    ("?", " "),
    ("无实数根", " none "),
    ("没有实数根", " none "),
    ("无实数解", " none "),
    ("无解", " none "),
    ("或", " or "),
    ("且", ","),
    ("和", " or "),
    ("\\text", ""),
    ("\n", ","),
];

/// Decides whether `answer` answers `question`.
///
/// The question is an equation, a system, an inequality (`2x+3=7`, `x+y=5, x-y=1`, `$\frac{x}{2}>3$`) or a calculation
/// (`3×(-4)+5`, `(a+b)^2`); Chinese words around it (解方程, 计算, 化简) are ignored. The answer is what a pupil would
/// write: `x=2`, `x=1 或 x=3`, `x_1=1, x_2=3`, `x=1±√2`, `x=2, y=1`, `(2,1)`, `x>6`, `无解`, `-7`.
///
/// # Errors
///
/// As for [`check()`]; positions then count in the statement that the error's message shows.
pub fn check_answer(question: &str, answer: &str) -> Result<Verdict> {
    let question = plain(question)?;
    let answer = plain(answer)?;
    let statement = statement(&question, &answer)?;
    check(&statement).map_err(|error| match error {
        CheckError::Syntax { position, message } => {
            CheckError::Syntax { position, message: format!("{message}, in `{statement}`") }
        }
        other => other,
    })
}

fn unreadable<T>(message: &str) -> Result<T> {
    Err(CheckError::Syntax { position: 1, message: message.to_owned() })
}

fn statement(question: &str, answer: &str) -> Result<String> {
    let question = question.trim_matches(|c: char| c == ',' || c.is_whitespace());
    let answer = answer.trim_matches(|c: char| c == ',' || c.is_whitespace());
    if question.is_empty() || answer.is_empty() {
        return unreadable("there is no formula");
    }
    let relation = |c: char| matches!(c, '=' | '<' | '>');
    let calculation = question.trim_end_matches([' ', '=']);
    if !calculation.contains(relation) {
        // `= 7` and `3 + 4 = 7` as answers: the last side counts.
        let result = answer.rsplit('=').next().unwrap_or(answer);
        return Ok(format!("equal({calculation}, {result})"));
    }
    let mut unknowns: Vec<char> = Vec::new();
    for word in question.split(|c: char| !c.is_ascii_lowercase()) {
        if let [letter] = word.as_bytes()
            && !unknowns.contains(&char::from(*letter))
        {
            unknowns.push(char::from(*letter));
        }
    }
    unknowns.sort_unstable();
    let names: Vec<String> = unknowns.iter().map(char::to_string).collect();
    let set = if matches!(answer, "none" | "all") || question.contains(['<', '>']) {
        answer.to_owned()
    } else if let [unknown] = unknowns[..] {
        points(answer, unknown)
    } else {
        tuples(answer, &unknowns)?
    };
    Ok(format!("solve({question}; {}; {set})", names.join(", ")))
}

/// `x = 1 or x = 3`, `x1 = 1, x2 = 3`, `1, 3`, with `±` for two.
fn points(answer: &str, unknown: char) -> String {
    let mut points = Vec::new();
    for part in answer.replace(" or ", ",").split(',') {
        // `x1 = x2 = 3` and `x = 3`: what stands after the last sign is the value.
        let part = part.trim().trim_matches(['{', '}']);
        let value = part.rsplit('=').next().unwrap_or(part).trim();
        if value.is_empty() || value == unknown.to_string() {
            continue;
        }
        if value.contains('±') {
            points.extend([value.replace('±', "+"), value.replace('±', "-")]);
        } else {
            points.push(value.to_owned());
        }
    }
    format!("{{{}}}", points.join(", "))
}

/// `x = 2, y = 1`, `(2, 1)`; alternatives with `or`.
fn tuples(answer: &str, unknowns: &[char]) -> Result<String> {
    let mut tuples = Vec::new();
    for alternative in answer.split(" or ") {
        let alternative = alternative.trim().trim_matches(['{', '}']);
        if !alternative.contains('=') {
            tuples.push(alternative.to_owned());
            continue;
        }
        let mut values = Vec::new();
        for unknown in unknowns {
            let value = alternative.split(',').find_map(|part| {
                let (name, value) = part.split_once('=')?;
                (name.trim() == unknown.to_string()).then_some(value.trim())
            });
            match value {
                Some(value) => values.push(value),
                None => return unreadable(&format!("the answer does not say what `{unknown}` is")),
            }
        }
        tuples.push(format!("({})", values.join(", ")));
    }
    Ok(format!("{{{}}}", tuples.join(", ")))
}

/// Plain ASCII with every `*` written.
fn plain(text: &str) -> Result<String> {
    if text.chars().count() > MAX_LENGTH {
        return Err(CheckError::TooLarge("an exercise or answer is longer than 600 characters"));
    }
    let half_width: String = text
        .chars()
        .map(|c| match u32::from(c) {
            // The full-width forms of ASCII, except for punctuation that the table names.
            code @ 0xFF01..=0xFF5E if !matches!(c, '，' | '；' | '：' | '？') => {
                char::from_u32(code - 0xFEE0).unwrap_or(c)
            }
            _ => c,
        })
        .collect();
    let mut text = half_width;
    for (from, to) in SIGNS {
        text = text.replace(from, to);
    }
    let chars: Vec<char> = text.chars().collect();
    let tokens = Latex { chars: &chars, at: 0 }.group(0, None)?;
    Ok(with_products(&tokens))
}

/// Reads the commands that take arguments.
struct Latex<'a> {
    chars: &'a [char],
    at: usize,
}

impl Latex<'_> {
    fn starts(&self, command: &str) -> bool {
        command.chars().enumerate().all(|(i, c)| self.chars.get(self.at + i) == Some(&c))
    }

    fn skip(&mut self, command: &str) -> bool {
        let found = self.starts(command);
        if found {
            self.at += command.chars().count();
        }
        found
    }

    /// Text up to `until` (or the end), as tokens: single signs, words and numbers.
    fn group(&mut self, depth: usize, until: Option<char>) -> Result<Vec<String>> {
        if depth > MAX_DEPTH {
            return Err(CheckError::TooLarge("brackets are nested more than 20 deep"));
        }
        let mut tokens: Vec<String> = Vec::new();
        while let Some(&char) = self.chars.get(self.at) {
            if Some(char) == until {
                self.at += 1;
                return Ok(tokens);
            }
            if self.skip("\\frac") || self.skip("\\dfrac") || self.skip("\\tfrac") {
                let (numerator, denominator) = (self.argument(depth)?, self.argument(depth)?);
                tokens.extend(bracketed(
                    "",
                    bracketed("", numerator).into_iter().chain(["/".to_owned()]).chain(bracketed("", denominator)),
                ));
            } else if self.skip("\\sqrt[3]") {
                tokens.extend(bracketed("cbrt", self.argument(depth)?));
            } else if self.skip("\\sqrt") || self.skip("√") {
                tokens.extend(bracketed("sqrt", self.argument(depth)?));
            } else if char == '^' {
                self.at += 1;
                tokens.push("^".to_owned());
                tokens.extend(bracketed("", self.argument(depth)?));
            } else if char == '_' {
                // x_1, x_{2}: another value of the same unknown.
                self.at += 1;
                self.argument(depth)?;
            } else if self.skip("\\pm") {
                tokens.push("±".to_owned());
            } else if char == '|' && until != Some('|') {
                self.at += 1;
                tokens.extend(bracketed("abs", self.group(depth + 1, Some('|'))?));
            } else if char == '\\' {
                return unreadable("unknown LaTeX command");
            } else {
                self.simple(char, &mut tokens);
            }
        }
        Ok(tokens)
    }

    fn simple(&mut self, char: char, tokens: &mut Vec<String>) {
        let start = self.at;
        let same = |a: char, b: char| (a.is_ascii_lowercase() && b.is_ascii_lowercase()) || (number(a) && number(b));
        self.at += 1;
        while self.chars.get(self.at).is_some_and(|next| same(char, *next)) {
            self.at += 1;
        }
        let token: String = self.chars[start..self.at].iter().collect();
        let sign =
            matches!(char, '+' | '-' | '*' | '/' | '(' | ')' | '[' | ']' | '{' | '}' | ',' | '<' | '>' | '=' | '±');
        if number(char) || sign {
            tokens.push(token.replace('[', "(").replace(']', ")"));
        } else if char.is_ascii_lowercase() {
            if matches!(token.as_str(), "or" | "none" | "all" | "pi" | "sqrt" | "cbrt" | "abs") {
                tokens.push(token);
            } else {
                tokens.extend(token.chars().map(String::from));
            }
        }
        // Anything else is a word around the formula, or space.
    }

    /// `{…}`, or the next number, letter or sign.
    fn argument(&mut self, depth: usize) -> Result<Vec<String>> {
        while self.chars.get(self.at) == Some(&' ') {
            self.at += 1;
        }
        match self.chars.get(self.at) {
            Some('{') => {
                self.at += 1;
                self.group(depth + 1, Some('}'))
            }
            Some('(') => {
                self.at += 1;
                self.group(depth + 1, Some(')'))
            }
            Some('-') => {
                self.at += 1;
                let mut tokens = vec!["-".to_owned()];
                tokens.extend(self.argument(depth + 1)?);
                Ok(tokens)
            }
            Some(&char) if number(char) => {
                let mut tokens = Vec::new();
                self.simple(char, &mut tokens);
                Ok(tokens)
            }
            Some(&char) if char.is_ascii_lowercase() => {
                self.at += 1;
                Ok(vec![char.to_string()])
            }
            _ => unreadable("something is missing after a root, a fraction or `^`"),
        }
    }
}

fn number(char: char) -> bool {
    char.is_ascii_digit() || char == '.'
}

fn bracketed(function: &str, inner: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut tokens = Vec::new();
    if !function.is_empty() {
        tokens.push(function.to_owned());
    }
    tokens.push("(".to_owned());
    tokens.extend(inner);
    tokens.push(")".to_owned());
    tokens
}

/// Joins tokens, with `*` where a product is only implied: `2x`, `3(x + 1)`, `xy`, `2√3`.
fn with_products(tokens: &[String]) -> String {
    let function = |token: &str| matches!(token, "sqrt" | "cbrt" | "abs");
    let word = |token: &str| matches!(token, "or" | "none" | "all");
    let operand = |token: &str| token.starts_with(|c: char| number(c) || c.is_ascii_lowercase()) && !word(token);
    let mut text = String::new();
    let mut last = "";
    for token in tokens {
        let ends = (operand(last) && !function(last)) || last == ")";
        // `x2` is a second value of x as in `x1 = 1, x2 = 3`, not a product: the digit is dropped.
        let index = last.len() == 1
            && last.starts_with(|c: char| c.is_ascii_lowercase())
            && matches!(token.as_str(), "1" | "2");
        if index {
            continue;
        }
        if ends && (operand(token) || token == "(") {
            text.push('*');
        }
        if word(token) {
            text.push(' ');
        }
        text.push_str(token);
        if word(token) {
            text.push(' ');
        }
        last = token;
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn right(question: &str, answer: &str) {
        assert_eq!(check_answer(question, answer), Ok(Verdict::Holds), "{question} -> {answer}");
    }

    fn wrong(question: &str, answer: &str) {
        assert!(
            matches!(check_answer(question, answer), Ok(Verdict::Fails { .. })),
            "{question} -> {answer}: {:?}",
            check_answer(question, answer)
        );
    }

    #[test]
    fn calculations() {
        right("3×(-4)+5", "-7");
        right("计算：$3\\times(-4)+5=$", "$-7$");
        right("（－２）＋５＝？", "3");
        right("$\\frac{1}{2}+\\frac{1}{3}$", "$\\frac{5}{6}$");
        right("√12+√27", "5√3");
        right("$\\sqrt{8}-\\sqrt[3]{8}$", "$2\\sqrt{2}-2$");
        right("|-3|-|2-5|", "0");
        right("$6 \\div 2 \\times 3$", "9");
        right("化简 $(a+b)^2-(a-b)^2$", "4ab");
        right("$2^{3}+2^{-1}$", "= 8.5");
        right("2(x+1)-3(x-2)", "-x+8");
        wrong("3×(-4)+5", "7");
        wrong("(a+b)^2", "a^2+b^2");
    }

    #[test]
    fn equations() {
        right("解方程：2x+3=7", "x=2");
        right("$3x+7=2x-5$", "$x=-12$");
        right("$\\frac{x-1}{2}=\\frac{2x}{3}$", "x=-3");
        right("x²-5x+6=0", "x=2 或 x=3");
        right("x^2-5x+6=0", "$x_1=2$，$x_2=3$");
        right("x^2-5x+6=0", "x1=2, x2=3");
        right("x^2-2x-1=0", "x=1±√2");
        right("x^2-4x+4=0", "x1=x2=2");
        right("x^2+1=0", "方程无实数根");
        right("2(x-3)=4", "5");
        right("x/(x-1)=1/(x-1)", "无解");
        wrong("x²-5x+6=0", "x=2");
        wrong("2x+3=7", "x=3");
        wrong("x^2=4", "x=2");
    }

    #[test]
    fn systems_and_inequalities() {
        right("解方程组 x+y=5, x-y=1", "x=3, y=2");
        right("$\\begin{cases}x+y=5\\\\x-y=1\\end{cases}$", "$\\begin{cases}x=3\\\\y=2\\end{cases}$");
        right("x+y=5；x-y=1", "(3,2)");
        right("2x-1>3", "x>2");
        right("$-2x\\leqslant 6$", "$x\\ge -3$");
        right("2x-1>3，x≤5", "2<x≤5");
        right("x>3, x<1", "无解");
        wrong("x+y=5, x-y=1", "x=2, y=3");
        wrong("-2x<6", "x<-3");
    }

    #[test]
    fn what_cannot_be_read_is_an_error() {
        for (question, answer) in [("", "1"), ("2x+3=7", ""), ("x+y=5, x-y=1", "x=3"), ("$\\int x$", "1"), ("√", "1")]
        {
            assert!(check_answer(question, answer).is_err(), "{question} -> {answer}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_answered(question in "\\PC{0,40}", answer in "\\PC{0,20}") {
            let _ = check_answer(&question, &answer);
        }

        #[test]
        fn any_formula_like_text_is_answered(question in "[xy0-9+*/^(){}|√\\\\fracsqrt= <]{0,30}", answer in "[xy=0-9±,|]{0,12}") {
            let _ = check_answer(&question, &answer);
        }
    }
}
