//! Expressions as numbers at a point, and as quotients of polynomials in their letters.

use std::cmp::Ordering;

use num_bigint::BigInt;
use num_traits::{One, Zero};

use super::expr::{Condition, Expr};
use super::poly::{Generator, Poly, Ratio};
use super::rational::{Enclosure, Rational, limited, show, show_decimal};
use super::{CheckError, Result};

/// Precision of numbers that have no exact form here (nested radicals, roots of higher degree).
pub(super) const BITS: u32 = 320;
/// A number whose enclosure lies within 2^-ZERO_BITS of zero counts as zero.
const ZERO_BITS: u32 = 200;
/// Largest enclosure, fraction included.
const MAX_NEAR_BITS: u64 = 8_192;

/// A real number.
#[derive(Clone, Debug)]
pub(super) enum Real {
    Exact(Ratio),
    Near(Enclosure),
}

impl Real {
    pub fn rational(number: Rational) -> Self {
        Self::Exact(Ratio::whole(Poly::rational(number)))
    }

    pub fn enclose(&self) -> Result<Enclosure> {
        match self {
            Self::Near(enclosure) => Ok(enclosure.clone()),
            Self::Exact(ratio) => {
                let num = ratio.num.enclose(BITS)?;
                if ratio.den == Poly::one() {
                    return Ok(num);
                }
                let inverse = ratio.den.enclose(BITS)?.invert();
                Ok(num.mul(&inverse.ok_or(CheckError::TooLarge("a denominator is too close to zero"))?))
            }
        }
    }

    pub fn sign(&self) -> Result<Ordering> {
        match self {
            Self::Exact(ratio) => ratio.sign(),
            Self::Near(enclosure) => {
                let tiny = BigInt::one() << (BITS - ZERO_BITS);
                if enclosure.low > -&tiny && enclosure.high < tiny {
                    return Ok(Ordering::Equal);
                }
                enclosure.sign().ok_or_else(|| CheckError::Undecided("a number is too close to zero".to_owned()))
            }
        }
    }

    pub fn minus(&self, other: &Self) -> Result<Self> {
        self.combine(&other.negated(), Ratio::add, Enclosure::add)
    }

    pub fn negated(&self) -> Self {
        match self {
            Self::Exact(ratio) => Self::Exact(ratio.neg()),
            Self::Near(enclosure) => Self::Near(enclosure.neg()),
        }
    }

    fn combine(
        &self,
        other: &Self,
        exact: impl Fn(&Ratio, &Ratio) -> Result<Ratio>,
        near: impl Fn(&Enclosure, &Enclosure) -> Enclosure,
    ) -> Result<Self> {
        if let (Self::Exact(a), Self::Exact(b)) = (self, other) {
            return Ok(Self::Exact(exact(a, b)?));
        }
        let result = near(&self.enclose()?, &other.enclose()?);
        if result.high.bits().max(result.low.bits()) > MAX_NEAR_BITS {
            return Err(CheckError::TooLarge("a number has too many digits"));
        }
        Ok(Self::Near(result))
    }

    fn times(&self, other: &Self) -> Result<Self> {
        self.combine(other, Ratio::mul, Enclosure::mul)
    }

    /// A rational exactly, anything else with four decimals.
    pub fn show(&self) -> Result<String> {
        if let Self::Exact(ratio) = self
            && let Some(number) = ratio.as_rational()
        {
            return Ok(show(&number));
        }
        let enclosure = self.enclose()?;
        Ok(format!("{} (rounded)", show_decimal(&enclosure.low_rational())))
    }
}

/// Values of letters.
pub(super) type Point = [(char, Real)];

/// The value of an expression at a point; none where it is not defined (division by zero, root of a negative number).
pub(super) fn evaluate(expr: &Expr, point: &Point) -> Result<Option<Real>> {
    macro_rules! defined {
        ($inner:expr) => {
            match evaluate($inner, point)? {
                Some(value) => value,
                None => return Ok(None),
            }
        };
    }
    Ok(Some(match expr {
        Expr::Number(number) => Real::rational(limited(number.clone())?),
        Expr::Pi => Real::Exact(Ratio::whole(Poly::generator(Generator::Pi))),
        Expr::Letter(letter) => match point.iter().find(|(other, _)| other == letter) {
            Some((_, value)) => value.clone(),
            None => return Err(CheckError::Undecided(format!("the letter `{letter}` has no value"))),
        },
        Expr::Neg(a) => defined!(a).negated(),
        Expr::Add(a, b) => defined!(a).combine(&defined!(b), Ratio::add, Enclosure::add)?,
        Expr::Sub(a, b) => defined!(a).minus(&defined!(b))?,
        Expr::Mul(a, b) => defined!(a).times(&defined!(b))?,
        Expr::Div(a, b) => {
            let numerator = defined!(a);
            match inverse(&defined!(b))? {
                Some(inverse) => numerator.times(&inverse)?,
                None => return Ok(None),
            }
        }
        Expr::Pow(a, n) => {
            let base = defined!(a);
            let base = if *n > 0 { Some(base) } else { inverse(&base)? };
            let Some(base) = base else { return Ok(None) };
            match base {
                Real::Exact(ratio) => Real::Exact(ratio.pow(n.unsigned_abs())?),
                near @ Real::Near(_) => {
                    let mut power = Real::rational(Rational::one());
                    for _ in 0..n.unsigned_abs() {
                        power = power.times(&near)?;
                    }
                    power
                }
            }
        }
        Expr::Sqrt(a) => {
            let value = defined!(a);
            match value.sign()? {
                Ordering::Less => return Ok(None),
                Ordering::Equal => Real::rational(Rational::zero()),
                Ordering::Greater => root(&value, 2)?,
            }
        }
        Expr::Cbrt(a) => root(&defined!(a), 3)?,
        Expr::Abs(a) => {
            let value = defined!(a);
            if value.sign()?.is_lt() { value.negated() } else { value }
        }
    }))
}

fn inverse(value: &Real) -> Result<Option<Real>> {
    if value.sign()?.is_eq() {
        return Ok(None);
    }
    Ok(Some(match value {
        Real::Exact(ratio) => Real::Exact(Ratio::whole(Poly::one()).div(ratio)?),
        Real::Near(near) => match near.invert() {
            Some(inverse) => Real::Near(inverse),
            None => return Err(CheckError::Undecided("a denominator is too close to zero".to_owned())),
        },
    }))
}

fn root(value: &Real, degree: u32) -> Result<Real> {
    if let Real::Exact(ratio) = value
        && let Some(root) = exact_root(ratio, degree)?
    {
        return Ok(Real::Exact(root));
    }
    Ok(Real::Near(value.enclose()?.root(degree)))
}

fn exact_root(ratio: &Ratio, degree: u32) -> Result<Option<Ratio>> {
    let (num, den) = if degree == 2 && ratio.den.sign()?.is_lt() {
        (ratio.num.neg(), ratio.den.neg())
    } else {
        (ratio.num.clone(), ratio.den.clone())
    };
    match (num.root(degree), den.root(degree)) {
        (Some(num), Some(den)) => Ok(Some(Ratio::whole(num).div(&Ratio::whole(den))?)),
        _ => Ok(None),
    }
}

/// Whether a condition holds at a point; not where a side is undefined.
pub(super) fn holds(condition: &Condition, point: &Point) -> Result<bool> {
    let (Some(left), Some(right)) = (evaluate(&condition.left, point)?, evaluate(&condition.right, point)?) else {
        return Ok(false);
    };
    Ok(condition.relation.allows(left.minus(&right)?.sign()?))
}

/// A root that became a generator: [`Generator::Radical`] with the index of this entry.
#[derive(Clone, Debug)]
pub(super) struct Radical {
    pub degree: u32,
    pub argument: Ratio,
}

/// An expression as a quotient of polynomials, and what it rests on.
#[derive(Clone, Debug, Default)]
pub(super) struct Translation {
    /// Polynomials that must not be zero.
    pub nonzero: Vec<Poly>,
    /// In an order in which each argument uses earlier ones only.
    pub radicals: Vec<Radical>,
}

impl Translation {
    /// None where the expression is defined nowhere. Absolute values must have been split before, unless of numbers.
    pub fn ratio(&mut self, expr: &Expr) -> Result<Option<Ratio>> {
        macro_rules! defined {
            ($inner:expr) => {
                match self.ratio($inner)? {
                    Some(value) => value,
                    None => return Ok(None),
                }
            };
        }
        Ok(Some(match expr {
            Expr::Number(number) => Ratio::whole(Poly::rational(limited(number.clone())?)),
            Expr::Pi => Ratio::whole(Poly::generator(Generator::Pi)),
            Expr::Letter(letter) => Ratio::whole(Poly::generator(Generator::Letter(*letter))),
            Expr::Neg(a) => defined!(a).neg(),
            Expr::Add(a, b) => defined!(a).add(&defined!(b))?,
            Expr::Sub(a, b) => defined!(a).sub(&defined!(b))?,
            Expr::Mul(a, b) => defined!(a).mul(&defined!(b))?,
            Expr::Div(a, b) => {
                let numerator = defined!(a);
                let denominator = defined!(b);
                if !self.exclude_zero(&denominator) {
                    return Ok(None);
                }
                numerator.div(&denominator)?
            }
            Expr::Pow(a, n) => {
                let base = defined!(a);
                if *n > 0 {
                    return Ok(Some(base.pow(n.unsigned_abs())?));
                }
                if !self.exclude_zero(&base) {
                    return Ok(None);
                }
                Ratio::whole(Poly::one()).div(&base.pow(n.unsigned_abs())?)?
            }
            Expr::Sqrt(a) => return self.root(a, 2),
            Expr::Cbrt(a) => return self.root(a, 3),
            Expr::Abs(a) => {
                let value = defined!(a);
                if !value.num.is_number() || !value.den.is_number() {
                    return Err(CheckError::Undecided("an absolute value in this place".to_owned()));
                }
                if value.sign()?.is_lt() { value.neg() } else { value }
            }
        }))
    }

    /// Notes that a divisor is not zero; false when it always is.
    fn exclude_zero(&mut self, divisor: &Ratio) -> bool {
        if !divisor.num.is_number() {
            self.nonzero.push(divisor.num.clone());
        }
        !divisor.num.is_zero()
    }

    fn root(&mut self, argument: &Expr, degree: u32) -> Result<Option<Ratio>> {
        let Some(argument) = self.ratio(argument)? else { return Ok(None) };
        if argument.num.is_number() && argument.den.is_number() {
            if degree == 2 && argument.sign()?.is_lt() {
                return Ok(None);
            }
            if let Some(root) = exact_root(&argument, degree)? {
                return Ok(Some(root));
            }
        }
        self.radicals.push(Radical { degree, argument });
        Ok(Some(Ratio::whole(Poly::generator(Generator::Radical(self.radicals.len() - 1)))))
    }

    /// A polynomial without radicals that is zero wherever `poly` is: the norm over each radical in turn. It may be the zero
    /// polynomial, which then says nothing.
    pub fn norm(&self, poly: &Poly) -> Result<Poly> {
        let mut norm = poly.clone();
        for (index, radical) in self.radicals.iter().enumerate().rev() {
            let (p, q) = (&radical.argument.num, &radical.argument.den);
            let coefficients = norm.coefficients(Generator::Radical(index));
            if coefficients.len() < 2 {
                continue;
            }
            // With s^d = p/q, coefficients of equal s-power modulo d are brought together over a power of q.
            let degree = radical.degree as usize;
            let highest = u32::try_from((coefficients.len() - 1) / degree).unwrap_or(u32::MAX);
            let mut parts = vec![Poly::zero(); degree];
            for (power, coefficient) in coefficients.into_iter().enumerate() {
                let times = u32::try_from(power / degree).unwrap_or(u32::MAX);
                let term = coefficient.mul(&p.pow(times)?)?.mul(&q.pow(highest - times)?)?;
                parts[power % degree] = parts[power % degree].add(&term);
            }
            norm = if let [a, b, c] = &parts[..] {
                let cubes =
                    a.pow(3)?.mul(&q.pow(2)?)?.add(&b.pow(3)?.mul(&p.mul(q)?)?).add(&c.pow(3)?.mul(&p.pow(2)?)?);
                let mixed = a.mul(b)?.mul(c)?.mul(&p.mul(q)?)?;
                cubes.sub(&mixed.scale(&super::rational::integer(3)))
            } else {
                parts[0].pow(2)?.mul(q)?.sub(&parts[1].pow(2)?.mul(p)?)
            };
            norm = norm.primitive();
        }
        Ok(norm)
    }
}
