//! Receiving: lost deliveries, slow readers, reconnecting, closing.

use std::time::Duration;

use scaleout_core::{Backplane, ErrorKind, Event, Options, Start, State};

use crate::support::{Broker, Fault, next};

#[tokio::test(start_paused = true)]
async fn a_delivery_that_was_lost_is_read_from_history() {
    for broker in [Broker::dense(), Broker::sparse()] {
        let subscriber = broker.node(Options::new()).await;
        let publisher = broker.node(Options::new()).await;
        let mut events = subscriber.subscribe("t", Start::Latest).await.unwrap();
        publisher.publish("t", "a").await.unwrap();
        broker.inject([Fault::LoseDelivery]);
        let silent = publisher.publish("t", "b");
        let loud = publisher.publish("t", "c");
        let _ = futures_util::future::join(silent, loud).await;
        publisher.publish("t", "d").await.unwrap();
        for expected in ["a", "b", "c", "d"] {
            assert_eq!(next(&mut events).await, expected);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_last_delivery_that_was_lost_is_found_without_traffic() {
    let broker = Broker::dense();
    let node = broker.node(Options::new()).await;
    let mut events = node.subscribe("t", Start::Latest).await.unwrap();
    broker.inject([Fault::LoseDelivery]);
    node.publish("t", "m").await.unwrap();
    let found = tokio::time::timeout(Duration::from_secs(61), next(&mut events));
    assert_eq!(found.await.unwrap(), "m");
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_falls_out_of_the_window_catches_up() {
    for broker in [Broker::dense(), Broker::sparse()] {
        let options = Options::new().with_window_frames(4).with_page_messages(7);
        let node = broker.node(options).await;
        let mut slow = node.subscribe("t", Start::Latest).await.unwrap();
        let mut fast = node.subscribe("t", Start::Latest).await.unwrap();
        for n in 0..100 {
            node.publish("t", n.to_string()).await.unwrap();
            assert_eq!(next(&mut fast).await, n.to_string());
        }
        for n in 0..100 {
            assert_eq!(next(&mut slow).await, n.to_string());
        }
        node.publish("t", "last").await.unwrap();
        assert_eq!(next(&mut slow).await, "last");
    }
}

#[tokio::test(start_paused = true)]
async fn without_history_a_slow_reader_gets_a_gap() {
    let broker = Broker::new(1, |capabilities| capabilities.history = false);
    let options = Options::new().with_window_frames(4);
    let node = broker.node(options).await;
    let mut slow = node.subscribe("t", Start::Latest).await.unwrap();
    let mut fast = node.subscribe("t", Start::Latest).await.unwrap();
    for n in 1..=10 {
        node.publish("t", n.to_string()).await.unwrap();
        assert_eq!(next(&mut fast).await, n.to_string());
    }
    let Some(Event::Gap(gap)) = slow.next().await else {
        panic!("no gap");
    };
    assert_eq!((gap.first.get(), gap.last.get()), (1, 6));
    assert_eq!(next(&mut slow).await, "7");
    let error = node.subscribe("t", Start::Earliest).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
}

#[tokio::test(start_paused = true)]
async fn an_outage_is_survived_and_shown() {
    let broker = Broker::dense();
    let node = broker.node(Options::new()).await;
    let mut health = node.watch_health();
    let mut events = node.subscribe("t", Start::Latest).await.unwrap();
    broker.set_down(true);
    health
        .wait_for(|h| h.state == State::Interrupted)
        .await
        .unwrap();
    assert!(node.health().last_error.unwrap().contains("down"));
    let publish = tokio::spawn({
        let node = node.clone();
        async move { node.publish("t", "m").await }
    });
    tokio::time::sleep(Duration::from_secs(4)).await;
    broker.set_down(false);
    publish.await.unwrap().unwrap();
    assert_eq!(next(&mut events).await, "m");
    assert_eq!(node.health().state, State::Connected);
    assert_eq!(node.health().reconnects, 1);
}

#[tokio::test(start_paused = true)]
async fn a_long_outage_is_not_a_busy_loop() {
    let broker = Broker::dense();
    let node = broker.node(Options::new()).await;
    broker.set_down(true);
    let _ = node.publish("t", "m").await;
    tokio::time::sleep(Duration::from_secs(600)).await;
    // Waits are between 2.5 and 5 seconds once they have grown.
    assert!((100..300).contains(&broker.probes()), "{}", broker.probes());
}

#[tokio::test(start_paused = true)]
async fn a_lazy_node_connects_when_the_broker_appears() {
    let broker = Broker::dense();
    broker.set_down(true);
    Backplane::connect(broker.connector(Options::new()))
        .await
        .unwrap_err();
    let node = Backplane::connect_lazy(broker.connector(Options::new())).unwrap();
    assert_eq!(node.health().state, State::Connecting);
    let subscribe = tokio::spawn({
        let node = node.clone();
        async move { node.subscribe("t", Start::Latest).await }
    });
    tokio::time::sleep(Duration::from_secs(3)).await;
    broker.set_down(false);
    let mut events = subscribe.await.unwrap().unwrap();
    node.publish("t", "m").await.unwrap();
    assert_eq!(next(&mut events).await, "m");
}

#[tokio::test(start_paused = true)]
async fn closing_flushes_ends_the_streams_and_refuses_what_comes_later() {
    let broker = Broker::dense();
    let node = broker.node(Options::new()).await;
    let mut events = node.subscribe("t", Start::Latest).await.unwrap();
    let publish = tokio::spawn({
        let node = node.clone();
        async move { node.publish("t", "m").await }
    });
    tokio::task::yield_now().await;
    node.close(Duration::from_secs(1)).await.unwrap();
    publish.await.unwrap().unwrap();
    assert_eq!(next(&mut events).await, "m");
    assert!(matches!(events.next().await, Some(Event::Closed(None))));
    assert!(events.next().await.is_none());
    let closed = |kind| assert_eq!(kind, ErrorKind::Closed);
    closed(node.publish("t", "m").await.unwrap_err().kind());
    closed(node.subscribe("t", Start::Latest).await.unwrap_err().kind());
    closed(node.read("t", None, 1).await.unwrap_err().kind());
    node.close(Duration::from_secs(1)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn dropping_the_last_handle_leaves_no_task_and_no_listener() {
    let broker = Broker::dense();
    let before = tokio::runtime::Handle::current()
        .metrics()
        .num_alive_tasks();
    let node = broker.node(Options::new()).await;
    let first = node.subscribe("t", Start::Latest).await.unwrap();
    let second = node.subscribe("t", Start::Latest).await.unwrap();
    drop(first);
    assert_eq!(broker.listeners(), 1);
    drop(node);
    drop(second);
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(broker.listeners(), 0);
    let after = tokio::runtime::Handle::current()
        .metrics()
        .num_alive_tasks();
    assert_eq!(after, before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closing_under_load_loses_no_receipt_and_leaves_no_task() {
    for _ in 0..50 {
        let broker = Broker::dense();
        let before = tokio::runtime::Handle::current()
            .metrics()
            .num_alive_tasks();
        let node = broker.node(Options::new()).await;
        let publishers: Vec<_> = (0..16)
            .map(|_| {
                let node = node.clone();
                tokio::spawn(async move {
                    let mut stored = 0;
                    loop {
                        match node.publish("t", "m").await {
                            Ok(_) => stored += 1,
                            Err(error) => return (stored, error),
                        }
                    }
                })
            })
            .collect();
        tokio::task::yield_now().await;
        node.close(Duration::from_secs(5)).await.unwrap();
        let mut receipts = 0;
        for publisher in publishers {
            let (stored, error) = publisher.await.unwrap();
            assert_eq!(error.kind(), ErrorKind::Closed);
            assert_eq!(error.outcome(), scaleout_core::Outcome::NotStored);
            receipts += stored;
        }
        let other = broker.node(Options::new()).await;
        let head = other.head("t").await.unwrap();
        assert_eq!(head.cursor.position().sequence.get(), receipts);
        other.close(Duration::from_secs(5)).await.unwrap();
        // A task that has been joined is counted for a moment longer.
        let metrics = tokio::runtime::Handle::current().metrics();
        let gone = async {
            while metrics.num_alive_tasks() != before {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(5), gone)
            .await
            .unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn an_idle_node_without_subscriptions_notices_that_the_broker_went() {
    let broker = Broker::dense();
    let node = broker.node(Options::new()).await;
    let mut health = node.watch_health();
    broker.set_down(true);
    let noticed = health.wait_for(|h| h.state == State::Interrupted);
    tokio::time::timeout(Duration::from_secs(10), noticed)
        .await
        .unwrap()
        .unwrap();
}
