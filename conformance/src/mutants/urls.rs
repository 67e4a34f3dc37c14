//! Mutants that read URLs wrongly.

use scaleout_core::Error;

use super::{Mutant, MutantTarget};
use crate::url;

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
    Mutant::new(
        "gullible",
        "does not look at a broker's certificate",
        &["K05"],
        MutantTarget::gullible,
    ),
    Mutant::new(
        "one-address",
        "knows only the first of several addresses",
        &["I12"],
        |target| {
            MutantTarget::connector(target, |target, url| {
                let first = url::authority(url).and_then(|several| several.split(',').next());
                target.connector(&url::with_authority(url, first.unwrap_or_default()))
            })
        },
    ),
];
