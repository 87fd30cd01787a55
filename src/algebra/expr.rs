//! The syntax tree of the checking language.

use std::cmp::Ordering;

use super::rational::Rational;

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Expr {
    Number(Rational),
    Pi,
    Letter(char),
    Neg(Box<Expr>),
    Add(Box<Expr>, Box<Expr>),
    Sub(Box<Expr>, Box<Expr>),
    Mul(Box<Expr>, Box<Expr>),
    Div(Box<Expr>, Box<Expr>),
    Pow(Box<Expr>, i32),
    Sqrt(Box<Expr>),
    Cbrt(Box<Expr>),
    Abs(Box<Expr>),
}

impl Expr {
    /// The letters that occur, each once, in order of first occurrence.
    pub fn letters(&self) -> Vec<char> {
        let mut found = Vec::new();
        self.visit(&mut |expr| {
            if let Self::Letter(letter) = expr
                && !found.contains(letter)
            {
                found.push(*letter);
            }
        });
        found
    }

    pub fn visit(&self, see: &mut impl FnMut(&Self)) {
        see(self);
        match self {
            Self::Number(_) | Self::Pi | Self::Letter(_) => {}
            Self::Neg(a) | Self::Pow(a, _) | Self::Sqrt(a) | Self::Cbrt(a) | Self::Abs(a) => a.visit(see),
            Self::Add(a, b) | Self::Sub(a, b) | Self::Mul(a, b) | Self::Div(a, b) => {
                a.visit(see);
                b.visit(see);
            }
        }
    }

    /// The tree with every node that `change` answers for replaced by its answer; replacements are not entered.
    pub fn replace(&self, change: &impl Fn(&Self) -> Option<Self>) -> Self {
        if let Some(new) = change(self) {
            return new;
        }
        let one = |a: &Self| Box::new(a.replace(change));
        match self {
            Self::Number(_) | Self::Pi | Self::Letter(_) => self.clone(),
            Self::Neg(a) => Self::Neg(one(a)),
            Self::Pow(a, n) => Self::Pow(one(a), *n),
            Self::Sqrt(a) => Self::Sqrt(one(a)),
            Self::Cbrt(a) => Self::Cbrt(one(a)),
            Self::Abs(a) => Self::Abs(one(a)),
            Self::Add(a, b) => Self::Add(one(a), one(b)),
            Self::Sub(a, b) => Self::Sub(one(a), one(b)),
            Self::Mul(a, b) => Self::Mul(one(a), one(b)),
            Self::Div(a, b) => Self::Div(one(a), one(b)),
        }
    }

    pub fn minus(&self, other: &Self) -> Self {
        Self::Sub(Box::new(self.clone()), Box::new(other.clone()))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Relation {
    Equal,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
}

impl Relation {
    /// Whether `left - right` may have this sign.
    pub fn allows(self, sign: Ordering) -> bool {
        match self {
            Self::Equal => sign.is_eq(),
            Self::Less => sign.is_lt(),
            Self::LessEqual => sign.is_le(),
            Self::Greater => sign.is_gt(),
            Self::GreaterEqual => sign.is_ge(),
        }
    }
}

/// `left relation right`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Condition {
    pub left: Expr,
    pub relation: Relation,
    pub right: Expr,
}

/// The claimed solutions of `solve`.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Answer {
    /// `{2, -1}` or `{(2, 1)}`: one expression per unknown.
    Points(Vec<Vec<Expr>>),
    /// Alternatives (`or`) of conditions that hold together (`2 < x <= 5`).
    Sets(Vec<Vec<Condition>>),
    None,
    All,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Statement {
    Equal(Expr, Expr),
    Less(Expr, Expr),
    Value { expr: Expr, at: Vec<(char, Expr)>, result: Expr },
    Solve { conditions: Vec<Condition>, unknowns: Vec<char>, answer: Answer },
    Round { expr: Expr, places: i32, result: Expr },
}
