//! What is peculiar to RabbitMQ, each with a broker of its own.

mod channels;
mod cluster;
mod deleted;
mod leftovers;
mod setup;
#[path = "../target/mod.rs"]
mod target;
mod trimmed;

use std::{future::Future, process::ExitCode, time::Duration};

use libtest_mimic::{Arguments, Failed, Trial};
use scaleout_conformance::{
    Broker, Setup,
    broker::{RabbitMq, Server},
    libtest,
};
use scaleout_core::{Backplane, Event, Subscription};
use tokio::time::timeout;

use self::target::RabbitMqTarget;

/// A guard against hanging.
const GUARD: Duration = Duration::from_secs(60);

fn main() -> ExitCode {
    let missing = !RabbitMq::is_installed() && !libtest::required("rabbitmq");
    if missing {
        eprintln!("note: no RabbitMQ here, so nothing is tested");
    }
    let trials = setup::trials().into_iter();
    let trials = trials.chain(channels::trials());
    let trials = trials.chain(deleted::trials()).chain(leftovers::trials());
    let trials = trials.chain(cluster::trials()).chain(trimmed::trials());
    let trials = trials
        .map(|trial| trial.with_ignored_flag(missing))
        .collect();
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

/// A test with a runtime and a broker of its own.
fn trial<F>(name: &str, run: impl FnOnce(Server<RabbitMq>) -> F + Send + 'static) -> Trial
where
    F: Future<Output = Result<(), Failed>> + 'static,
{
    Trial::test(name, move || {
        on_runtime(async {
            let server = RabbitMqTarget::server(Setup::persistent());
            run(Server::start(server).await?).await
        })
    })
}

fn on_runtime(test: impl Future<Output = Result<(), Failed>>) -> Result<(), Failed> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    runtime.block_on(test)
}

/// A node on the broker, with these options.
async fn node(server: &Server<RabbitMq>, options: &str) -> scaleout_core::Result<Backplane> {
    let target = server.target();
    let url = format!("{}?backoff_max=500ms&{options}", target.url());
    Backplane::connect(target.connector(&url)?).await
}

/// The next event of a subscription.
async fn next(tail: &mut Subscription) -> Result<Event, Failed> {
    let event = timeout(GUARD, tail.next()).await?;
    event.ok_or_else(|| "the subscription ended".into())
}

/// The next event, which must be this message.
async fn expect(tail: &mut Subscription, payload: &str) -> Result<(), Failed> {
    match next(tail).await? {
        Event::Message(entry) if entry.payload() == payload => Ok(()),
        other => Err(format!("{other:?} in place of {payload:?}").into()),
    }
}
