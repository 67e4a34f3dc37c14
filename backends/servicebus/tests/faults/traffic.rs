//! Faults in the middle of traffic: nothing is lost, and nothing comes twice.

use std::time::Duration;

use scaleout_core::{Backplane, ErrorKind, Event, Health, Outcome, Start, State};
use scaleout_servicebus_emulator::{Emulator, faults::Strike};
use tokio::time::{Instant, sleep};

use crate::{GUARD, LOG, emulator, next, node, soon, subscriptions};

over_both! {
    connections_that_end_without_a_word
    tokens_that_expire
    locks_that_end
    sends_that_are_stored_and_not_answered
    a_busy_service
    a_busy_service_shows_in_the_state_and_publishes_wait_for_it
    a_service_that_stands_still
    credits_that_are_used_up
    a_service_that_stays_silent_is_noticed_and_closing_does_not_wait_for_it
    a_wrong_key_is_told_at_once_and_does_not_show
}

/// Messages of a run.
const MESSAGES: u32 = 1_500;
/// How often a fault strikes in it.
const STRIKES: u32 = 5;

/// Publishes while `fault` strikes again and again. Two nodes must get all of it once and in order.
async fn survives(emulator: &Emulator, transport: &str, options: &str, fault: impl Fn(&Emulator)) {
    let publisher = node(emulator, transport, options).await;
    let other = node(emulator, transport, options).await;
    let mut tails = [
        publisher.subscribe("t", Start::Latest).await.unwrap(),
        other.subscribe("t", Start::Latest).await.unwrap(),
    ];
    let publishing = {
        let publisher = publisher.clone();
        tokio::spawn(async move { publish_all(&publisher).await })
    };
    let [one, two] = &mut tails;
    let follow = async |tail: &mut scaleout_core::Subscription| {
        for number in 0..MESSAGES {
            match next(tail).await {
                Event::Message(entry) => assert_eq!(entry.payload(), &*number.to_string()),
                other => panic!("{other:?} in place of {number}"),
            }
        }
    };
    let striking = async {
        for _ in 0..STRIKES {
            sleep(Duration::from_millis(100)).await;
            fault(emulator);
        }
    };
    soon(async { tokio::join!(follow(one), follow(two), striking) }).await;
    publishing.await.unwrap();
    for node in [publisher, other] {
        soon(node.close(GUARD)).await.unwrap();
    }
    assert!(subscriptions(emulator).is_empty(), "left at the service");
}

/// One frame after the other.
async fn publish_all(publisher: &Backplane) {
    for first in (0..MESSAGES).step_by(3) {
        let batch = (first..first + 3).map(|number| number.to_string());
        let published = publisher.publish_batch("t", batch);
        soon(published).await.unwrap();
    }
}

fn detach(closed: bool) -> Strike {
    Strike::Detach {
        entity: None,
        closed,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn links_that_are_closed_by_force() {
    survives(&emulator().await, "amqp", "", |emulator| {
        emulator.faults().strike(detach(true));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn links_that_are_suspended_by_force() {
    survives(&emulator().await, "amqp", "", |emulator| {
        emulator.faults().strike(detach(false));
    })
    .await;
}

async fn connections_that_end_without_a_word(transport: &str) {
    survives(&emulator().await, transport, "", |emulator| {
        emulator.faults().strike(Strike::Drop);
    })
    .await;
}

async fn tokens_that_expire(transport: &str) {
    survives(&emulator().await, transport, "", |emulator| {
        emulator.faults().strike(Strike::ExpireTokens);
    })
    .await;
}

async fn locks_that_end(transport: &str) {
    survives(
        &emulator().await,
        transport,
        "lock_duration=1s",
        |emulator| {
            emulator.with(|namespace, now| {
                let log = scaleout_servicebus_emulator::entity::Address::parse(LOG).unwrap();
                for subscription in namespace.subscriptions(&log).unwrap_or_default() {
                    namespace.break_locks(now, &subscription).unwrap();
                }
            });
        },
    )
    .await;
}

async fn sends_that_are_stored_and_not_answered(transport: &str) {
    survives(&emulator().await, transport, "", |emulator| {
        emulator.faults().leave_unanswered(1);
    })
    .await;
}

async fn a_busy_service(transport: &str) {
    survives(&emulator().await, transport, "", |emulator| {
        emulator.faults().busy_for(Duration::from_millis(50));
    })
    .await;
}

async fn a_busy_service_shows_in_the_state_and_publishes_wait_for_it(transport: &str) {
    let emulator = emulator().await;
    let node = node(&emulator, transport, "liveness=1s").await;
    let mut tail = node.subscribe("t", Start::Latest).await.unwrap();
    let mut health = node.watch_health();
    emulator.faults().busy_for(GUARD);
    let publishing = tokio::spawn({
        let node = node.clone();
        async move { node.publish("t", "m").await }
    });
    let told = |health: &Health| {
        let error = health.last_error.as_deref().unwrap_or_default();
        health.state == State::Interrupted && error.contains("50009")
    };
    soon(health.wait_for(told)).await.unwrap();
    emulator.faults().busy_for(Duration::ZERO);
    soon(publishing).await.unwrap().unwrap();
    crate::expect(&mut tail, "m").await;
    let well = |health: &Health| health.state == State::Connected && health.last_error.is_none();
    soon(health.wait_for(well)).await.unwrap();
    soon(node.close(GUARD)).await.unwrap();
}

async fn a_service_that_stands_still(transport: &str) {
    survives(&emulator().await, transport, "liveness=1s", |emulator| {
        emulator.faults().stop(true);
        std::thread::sleep(Duration::from_millis(150));
        emulator.faults().stop(false);
    })
    .await;
}

async fn credits_that_are_used_up(transport: &str) {
    let emulator = emulator().await;
    let node = node(&emulator, transport, "").await;
    let mut tail = node.subscribe("t", Start::Latest).await.unwrap();
    emulator.faults().set_credits(Some(60));
    for number in 0..100 {
        soon(node.publish("t", number.to_string())).await.unwrap();
        crate::expect(&mut tail, &number.to_string()).await;
    }
    emulator.faults().set_credits(None);
    soon(node.close(GUARD)).await.unwrap();
}

async fn a_service_that_stays_silent_is_noticed_and_closing_does_not_wait_for_it(transport: &str) {
    let emulator = emulator().await;
    let node = node(
        &emulator,
        transport,
        "liveness=1s&request_timeout=1s&publish_timeout=1s",
    )
    .await;
    let _tail = node.subscribe("t", Start::Latest).await.unwrap();
    let mut health = node.watch_health();
    emulator.faults().stop(true);
    let down = health.wait_for(|health| health.last_error.is_some());
    soon(down).await.unwrap();
    let error = soon(node.publish("t", "m")).await.unwrap_err();
    assert_eq!(error.outcome(), Outcome::NotStored, "{error}");
    let began = Instant::now();
    let _ = node.close(Duration::from_millis(500)).await;
    assert!(began.elapsed() < Duration::from_secs(3));
    emulator.faults().stop(false);
}

async fn a_wrong_key_is_told_at_once_and_does_not_show(transport: &str) {
    let emulator = emulator().await;
    let string = emulator
        .connection_string()
        .replace("SAS_KEY_VALUE", "hunter2");
    let string = format!("{string}?transport={transport}");
    let wrong = scaleout_servicebus::connector(&string).unwrap();
    let error = soon(Backplane::connect(wrong)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Auth);
    assert!(!format!("{error} {error:?}").contains("hunter2"));
    // A node that connects in the background says the same, and goes on trying.
    let wrong = scaleout_servicebus::connector(&string).unwrap();
    let node = Backplane::connect_lazy(wrong).unwrap();
    let mut health = node.watch_health();
    soon(health.wait_for(|health| health.last_error.is_some()))
        .await
        .unwrap();
    let error = soon(node.publish("t", "m")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Auth, "{error}");
    soon(node.close(GUARD)).await.unwrap();
}
