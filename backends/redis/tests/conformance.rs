//! The conformance suite against Redis, each case a test of its own: the server that
//! `SCALEOUT_REDIS_URL` names, or the local one.

mod target;

use std::process::ExitCode;

use scaleout_conformance::libtest::Run;

use self::target::RedisTarget;

fn main() -> ExitCode {
    let url = std::env::var("SCALEOUT_REDIS_URL");
    let url = url.unwrap_or_else(|_| "redis://127.0.0.1:6379/".to_owned());
    Run::new(RedisTarget::new(url))
        .expect_skips(include_str!("expected-skips.txt"))
        .main()
}
