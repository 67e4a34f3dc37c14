//! The conformance suite against PostgreSQL, each case a test of its own: the database that
//! `SCALEOUT_POSTGRES_URL` names, or the local one.

mod target;

use std::process::ExitCode;

use scaleout_conformance::libtest::Run;

use self::target::PostgresTarget;

fn main() -> ExitCode {
    let url = std::env::var("SCALEOUT_POSTGRES_URL");
    let url = url.unwrap_or_else(|_| "postgres://postgres@127.0.0.1:5432/test".to_owned());
    let target = match PostgresTarget::new(url).overheard() {
        Ok(target) => target,
        Err(error) => {
            eprintln!("error: no port to listen on: {error}");
            return ExitCode::FAILURE;
        }
    };
    Run::new(target)
        .expect_skips(include_str!("expected-skips.txt"))
        .main()
}
