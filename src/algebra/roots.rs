//! Real roots of polynomials in one unknown: how many there are (Sturm's theorem), where they are, what they are.
//!
//! Coefficients are numbers of [`super::poly`]. Divisions are pseudo-divisions by positive factors, so signs are kept and
//! coefficients never leave the ring.

use std::cmp::Ordering;

use num_bigint::BigInt;
use num_traits::{One, Signed, Zero};

use super::evaluate::{BITS, Real};
use super::poly::{Generator, Poly, Ratio, common_content};
use super::rational::{Enclosure, Rational, integer, show, show_decimal};
use super::{CheckError, Result};

/// Highest degree that is analysed.
const MAX_DEGREE: usize = 48;

/// Coefficients, lowest first; the last one is not zero.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct UniPoly(Vec<Poly>);

impl UniPoly {
    /// `poly` as a polynomial in `letter`, up to a positive factor.
    pub fn of(poly: &Poly, letter: char) -> Result<Self> {
        let coefficients = poly.coefficients(Generator::Letter(letter));
        if coefficients.iter().any(|c| !c.is_number()) {
            return Err(CheckError::Undecided("another unknown is left".to_owned()));
        }
        if coefficients.len() > MAX_DEGREE + 1 {
            return Err(CheckError::TooLarge("a polynomial's degree is over 48"));
        }
        Ok(Self::new(coefficients))
    }

    fn new(mut coefficients: Vec<Poly>) -> Self {
        while coefficients.last().is_some_and(Poly::is_zero) {
            coefficients.pop();
        }
        let factor = common_content(&coefficients);
        Self(coefficients.into_iter().map(|c| c.scale(&factor)).collect())
    }

    pub fn is_zero(&self) -> bool {
        self.0.is_empty()
    }

    /// 0 for constants, zero included.
    pub fn degree(&self) -> usize {
        self.0.len().saturating_sub(1)
    }

    /// The leading coefficient and its sign; only for polynomials that are not zero.
    fn leading(&self) -> Result<(&Poly, Ordering)> {
        let leading = self.0.last().ok_or_else(|| CheckError::Undecided("division by zero".to_owned()))?;
        Ok((leading, leading.sign()?))
    }

    fn derivative(&self) -> Self {
        Self::new((1i64..).zip(self.0.iter().skip(1)).map(|(n, c)| c.scale(&integer(n))).collect())
    }

    fn neg(&self) -> Self {
        Self(self.0.iter().map(Poly::neg).collect())
    }

    pub fn mul(&self, other: &Self) -> Result<Self> {
        if self.is_zero() || other.is_zero() {
            return Ok(Self(Vec::new()));
        }
        if self.degree() + other.degree() > MAX_DEGREE {
            return Err(CheckError::TooLarge("a polynomial's degree is over 48"));
        }
        let mut product = vec![Poly::zero(); self.0.len() + other.0.len() - 1];
        for (i, a) in self.0.iter().enumerate() {
            for (j, b) in other.0.iter().enumerate() {
                product[i + j] = product[i + j].add(&a.mul(b)?);
            }
        }
        Ok(Self::new(product))
    }

    /// Quotient and remainder, each up to a positive factor.
    fn divide(&self, divisor: &Self) -> Result<(Self, Self)> {
        let (leading, sign) = divisor.leading()?;
        let (size, flip) = if sign.is_lt() { (leading.neg(), true) } else { (leading.clone(), false) };
        let mut rest = self.0.clone();
        let mut quotient = vec![Poly::zero(); self.0.len().saturating_sub(divisor.0.len()) + 1];
        while rest.len() >= divisor.0.len() {
            let shift = rest.len() - divisor.0.len();
            let Some(top) = rest.pop() else { break };
            let top = if flip { top.neg() } else { top };
            for coefficient in quotient.iter_mut().chain(rest.iter_mut()) {
                *coefficient = coefficient.mul(&size)?;
            }
            for (power, coefficient) in divisor.0[..divisor.0.len() - 1].iter().enumerate() {
                rest[power + shift] = rest[power + shift].sub(&top.mul(coefficient)?);
            }
            quotient[shift] = quotient[shift].add(&top);
            // The common factor is taken out of both together, so that their relation stays.
            let factor = common_content(&quotient.iter().chain(&rest).cloned().collect::<Vec<_>>());
            for coefficient in quotient.iter_mut().chain(rest.iter_mut()) {
                *coefficient = coefficient.scale(&factor);
            }
            while rest.last().is_some_and(Poly::is_zero) {
                rest.pop();
            }
        }
        Ok((Self::new(quotient), Self::new(rest)))
    }

    pub fn gcd(&self, other: &Self) -> Result<Self> {
        let (mut a, mut b) = (self.clone(), other.clone());
        while !b.is_zero() {
            let (_, rest) = a.divide(&b)?;
            (a, b) = (b, rest);
        }
        Ok(a)
    }

    /// The polynomial without the roots that it shares with `other`. `self` has simple roots only.
    pub fn without(&self, other: &Self) -> Result<Self> {
        let common = self.gcd(other)?;
        Ok(if common.degree() == 0 { self.clone() } else { self.divide(&common)?.0 })
    }

    /// The polynomial with the same roots, each simple.
    pub fn square_free(&self) -> Result<Self> {
        self.without(&self.derivative())
    }

    fn sign_at(&self, at: &Rational) -> Result<Ordering> {
        let mut value = Poly::zero();
        for coefficient in self.0.iter().rev() {
            value = value.scale(at).add(coefficient);
        }
        value.sign()
    }

    fn sturm_chain(&self) -> Result<Vec<Self>> {
        let mut chain = vec![self.clone(), self.derivative()];
        while let [.., before, last] = &chain[..] {
            if last.is_zero() {
                chain.pop();
                break;
            }
            let (_, rest) = before.divide(last)?;
            chain.push(rest.neg());
        }
        Ok(chain)
    }

    /// A bound on the absolute values of the roots (Cauchy), a power of two.
    fn bound(&self) -> Result<Rational> {
        let (leading, sign) = self.leading()?;
        debug_assert!(!sign.is_eq());
        let mut bits = 64;
        let lowest = loop {
            let size = leading.enclose(bits)?.abs();
            if size.low.is_positive() {
                break size.low_rational();
            }
            bits *= 2;
        };
        let mut bound = Rational::one();
        for coefficient in &self.0[..self.degree()] {
            bound = bound.max(coefficient.enclose(64)?.abs().high_rational() / &lowest);
        }
        let bits = (bound + Rational::one()).ceil().to_integer().bits();
        Ok(Rational::from_integer(BigInt::one() << bits))
    }

    fn coefficients_rational(&self) -> Option<Vec<Rational>> {
        self.0.iter().map(Poly::as_rational).collect()
    }

    /// The root of a linear polynomial.
    fn linear_root(&self) -> Result<Option<Ratio>> {
        let [b, a] = &self.0[..] else { return Ok(None) };
        Ok(Some(Ratio::whole(b.neg()).div(&Ratio::whole(a.clone()))?))
    }

    /// The roots of a quadratic polynomial whose discriminant has an exact root, the smaller one first.
    fn quadratic_roots(&self) -> Result<Option<[Ratio; 2]>> {
        let [c, b, a] = &self.0[..] else { return Ok(None) };
        let discriminant = b.mul(b)?.sub(&a.mul(c)?.scale(&integer(4)));
        if discriminant.sign()?.is_lt() {
            return Ok(None);
        }
        let Some(root) = discriminant.root(2) else { return Ok(None) };
        let root = if a.sign()?.is_lt() { root.neg() } else { root };
        let half = Ratio::whole(a.scale(&integer(2)));
        Ok(Some([Ratio::whole(b.neg().sub(&root)).div(&half)?, Ratio::whole(b.neg().add(&root)).div(&half)?]))
    }
}

/// One real root of a polynomial with simple roots: the only one in `(low, high)`, or exactly `low == high`.
#[derive(Clone, Debug)]
pub(super) struct Root {
    pub low: Rational,
    pub high: Rational,
    poly: UniPoly,
}

impl Root {
    pub fn rational(&self) -> Option<&Rational> {
        (self.low == self.high).then_some(&self.low)
    }

    fn is_exact(&self) -> bool {
        self.low == self.high
    }

    /// Halves the interval.
    pub fn refine(&mut self) -> Result<()> {
        if self.is_exact() {
            return Ok(());
        }
        let middle = (&self.low + &self.high) / integer(2);
        let sign = self.poly.sign_at(&middle)?;
        if sign.is_eq() {
            (self.low, self.high) = (middle.clone(), middle);
        } else if sign == self.poly.sign_at(&self.high)? {
            self.high = middle;
        } else {
            self.low = middle;
        }
        Ok(())
    }

    fn refine_below(&mut self, width: &Rational) -> Result<()> {
        while &self.high - &self.low >= *width {
            self.refine()?;
        }
        Ok(())
    }

    /// Makes the root exact if it is rational with a denominator that the coefficients allow (or, where they are
    /// irrational, with a small one).
    fn find_rational(&mut self) -> Result<()> {
        let denominators: Vec<BigInt> = match self.poly.coefficients_rational() {
            Some(coefficients) => coefficients.last().map(|c| c.to_integer().abs()).into_iter().collect(),
            None => (1..=60).map(BigInt::from).collect(),
        };
        for denominator in denominators {
            self.refine_below(&Rational::new(BigInt::one(), &denominator * 2))?;
            let scale = Rational::from_integer(denominator.clone());
            // The next multiple above `low`, which itself may be another root.
            let candidate = Rational::new((&self.low * &scale).floor().to_integer() + 1, denominator);
            if candidate <= self.high && self.poly.sign_at(&candidate)?.is_eq() {
                (self.low, self.high) = (candidate.clone(), candidate);
                break;
            }
        }
        Ok(())
    }

    pub fn value(&self) -> Result<Real> {
        if let Some(number) = self.rational() {
            return Ok(Real::rational(number.clone()));
        }
        let mut root = self.clone();
        root.refine_below(&Rational::new(BigInt::one(), BigInt::one() << (BITS - 8)))?;
        Ok(Real::Near(Enclosure::between(&root.low, &root.high, BITS)))
    }

    /// The sign of another polynomial at this root.
    pub fn sign_of(&self, other: &UniPoly) -> Result<Ordering> {
        if other.is_zero() {
            return Ok(Ordering::Equal);
        }
        if let Some(number) = self.rational() {
            return other.sign_at(number);
        }
        let common = self.poly.gcd(other)?;
        if common.degree() > 0 && count(&common.sturm_chain()?, &self.low, &self.high)? > 0 {
            return Ok(Ordering::Equal);
        }
        let mut root = self.clone();
        let chain = other.square_free()?.sturm_chain()?;
        while count(&chain, &root.low, &root.high)? > 0 {
            root.refine()?;
        }
        // No root of `other` in (low, high], so its sign at `high` is its sign at the root.
        other.sign_at(&root.high)
    }

    /// `3`, `1/2 + 1/2*sqrt(5)`, or a rounded decimal; `known` are polynomials among which one may explain the root.
    pub fn show(&self, known: &[UniPoly]) -> Result<String> {
        if let Some(number) = self.rational() {
            return Ok(show(number));
        }
        for poly in known {
            let Some(coefficients) = poly.coefficients_rational() else { continue };
            let [c, b, a] = &coefficients[..] else { continue };
            if !self.sign_of(poly)?.is_eq() {
                continue;
            }
            let double = a * integer(2);
            let middle = -b / &double;
            let larger = self.sign_of(&UniPoly::new(vec![Poly::rational(-middle.clone()), Poly::one()]))?;
            let square = (b * b - a * c * integer(4)) / (&double * &double);
            return Ok(show_surd(&middle, larger.is_gt(), &square));
        }
        let mut root = self.clone();
        root.refine_below(&Rational::new(BigInt::one(), BigInt::one() << 50))?;
        Ok(format!("{} (rounded)", show_decimal(&root.low)))
    }
}

/// `middle ± sqrt(square)` with the square part taken out of the root.
fn show_surd(middle: &Rational, plus: bool, square: &Rational) -> String {
    // sqrt(n/d) = sqrt(n d) / d
    let mut inside = square.numer() * square.denom();
    let mut outside = Rational::new(BigInt::one(), square.denom().clone());
    for prime in 2..1_000 {
        let square = BigInt::from(prime * prime);
        while (&inside % &square).is_zero() {
            inside /= &square;
            outside *= integer(prime);
        }
    }
    let root = if outside.is_one() { format!("sqrt({inside})") } else { format!("{}*sqrt({inside})", show(&outside)) };
    match (middle.is_zero(), plus) {
        (true, true) => root,
        (true, false) => format!("-{root}"),
        (false, true) => format!("{} + {root}", show(middle)),
        (false, false) => format!("{} - {root}", show(middle)),
    }
}

fn changes(chain: &[UniPoly], at: &Rational) -> Result<usize> {
    let mut changes = 0;
    let mut last = Ordering::Equal;
    for poly in chain {
        let sign = poly.sign_at(at)?;
        if !sign.is_eq() {
            changes += usize::from(last == sign.reverse());
            last = sign;
        }
    }
    Ok(changes)
}

/// The number of roots in `(low, high]` of the polynomial that the chain belongs to.
fn count(chain: &[UniPoly], low: &Rational, high: &Rational) -> Result<usize> {
    Ok(changes(chain, low)?.saturating_sub(changes(chain, high)?))
}

/// The real roots of a polynomial with simple roots, in order, rational ones exact where that can be found.
pub(super) fn real_roots(poly: &UniPoly) -> Result<Vec<Root>> {
    if poly.degree() == 0 {
        return Ok(Vec::new());
    }
    let chain = poly.sturm_chain()?;
    let bound = poly.bound()?;
    let mut roots = Vec::new();
    let mut open = vec![(-bound.clone(), bound)];
    while let Some((low, high)) = open.pop() {
        match count(&chain, &low, &high)? {
            0 => {}
            1 => {
                let at_high = poly.sign_at(&high)?.is_eq();
                let low = if at_high { high.clone() } else { low };
                let mut root = Root { low, high, poly: poly.clone() };
                root.find_rational()?;
                roots.push(root);
            }
            _ => {
                let middle = (&low + &high) / integer(2);
                open.push((middle.clone(), high));
                open.push((low, middle));
            }
        }
    }
    Ok(roots)
}

/// The real roots as exact numbers, where all of them are rational or from a linear or quadratic factor.
pub(super) fn exact_roots(poly: &UniPoly) -> Result<Option<Vec<Ratio>>> {
    let roots = real_roots(poly)?;
    let mut exact = Vec::new();
    let mut rest = poly.clone();
    for number in roots.iter().filter_map(Root::rational) {
        exact.push(Ratio::whole(Poly::rational(number.clone())));
        rest = rest.without(&UniPoly::new(vec![Poly::rational(-number.clone()), Poly::one()]))?;
    }
    if exact.len() < roots.len() {
        if let Some(root) = rest.linear_root()? {
            exact.push(root);
        } else if let Some(pair) = rest.quadratic_roots()? {
            exact.extend(pair);
        }
    }
    Ok((exact.len() == roots.len()).then_some(exact))
}

/// The product of the different roots of all these polynomials (constants are left out).
pub(super) fn common_multiple(polys: &[UniPoly]) -> Result<UniPoly> {
    let mut product = UniPoly(vec![Poly::one()]);
    for poly in polys.iter().filter(|poly| poly.degree() > 0) {
        product = product.mul(&poly.without(&product)?)?;
    }
    Ok(product)
}

impl UniPoly {
    /// The factors that remain when rational roots are divided out of the given roots; for explaining the others.
    pub fn without_rational(&self, roots: &[Root]) -> Result<Self> {
        let mut rest = self.clone();
        for number in roots.iter().filter_map(Root::rational) {
            rest = rest.without(&Self::new(vec![Poly::rational(-number.clone()), Poly::one()]))?;
        }
        Ok(rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn poly(coefficients: &[i64]) -> UniPoly {
        UniPoly::new(coefficients.iter().map(|c| Poly::rational(integer(*c))).collect())
    }

    fn check(coefficients: &[i64], expected: &[&str]) {
        let poly = poly(coefficients).square_free().unwrap();
        let roots = real_roots(&poly).unwrap();
        let rest = poly.without_rational(&roots).unwrap();
        let shown: Vec<String> = roots.iter().map(|root| root.show(std::slice::from_ref(&rest)).unwrap()).collect();
        assert_eq!(shown, expected);
    }

    #[test]
    fn roots_are_found_in_order() {
        check(&[-6, 11, -6, 1], &["1", "2", "3"]);
        check(&[1, -2, 1], &["1"]);
        check(&[1, 0, 1], &[]);
        check(&[-1, -2, 1], &["1 - sqrt(2)", "1 + sqrt(2)"]);
        check(&[0, -1, -1, 1], &["1/2 - 1/2*sqrt(5)", "0", "1/2 + 1/2*sqrt(5)"]);
        check(&[-1, -1, 0, 1], &["1.3247 (rounded)"]);
        check(&[-9, 0, 0, 0, 1], &["-1.7321 (rounded)", "1.7321 (rounded)"]);
        check(&[-7, 3], &["7/3"]);
    }

    #[test]
    fn signs_at_irrational_roots_are_exact() {
        let roots = real_roots(&poly(&[-2, 0, 1])).unwrap();
        assert_eq!(roots[1].sign_of(&poly(&[-4, 0, 0, 0, 1])).unwrap(), Ordering::Equal);
        assert_eq!(roots[1].sign_of(&poly(&[-141_421_356, 100_000_000])).unwrap(), Ordering::Greater);
        assert_eq!(roots[0].sign_of(&poly(&[0, 1])).unwrap(), Ordering::Less);
    }

    #[test]
    fn irrational_coefficients_are_allowed() {
        let root_two = Poly::rational(integer(2)).root(2).unwrap();
        // (x - sqrt 2)^2 has one root
        let square = UniPoly::new(vec![Poly::rational(integer(2)), root_two.scale(&integer(-2)), Poly::one()]);
        let roots = exact_roots(&square.square_free().unwrap()).unwrap().unwrap();
        assert_eq!(roots.len(), 1);
        assert_eq!(roots[0].num, root_two);
    }
}
