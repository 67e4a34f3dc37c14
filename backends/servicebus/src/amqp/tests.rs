//! Against the emulator, in this process.

use std::{fmt::Debug, time::Duration};

use scaleout_core::ErrorKind;
use scaleout_servicebus_emulator::{Config as Setup, Emulator, faults::Strike};
use tokio::time::timeout;

use super::*;
use crate::{config, transport::Receiver};

const TOPIC: &str = "news";

async fn emulator() -> Emulator {
    let mut setup = Setup::default();
    setup.add("news/subscriptions/all").unwrap();
    Emulator::start(setup).await.unwrap()
}

fn transport(emulator: &Emulator, options: &str) -> Amqp {
    let url = format!("{}?{options}", emulator.connection_string());
    let (config, _) = config::read(&url).unwrap();
    Amqp::new(Arc::new(config))
}

fn message(body: &str) -> Outgoing {
    Outgoing {
        id: body.to_owned(),
        body: body.to_owned().into(),
    }
}

/// A guard against hanging.
async fn soon<T>(what: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(20), what).await.unwrap()
}

async fn receiver(amqp: &Amqp) -> AmqpReceiver {
    soon(amqp.receive(TOPIC, "all")).await.unwrap().unwrap()
}

async fn closed(amqp: Amqp) {
    soon(amqp.close(Instant::now() + Duration::from_secs(5))).await;
}

fn failed<T: Debug>(result: Result<T>) -> scaleout_core::Error {
    result.expect_err("it must fail")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_sent_is_received_in_order_and_completed() {
    let (emulator, mut locks) = (emulator().await, Vec::new());
    let amqp = transport(&emulator, "");
    let mut all = receiver(&amqp).await;
    for number in 1..=1_000 {
        let sent = soon(amqp.send(TOPIC, message(&number.to_string()))).await;
        assert_eq!(sent.unwrap(), Sent::Stored);
        let (incoming, lock) = soon(all.next()).await.unwrap();
        assert_eq!(incoming.body, number.to_string());
        assert_eq!((incoming.number, incoming.sequence), (number, number));
        locks.push(lock);
        if locks.len() == 100 {
            all.complete(std::mem::take(&mut locks)).await.unwrap();
        }
    }
    closed(amqp).await;
}

#[tokio::test]
async fn a_missing_entity_is_no_error() {
    let emulator = emulator().await;
    let amqp = transport(&emulator, "");
    let sent = soon(amqp.send("none", message("m"))).await;
    assert_eq!(sent.unwrap(), Sent::NoTopic);
    assert!(soon(amqp.receive("none", "all")).await.unwrap().is_none());
    assert!(soon(amqp.receive(TOPIC, "none")).await.unwrap().is_none());
    // The connection is as good as before.
    soon(amqp.probe()).await.unwrap();
    closed(amqp).await;
}

#[tokio::test]
async fn a_wrong_key_is_told_at_once() {
    let emulator = emulator().await;
    let string = emulator
        .connection_string()
        .replace("SAS_KEY_VALUE", "wrong");
    let (config, _) = config::read(&string).unwrap();
    let error = failed(soon(Amqp::new(Arc::new(config)).probe()).await);
    assert_eq!(error.kind(), ErrorKind::Auth, "{error}");
    assert!(!error.to_string().contains("wrong"), "{error}");
}

#[tokio::test]
async fn a_message_that_is_locked_can_be_looked_at() {
    let emulator = emulator().await;
    let amqp = transport(&emulator, "");
    let mut all = receiver(&amqp).await;
    for body in ["a", "b", "c"] {
        soon(amqp.send(TOPIC, message(body))).await.unwrap();
        soon(all.next()).await.unwrap();
    }
    drop(all);
    let mut again = receiver(&amqp).await;
    let peeked = soon(again.peek(2, 9)).await.unwrap().unwrap();
    let bodies: Vec<_> = peeked.iter().map(|message| &message.body[..]).collect();
    assert_eq!(bodies, [b"b", b"c"]);
    assert_eq!(peeked[0].number, 2);
    closed(amqp).await;
}

#[tokio::test]
async fn a_dropped_connection_ends_whatever_waits_and_shows_once() {
    let emulator = emulator().await;
    let amqp = transport(&emulator, "");
    let mut all = receiver(&amqp).await;
    emulator.faults().strike(Strike::Drop);
    let error = failed(soon(all.next()).await.map(drop));
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    drop(all);
    assert_eq!(
        failed(soon(amqp.probe()).await).kind(),
        ErrorKind::Unavailable
    );
    soon(amqp.probe()).await.unwrap();
    closed(amqp).await;
}

#[tokio::test]
async fn a_service_that_does_not_answer_is_noticed_within_the_liveness_time() {
    let emulator = emulator().await;
    let amqp = transport(&emulator, "liveness=1s");
    let mut all = receiver(&amqp).await;
    emulator.faults().stop(true);
    let started = Instant::now();
    let error = failed(soon(all.next()).await.map(drop));
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(started.elapsed() < Duration::from_secs(5));
    emulator.faults().stop(false);
    closed(amqp).await;
}

#[tokio::test]
async fn a_forced_detach_ends_a_receiver_and_a_sender_comes_again() {
    let emulator = emulator().await;
    let amqp = transport(&emulator, "");
    for closed in [true, false] {
        let mut all = receiver(&amqp).await;
        soon(amqp.send(TOPIC, message("m"))).await.unwrap();
        soon(all.next()).await.unwrap();
        emulator.faults().strike(Strike::Detach {
            entity: None,
            closed,
        });
        let error = failed(soon(all.next()).await.map(drop));
        assert_eq!(error.kind(), ErrorKind::Broker, "{error}");
    }
    // One that was on its way when the link ended may fail, and then its outcome is not known.
    while let Err(error) = soon(amqp.send(TOPIC, message("m"))).await {
        assert_eq!(error.outcome(), scaleout_core::Outcome::Unknown, "{error}");
    }
    closed(amqp).await;
}

#[tokio::test]
async fn an_expired_token_passes_with_time() {
    let emulator = emulator().await;
    let amqp = transport(&emulator, "");
    let mut all = receiver(&amqp).await;
    emulator.faults().strike(Strike::ExpireTokens);
    let error = failed(soon(all.next()).await.map(drop));
    assert!(error.is_transient(), "{error}");
    receiver(&amqp).await;
    closed(amqp).await;
}

#[tokio::test]
async fn closing_leaves_no_task() {
    let emulator = emulator().await;
    let before = tokio::runtime::Handle::current()
        .metrics()
        .num_alive_tasks();
    let amqp = transport(&emulator, "");
    let all = receiver(&amqp).await;
    soon(amqp.send(TOPIC, message("m"))).await.unwrap();
    drop(all);
    closed(amqp).await;
    let left = async {
        let metrics = tokio::runtime::Handle::current().metrics();
        // The emulator's own tasks of the connections end a moment later.
        while metrics.num_alive_tasks() > before {
            tokio::task::yield_now().await;
        }
    };
    soon(left).await;
}
