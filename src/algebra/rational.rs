//! Exact rational numbers, factoring of their parts, and rigorous enclosures of real numbers.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use num_bigint::BigInt;
use num_integer::Integer;
use num_traits::{One, Pow, Signed, ToPrimitive, Zero};

use super::{CheckError, Result};

pub(super) type Rational = num_rational::BigRational;

/// Largest size of a numerator or denominator. School numbers are far below; repeated powers would grow without end.
const MAX_BITS: u64 = 8_192;
/// Trial division goes to this bound, so numbers below its square factor completely.
const TRIAL_LIMIT: u64 = 100_000;

/// Refuses numbers that have grown beyond any school use.
pub(super) fn limited(number: Rational) -> Result<Rational> {
    if number.numer().bits().max(number.denom().bits()) > MAX_BITS {
        return Err(CheckError::TooLarge("a number has more than 8192 binary digits"));
    }
    Ok(number)
}

/// `12`, `3.50`. No sign, no exponent.
pub(super) fn parse_decimal(digits: &str) -> Option<Rational> {
    let (whole, fraction) = digits.split_once('.').map_or((digits, None), |(w, f)| (w, Some(f)));
    let decimal = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if !decimal(whole) || fraction.is_some_and(|f| !decimal(f)) {
        return None;
    }
    let fraction = fraction.unwrap_or_default();
    let numerator: BigInt = format!("{whole}{fraction}").parse().ok()?;
    Some(Rational::new(numerator, BigInt::from(10).pow(u32::try_from(fraction.len()).ok()?)))
}

pub(super) fn integer(number: i64) -> Rational {
    Rational::from_integer(number.into())
}

/// The prime factors of `number` > 0 with their multiplicities; none when a factor is too large to find or a prime does
/// not fit in 64 bits.
pub(super) fn factor(number: &BigInt) -> Option<BTreeMap<u64, u32>> {
    let mut factors = BTreeMap::new();
    let mut rest = number.clone();
    let mut divide = |rest: &mut BigInt, prime: u64| loop {
        let (quotient, remainder) = rest.div_rem(&BigInt::from(prime));
        if !remainder.is_zero() {
            break;
        }
        *factors.entry(prime).or_insert(0) += 1;
        *rest = quotient;
    };
    for prime in [2, 3, 5, 7] {
        divide(&mut rest, prime);
    }
    let mut candidate = 11;
    while candidate < TRIAL_LIMIT && BigInt::from(candidate) * candidate <= rest {
        divide(&mut rest, candidate);
        candidate += 2;
    }
    if rest > BigInt::one() {
        if rest >= BigInt::from(TRIAL_LIMIT) * TRIAL_LIMIT {
            return None;
        }
        *factors.entry(rest.to_u64()?).or_insert(0) += 1;
    }
    Some(factors)
}

/// A closed interval `[low, high] / 2^bits` that contains a real number.
#[derive(Clone, Debug)]
pub(super) struct Enclosure {
    pub low: BigInt,
    pub high: BigInt,
    pub bits: u32,
}

impl Enclosure {
    pub fn exact(number: &Rational, bits: u32) -> Self {
        let scaled = number.numer() << bits;
        Self { low: scaled.div_floor(number.denom()), high: scaled.div_ceil(number.denom()), bits }
    }

    pub fn between(low: &Rational, high: &Rational, bits: u32) -> Self {
        Self { low: Self::exact(low, bits).low, high: Self::exact(high, bits).high, bits }
    }

    /// pi, by Machin's formula 16 arctan(1/5) - 4 arctan(1/239).
    pub fn pi(bits: u32) -> Self {
        let guard = bits + 32;
        let arctan = |inverse: i32| {
            let square = BigInt::from(inverse * inverse);
            let mut power = (BigInt::one() << guard) / inverse;
            let mut sum = BigInt::zero();
            let mut n = 1;
            while !power.is_zero() {
                if n % 4 == 1 {
                    sum += &power / n;
                } else {
                    sum -= &power / n;
                }
                power /= &square;
                n += 2;
            }
            sum
        };
        // Every term is off by less than 2 units of 2^-guard and there are fewer than 2^20 of them.
        let middle: BigInt = arctan(5) * 16 - arctan(239) * 4;
        let error = BigInt::one() << 26;
        Self { low: (&middle - &error) >> 32, high: ((middle + error) >> 32) + 1, bits }
    }

    pub fn add(&self, other: &Self) -> Self {
        Self { low: &self.low + &other.low, high: &self.high + &other.high, bits: self.bits }
    }

    pub fn neg(&self) -> Self {
        Self { low: -&self.high, high: -&self.low, bits: self.bits }
    }

    pub fn mul(&self, other: &Self) -> Self {
        let products =
            [&self.low * &other.low, &self.low * &other.high, &self.high * &other.low, &self.high * &other.high];
        let (mut low, mut high) = (products[0].clone(), products[0].clone());
        for product in products {
            low = low.min(product.clone());
            high = high.max(product);
        }
        let unit = BigInt::one() << self.bits;
        Self { low: low.div_floor(&unit), high: high.div_ceil(&unit), bits: self.bits }
    }

    /// 1 / self; none when zero is inside.
    pub fn invert(&self) -> Option<Self> {
        if self.sign().is_none_or(Ordering::is_eq) {
            return None;
        }
        let square = BigInt::one() << (2 * self.bits);
        Some(Self { low: square.div_floor(&self.high), high: square.div_ceil(&self.low), bits: self.bits })
    }

    pub fn abs(&self) -> Self {
        match self.sign() {
            Some(Ordering::Less) => self.neg(),
            Some(_) => self.clone(),
            None => Self { low: BigInt::zero(), high: self.high.clone().max(-&self.low), bits: self.bits },
        }
    }

    /// The square or cube root. A square root's part below zero is cut off: the caller has ruled it out.
    pub fn root(&self, degree: u32) -> Self {
        let scaled = |number: &BigInt| number << ((degree - 1) * self.bits);
        let floor = |number: &BigInt| {
            let scaled = scaled(number);
            if scaled.is_negative() { -((-scaled).nth_root(degree)) - 1 } else { scaled.nth_root(degree) }
        };
        let clip = |number: &BigInt| if degree == 2 { number.clone().max(BigInt::zero()) } else { number.clone() };
        Self { low: floor(&clip(&self.low)), high: floor(&clip(&self.high)) + 1, bits: self.bits }
    }

    /// The sign, when the whole interval has one.
    pub fn sign(&self) -> Option<Ordering> {
        if self.low.is_positive() {
            Some(Ordering::Greater)
        } else if self.high.is_negative() {
            Some(Ordering::Less)
        } else if self.low.is_zero() && self.high.is_zero() {
            Some(Ordering::Equal)
        } else {
            None
        }
    }

    pub fn low_rational(&self) -> Rational {
        Rational::new(self.low.clone(), BigInt::one() << self.bits)
    }

    pub fn high_rational(&self) -> Rational {
        Rational::new(self.high.clone(), BigInt::one() << self.bits)
    }
}

/// `number` as a person would write it: `3`, `-2/3`.
pub(super) fn show(number: &Rational) -> String {
    number.to_string()
}

/// The nearest decimal with four places, for irrational numbers in messages.
pub(super) fn show_decimal(number: &Rational) -> String {
    let scaled = (number * integer(10_000)).round().to_integer();
    let (whole, rest) = scaled.abs().div_rem(&BigInt::from(10_000));
    format!("{}{whole}.{:0>4}", if scaled.is_negative() { "-" } else { "" }, rest.to_string())
}

/// 10^places for rounding; places may be negative.
pub(super) fn power_of_ten(places: i32) -> Rational {
    Pow::pow(integer(10), places)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_are_exact() {
        assert_eq!(parse_decimal("0.125"), Some(Rational::new(1.into(), 8.into())));
        assert_eq!(parse_decimal("1.2.3"), None);
        assert_eq!(parse_decimal("1."), None);
    }

    #[test]
    fn pi_is_enclosed() {
        let pi = Enclosure::pi(64);
        // floor(pi * 2^64)
        let expected: BigInt = "57952155664616982739".parse().unwrap();
        assert!(pi.low <= expected && expected < pi.high && pi.high - pi.low < BigInt::from(8));
    }

    #[test]
    fn numbers_factor() {
        assert_eq!(factor(&BigInt::from(360)), Some(BTreeMap::from([(2, 3), (3, 2), (5, 1)])));
        assert_eq!(factor(&BigInt::from(9_999_991)), Some(BTreeMap::from([(9_999_991, 1)])));
    }

    #[test]
    fn cube_roots_of_negative_numbers_are_enclosed() {
        let root = Enclosure::exact(&integer(-8), 64).root(3);
        assert!(root.low_rational() <= integer(-2) && integer(-2) <= root.high_rational());
    }
}
