//! What the service and the network do to a node, with an emulator that does it.

#![expect(clippy::unwrap_used, reason = "a test that goes wrong may panic")]

/// Each of these tests over AMQP and over HTTPS, which they are told.
macro_rules! over_both {
    ($($test:ident)*) => {
        mod amqp {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $test() {
                super::$test("amqp").await;
            })*
        }

        mod https {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $test() {
                super::$test("https").await;
            })*
        }
    };
}

mod entities;
mod load;
mod process;
mod together;
mod traffic;

use std::time::Duration;

use scaleout_core::{Backplane, Event, Subscription};
use scaleout_servicebus::connector;
use scaleout_servicebus_emulator::{
    Config, Emulator,
    entity::{Address, Namespace},
};
use tokio::time::timeout;

/// A guard against hanging.
const GUARD: Duration = Duration::from_secs(60);
/// The topic that carries everything here.
const LOG: &str = "scaleout/scaleout/1/0";

async fn emulator() -> Emulator {
    Emulator::start(Config::default()).await.unwrap()
}

/// A node over this transport, with these options, and one log unless they say otherwise.
async fn node(emulator: &Emulator, transport: &str, options: &str) -> Backplane {
    let string = emulator.connection_string();
    let logs = match options.contains("partitioning=") {
        true => "",
        false => "&partitioning=1",
    };
    let quick = format!("backoff_min=10ms&backoff_max=200ms{logs}");
    let url = format!("{string}?{quick}&transport={transport}&{options}");
    let connected = Backplane::connect(connector(&url).unwrap());
    soon(connected).await.unwrap()
}

async fn soon<T>(what: impl Future<Output = T>) -> T {
    timeout(GUARD, what).await.expect("it hangs")
}

async fn next(tail: &mut Subscription) -> Event {
    soon(tail.next()).await.expect("the subscription ended")
}

/// The next event, which must be this message.
async fn expect(tail: &mut Subscription, payload: &str) {
    match next(tail).await {
        Event::Message(entry) => assert_eq!(entry.payload(), payload),
        other => panic!("{other:?} in place of {payload:?}"),
    }
}

/// The subscriptions of the one log.
fn subscriptions(emulator: &Emulator) -> Vec<Address> {
    let of_log = |namespace: &mut Namespace| {
        let log = Address::parse(LOG).unwrap();
        namespace.subscriptions(&log).unwrap_or_default()
    };
    emulator.with(|namespace, _| of_log(namespace))
}
