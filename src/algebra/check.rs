//! Statements of the checking language, decided.

use num_integer::Integer;
use num_traits::One;

use super::evaluate::{Real, Translation, evaluate};
use super::expr::{Expr, Statement};
use super::parse::parse_statement;
use super::rational::{Rational, integer, power_of_ten, show};
use super::solve::{find_absolute, solve_one};
use super::system::solve_system;
use super::{CheckError, Result};

/// Points at which an identity with roots or absolute values of letters is tried.
const SAMPLES: usize = 80;
/// Points that may be tried to find that many at which both sides are defined.
const ATTEMPTS: usize = 2_000;

/// What became of a statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Holds,
    Fails {
        /// What is wrong, in English, for whoever maintains the content.
        why: String,
        /// The right answer in the checking language, where it has a short form.
        expected: Option<String>,
    },
}

impl Verdict {
    pub fn holds(&self) -> bool {
        *self == Self::Holds
    }
}

fn fails(why: impl Into<String>) -> Result<Verdict> {
    Ok(Verdict::Fails { why: why.into(), expected: None })
}

/// Decides a statement of the checking language.
///
/// # Errors
///
/// [`CheckError::Syntax`] for text that is no statement, [`CheckError::TooLarge`] beyond the limits of school use,
/// [`CheckError::Undecided`] where no decision is possible. Never panics, whatever the text.
pub fn check(statement: &str) -> Result<Verdict> {
    match parse_statement(statement)? {
        Statement::Equal(a, b) => equal(&a, &b),
        Statement::Less(a, b) => less(&a, &b),
        Statement::Value { expr, at, result } => {
            let value = expr.replace(&|node| match node {
                Expr::Letter(letter) => at.iter().find(|(other, _)| other == letter).map(|(_, value)| value.clone()),
                _ => None,
            });
            equal(&value, &result)
        }
        Statement::Solve { conditions, unknowns, answer } => match unknowns[..] {
            [unknown] => solve_one(&conditions, unknown, &answer),
            _ => solve_system(&conditions, &unknowns, &answer),
        },
        Statement::Round { expr, places, result } => round(&expr, places, &result),
    }
}

fn number(expr: &Expr) -> Result<Option<Real>> {
    evaluate(expr, &[])
}

fn equal(a: &Expr, b: &Expr) -> Result<Verdict> {
    let difference = a.minus(b);
    let letters = difference.letters();
    if letters.is_empty() {
        let (Some(left), Some(right)) = (number(a)?, number(b)?) else { return fails("a side is not defined") };
        return if left.minus(&right)?.sign()?.is_eq() {
            Ok(Verdict::Holds)
        } else {
            let expected = Some(left.show()?);
            Ok(Verdict::Fails { why: format!("{} is not {}", left.show()?, right.show()?), expected })
        };
    }
    if find_absolute(&difference).is_none() {
        let mut translation = Translation::default();
        let Some(ratio) = translation.ratio(&difference)? else { return fails("a side is defined nowhere") };
        if translation.radicals.is_empty() {
            return if ratio.num.is_zero() { Ok(Verdict::Holds) } else { fails("the expressions differ") };
        }
    }
    agree_at_samples(a, b, &letters)
}

/// Identities with roots or absolute values of letters: compared at points where both sides are defined. The points are
/// small numbers of both signs (squares among them), large ones, and the neighbourhood of every constant that occurs.
fn agree_at_samples(a: &Expr, b: &Expr, letters: &[char]) -> Result<Verdict> {
    let mut pool: Vec<Rational> = (-6..=6).map(integer).collect();
    pool.extend([9, 16, 25, -9, 100, -100, 12_345, -12_345].map(integer));
    pool.extend([(1, 2), (-1, 2), (1, 4), (4, 9), (-5, 3), (7, 3)].map(|(n, d)| Rational::new(n.into(), d.into())));
    a.minus(b).visit(&mut |node| {
        if let Expr::Number(constant) = node
            && pool.len() < 200
        {
            for offset in [integer(0), Rational::new(1.into(), 2.into()), integer(1), integer(2)] {
                for value in [constant + &offset, constant - &offset] {
                    pool.extend([-value.clone(), value]);
                }
            }
        }
    });
    let mut random = Random(0x5eed);
    let mut compared = 0;
    for _ in 0..ATTEMPTS {
        let point: Vec<(char, Rational)> =
            letters.iter().map(|letter| (*letter, pool[random.below(pool.len())].clone())).collect();
        let reals: Vec<(char, Real)> = point.iter().map(|(l, v)| (*l, Real::rational(v.clone()))).collect();
        let (Some(left), Some(right)) = (evaluate(a, &reals)?, evaluate(b, &reals)?) else { continue };
        if !left.minus(&right)?.sign()?.is_eq() {
            let place: Vec<String> =
                point.iter().map(|(letter, value)| format!("{letter} = {}", show(value))).collect();
            return fails(format!("at {} the sides are {} and {}", place.join(", "), left.show()?, right.show()?));
        }
        compared += 1;
        if compared == SAMPLES {
            break;
        }
    }
    if compared == 0 {
        return Err(CheckError::Undecided("found no point at which both sides are defined".to_owned()));
    }
    Ok(Verdict::Holds)
}

/// A linear congruential generator (Knuth's MMIX constants): sample points are the same in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        // The high bits are the random ones; the remainder fits, as it is below `bound`.
        usize::try_from((self.0 >> 33) % bound.max(1) as u64).unwrap_or_default()
    }
}

fn less(a: &Expr, b: &Expr) -> Result<Verdict> {
    if let Some(letter) = a.minus(b).letters().first() {
        return Err(CheckError::Undecided(format!("`less` compares numbers; `{letter}` is a letter")));
    }
    let (Some(left), Some(right)) = (number(a)?, number(b)?) else { return fails("a side is not defined") };
    if left.minus(&right)?.sign()?.is_lt() {
        return Ok(Verdict::Holds);
    }
    fails(format!("{} is not less than {}", left.show()?, right.show()?))
}

/// Half up: the largest multiple of 10^-places that is at most the number plus half of that.
fn round(expr: &Expr, places: i32, result: &Expr) -> Result<Verdict> {
    if !expr.minus(result).letters().is_empty() {
        return Err(CheckError::Undecided("`round` rounds numbers".to_owned()));
    }
    let (Some(value), Some(claimed)) = (number(expr)?, number(result)?) else { return fails("a side is not defined") };
    let unit = power_of_ten(-places);
    let half = Rational::new(1.into(), 2.into());
    let rounded = |value: &Rational| (value / &unit + &half).floor() * &unit;
    let exact = if let Real::Exact(ratio) = &value { ratio.as_rational() } else { None };
    let rounded = match exact {
        Some(value) => rounded(&value),
        None => {
            let enclosure = value.enclose()?;
            let (low, high) = (rounded(&enclosure.low_rational()), rounded(&enclosure.high_rational()));
            if low != high {
                return Err(CheckError::Undecided("the number lies on the border of two roundings".to_owned()));
            }
            low
        }
    };
    if Real::rational(rounded.clone()).minus(&claimed)?.sign()?.is_eq() {
        return Ok(Verdict::Holds);
    }
    Ok(Verdict::Fails { why: format!("it rounds to {}", decimal(&rounded)), expected: Some(decimal(&rounded)) })
}

/// A terminating decimal without trailing zeros.
fn decimal(number: &Rational) -> String {
    let mut places = 0usize;
    let mut scaled = number.clone();
    while !scaled.denom().is_one() && places < 200 {
        scaled *= integer(10);
        places += 1;
    }
    let (sign, size) = if scaled < integer(0) { ("-", -scaled) } else { ("", scaled) };
    let unit = num_bigint::BigInt::from(10).pow(u32::try_from(places).unwrap_or_default());
    let (whole, rest) = size.to_integer().div_rem(&unit);
    if places == 0 { format!("{sign}{whole}") } else { format!("{sign}{whole}.{:0>places$}", rest.to_string()) }
}

#[cfg(test)]
#[path = "check_tests.rs"]
mod tests;
