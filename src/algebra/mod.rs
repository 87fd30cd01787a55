//! Checked school algebra: recomputes the answers of exercises.
//!
//! [`check`] takes a statement of the checking language (`knowledge_graph/math/CONCEPTS.md`) and says whether it holds:
//!
//! ```
//! use zhujiao::algebra::{Verdict, check};
//!
//! assert_eq!(check("solve(2*x + 3 = 7; x; {2})")?, Verdict::Holds);
//! assert!(matches!(check("solve(x^2 = 4; x; {2})")?, Verdict::Fails { .. }));
//! # Ok::<(), zhujiao::algebra::CheckError>(())
//! ```
//!
//! # How an answer is proven
//!
//! Numbers are exact: rational combinations of products of roots of primes and powers of pi, a representation in which
//! equal numbers look equal ([`poly`]). In one unknown, the real line is cut at every place where a side of the statement
//! or of the answer could change (isolated by Sturm's theorem), and the two sets are compared piece by piece ([`solve`]).
//! Systems are reduced by elimination with case distinction until one unknown is left ([`system`]). Only nested radicals
//! (`sqrt(3 + 2*sqrt(2))`) and identities that hold roots of letters are decided by enclosures of 320 bits, the latter at
//! sample points.
//!
//! Input is not trusted: length, nesting, exponents, degrees and sizes of numbers are limited ([`CheckError::TooLarge`]).

mod check;
mod evaluate;
mod expr;
mod parse;
mod poly;
mod rational;
mod roots;
mod solve;
mod system;

pub use check::{Verdict, check};

/// Why a statement could not be decided. Positions count characters from 1.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CheckError {
    /// The text is no statement of the language.
    #[error("position {position}: {message}")]
    Syntax { position: usize, message: String },
    /// The statement or a number in it exceeds a limit.
    #[error("too large: {0}")]
    TooLarge(&'static str),
    /// The statement is well formed, but outside what can be decided here.
    #[error("cannot decide: {0}")]
    Undecided(String),
}

pub(crate) type Result<T> = std::result::Result<T, CheckError>;
