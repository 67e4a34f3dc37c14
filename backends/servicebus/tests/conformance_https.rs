//! The conformance suite over HTTPS, each case a test of its own: the namespace that
//! `SCALEOUT_TEST_SERVICEBUS` holds the connection string of, or an emulator in a process of its own.

mod target;

use std::process::ExitCode;

use scaleout_conformance::libtest::Run;

use self::target::{ServiceBusTarget, shared};

fn main() -> ExitCode {
    if let Some(ended) = target::serve() {
        return ended;
    }
    let shared = match shared() {
        Ok(shared) => shared,
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::FAILURE;
        }
    };
    Run::new(ServiceBusTarget::new(shared.url(), "transport=https"))
        .expect_skips(include_str!("expected-skips.txt"))
        .main()
}
