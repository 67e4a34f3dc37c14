//! Mutants: targets that are broken in one way each, and the case that must notice.
//!
//! A case that has never been seen to fail proves nothing. Each mutant here stands around a target
//! that keeps the contract, breaks one thing, and names the cases of which every one must fail
//! against it while passing against the target itself. [`Mutant::check`] does that; Q10 does it for
//! all of them over the memory backend, and the author of another backend can do it over theirs.

mod target;

use std::sync::Arc;

pub use self::target::MutantTarget;
use crate::Target;

/// One way to be broken.
#[derive(Clone, Copy, Debug)]
pub struct Mutant {
    /// Its name: `drop-nth`.
    pub name: &'static str,
    /// What it does wrong.
    pub title: &'static str,
    /// The ids of the cases of which each must fail.
    pub killed_by: &'static [&'static str],
    /// Breaks a target.
    pub mutate: fn(Arc<dyn Target>) -> MutantTarget,
}

/// The lists of all mutants.
const LISTS: &[&[Mutant]] = &[];

/// All mutants.
pub fn all() -> impl Iterator<Item = &'static Mutant> {
    LISTS.iter().copied().flatten()
}
