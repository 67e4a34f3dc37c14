//! Q10: every case about faults notices the mutants that name it. The memory backend's tests have the
//! shared cases.

#[path = "target/shared.rs"]
mod shared;
mod target;

use std::{process::ExitCode, sync::Arc};

use scaleout_conformance::{Class, broker::Redis, libtest};

use self::shared::shared;

fn main() -> ExitCode {
    libtest::mutants(
        &[Class::Proxied, Class::Destructive],
        !Redis::is_installed() && !libtest::required("redis"),
        |_| Ok(Arc::new(shared())),
    )
}
