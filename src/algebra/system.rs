//! `solve` in several unknowns: claimed solutions are verified, and the number of all real solutions is found by
//! elimination with case distinction, so that none can be missing.

use super::check::Verdict;
use super::evaluate::{Point, Real, Translation, evaluate, holds};
use super::expr::{Answer, Condition, Expr, Relation};
use super::poly::{Generator, Poly, Ratio};
use super::rational::integer;
use super::roots::{UniPoly, exact_roots, real_roots};
use super::solve::find_absolute;
use super::{CheckError, Result};

const MAX_UNKNOWNS: usize = 4;
/// Most cases that the elimination distinguishes.
const MAX_CASES: usize = 200;

pub(super) fn solve_system(conditions: &[Condition], unknowns: &[char], answer: &Answer) -> Result<Verdict> {
    let points: &[Vec<Expr>] = match answer {
        Answer::Points(points) => points,
        Answer::None => &[],
        Answer::All | Answer::Sets(_) => {
            return Err(CheckError::Undecided("the answer of a system is a list like {(2, 1)}".to_owned()));
        }
    };
    if unknowns.len() > MAX_UNKNOWNS {
        return Err(CheckError::TooLarge("more than 4 unknowns"));
    }
    let conditions = split_sums(conditions);
    let solutions = all_solutions(&conditions, unknowns)?;
    let expected = match &solutions {
        Solutions::Infinite => return fails("there are infinitely many solutions".to_owned(), None),
        Solutions::Finite { known: Some(known), .. } => Some(describe(known)?),
        Solutions::Finite { .. } => None,
    };
    let mut distinct: Vec<Vec<Real>> = Vec::new();
    for point in points {
        let Some(values) = point.iter().map(|e| evaluate(e, &[])).collect::<Result<Option<Vec<Real>>>>()? else {
            return fails("the answer names something that is no real number".to_owned(), expected);
        };
        let named: Vec<(char, Real)> = unknowns.iter().copied().zip(values.iter().cloned()).collect();
        for condition in &conditions {
            if !holds(condition, &named as &Point)? {
                let shown = describe(std::slice::from_ref(&values))?;
                return fails(format!("{shown} does not solve the system"), expected);
            }
        }
        let mut new = true;
        for other in &distinct {
            let mut same = true;
            for (a, b) in other.iter().zip(&values) {
                same = same && a.minus(b)?.sign()?.is_eq();
            }
            new = new && !same;
        }
        if new {
            distinct.push(values);
        }
    }
    let Solutions::Finite { count, .. } = solutions else { return Ok(Verdict::Holds) };
    match count.cmp(&distinct.len()) {
        std::cmp::Ordering::Equal => Ok(Verdict::Holds),
        std::cmp::Ordering::Greater => {
            fails(format!("there are {count} solutions, but the answer lists {}", distinct.len()), expected)
        }
        std::cmp::Ordering::Less => Err(CheckError::Undecided("the solutions could not be counted".to_owned())),
    }
}

fn fails(why: String, expected: Option<String>) -> Result<Verdict> {
    Ok(Verdict::Fails { why, expected })
}

fn describe(points: &[Vec<Real>]) -> Result<String> {
    let mut shown = Vec::with_capacity(points.len());
    for point in points {
        let values = point.iter().map(Real::show).collect::<Result<Vec<_>>>()?;
        shown.push(format!("({})", values.join(", ")));
    }
    Ok(format!("{{{}}}", shown.join(", ")))
}

/// A sum of squares, absolute values and square roots is zero only when each is: `abs(a - 2) + (b + 3)^2 = 0`.
fn split_sums(conditions: &[Condition]) -> Vec<Condition> {
    let zero = || Expr::Number(integer(0));
    let mut split = Vec::new();
    for condition in conditions {
        let mut bases = Vec::new();
        let sum = condition.left.minus(&condition.right);
        let parts = condition.relation == Relation::Equal && nonnegative_terms(&sum, true, &mut bases);
        if parts && bases.len() > 1 {
            let equations = bases.into_iter().map(|left| Condition { left, relation: Relation::Equal, right: zero() });
            split.extend(equations);
        } else {
            split.push(condition.clone());
        }
    }
    split
}

/// Collects what must be zero for a sum of nonnegative terms to be zero; false when some term is of another form.
fn nonnegative_terms(expr: &Expr, positive: bool, bases: &mut Vec<Expr>) -> bool {
    match expr {
        Expr::Add(a, b) => nonnegative_terms(a, positive, bases) && nonnegative_terms(b, positive, bases),
        Expr::Sub(a, b) => nonnegative_terms(a, positive, bases) && nonnegative_terms(b, !positive, bases),
        Expr::Neg(a) => nonnegative_terms(a, !positive, bases),
        Expr::Number(number) => *number == integer(0),
        Expr::Mul(a, b) => {
            let Expr::Number(factor) = &**a else { return false };
            *factor > integer(0) && nonnegative_terms(b, positive, bases)
        }
        Expr::Abs(base) | Expr::Sqrt(base) => {
            bases.push((**base).clone());
            positive
        }
        Expr::Pow(base, n) if *n > 0 && n % 2 == 0 => {
            bases.push((**base).clone());
            positive
        }
        _ => false,
    }
}

enum Solutions {
    Infinite,
    /// `known` lists them, in the order of the unknowns, where all have an exact form.
    Finite {
        count: usize,
        known: Option<Vec<Vec<Real>>>,
    },
}

fn all_solutions(conditions: &[Condition], unknowns: &[char]) -> Result<Solutions> {
    let mut case = Case { equations: Vec::new(), nonzero: Vec::new(), open: unknowns.to_vec(), solved: Vec::new() };
    for condition in conditions {
        let difference = condition.left.minus(&condition.right);
        if condition.relation != Relation::Equal || find_absolute(&difference).is_some() {
            return Err(CheckError::Undecided("a system may hold equations without absolute values only".to_owned()));
        }
        let mut translation = Translation::default();
        let Some(ratio) = translation.ratio(&difference)? else {
            return Ok(Solutions::Finite { count: 0, known: Some(Vec::new()) });
        };
        if !translation.radicals.is_empty() {
            return Err(CheckError::Undecided("roots of unknowns in a system".to_owned()));
        }
        case.equations.push(ratio.num);
        case.nonzero.extend(translation.nonzero);
    }
    let mut search = Search { unknowns, cases: 0, infinite: false, count: 0, known: Some(Vec::new()) };
    search.explore(case, false)?;
    Ok(if search.infinite {
        Solutions::Infinite
    } else {
        Solutions::Finite { count: search.count, known: search.known }
    })
}

/// Equations and inequations in the unknowns still open. Cases of one search exclude each other.
#[derive(Clone)]
struct Case {
    /// Each is zero.
    equations: Vec<Poly>,
    /// None is zero.
    nonzero: Vec<Poly>,
    open: Vec<char>,
    /// Unknowns expressed by those that were open then.
    solved: Vec<(char, Ratio)>,
}

impl Case {
    /// The case with `letter` replaced; the divisor of `value` has been noted as not zero.
    fn substitute(&self, letter: char, value: Ratio) -> Result<Self> {
        let replace = |polys: &[Poly]| -> Result<Vec<Poly>> {
            polys.iter().map(|poly| Ok(value.substitute(letter, poly)?.num.primitive())).collect()
        };
        let mut next = Self {
            equations: replace(&self.equations)?,
            nonzero: replace(&self.nonzero)?,
            open: self.open.iter().copied().filter(|other| *other != letter).collect(),
            solved: self.solved.clone(),
        };
        next.solved.push((letter, value));
        Ok(next)
    }
}

struct Search<'a> {
    unknowns: &'a [char],
    cases: usize,
    infinite: bool,
    count: usize,
    known: Option<Vec<Vec<Real>>>,
}

impl Search<'_> {
    fn explore(&mut self, mut case: Case, reduced: bool) -> Result<()> {
        self.cases += 1;
        if self.cases > MAX_CASES {
            return Err(CheckError::TooLarge("the system needs more than 200 cases"));
        }
        case.equations.retain(|poly| !poly.is_zero());
        let contradiction = case.equations.iter().any(Poly::is_number) || case.nonzero.iter().any(Poly::is_zero);
        if self.infinite || contradiction {
            return Ok(());
        }
        if case.equations.is_empty() {
            if case.open.is_empty() {
                self.found(&case)?
            } else {
                self.infinite = true
            }
            return Ok(());
        }
        if let [letter] = case.open[..] {
            return self.last_unknown(&case, letter);
        }
        if let Some((letter, value, _)) = linear(&case, true)? {
            return self.explore(case.substitute(letter, value)?, false);
        }
        for equation in &case.equations {
            if let [letter] = equation.letters()[..] {
                let poly = UniPoly::of(equation, letter)?.square_free()?;
                let Some(roots) = exact_roots(&poly)? else { break };
                for root in roots {
                    self.explore(case.substitute(letter, root)?, false)?;
                }
                return Ok(());
            }
        }
        if !reduced {
            case.equations = reduce(&case.equations)?;
            return self.explore(case, true);
        }
        if let Some((letter, value, equation)) = linear(&case, false)? {
            // coefficient * letter + rest = 0: either the coefficient is not zero, or both are zero.
            let mut vanishing = case.clone();
            let rest = vanishing.equations.remove(equation).coefficients(Generator::Letter(letter));
            vanishing.equations.extend(rest);
            case.nonzero.push(value.den.clone());
            self.explore(case.substitute(letter, value)?, false)?;
            return self.explore(vanishing, false);
        }
        Err(CheckError::Undecided("no way to eliminate an unknown from this system".to_owned()))
    }

    fn last_unknown(&mut self, case: &Case, letter: char) -> Result<()> {
        let mut common = UniPoly::of(&Poly::zero(), letter)?;
        for equation in &case.equations {
            common = common.gcd(&UniPoly::of(equation, letter)?)?;
        }
        let mut common = common.square_free()?;
        for poly in &case.nonzero {
            common = common.without(&UniPoly::of(poly, letter)?)?;
        }
        match exact_roots(&common)? {
            Some(roots) => {
                for root in roots {
                    self.found(&case.substitute(letter, root)?)?;
                }
            }
            None => {
                self.count += real_roots(&common)?.len();
                self.known = None;
            }
        }
        Ok(())
    }

    /// Counts a case in which every unknown is solved.
    fn found(&mut self, case: &Case) -> Result<()> {
        self.count += 1;
        let Some(known) = &mut self.known else { return Ok(()) };
        let mut values: Vec<(char, Ratio)> = Vec::new();
        for (letter, value) in case.solved.iter().rev() {
            let mut value = value.clone();
            for (other, number) in &values {
                value = number.substitute(*other, &value.num)?.div(&number.substitute(*other, &value.den)?)?;
            }
            values.push((*letter, value));
        }
        let of = |letter: &char| values.iter().find(|(other, _)| other == letter).map(|(_, v)| Real::Exact(v.clone()));
        if let Some(point) = self.unknowns.iter().map(of).collect() {
            known.push(point);
        }
        Ok(())
    }
}

/// An equation that is linear in some unknown, solved for it: the unknown, its value and the equation's index.
/// With `number`, the unknown's coefficient must be a number.
fn linear(case: &Case, number: bool) -> Result<Option<(char, Ratio, usize)>> {
    for (index, equation) in case.equations.iter().enumerate() {
        for letter in &case.open {
            if let [rest, coefficient] = &equation.coefficients(Generator::Letter(*letter))[..]
                && coefficient.is_number() == number
            {
                let value = Ratio::whole(rest.neg()).div(&Ratio::whole(coefficient.clone()))?;
                return Ok(Some((*letter, value, index)));
            }
        }
    }
    Ok(None)
}

/// Gauss-Jordan elimination with the products of unknowns as columns, so that `x^2 + y^2 = 25, x^2 - y^2 = 7` becomes
/// `x^2 = 16, y^2 = 9`. The set of common zeros stays.
fn reduce(equations: &[Poly]) -> Result<Vec<Poly>> {
    let mut rows = equations.to_vec();
    let mut done = 0;
    let mut columns: Vec<_> = rows.iter().flat_map(|row| row.by_letters().into_keys()).collect();
    columns.sort_by_key(|column| std::cmp::Reverse((column.iter().map(|(_, n)| n).sum::<u32>(), column.clone())));
    columns.dedup();
    for column in columns {
        let entry = |row: &Poly| row.by_letters().remove(&column).unwrap_or_default();
        let Some(pivot) = (done..rows.len()).find(|row| !entry(&rows[*row]).is_zero()) else { continue };
        rows.swap(done, pivot);
        let pivot_row = rows[done].clone();
        let pivot_entry = entry(&pivot_row);
        for (index, row) in rows.iter_mut().enumerate() {
            let factor = entry(row);
            if index != done && !factor.is_zero() {
                *row = row.mul(&pivot_entry)?.sub(&pivot_row.mul(&factor)?).primitive();
            }
        }
        done += 1;
    }
    Ok(rows)
}
