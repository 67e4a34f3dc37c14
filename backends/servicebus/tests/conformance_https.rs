//! The conformance suite over HTTPS, each case a test of its own.

mod target;

use std::process::ExitCode;

fn main() -> ExitCode {
    target::run("https")
}
