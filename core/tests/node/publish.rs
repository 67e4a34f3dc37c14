//! Publishing: retries, outcomes, receipts, queues.

use std::time::Duration;

use scaleout_core::{ErrorKind, Event, Namespace, Options, Outcome, Partitioning, Start, WhenFull};

use crate::support::{Broker, Fault, next};

#[tokio::test(start_paused = true)]
async fn a_refused_append_is_tried_again_until_it_is_stored() {
    let broker = Broker::dense();
    let node = broker.node(Options::new()).await;
    broker.inject([Fault::Refuse, Fault::Refuse]);
    let receipt = node.publish("t", "m").await.unwrap();
    assert_eq!(receipt.sequence().get(), 1);
    assert_eq!(broker.stored(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_retry_that_was_stored_twice_is_delivered_once() {
    for (broker, fault) in [
        (Broker::dense(), Fault::LoseAnswer),
        (Broker::sparse(), Fault::LoseBoth),
    ] {
        let node = broker.node(Options::new()).await;
        let mut live = node.subscribe("t", Start::Latest).await.unwrap();
        broker.inject([fault]);
        node.publish("t", "a").await.unwrap();
        node.publish("t", "b").await.unwrap();
        assert_eq!(broker.stored(), 3);
        assert_eq!(next(&mut live).await, "a");
        assert_eq!(next(&mut live).await, "b");
        let mut history = node.subscribe("t", Start::Earliest).await.unwrap();
        assert_eq!(next(&mut history).await, "a");
        let cursor = history.cursor();
        assert_eq!(next(&mut history).await, "b");
        // A resume between the two copies has to know that the second one is a copy.
        let mut resumed = node.subscribe("t", Start::After(cursor)).await.unwrap();
        assert_eq!(next(&mut resumed).await, "b");
    }
}

#[tokio::test(start_paused = true)]
async fn a_frame_that_came_back_is_stored_although_its_answer_was_lost() {
    let broker = Broker::sparse();
    let node = broker.node(Options::new()).await;
    broker.inject([Fault::LoseAnswer]);
    let receipt = node.publish("t", "m").await.unwrap();
    assert_eq!(broker.stored(), 1);
    let history = node.read("t", None, 10).await.unwrap();
    let [Event::Message(entry)] = &history[..] else {
        panic!("{history:?}");
    };
    assert_eq!(entry.cursor(), *receipt.cursor());
}

#[tokio::test(start_paused = true)]
async fn a_publish_that_runs_out_of_time_says_whether_it_may_be_stored() {
    let broker = Broker::dense();
    let options = Options::new()
        .with_publish_timeout(Duration::from_secs(1))
        .with_backoff_max(Duration::from_millis(100));
    let node = broker.node(options).await;

    broker.set_down(true);
    let error = node.publish("t", "m").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert_eq!(error.outcome(), Outcome::NotStored);

    broker.set_down(false);
    node.publish("t", "m").await.unwrap();
    broker.inject([Fault::LoseAnswer; 100]);
    let error = node.publish("t", "m").await.unwrap_err();
    assert_eq!(error.outcome(), Outcome::Unknown);
}

#[tokio::test(start_paused = true)]
async fn what_the_broker_refuses_for_good_fails_at_once() {
    let broker = Broker::dense();
    let node = broker.node(Options::new()).await;
    broker.inject([Fault::Forbid]);
    let error = node.publish("t", "m").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Auth);
    assert_eq!(error.outcome(), Outcome::NotStored);
    node.publish("t", "m").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_frame_that_was_given_up_is_not_taken_for_a_loss() {
    let broker = Broker::sparse();
    let node = broker.node(Options::new()).await;
    let mut events = node.subscribe("t", Start::Latest).await.unwrap();
    node.publish("t", "a").await.unwrap();
    broker.inject([Fault::Forbid]);
    node.publish("t", "lost").await.unwrap_err();
    node.publish("t", "b").await.unwrap();
    assert_eq!(next(&mut events).await, "a");
    assert_eq!(next(&mut events).await, "b");
}

#[tokio::test(start_paused = true)]
async fn a_frame_that_never_left_is_not_taken_for_a_loss() {
    let broker = Broker::sparse();
    let options = Options::new().with_publish_timeout(Duration::from_secs(1));
    let (node, other) = (
        broker.node(options).await,
        broker.node(Options::new()).await,
    );
    let mut events = other.subscribe("t", Start::Latest).await.unwrap();
    node.publish("t", "a").await.unwrap();
    assert_eq!(next(&mut events).await, "a");
    // It waits for its own feed first, in vain.
    broker.set_down(true);
    let error = node.publish("t", "lost").await.unwrap_err();
    assert_eq!(error.outcome(), Outcome::NotStored);
    broker.set_down(false);
    tokio::time::sleep(Duration::from_secs(10)).await;
    node.publish("t", "b").await.unwrap();
    assert_eq!(next(&mut events).await, "b");
}

#[tokio::test(start_paused = true)]
async fn without_receipts_the_position_comes_back_with_the_frame() {
    let broker = Broker::sparse();
    let node = broker.node(Options::new()).await;
    let other = broker.node(Options::new()).await;
    let mut events = other.subscribe("t", Start::Latest).await.unwrap();
    let receipts = node.publish_batch("t", ["a", "b"]).await.unwrap();
    for receipt in &receipts {
        let Some(Event::Message(entry)) = events.next().await else {
            panic!("no message");
        };
        assert_eq!(entry.cursor(), *receipt.cursor());
    }
    // A node that only publishes listens while a publish is outstanding, and a few seconds longer,
    // so that the next one need not subscribe anew.
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(broker.listeners(), 2);
    tokio::time::sleep(Options::new().recheck / 4).await;
    assert_eq!(broker.listeners(), 1);
}

#[tokio::test(start_paused = true)]
async fn load_makes_frames_bigger_and_keeps_the_order() {
    let broker = Broker::dense();
    let node = broker.node(Options::new()).await;
    let mut events = node.subscribe("t", Start::Latest).await.unwrap();
    let publishes = (0..500).map(|n| node.publish("t", n.to_string()));
    for receipt in futures_util::future::join_all(publishes).await {
        receipt.unwrap();
    }
    for n in 0..500 {
        assert_eq!(next(&mut events).await, n.to_string());
    }
    assert!(broker.stored() < 10, "{} frames", broker.stored());
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_waits_or_rejects_as_configured() {
    let options = Options::new()
        .with_queue_messages(2)
        .with_publish_timeout(Duration::from_secs(2));
    let broker = Broker::dense();
    let rejecting = broker
        .node(options.clone().with_when_full(WhenFull::Reject))
        .await;
    let waiting = broker.node(options).await;
    broker.set_down(true);

    let publishes = (0..4).map(|_| rejecting.publish("t", "m"));
    let results = futures_util::future::join_all(publishes).await;
    let kinds: Vec<_> = results
        .iter()
        .map(|r| r.as_ref().unwrap_err().kind())
        .collect();
    assert_eq!(
        kinds
            .iter()
            .filter(|kind| **kind == ErrorKind::Busy)
            .count(),
        2
    );

    let recover = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        broker.set_down(false);
    };
    let publishes = futures_util::future::join_all((0..10).map(|_| waiting.publish("t", "m")));
    let (results, ()) = futures_util::future::join(publishes, recover).await;
    assert!(results.iter().all(Result::is_ok));
}

#[tokio::test(start_paused = true)]
async fn a_publish_that_was_dropped_in_the_queue_is_withdrawn() {
    let broker = Broker::dense();
    let node = broker.node(Options::new()).await;
    broker.set_down(true);
    let first = tokio::spawn({
        let node = node.clone();
        async move { node.publish("t", "first").await }
    });
    tokio::time::sleep(Duration::from_millis(50)).await;
    let second = tokio::time::timeout(Duration::from_millis(50), node.publish("t", "second"));
    second.await.unwrap_err();
    broker.set_down(false);
    first.await.unwrap().unwrap();
    let head = node.publish("t", "third").await.unwrap();
    assert_eq!(head.sequence().get(), 2);
}

#[tokio::test(start_paused = true)]
async fn topics_that_share_a_log_do_not_see_each_other() {
    let broker = Broker::sparse();
    let options = Options::new()
        .with_namespace(Namespace::new("shared").unwrap())
        .with_partitioning(Some(Partitioning::Shared(2.try_into().unwrap())));
    let node = broker.node(options).await;
    let mut subscriptions = Vec::new();
    for topic in ["a", "b", "c"] {
        subscriptions.push(node.subscribe(topic, Start::Latest).await.unwrap());
    }
    for n in 0..20 {
        for topic in ["a", "b", "c"] {
            node.publish(topic, format!("{topic}{n}")).await.unwrap();
        }
    }
    for subscription in &mut subscriptions {
        for n in 0..20 {
            let expected = format!("{}{n}", subscription.topic());
            assert_eq!(next(subscription).await, expected);
        }
    }
    let history = node.read("b", None, 5).await.unwrap();
    assert_eq!(history.len(), 5);
}

#[tokio::test]
async fn a_loop_that_ignores_errors_of_a_closed_node_lets_others_run() {
    let broker = Broker::dense();
    let node = broker.node(Options::new()).await;
    node.close(Duration::from_secs(1)).await.unwrap();
    let publishing = async {
        loop {
            let _ = node.publish("t", "m").await;
        }
    };
    let subscribing = async {
        loop {
            let _ = node.subscribe("t", Start::Latest).await;
        }
    };
    let limit = Duration::from_millis(50);
    assert!(tokio::time::timeout(limit, publishing).await.is_err());
    assert!(tokio::time::timeout(limit, subscribing).await.is_err());
}
