//! The conformance suite against Redis, each case a test of its own.

#[path = "target/shared.rs"]
mod shared;
mod target;

use std::process::ExitCode;

use scaleout_conformance::libtest::Run;

use self::shared::shared;

fn main() -> ExitCode {
    Run::new(shared())
        .expect_skips(include_str!("expected-skips.txt"))
        .main()
}
