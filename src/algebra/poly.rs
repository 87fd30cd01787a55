//! Polynomials in letters over the numbers that school algebra names.
//!
//! A number is a sum of terms `rational * product of p^(e/12) * pi^k` with distinct primes p and 0 <= e < 12. Such
//! products of roots are linearly independent over the rationals (A. Besicovitch, "On the linear independence of
//! fractional powers of integers", J. London Math. Soc. 15, 1940) and pi is transcendental, so a number is zero exactly
//! when no term is left: equality needs no approximation, and a sign is found by refining an enclosure until it excludes
//! zero.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use num_bigint::BigInt;
use num_integer::Integer;
use num_traits::{One, Signed, Zero};

use super::rational::{Enclosure, Rational, factor, integer, limited};
use super::{CheckError, Result};

/// Roots of primes are kept as powers of the twelfth root: square roots, cube roots, and one of the other.
const ROOT: u32 = 12;
/// Largest number of term products in one multiplication.
const MAX_PRODUCTS: usize = 20_000;
const MAX_TERMS: usize = 600;
/// Highest power of a letter.
const MAX_POWER: u32 = 4_000;
/// Precision at which the sign of a nonzero number is given up; never reached by numbers that a person would write.
const MAX_SIGN_BITS: u32 = 8_192;

/// What a polynomial is built from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Generator {
    /// The twelfth root of a prime.
    Prime(u64),
    Pi,
    Letter(char),
    /// A root whose argument holds letters or other roots; see [`super::evaluate::Translation`].
    Radical(usize),
}

type Monomial = Vec<(Generator, u32)>;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Poly {
    /// No coefficient is zero.
    terms: BTreeMap<Monomial, Rational>,
}

impl Poly {
    pub fn zero() -> Self {
        Self::default()
    }

    pub fn one() -> Self {
        Self::rational(Rational::one())
    }

    pub fn rational(number: Rational) -> Self {
        let mut poly = Self::default();
        poly.add_term(Vec::new(), number);
        poly
    }

    pub fn generator(generator: Generator) -> Self {
        Self { terms: BTreeMap::from([(vec![(generator, 1)], Rational::one())]) }
    }

    pub fn is_zero(&self) -> bool {
        self.terms.is_empty()
    }

    /// Whether no letter and no [`Generator::Radical`] occurs: the polynomial is a number.
    pub fn is_number(&self) -> bool {
        self.terms.keys().flatten().all(|(g, _)| matches!(g, Generator::Prime(_) | Generator::Pi))
    }

    pub fn as_rational(&self) -> Option<Rational> {
        match self.terms.len() {
            0 => Some(Rational::zero()),
            1 => self.terms.get(&Vec::new()).cloned(),
            _ => None,
        }
    }

    pub fn letters(&self) -> Vec<char> {
        let mut letters: Vec<char> = self
            .terms
            .keys()
            .flatten()
            .filter_map(|(g, _)| if let Generator::Letter(letter) = g { Some(*letter) } else { None })
            .collect();
        letters.sort_unstable();
        letters.dedup();
        letters
    }

    fn add_term(&mut self, monomial: Monomial, coefficient: Rational) {
        if coefficient.is_zero() {
            return;
        }
        match self.terms.entry(monomial) {
            Entry::Vacant(place) => {
                place.insert(coefficient);
            }
            Entry::Occupied(mut place) => {
                *place.get_mut() += coefficient;
                if place.get().is_zero() {
                    place.remove();
                }
            }
        }
    }

    pub fn add(&self, other: &Self) -> Self {
        let mut sum = self.clone();
        for (monomial, coefficient) in &other.terms {
            sum.add_term(monomial.clone(), coefficient.clone());
        }
        sum
    }

    pub fn neg(&self) -> Self {
        Self { terms: self.terms.iter().map(|(m, c)| (m.clone(), -c)).collect() }
    }

    pub fn sub(&self, other: &Self) -> Self {
        self.add(&other.neg())
    }

    pub fn mul(&self, other: &Self) -> Result<Self> {
        if self.terms.len() * other.terms.len() > MAX_PRODUCTS {
            return Err(CheckError::TooLarge("a product has too many terms"));
        }
        let mut product = Self::default();
        for (left, a) in &self.terms {
            for (right, b) in &other.terms {
                let (monomial, factor) = multiply(left, right)?;
                product.add_term(monomial, limited(a * b * factor)?);
            }
        }
        if product.terms.len() > MAX_TERMS {
            return Err(CheckError::TooLarge("an expression has more than 600 terms"));
        }
        Ok(product)
    }

    pub fn scale(&self, factor: &Rational) -> Self {
        if factor.is_zero() {
            return Self::zero();
        }
        Self { terms: self.terms.iter().map(|(m, c)| (m.clone(), c * factor)).collect() }
    }

    pub fn pow(&self, exponent: u32) -> Result<Self> {
        // Square and multiply: exponents like that of (-1)^2025 cost nothing, and sizes are checked on the way.
        let mut power = Self::one();
        for bit in (0..u32::BITS - exponent.leading_zeros()).rev() {
            power = power.mul(&power)?;
            if exponent >> bit & 1 == 1 {
                power = power.mul(self)?;
            }
        }
        Ok(power)
    }

    /// The polynomial over a positive rational, so that its coefficients are whole and have no common factor.
    pub fn primitive(&self) -> Self {
        self.scale(&content(self.terms.values()))
    }

    /// Coefficients of the powers of a generator, lowest first, without zeros at the end; empty for zero.
    pub fn coefficients(&self, generator: Generator) -> Vec<Self> {
        let mut found: Vec<Self> = Vec::new();
        for (monomial, coefficient) in &self.terms {
            let mut rest = monomial.clone();
            let power = rest.iter().position(|(g, _)| *g == generator).map_or(0, |at| rest.remove(at).1 as usize);
            if found.len() <= power {
                found.resize(power + 1, Self::zero());
            }
            found[power].add_term(rest, coefficient.clone());
        }
        found
    }

    /// Products of letters that occur, with their coefficients, which are numbers.
    pub fn by_letters(&self) -> BTreeMap<Vec<(Generator, u32)>, Self> {
        let mut found: BTreeMap<_, Self> = BTreeMap::new();
        for (monomial, coefficient) in &self.terms {
            let (number, letters): (Monomial, Monomial) =
                monomial.iter().partition(|(g, _)| matches!(g, Generator::Prime(_) | Generator::Pi));
            found.entry(letters).or_default().add_term(number, coefficient.clone());
        }
        found
    }

    /// An interval around a number. Letters are a caller's error and count as undecided.
    pub fn enclose(&self, bits: u32) -> Result<Enclosure> {
        let mut sum = Enclosure::exact(&Rational::zero(), bits);
        for (monomial, coefficient) in &self.terms {
            let mut term = Enclosure::exact(coefficient, bits);
            for (generator, power) in monomial {
                match generator {
                    Generator::Pi => {
                        let pi = Enclosure::pi(bits);
                        for _ in 0..*power {
                            term = term.mul(&pi);
                        }
                    }
                    Generator::Prime(prime) => {
                        let common = power.gcd(&ROOT);
                        let (power, degree) = (power / common, ROOT / common);
                        let low = (BigInt::from(*prime).pow(power) << (degree * bits)).nth_root(degree);
                        term = term.mul(&Enclosure { high: &low + 1, low, bits });
                    }
                    Generator::Letter(_) | Generator::Radical(_) => {
                        return Err(CheckError::Undecided("a number was expected, not an expression".to_owned()));
                    }
                }
            }
            sum = sum.add(&term);
        }
        Ok(sum)
    }

    /// The sign of a number.
    pub fn sign(&self) -> Result<Ordering> {
        if let Some(number) = self.as_rational() {
            return Ok(number.cmp(&Rational::zero()));
        }
        let mut bits = 64;
        while bits <= MAX_SIGN_BITS {
            if let Some(sign) = self.enclose(bits)?.sign() {
                return Ok(sign);
            }
            bits *= 2;
        }
        Err(CheckError::TooLarge("a sign needs more than 8192 binary digits"))
    }

    /// The square root (of a number >= 0) or cube root, when it is a single term again.
    pub fn root(&self, degree: u32) -> Option<Self> {
        if self.is_zero() {
            return Some(Self::zero());
        }
        let (monomial, coefficient) = if self.terms.len() == 1 { self.terms.first_key_value()? } else { return None };
        if coefficient.is_negative() && degree == 2 {
            return None;
        }
        let mut exponents: BTreeMap<u64, i64> = BTreeMap::new();
        for (number, sign) in [(coefficient.numer().abs(), 1), (coefficient.denom().clone(), -1)] {
            for (prime, power) in factor(&number)? {
                *exponents.entry(prime).or_insert(0) += sign * i64::from(power) * i64::from(ROOT);
            }
        }
        let mut result = Self::rational(integer(if coefficient.is_negative() { -1 } else { 1 }));
        for (generator, power) in monomial {
            match generator {
                Generator::Prime(prime) => *exponents.entry(*prime).or_insert(0) += i64::from(*power),
                Generator::Pi if power % degree == 0 => {
                    result = result.mul(&Self::generator(Generator::Pi).pow(power / degree).ok()?).ok()?;
                }
                _ => return None,
            }
        }
        for (prime, exponent) in exponents {
            let exponent = if exponent % i64::from(degree) == 0 { exponent / i64::from(degree) } else { return None };
            let (whole, part) = exponent.div_mod_floor(&i64::from(ROOT));
            let prime_power = Rational::from_integer(prime.into()).pow(i32::try_from(whole).ok()?);
            let mut term = Self::default();
            let monomial =
                if part == 0 { Vec::new() } else { vec![(Generator::Prime(prime), u32::try_from(part).ok()?)] };
            term.add_term(monomial, prime_power);
            result = result.mul(&term).ok()?;
        }
        Some(result)
    }

    /// 1 / self for a number of one term without pi.
    fn invert(&self) -> Option<Self> {
        let (monomial, coefficient) = if self.terms.len() == 1 { self.terms.first_key_value()? } else { return None };
        let mut inverse = coefficient.recip();
        let mut flipped = Vec::with_capacity(monomial.len());
        for (generator, power) in monomial {
            let Generator::Prime(prime) = generator else { return None };
            inverse /= Rational::from_integer((*prime).into());
            flipped.push((*generator, ROOT - power));
        }
        Some(Self { terms: BTreeMap::from([(flipped, inverse)]) })
    }
}

/// The positive factor that makes these rationals whole and coprime.
fn content<'a>(numbers: impl Iterator<Item = &'a Rational>) -> Rational {
    let (mut numerator, mut denominator) = (BigInt::zero(), BigInt::one());
    for number in numbers {
        numerator = numerator.gcd(number.numer());
        denominator = denominator.lcm(number.denom());
    }
    if numerator.is_zero() { Rational::one() } else { Rational::new(denominator, numerator) }
}

/// The factor that makes several polynomials' coefficients whole and coprime together.
pub(super) fn common_content(polys: &[Poly]) -> Rational {
    content(polys.iter().flat_map(|poly| poly.terms.values()))
}

fn multiply(left: &Monomial, right: &Monomial) -> Result<(Monomial, Rational)> {
    let mut powers: BTreeMap<Generator, u32> = left.iter().copied().collect();
    for (generator, power) in right {
        *powers.entry(*generator).or_insert(0) += power;
    }
    let mut factor = Rational::one();
    let mut product = Vec::with_capacity(powers.len());
    for (generator, mut power) in powers {
        if let Generator::Prime(prime) = generator
            && power >= ROOT
        {
            factor *= Rational::from_integer(prime.into());
            power -= ROOT;
        }
        if power > MAX_POWER {
            return Err(CheckError::TooLarge("a letter has a power over 4000"));
        }
        if power > 0 {
            product.push((generator, power));
        }
    }
    Ok((product, factor))
}

/// A quotient of polynomials. Nothing letters could be zero in is cancelled; who divides notes what must not be zero.
#[derive(Clone, Debug)]
pub(super) struct Ratio {
    pub num: Poly,
    pub den: Poly,
}

impl Ratio {
    pub fn whole(num: Poly) -> Self {
        Self { num, den: Poly::one() }
    }

    fn new(num: Poly, den: Poly) -> Result<Self> {
        if let Some(inverse) = den.invert() {
            return Ok(Self::whole(num.mul(&inverse)?));
        }
        let factor = common_content(std::slice::from_ref(&den));
        Ok(Self { num: num.scale(&factor), den: den.scale(&factor) })
    }

    pub fn add(&self, other: &Self) -> Result<Self> {
        if self.den == other.den {
            return Self::new(self.num.add(&other.num), self.den.clone());
        }
        Self::new(self.num.mul(&other.den)?.add(&other.num.mul(&self.den)?), self.den.mul(&other.den)?)
    }

    pub fn neg(&self) -> Self {
        Self { num: self.num.neg(), den: self.den.clone() }
    }

    pub fn sub(&self, other: &Self) -> Result<Self> {
        self.add(&other.neg())
    }

    pub fn mul(&self, other: &Self) -> Result<Self> {
        Self::new(self.num.mul(&other.num)?, self.den.mul(&other.den)?)
    }

    /// self / other; the caller makes sure that `other` is not the zero polynomial.
    pub fn div(&self, other: &Self) -> Result<Self> {
        Self::new(self.num.mul(&other.den)?, self.den.mul(&other.num)?)
    }

    pub fn pow(&self, exponent: u32) -> Result<Self> {
        Self::new(self.num.pow(exponent)?, self.den.pow(exponent)?)
    }

    /// The sign of a quotient of numbers.
    pub fn sign(&self) -> Result<Ordering> {
        let sign = self.num.sign()?;
        Ok(if self.den.sign()?.is_lt() { sign.reverse() } else { sign })
    }

    pub fn as_rational(&self) -> Option<Rational> {
        Some(self.num.as_rational()? / self.den.as_rational()?)
    }

    /// `poly` with a letter replaced by this quotient.
    pub fn substitute(&self, letter: char, poly: &Poly) -> Result<Self> {
        let coefficients = poly.coefficients(Generator::Letter(letter));
        let degree = u32::try_from(coefficients.len().saturating_sub(1)).unwrap_or(u32::MAX);
        let mut num = Poly::zero();
        for (power, coefficient) in (0..=degree).zip(coefficients) {
            num = num.add(&coefficient.mul(&self.num.pow(power)?)?.mul(&self.den.pow(degree - power)?)?);
        }
        Self::new(num, self.den.pow(degree)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sqrt(number: i64) -> Poly {
        Poly::rational(integer(number)).root(2).unwrap()
    }

    #[test]
    fn equal_numbers_look_equal() {
        assert_eq!(sqrt(2).mul(&sqrt(6)).unwrap(), sqrt(3).scale(&integer(2)));
        assert_eq!(sqrt(8), sqrt(2).scale(&integer(2)));
        let cube_root = Poly::rational(integer(4)).root(3).unwrap();
        assert_eq!(cube_root.pow(3).unwrap(), Poly::rational(integer(4)));
        assert_eq!(sqrt(12).root(2).unwrap().pow(2).unwrap(), sqrt(12));
    }

    #[test]
    fn signs_are_decided() {
        // sqrt(2) + sqrt(3) - pi = 0.0047...
        let close = sqrt(2).add(&sqrt(3)).sub(&Poly::generator(Generator::Pi));
        assert_eq!(close.sign().unwrap(), Ordering::Greater);
        assert_eq!(sqrt(50).sub(&sqrt(2).scale(&integer(5))).sign().unwrap(), Ordering::Equal);
    }

    #[test]
    fn large_powers_are_refused() {
        let sum = "abcdefgh".chars().fold(Poly::one(), |sum, c| sum.add(&Poly::generator(Generator::Letter(c))));
        assert!(matches!(sum.pow(200), Err(CheckError::TooLarge(_))));
    }
}
