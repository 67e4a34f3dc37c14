//! Q10 for the mutants that need a backend whose URLs name several addresses. The memory and the
//! Redis backend's tests have the others.

mod target;

use std::{process::ExitCode, sync::Arc};

use scaleout_conformance::libtest;
use scaleout_core::{Error, ErrorKind};

use self::target::PostgresTarget;

fn main() -> ExitCode {
    libtest::mutants_named(&["one-address"], |_| {
        let url = std::env::var("SCALEOUT_POSTGRES_URL");
        let url = url.unwrap_or_else(|_| "postgres://postgres@127.0.0.1:5432/test".to_owned());
        let target = PostgresTarget::new(url).overheard();
        let target = target.map_err(|error| {
            Error::new(ErrorKind::Unavailable, "no port to listen on").with_source(error)
        })?;
        Ok(Arc::new(target))
    })
}
