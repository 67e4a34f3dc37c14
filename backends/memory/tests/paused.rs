//! O06: a whole node under tokio's paused time: hours pass at once.
#![expect(clippy::unwrap_used, reason = "a test that goes wrong may panic")]

use std::time::Duration;

use scaleout_core::{Backplane, ErrorKind, Event, Start, State};
use scaleout_memory::connector;
use tokio::time::{Instant, sleep, timeout};

const HOUR: Duration = Duration::from_secs(3_600);

async fn node(url: &str) -> Backplane {
    Backplane::connect(connector(url).unwrap()).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_idle_for_a_day_is_connected_and_delivers() {
    let began = std::time::Instant::now();
    let (one, other) = (node("memory:idle").await, node("memory:idle").await);
    let mut tail = other.subscribe("t", Start::Latest).await.unwrap();
    for shift in 0..3 {
        sleep(8 * HOUR).await;
        let receipt = one.publish("t", format!("shift {shift}")).await.unwrap();
        let event = tail.next().await;
        let Some(Event::Message(entry)) = event else {
            panic!("{event:?} in place of a message");
        };
        assert_eq!(entry.position(), receipt.cursor().position());
    }
    let health = other.health();
    assert_eq!((health.state, health.reconnects), (State::Connected, 0));
    // It waits for time, and not for anything that takes some.
    assert!(began.elapsed() < HOUR);
}

#[tokio::test(start_paused = true)]
async fn a_wait_ends_when_it_should_and_costs_nothing_else() {
    let node = node("memory:wait").await;
    let mut tail = node.subscribe("t", Start::Latest).await.unwrap();
    let began = Instant::now();
    assert!(timeout(HOUR, tail.next()).await.is_err());
    assert_eq!(began.elapsed(), HOUR);
    node.publish("t", "after the wait").await.unwrap();
    assert!(matches!(tail.next().await, Some(Event::Message(_))));
}

#[tokio::test(start_paused = true)]
async fn what_grows_old_is_a_gap_for_who_comes_back() {
    let node = node("memory:old?retention_age=1h").await;
    let first = node.publish("t", "first").await.unwrap();
    node.publish("t", "second").await.unwrap();
    sleep(2 * HOUR).await;
    let last = node.publish("t", "third").await.unwrap();
    let start = Start::After(first.cursor().clone());
    let mut tail = node.subscribe("t", start).await.unwrap();
    let event = tail.next().await;
    let Some(Event::Gap(gap)) = event else {
        panic!("{event:?} in place of a gap");
    };
    assert_eq!(gap.first, first.sequence().next());
    assert_eq!(gap.last, last.sequence().previous());
    assert!(matches!(tail.next().await, Some(Event::Message(_))));
}

#[tokio::test(start_paused = true)]
async fn closing_is_done_at_once_however_long_it_may_take() {
    let node = node("memory:close").await;
    let mut tail = node.subscribe("t", Start::Latest).await.unwrap();
    let began = Instant::now();
    node.close(HOUR).await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(1));
    assert!(matches!(tail.next().await, Some(Event::Closed(_))));
    let refused = node.publish("t", "m").await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Closed);
}
