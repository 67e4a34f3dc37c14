//! Entities that are deleted, that others use, or that are not as needed.

use scaleout_core::{Backplane, ErrorKind, Event, Start};
use scaleout_servicebus_emulator::{
    Config, Emulator,
    clock::Moment,
    config::{PolicyConfig, TopicConfig},
    entity::{Address, Message, Namespace},
};

use crate::{GUARD, LOG, emulator, expect, next, node, soon, subscriptions};

over_both! {
    a_subscription_that_an_administrator_deletes_leaves_a_gap
    a_topic_that_is_deleted_begins_another_life
    a_service_that_forgot_everything_begins_another_life
    messages_of_others_are_skipped_and_do_not_stay
    without_the_right_to_manage_it_says_what_has_to_be_made
    with_a_subscription_that_was_made_for_it_a_node_needs_no_right_to_manage
    what_a_subscription_had_before_its_node_came_is_skipped
    a_subscription_that_was_dropped_is_not_left_at_the_service
}

async fn a_subscription_that_an_administrator_deletes_leaves_a_gap(transport: &str) {
    let emulator = emulator().await;
    let (one, other) = (
        node(&emulator, transport, "").await,
        node(&emulator, transport, "").await,
    );
    let mut tail = one.subscribe("t", Start::Latest).await.unwrap();
    soon(one.publish("t", "before")).await.unwrap();
    expect(&mut tail, "before").await;
    let of_one = subscriptions(&emulator);
    emulator.faults().stop(true);
    emulator.with(|namespace, _| {
        for subscription in &of_one {
            namespace.delete(subscription).unwrap();
        }
    });
    // Nobody is there to keep it, so it is lost; and its publisher is not told that it arrived.
    emulator.with(|namespace, now| send(namespace, now, "F"));
    emulator.faults().stop(false);
    while subscriptions(&emulator).is_empty() {
        tokio::task::yield_now().await;
    }
    let after = soon(other.publish("t", "after")).await.unwrap();
    match next(&mut tail).await {
        Event::Gap(gap) => assert_eq!(gap.last, after.sequence().previous()),
        other => panic!("{other:?} in place of a gap"),
    }
    expect(&mut tail, "after").await;
    soon(one.publish("t", "on")).await.unwrap();
    expect(&mut tail, "on").await;
    for node in [one, other] {
        soon(node.close(GUARD)).await.unwrap();
    }
}

async fn a_topic_that_is_deleted_begins_another_life(transport: &str) {
    let emulator = emulator().await;
    let node = node(&emulator, transport, "").await;
    let mut tail = node.subscribe("t", Start::Latest).await.unwrap();
    let before = soon(node.publish("t", "before")).await.unwrap();
    expect(&mut tail, "before").await;
    emulator.with(|namespace, _| namespace.delete(&Address::parse(LOG).unwrap()).unwrap());
    match next(&mut tail).await {
        Event::Reset(reset) => assert_ne!(reset.epoch, before.epoch()),
        other => panic!("{other:?} in place of a reset"),
    }
    let after = soon(node.publish("t", "after")).await.unwrap();
    assert_ne!(after.epoch(), before.epoch());
    loop {
        match next(&mut tail).await {
            Event::Message(entry) => break assert_eq!(entry.payload(), "after"),
            Event::Gap(_) => {}
            other => panic!("{other:?}"),
        }
    }
    soon(node.close(GUARD)).await.unwrap();
}

async fn a_service_that_forgot_everything_begins_another_life(transport: &str) {
    let mut config = Config::default();
    let first = Emulator::start(config.clone()).await.unwrap();
    config.listen = first.address();
    let node = node(&first, transport, "").await;
    let mut tail = node.subscribe("t", Start::Latest).await.unwrap();
    soon(node.publish("t", "before")).await.unwrap();
    expect(&mut tail, "before").await;
    first.stop().await;
    let _second = Emulator::start(config).await.unwrap();
    assert!(matches!(next(&mut tail).await, Event::Reset(_)));
    soon(node.publish("t", "after")).await.unwrap();
    expect(&mut tail, "after").await;
    soon(node.close(GUARD)).await.unwrap();
}

async fn messages_of_others_are_skipped_and_do_not_stay(transport: &str) {
    let emulator = emulator().await;
    let node = node(&emulator, transport, "").await;
    let mut tail = node.subscribe("t", Start::Latest).await.unwrap();
    for body in [
        "",
        "M",
        "F",
        "F\0\0\0\0",
        "F\0\x10\0\x01",
        "is anybody there",
    ] {
        emulator.with(|namespace, now| send(namespace, now, body));
    }
    // A value instead of bytes.
    emulator.with(|namespace, now| send_section(namespace, now, b"\x00\x53\x77\xa1\x02hi"));
    soon(node.publish("t", "ours")).await.unwrap();
    expect(&mut tail, "ours").await;
    let left = || {
        let of = subscriptions(&emulator).remove(0);
        emulator.with(|namespace, _| namespace.counts(&of).unwrap().active)
    };
    soon(async {
        while left() > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    soon(node.close(GUARD)).await.unwrap();
}

/// Sends bytes past all nodes.
fn send(namespace: &mut Namespace, now: Moment, body: &str) {
    let length = u8::try_from(body.len()).unwrap();
    let section = [&[0x00, 0x53, 0x75, 0xa0, length], body.as_bytes()].concat();
    send_section(namespace, now, &section);
}

fn send_section(namespace: &mut Namespace, now: Moment, section: &[u8]) {
    let mut message = Message::default();
    message.content.body = section.to_vec().into();
    let log = Address::parse(LOG).unwrap();
    namespace.send(now, &log, vec![message]).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partitioned_topic_is_refused() {
    let mut config = Config::default();
    let mut topic = TopicConfig::default();
    topic.name = LOG.to_owned();
    topic.partitioned = true;
    config.topics.push(topic);
    let emulator = Emulator::start(config).await.unwrap();
    let node = node(&emulator, "amqp", "").await;
    let error = soon(node.subscribe("t", Start::Latest)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Incompatible);
    assert!(error.to_string().contains("partitioned"), "{error}");
    soon(node.close(GUARD)).await.unwrap();
}

/// An emulator with a policy that may not manage.
async fn without_manage(entity: Option<&str>) -> (Emulator, String) {
    let mut config = Config::default();
    let policy = PolicyConfig::parse("node:NODE_KEY:send+listen").unwrap();
    config.policies.push(policy);
    if let Some(entity) = entity {
        config.add(entity).unwrap();
    }
    let emulator = Emulator::start(config).await.unwrap();
    let string = emulator.connection_string();
    let string = string.replace("RootManageSharedAccessKey", "node");
    (emulator, string.replace("SAS_KEY_VALUE", "NODE_KEY"))
}

async fn without_the_right_to_manage_it_says_what_has_to_be_made(transport: &str) {
    let (_emulator, string) = without_manage(None).await;
    let url = format!("{string}?transport={transport}&partitioning=1");
    let connector = scaleout_servicebus::connector(&url).unwrap();
    let node = soon(Backplane::connect(connector)).await.unwrap();
    let error = soon(node.subscribe("t", Start::Latest)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Auth);
    let told = error.to_string();
    for part in [
        "subscription=",
        "az servicebus topic create",
        "scaleout/scaleout/1/N",
    ] {
        assert!(told.contains(part), "{told}");
    }
    soon(node.close(GUARD)).await.unwrap();
}

async fn with_a_subscription_that_was_made_for_it_a_node_needs_no_right_to_manage(transport: &str) {
    let entity = format!("{LOG}/subscriptions/mine");
    let (emulator, string) = without_manage(Some(&entity)).await;
    let url = format!("{string}?transport={transport}&partitioning=1&subscription=mine");
    let connector = scaleout_servicebus::connector(&url).unwrap();
    let node = soon(Backplane::connect(connector)).await.unwrap();
    let mut tail = node.subscribe("t", Start::Latest).await.unwrap();
    soon(node.publish("t", "m")).await.unwrap();
    expect(&mut tail, "m").await;
    soon(node.close(GUARD)).await.unwrap();
    assert_eq!(subscriptions(&emulator).len(), 1);
}

async fn what_a_subscription_had_before_its_node_came_is_skipped(transport: &str) {
    let entity = format!("{LOG}/subscriptions/mine");
    let (emulator, string) = without_manage(Some(&entity)).await;
    let other = node(&emulator, transport, "").await;
    for number in 0..10 {
        soon(other.publish("t", format!("old {number}")))
            .await
            .unwrap();
    }
    let url = format!("{string}?transport={transport}&partitioning=1&subscription=mine");
    let connector = scaleout_servicebus::connector(&url).unwrap();
    let node = soon(Backplane::connect(connector)).await.unwrap();
    let mut tail = soon(node.subscribe("t", Start::Latest)).await.unwrap();
    soon(other.publish("t", "new")).await.unwrap();
    expect(&mut tail, "new").await;
    for node in [node, other] {
        soon(node.close(GUARD)).await.unwrap();
    }
}

async fn a_subscription_that_was_dropped_is_not_left_at_the_service(transport: &str) {
    let emulator = emulator().await;
    let node = node(&emulator, transport, "").await;
    let tail = node.subscribe("t", Start::Latest).await.unwrap();
    assert_eq!(subscriptions(&emulator).len(), 1);
    drop(tail);
    soon(async {
        while !subscriptions(&emulator).is_empty() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    soon(node.close(GUARD)).await.unwrap();
}
