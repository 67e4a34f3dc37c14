//! The conformance suite against the memory backend, each case a test of its own.

mod support;

use std::process::ExitCode;

use scaleout_conformance::libtest::Run;

use self::support::MemoryTarget;

fn main() -> ExitCode {
    let target = match MemoryTarget::new("conformance") {
        Ok(target) => target,
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::FAILURE;
        }
    };
    Run::new(target)
        .expect_skips(include_str!("expected-skips.txt"))
        .main()
}
