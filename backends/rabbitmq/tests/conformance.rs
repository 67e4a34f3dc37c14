//! The conformance suite against RabbitMQ, each case a test of its own: the broker that
//! `SCALEOUT_RABBITMQ_URL` names, or the local one.

mod target;

use std::process::ExitCode;

use scaleout_conformance::libtest::Run;

use self::target::RabbitMqTarget;

fn main() -> ExitCode {
    let url = std::env::var("SCALEOUT_RABBITMQ_URL");
    let url = url.unwrap_or_else(|_| "amqp://guest:guest@127.0.0.1:5672/".to_owned());
    Run::new(RabbitMqTarget::new(url))
        .expect_skips(include_str!("expected-skips.txt"))
        .main()
}
