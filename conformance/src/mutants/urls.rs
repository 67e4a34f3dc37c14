//! Mutants that read URLs wrongly.

use scaleout_core::Error;

use super::{Mutant, MutantTarget};

pub(super) const MUTANTS: &[Mutant] = &[
    Mutant::new(
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
    ),
    Mutant::new(
        "password-in-error",
        "repeats a URL that it does not understand",
        &["K06"],
        |target| {
            MutantTarget::connector(target, |target, url| {
                target
                    .connector(url)
                    .map_err(|error| Error::new(error.kind(), format!("{error} in {url}")))
            })
        },
    ),
];
