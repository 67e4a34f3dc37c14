//! Q10: every shared case notices the mutants that name it. The cases about faults need a connection
//! and a process: the Redis backend's tests have them.

mod support;

use std::{process::ExitCode, sync::Arc};

use scaleout_conformance::{Class, libtest};

use self::support::MemoryTarget;

fn main() -> ExitCode {
    libtest::mutants(&[Class::Shared], false, |name| {
        Ok(Arc::new(MemoryTarget::new(name)?))
    })
}
