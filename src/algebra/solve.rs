//! `solve` in one unknown: two sets of real numbers compared piece by piece.
//!
//! Every condition is true or false throughout each open interval between neighbouring critical points: the zeros of its
//! numerator and denominators for each way of splitting absolute values, and of the arguments of roots. So it is enough to
//! look at each critical point and at one point of each interval.

use super::check::Verdict;
use super::evaluate::{Real, Translation, evaluate, holds};
use super::expr::{Answer, Condition, Expr, Relation};
use super::poly::Poly;
use super::rational::{Rational, integer, show};
use super::roots::{Root, UniPoly, common_multiple, real_roots};
use super::{CheckError, Result};

/// Most different absolute values in one condition.
const MAX_SPLITS: usize = 5;
/// Most points or alternatives in an answer.
const MAX_ALTERNATIVES: usize = 24;

pub(super) fn solve_one(conditions: &[Condition], unknown: char, answer: &Answer) -> Result<Verdict> {
    let answer = match alternatives(answer, unknown)? {
        Ok(answer) => answer,
        Err(verdict) => return Ok(verdict),
    };
    let conditions: Vec<Condition> = conditions.iter().map(simplify).collect();
    let line = Line::cut(conditions.iter().chain(answer.iter().flatten()), unknown)?;
    let statement = [conditions];
    let truth = line.truth(&statement)?;
    let claimed = line.truth(&answer)?;
    let Some(piece) = truth.iter().zip(&claimed).position(|(a, b)| a != b) else { return Ok(Verdict::Holds) };
    let place = if piece % 2 == 1 { line.show_root(piece / 2)? } else { show(&line.samples[piece / 2]) };
    let why = if truth[piece] {
        format!("{unknown} = {place} solves it, but is not in the answer")
    } else {
        format!("{unknown} = {place} is in the answer, but does not solve it")
    };
    let equations_only = statement[0].iter().all(|c| c.relation == Relation::Equal);
    Ok(Verdict::Fails { why, expected: Some(line.describe(&truth, equations_only)?) })
}

/// The answer as alternatives of conditions, or why it is no answer.
fn alternatives(answer: &Answer, unknown: char) -> Result<std::result::Result<Vec<Vec<Condition>>, Verdict>> {
    let alternatives = match answer {
        Answer::None => Vec::new(),
        Answer::All => vec![Vec::new()],
        Answer::Sets(sets) => sets.iter().map(|set| set.iter().map(simplify).collect()).collect(),
        Answer::Points(points) => {
            let mut found = Vec::new();
            for point in points.iter().flatten() {
                if evaluate(point, &[])?.is_none() {
                    let why = "the answer names something that is no real number".to_owned();
                    return Ok(Err(Verdict::Fails { why, expected: None }));
                }
                let left = Expr::Letter(unknown);
                found.push(vec![simplify(&Condition { left, relation: Relation::Equal, right: point.clone() })]);
            }
            found
        }
    };
    if alternatives.len() > MAX_ALTERNATIVES {
        return Err(CheckError::TooLarge("the answer has more than 24 parts"));
    }
    Ok(Ok(alternatives))
}

/// sqrt(a^2) as abs(a), also for higher even powers: absolute values can be split exactly.
fn simplify(condition: &Condition) -> Condition {
    fn side(expr: &Expr) -> Expr {
        expr.replace(&|node| match node {
            Expr::Sqrt(inner) => match &**inner {
                Expr::Pow(base, n) if *n > 0 && n % 2 == 0 => {
                    Some(Expr::Pow(Box::new(Expr::Abs(Box::new(side(base)))), n / 2))
                }
                _ => None,
            },
            _ => None,
        })
    }
    Condition { left: side(&condition.left), relation: condition.relation, right: side(&condition.right) }
}

/// The innermost absolute value that depends on a letter or has no exact form.
pub(super) fn find_absolute(expr: &Expr) -> Option<Expr> {
    let mut found = None;
    expr.visit(&mut |node| {
        if let Expr::Abs(inner) = node {
            let mut nested = false;
            inner.visit(&mut |n| nested |= matches!(n, Expr::Abs(a) if !a.letters().is_empty()));
            if !nested && !inner.letters().is_empty() {
                found = Some(node.clone());
            }
        }
    });
    found
}

/// The polynomials whose zeros are critical for `expr` compared with zero.
fn critical(expr: &Expr, splits: usize, found: &mut Vec<Poly>) -> Result<()> {
    if let Some(absolute) = find_absolute(expr)
        && let Expr::Abs(inner) = &absolute
    {
        if splits == MAX_SPLITS {
            return Err(CheckError::TooLarge("more than 5 absolute values"));
        }
        critical(inner, splits + 1, found)?;
        for branch in [(**inner).clone(), Expr::Neg(inner.clone())] {
            let branch = expr.replace(&|node| (*node == absolute).then(|| branch.clone()));
            critical(&branch, splits + 1, found)?;
        }
        return Ok(());
    }
    let mut translation = Translation::default();
    let ratio = translation.ratio(expr)?;
    let mut polys = translation.nonzero.clone();
    for radical in &translation.radicals {
        polys.push(radical.argument.num.clone());
        polys.push(radical.argument.den.clone());
    }
    if let Some(ratio) = ratio {
        polys.push(ratio.num);
        polys.push(ratio.den);
    }
    for poly in polys {
        let norm = translation.norm(&poly)?;
        if norm.is_zero() && !poly.is_zero() {
            return Err(CheckError::Undecided("both sides may agree on an interval under these roots".to_owned()));
        }
        if !norm.is_number() {
            found.push(norm);
        }
    }
    Ok(())
}

/// A condition without absolute values and roots, for exact signs at irrational points: numerator and divisors.
struct Rationalised {
    num: UniPoly,
    den: UniPoly,
    nonzero: Vec<UniPoly>,
}

/// The real line, cut at all critical points of some conditions. Pieces alternate: interval, point, interval, …
struct Line {
    unknown: char,
    roots: Vec<Root>,
    /// One rational point in each open interval, so one more than `roots`.
    samples: Vec<Rational>,
    /// Factors that may explain irrational roots.
    factors: Vec<UniPoly>,
}

impl Line {
    fn cut<'a>(conditions: impl Iterator<Item = &'a Condition>, unknown: char) -> Result<Self> {
        let mut polys = Vec::new();
        for condition in conditions {
            critical(&condition.left.minus(&condition.right), 0, &mut polys)?;
        }
        let mut factors = Vec::new();
        for poly in &polys {
            let factor = UniPoly::of(poly, unknown)?.square_free()?;
            if !factors.contains(&factor) {
                factors.push(factor);
            }
        }
        let mut roots = real_roots(&common_multiple(&factors)?)?;
        for next in 1..roots.len() {
            while roots[next - 1].high >= roots[next].low {
                roots[next - 1].refine()?;
                roots[next].refine()?;
            }
        }
        let mut samples = Vec::with_capacity(roots.len() + 1);
        samples.push(roots.first().map_or_else(|| integer(0), |root| root.low.floor() - integer(1)));
        for pair in roots.windows(2) {
            samples.push((&pair[0].high + &pair[1].low) / integer(2));
        }
        if let Some(last) = roots.last() {
            samples.push(last.high.ceil() + integer(1));
        }
        let factors = factors.iter().map(|f| f.without_rational(&roots)).collect::<Result<_>>()?;
        Ok(Self { unknown, roots, samples, factors })
    }

    /// Whether some alternative holds, for every piece.
    fn truth(&self, alternatives: &[Vec<Condition>]) -> Result<Vec<bool>> {
        let mut truth = Vec::with_capacity(self.samples.len() + self.roots.len());
        for (index, sample) in self.samples.iter().enumerate() {
            if let Some(root) = index.checked_sub(1).map(|before| &self.roots[before]) {
                truth.push(self.holds_at_root(alternatives, root)?);
            }
            truth.push(self.holds_at(alternatives, &Real::rational(sample.clone()))?);
        }
        Ok(truth)
    }

    fn holds_at(&self, alternatives: &[Vec<Condition>], value: &Real) -> Result<bool> {
        let point = [(self.unknown, value.clone())];
        for alternative in alternatives {
            let mut all = true;
            for condition in alternative {
                all = all && holds(condition, &point)?;
            }
            if all {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn holds_at_root(&self, alternatives: &[Vec<Condition>], root: &Root) -> Result<bool> {
        if let Some(number) = root.rational() {
            return self.holds_at(alternatives, &Real::rational(number.clone()));
        }
        for alternative in alternatives {
            let mut all = true;
            for condition in alternative {
                all = all
                    && match self.rationalise(condition)? {
                        Some(parts) => parts.holds_at(condition.relation, root)?,
                        None => holds(condition, &[(self.unknown, root.value()?)])?,
                    };
            }
            if all {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn rationalise(&self, condition: &Condition) -> Result<Option<Rationalised>> {
        let difference = condition.left.minus(&condition.right);
        if find_absolute(&difference).is_some() {
            return Ok(None);
        }
        let mut translation = Translation::default();
        let Some(ratio) = translation.ratio(&difference)? else { return Ok(None) };
        if !translation.radicals.is_empty() {
            return Ok(None);
        }
        let in_unknown = |poly: &Poly| UniPoly::of(poly, self.unknown);
        Ok(Some(Rationalised {
            num: in_unknown(&ratio.num)?,
            den: in_unknown(&ratio.den)?,
            nonzero: translation.nonzero.iter().map(in_unknown).collect::<Result<_>>()?,
        }))
    }

    fn show_root(&self, index: usize) -> Result<String> {
        self.roots[index].show(&self.factors)
    }

    /// The set in the checking language.
    fn describe(&self, truth: &[bool], as_points: bool) -> Result<String> {
        let name = self.unknown;
        if truth.iter().all(|t| *t) {
            return Ok("all".to_owned());
        }
        if !truth.iter().any(|t| *t) {
            return Ok(if as_points { "{}" } else { "none" }.to_owned());
        }
        let mut parts = Vec::new();
        let mut points = Vec::new();
        let mut piece = 0;
        while piece < truth.len() {
            if !truth[piece] {
                piece += 1;
                continue;
            }
            let start = piece;
            while truth.get(piece + 1) == Some(&true) {
                piece += 1;
            }
            let end = piece;
            piece += 1;
            if start == end && start % 2 == 1 {
                let root = self.show_root(start / 2)?;
                parts.push(format!("{name} = {root}"));
                points.push(root);
                continue;
            }
            // An odd first piece is a point, which belongs to the set; an even one is bounded by the point before it.
            let low = match (start, start % 2) {
                (0, _) => None,
                (_, 1) => Some((self.show_root(start / 2)?, "<=", ">=")),
                _ => Some((self.show_root(start / 2 - 1)?, "<", ">")),
            };
            let high = match (end + 1 == truth.len(), end % 2) {
                (true, _) => None,
                (_, 1) => Some((self.show_root(end / 2)?, "<=")),
                _ => Some((self.show_root(end / 2)?, "<")),
            };
            parts.push(match (low, high) {
                (Some((low, less, _)), Some((high, sign))) => format!("{low} {less} {name} {sign} {high}"),
                (Some((low, _, greater)), None) => format!("{name} {greater} {low}"),
                (None, Some((high, sign))) => format!("{name} {sign} {high}"),
                (None, None) => "all".to_owned(),
            });
        }
        if points.len() == parts.len() {
            return Ok(format!("{{{}}}", points.join(", ")));
        }
        Ok(parts.join(" or "))
    }
}

impl Rationalised {
    fn holds_at(&self, relation: Relation, root: &Root) -> Result<bool> {
        for poly in self.nonzero.iter().chain([&self.den]) {
            if root.sign_of(poly)?.is_eq() {
                return Ok(false);
            }
        }
        let sign = root.sign_of(&self.num)?;
        let sign = if root.sign_of(&self.den)?.is_lt() { sign.reverse() } else { sign };
        Ok(relation.allows(sign))
    }
}
