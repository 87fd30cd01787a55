//! Lexer and parser of the checking language.

use num_traits::{Signed, ToPrimitive};

use super::expr::{Answer, Condition, Expr, Relation, Statement};
use super::rational::{Rational, parse_decimal};
use super::{CheckError, Result};

/// Longest statement, in characters.
const MAX_LENGTH: usize = 2_000;
/// Deepest nesting of brackets, signs and exponents.
const MAX_DEPTH: usize = 40;
/// Largest absolute exponent: `(-1)^2025` is a school question.
const MAX_EXPONENT: i64 = 3_000;
/// Most places of `round`.
const MAX_PLACES: i32 = 100;

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Number(Rational),
    Word(String),
    Sign(char),
    Relation(Relation),
    End,
}

fn lex(text: &str) -> Result<Vec<(usize, Token)>> {
    let chars: Vec<char> = text.chars().take(MAX_LENGTH + 1).collect();
    if chars.len() > MAX_LENGTH {
        return Err(CheckError::TooLarge("the statement is longer than 2000 characters"));
    }
    let mut tokens = Vec::new();
    let mut at = 0;
    while at < chars.len() {
        let start = at;
        let char = chars[at];
        let token = match char {
            ' ' | '\t' | '\n' | '\r' => {
                at += 1;
                continue;
            }
            '0'..='9' => {
                while at < chars.len() && (chars[at].is_ascii_digit() || chars[at] == '.') {
                    at += 1;
                }
                let digits: String = chars[start..at].iter().collect();
                at -= 1;
                Token::Number(parse_decimal(&digits).ok_or_else(|| syntax(start, "this is no number"))?)
            }
            'a'..='z' => {
                while at < chars.len() && chars[at].is_ascii_lowercase() {
                    at += 1;
                }
                let word = chars[start..at].iter().collect();
                at -= 1;
                Token::Word(word)
            }
            '<' | '>' => {
                let or_equal = chars.get(at + 1) == Some(&'=');
                at += usize::from(or_equal);
                Token::Relation(match (char, or_equal) {
                    ('<', false) => Relation::Less,
                    ('<', true) => Relation::LessEqual,
                    (_, false) => Relation::Greater,
                    (_, true) => Relation::GreaterEqual,
                })
            }
            '=' => Token::Relation(Relation::Equal),
            '+' | '-' | '*' | '/' | '^' | '(' | ')' | '{' | '}' | ',' | ';' => Token::Sign(char),
            _ => return Err(syntax(start, &format!("unexpected character `{char}`"))),
        };
        at += 1;
        tokens.push((start, token));
    }
    tokens.push((chars.len(), Token::End));
    Ok(tokens)
}

fn syntax(index: usize, message: &str) -> CheckError {
    CheckError::Syntax { position: index + 1, message: message.to_owned() }
}

struct Parser {
    tokens: Vec<(usize, Token)>,
    next: usize,
    depth: usize,
}

/// Parses one statement.
pub(super) fn parse_statement(text: &str) -> Result<Statement> {
    let mut parser = Parser { tokens: lex(text)?, next: 0, depth: 0 };
    let statement = parser.statement()?;
    parser.end()?;
    Ok(statement)
}

impl Parser {
    fn peek(&self) -> &Token {
        // The last token is `End` and is never passed.
        &self.tokens[self.next].1
    }

    fn advance(&mut self) {
        if self.next + 1 < self.tokens.len() {
            self.next += 1;
        }
    }

    fn error<T>(&self, message: &str) -> Result<T> {
        Err(syntax(self.tokens[self.next].0, message))
    }

    fn end(&self) -> Result<()> {
        if *self.peek() == Token::End { Ok(()) } else { self.error("expected the end of the statement") }
    }

    fn take(&mut self, sign: char) -> bool {
        let found = *self.peek() == Token::Sign(sign);
        if found {
            self.advance();
        }
        found
    }

    fn expect(&mut self, sign: char) -> Result<()> {
        if self.take(sign) { Ok(()) } else { self.error(&format!("expected `{sign}`")) }
    }

    fn take_word(&mut self, word: &str) -> bool {
        let found = matches!(self.peek(), Token::Word(found) if found == word);
        if found {
            self.advance();
        }
        found
    }

    fn statement(&mut self) -> Result<Statement> {
        let Token::Word(verb) = self.peek().clone() else {
            return self.error("expected equal, value, less, solve or round");
        };
        if !matches!(verb.as_str(), "equal" | "value" | "less" | "solve" | "round") {
            return self.error(&format!("`{verb}` is none of equal, value, less, solve, round"));
        }
        self.advance();
        self.expect('(')?;
        let statement = match verb.as_str() {
            "equal" => {
                let (a, b) = self.pair()?;
                Statement::Equal(a, b)
            }
            "less" => {
                let (a, b) = self.pair()?;
                Statement::Less(a, b)
            }
            "value" => self.value()?,
            "round" => self.round()?,
            _ => self.solve()?,
        };
        self.expect(')')?;
        Ok(statement)
    }

    fn pair(&mut self) -> Result<(Expr, Expr)> {
        let a = self.sum()?;
        self.expect(',')?;
        Ok((a, self.sum()?))
    }

    fn value(&mut self) -> Result<Statement> {
        let expr = self.sum()?;
        self.expect(';')?;
        let mut at: Vec<(char, Expr)> = Vec::new();
        loop {
            let letter = self.letter()?;
            if at.iter().any(|(other, _)| *other == letter) {
                return self.error(&format!("`{letter}` has two values"));
            }
            if *self.peek() != Token::Relation(Relation::Equal) {
                return self.error("expected `=`");
            }
            self.advance();
            at.push((letter, self.sum()?));
            if !self.take(',') {
                break;
            }
        }
        self.expect(';')?;
        Ok(Statement::Value { expr, at, result: self.sum()? })
    }

    fn round(&mut self) -> Result<Statement> {
        let expr = self.sum()?;
        self.expect(';')?;
        let negative = self.take('-');
        let places = self.small_integer()?;
        self.expect(';')?;
        Ok(Statement::Round { expr, places: if negative { -places } else { places }, result: self.sum()? })
    }

    fn solve(&mut self) -> Result<Statement> {
        let conditions = self.conditions()?;
        self.expect(';')?;
        let mut unknowns = vec![self.letter()?];
        while self.take(',') {
            let letter = self.letter()?;
            if unknowns.contains(&letter) {
                return self.error(&format!("the unknown `{letter}` is named twice"));
            }
            unknowns.push(letter);
        }
        self.expect(';')?;
        let answer = self.answer(unknowns.len())?;
        let foreign = |expr: &Expr, allowed: &[char]| expr.letters().into_iter().find(|l| !allowed.contains(l));
        let mut sides: Vec<(&Expr, &[char])> =
            conditions.iter().flat_map(|c| [(&c.left, &unknowns[..]), (&c.right, &unknowns[..])]).collect();
        match &answer {
            Answer::Points(points) => sides.extend(points.iter().flatten().map(|e| (e, &[][..]))),
            Answer::Sets(sets) => {
                sides.extend(sets.iter().flatten().flat_map(|c| [(&c.left, &unknowns[..]), (&c.right, &unknowns[..])]));
            }
            Answer::None | Answer::All => {}
        }
        if let Some(letter) = sides.into_iter().find_map(|(expr, allowed)| foreign(expr, allowed)) {
            return Err(CheckError::Undecided(format!("the letter `{letter}` is not one of the unknowns")));
        }
        Ok(Statement::Solve { conditions, unknowns, answer })
    }

    /// `a = b, 1 < c <= d`: chains are split into their links.
    fn conditions(&mut self) -> Result<Vec<Condition>> {
        let mut found = Vec::new();
        loop {
            let mut left = self.sum()?;
            let mut links = 0;
            while let Token::Relation(relation) = *self.peek() {
                self.advance();
                let right = self.sum()?;
                found.push(Condition { left, relation, right: right.clone() });
                left = right;
                links += 1;
            }
            if links == 0 {
                return self.error("expected =, <, <=, > or >=");
            }
            if !self.take(',') {
                return Ok(found);
            }
        }
    }

    fn answer(&mut self, unknowns: usize) -> Result<Answer> {
        if self.take_word("none") {
            return Ok(Answer::None);
        }
        if self.take_word("all") {
            return Ok(Answer::All);
        }
        if self.take('{') {
            let mut points = Vec::new();
            while !self.take('}') {
                points.push(if unknowns == 1 { vec![self.sum()?] } else { self.tuple(unknowns)? });
                if !self.take(',') && *self.peek() != Token::Sign('}') {
                    return self.error("expected `,` or `}`");
                }
            }
            return Ok(Answer::Points(points));
        }
        let mut sets = vec![self.conditions()?];
        while self.take_word("or") {
            sets.push(self.conditions()?);
        }
        Ok(Answer::Sets(sets))
    }

    fn tuple(&mut self, size: usize) -> Result<Vec<Expr>> {
        self.expect('(')?;
        let mut items = vec![self.sum()?];
        while self.take(',') {
            items.push(self.sum()?);
        }
        if items.len() != size {
            return self.error(&format!("expected {size} numbers in brackets, one for each unknown"));
        }
        self.expect(')')?;
        Ok(items)
    }

    fn letter(&mut self) -> Result<char> {
        if let Token::Word(word) = self.peek() {
            let mut chars = word.chars();
            if let (Some(letter), None) = (chars.next(), chars.next()) {
                self.advance();
                return Ok(letter);
            }
        }
        self.error("expected a single lower-case letter")
    }

    fn small_integer(&mut self) -> Result<i32> {
        if let Token::Number(number) = self.peek()
            && number.is_integer()
            && let Some(number) = number.to_integer().to_i32().filter(|n| *n <= MAX_PLACES)
        {
            self.advance();
            return Ok(number);
        }
        self.error("expected a whole number up to 100")
    }

    fn nested<T>(&mut self, parse: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(CheckError::TooLarge("brackets, signs or exponents are nested more than 40 deep"));
        }
        let result = parse(self);
        self.depth -= 1;
        result
    }

    fn sum(&mut self) -> Result<Expr> {
        let mut left = self.product()?;
        loop {
            if self.take('+') {
                left = Expr::Add(Box::new(left), Box::new(self.product()?));
            } else if self.take('-') {
                left = Expr::Sub(Box::new(left), Box::new(self.product()?));
            } else {
                return Ok(left);
            }
        }
    }

    fn product(&mut self) -> Result<Expr> {
        let mut left = self.signed()?;
        loop {
            if self.take('*') {
                left = Expr::Mul(Box::new(left), Box::new(self.signed()?));
            } else if self.take('/') {
                left = Expr::Div(Box::new(left), Box::new(self.signed()?));
            } else {
                return Ok(left);
            }
        }
    }

    fn signed(&mut self) -> Result<Expr> {
        if self.take('-') {
            return Ok(Expr::Neg(Box::new(self.nested(Self::signed)?)));
        }
        if self.take('+') {
            return self.nested(Self::signed);
        }
        let base = self.primary()?;
        if !self.take('^') {
            return Ok(base);
        }
        let start = self.next;
        let exponent = self.nested(Self::signed)?;
        match constant(&exponent) {
            Some(n) if n.is_integer() && n.abs() <= Rational::from_integer(MAX_EXPONENT.into()) => {
                Ok(Expr::Pow(Box::new(base), n.to_integer().to_i32().unwrap_or_default()))
            }
            Some(n) if n.is_integer() => Err(CheckError::TooLarge("an exponent is over 3000")),
            _ => Err(syntax(self.tokens[start].0, "an exponent must be an integer up to 3000")),
        }
    }

    fn primary(&mut self) -> Result<Expr> {
        match self.peek().clone() {
            Token::Number(number) => {
                self.advance();
                Ok(Expr::Number(number))
            }
            Token::Sign('(') => {
                self.advance();
                let inner = self.nested(Self::sum)?;
                self.expect(')')?;
                Ok(inner)
            }
            Token::Word(word) => {
                let function: fn(Box<Expr>) -> Expr = match word.as_str() {
                    "pi" => {
                        self.advance();
                        return Ok(Expr::Pi);
                    }
                    "sqrt" => Expr::Sqrt,
                    "cbrt" => Expr::Cbrt,
                    "abs" => Expr::Abs,
                    _ if word.len() == 1 => return Ok(Expr::Letter(self.letter()?)),
                    _ => {
                        return self.error(&format!(
                            "`{word}` is neither a letter nor a function (write `*` between letters)"
                        ));
                    }
                };
                self.advance();
                self.expect('(')?;
                let inner = self.nested(Self::sum)?;
                self.expect(')')?;
                Ok(function(Box::new(inner)))
            }
            _ => self.error("expected a number, a letter, a function or `(`"),
        }
    }
}

/// The value of an exponent: integers with +, -, *; a power as exponent stays within the limits by [`MAX_EXPONENT`].
fn constant(expr: &Expr) -> Option<Rational> {
    Some(match expr {
        Expr::Number(number) => number.clone(),
        Expr::Neg(a) => -constant(a)?,
        Expr::Add(a, b) => constant(a)? + constant(b)?,
        Expr::Sub(a, b) => constant(a)? - constant(b)?,
        Expr::Mul(a, b) => constant(a)? * constant(b)?,
        Expr::Pow(a, n) => {
            let base = constant(a)?;
            let small = base.is_integer() && base.abs() <= Rational::from_integer(MAX_EXPONENT.into());
            if !small || !(0..=8).contains(n) {
                return None;
            }
            base.pow(*n)
        }
        _ => return None,
    })
}
