//! Shows the text inside a JSON document while the document is still arriving.

/// Push parser that yields the characters of string *values* (not of keys), each value followed by a line break. The values
/// of hidden keys (citation keys, enumerations) are left out.
///
/// It takes pieces cut anywhere, also inside an escape. It does not validate: the complete document is parsed afterwards.
#[derive(Debug, Default)]
pub struct JsonTextStream {
    state: State,
    /// Whether each open container is an object; an object's strings alternate between key and value.
    containers: Vec<bool>,
    /// In an object, whether the next string is a key.
    expects_key: bool,
    hidden: &'static [&'static str],
    /// The key whose value comes next.
    key: String,
    /// The pending high surrogate of a `\uD8xx` pair.
    high_surrogate: Option<u32>,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Between,
    InString {
        is_key: bool,
    },
    Escape {
        is_key: bool,
    },
    Unicode {
        is_key: bool,
        digits: String,
    },
}

impl JsonTextStream {
    pub fn hiding(keys: &'static [&'static str]) -> Self {
        Self { hidden: keys, ..Self::default() }
    }

    pub fn push(&mut self, piece: &str) -> String {
        let mut shown = String::new();
        for character in piece.chars() {
            self.step(character, &mut shown);
        }
        shown
    }

    fn step(&mut self, character: char, shown: &mut String) {
        match &mut self.state {
            State::Between => match character {
                '{' => {
                    self.containers.push(true);
                    self.expects_key = true;
                }
                '[' => {
                    self.containers.push(false);
                    self.expects_key = false;
                }
                '}' | ']' => {
                    self.containers.pop();
                }
                ',' => self.expects_key = self.containers.last().copied().unwrap_or(false),
                ':' => self.expects_key = false,
                '"' => {
                    if self.expects_key {
                        self.key.clear();
                    }
                    self.state = State::InString { is_key: self.expects_key };
                }
                _ => {}
            },
            State::InString { is_key } => {
                let is_key = *is_key;
                match character {
                    '"' => {
                        self.state = State::Between;
                        if !is_key {
                            self.take('\n', is_key, shown);
                        }
                    }
                    '\\' => self.state = State::Escape { is_key },
                    _ => self.take(character, is_key, shown),
                }
            }
            State::Escape { is_key } => {
                let is_key = *is_key;
                let decoded = match character {
                    'u' => {
                        self.state = State::Unicode { is_key, digits: String::new() };
                        return;
                    }
                    'n' => '\n',
                    't' => '\t',
                    'r' | 'b' | 'f' => ' ',
                    other => other,
                };
                self.state = State::InString { is_key };
                self.take(decoded, is_key, shown);
            }
            State::Unicode { is_key, digits } => {
                digits.push(character);
                if digits.len() < 4 {
                    return;
                }
                let is_key = *is_key;
                let unit = u32::from_str_radix(digits, 16).unwrap_or(0xFFFD);
                self.state = State::InString { is_key };
                let code = match (self.high_surrogate.take(), unit) {
                    (None, 0xD800..=0xDBFF) => {
                        self.high_surrogate = Some(unit);
                        return;
                    }
                    (Some(high), 0xDC00..=0xDFFF) => 0x10000 + ((high - 0xD800) << 10) + (unit - 0xDC00),
                    (_, unit) => unit,
                };
                self.take(char::from_u32(code).unwrap_or('\u{FFFD}'), is_key, shown);
            }
        }
    }

    fn take(&mut self, character: char, is_key: bool, shown: &mut String) {
        if is_key {
            self.key.push(character);
        } else if !self.hidden.contains(&self.key.as_str()) {
            shown.push(character);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(json: &str, expected: &str) {
        let whole = JsonTextStream::default().push(json);
        assert_eq!(whole, expected);
        let mut stream = JsonTextStream::default();
        let pieces: String = json.chars().map(|character| stream.push(&character.to_string())).collect();
        assert_eq!(pieces, expected, "character by character");
    }

    #[test]
    fn values_are_shown_and_keys_are_not() {
        check(r#"{"text":"理解方程","source":"c1"}"#, "理解方程\nc1\n");
        check(r#"{"a":["x","y"],"b":{"c":"z"}, "d": 1}"#, "x\ny\nz\n");
        check(r#"["只有值"]"#, "只有值\n");
    }

    #[test]
    fn hidden_keys_are_left_out() {
        let mut stream = JsonTextStream::hiding(&["source"]);
        let shown =
            stream.push(r#"{"answer":[{"text":"移项要变号。","source":"c3"},{"text":"两边同减。","source":"c1"}]}"#);
        assert_eq!(shown, "移项要变号。\n两边同减。\n");
    }

    #[test]
    fn escapes_are_decoded_even_when_cut() {
        check(r#"{"a":"他说\"好\"\n\\frac"}"#, "他说\"好\"\n\\frac\n");
        check(r#"{"a":"\u65b9\u7a0b \ud83d\ude00"}"#, "方程 😀\n");
    }
}
