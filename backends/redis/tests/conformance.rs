//! The conformance suite against Redis, each case a test of its own.

mod target;

use std::process::ExitCode;

use scaleout_conformance::libtest::Run;

use self::target::RedisTarget;

fn main() -> ExitCode {
    Run::new(RedisTarget::shared())
        .expect_skips(include_str!("expected-skips.txt"))
        .main()
}
