//! A Redis that dies, and a subscriber that stands still, under as much load as the machine gives:
//! every message is accounted for.
//!
//! The program runs itself as the subscriber whose process is stopped.

mod killed;
mod load;
mod stopped;
#[path = "../target/mod.rs"]
mod target;

use std::{future::Future, process::ExitCode};

use libtest_mimic::{Arguments, Failed, Trial};
use scaleout_conformance::{broker::Redis, child, libtest};

fn main() -> ExitCode {
    if let Some(ended) = child::main(scaleout_redis::connector) {
        return ended;
    }
    let missing = !Redis::is_installed() && !libtest::required("redis");
    if missing {
        eprintln!("note: no redis-server here, so nothing is tested");
    }
    let trials = killed::trials().into_iter().chain(stopped::trials());
    let trials = trials
        .map(|trial| trial.with_ignored_flag(missing))
        .collect();
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

/// A test with a runtime of its own.
fn trial<F>(name: &str, run: impl FnOnce() -> F + Send + 'static) -> Trial
where
    F: Future<Output = Result<(), Failed>> + 'static,
{
    Trial::test(name, move || {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()?;
        runtime.block_on(run())
    })
}
