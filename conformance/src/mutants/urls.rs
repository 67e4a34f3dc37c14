//! Mutants that read URLs wrongly.

use super::{Mutant, MutantTarget};

pub(super) const MUTANTS: &[Mutant] = &[Mutant::new(
    "lenient-url",
    "ignores the options of a URL that it does not understand",
    &["K07"],
    |target| {
        MutantTarget::connector(target, |target, url| {
            target
                .connector(url)
                .or_else(|_| target.connector(&target.url()))
        })
    },
)];
