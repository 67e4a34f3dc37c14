use std::time::Duration;

use crate::entity::{Condition, Filter, Property};

use super::*;
use crate::entity::{NEVER, Rule, TopicSettings};

fn at(address: &str) -> Address {
    Address::parse(address).unwrap()
}

const START: Moment = Moment::from_millis(1_000_000);

fn later(seconds: u64) -> Moment {
    START.after(Duration::from_secs(seconds))
}

fn namespace() -> Namespace {
    let mut namespace = Namespace::new(Tier::Standard, 7);
    namespace
        .create_queue(START, "Queue", QueueSettings::default())
        .unwrap();
    namespace
        .create_topic(START, "Topic", TopicSettings::default())
        .unwrap();
    for name in ["a", "b"] {
        let settings = QueueSettings::default();
        namespace
            .create_subscription(START, "topic", name, settings, Rule::everything())
            .unwrap();
    }
    namespace.take_changed();
    namespace
}

fn labelled(label: &str) -> Message {
    let mut message = Message::default();
    message.system.label = Some(label.into());
    message.system.message_id = Some(label.into());
    message
}

fn scheduled(label: &str, seconds: u64) -> Message {
    Message {
        scheduled_at: Some(later(seconds)),
        ..labelled(label)
    }
}

/// Labels of everything that is there, taken away.
fn drain(namespace: &mut Namespace, now: Moment, address: &str) -> Vec<String> {
    let mut found = Vec::new();
    while let Some(delivery) = namespace.receive(now, &at(address), true).unwrap() {
        found.push(delivery.message.system.label.clone().unwrap());
    }
    found
}

#[test]
fn a_topic_copies_to_every_subscription_under_one_enqueue_number() {
    let mut namespace = namespace();
    namespace
        .send(START, &at("TOPIC"), vec![labelled("1")])
        .unwrap();
    namespace
        .receive(START, &at("topic/subscriptions/a"), true)
        .unwrap();
    namespace
        .create_subscription(
            START,
            "topic",
            "late",
            QueueSettings::default(),
            Rule::everything(),
        )
        .unwrap();
    let sent = namespace
        .send(START, &at("topic"), vec![labelled("2")])
        .unwrap();
    assert_eq!(
        sent,
        Sent {
            numbers: vec![2],
            rules: 3
        }
    );
    let mut numbers = |name: &str| {
        let delivery = namespace.receive(START, &at(&format!("topic/Subscriptions/{name}")), false);
        let delivery = delivery.unwrap().unwrap();
        (delivery.sequence, delivery.enqueue_number)
    };
    assert_eq!(numbers("a"), (2, 2));
    assert_eq!(numbers("b"), (1, 1));
    assert_eq!(
        numbers("late"),
        (1, 2),
        "a new subscription gets nothing earlier"
    );
}

#[test]
fn rules_decide_who_gets_what() {
    let mut namespace = namespace();
    let a = at("topic/subscriptions/a");
    namespace.remove_rule(&a, "$default").unwrap();
    let red = Rule {
        name: "red".into(),
        filter: Filter::Sql(Condition::parse("sys.Label = 'red'").unwrap()),
    };
    namespace.add_rule(&a, red.clone()).unwrap();
    assert!(matches!(
        namespace.add_rule(&a, red),
        Err(Refusal::Exists(_))
    ));
    namespace
        .send(START, &at("topic"), vec![labelled("red"), labelled("blue")])
        .unwrap();
    assert_eq!(
        drain(&mut namespace, START, "topic/subscriptions/a"),
        ["red"]
    );
    assert_eq!(
        drain(&mut namespace, START, "topic/subscriptions/b"),
        ["red", "blue"]
    );
    assert!(matches!(
        namespace.remove_rule(&a, "blue"),
        Err(Refusal::NotFound(_))
    ));
}

#[test]
fn receivers_are_told_what_changed() {
    let mut namespace = namespace();
    namespace
        .send(START, &at("topic"), vec![labelled("1")])
        .unwrap();
    let changed: Vec<_> = namespace
        .take_changed()
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(changed, ["topic/subscriptions/a", "topic/subscriptions/b"]);
    namespace
        .receive(START, &at("topic/subscriptions/a"), false)
        .unwrap();
    namespace.advance(later(59));
    assert!(namespace.take_changed().is_empty());
    assert_eq!(namespace.deadline(), Some(later(60)));
    namespace.advance(later(60));
    assert!(
        namespace
            .take_changed()
            .contains(&at("topic/subscriptions/a"))
    );
}

#[test]
fn a_scheduled_message_waits_for_its_time() {
    for entity in ["queue", "topic"] {
        let from = if entity == "topic" {
            "topic/subscriptions/a"
        } else {
            entity
        };
        let mut namespace = namespace();
        let messages = vec![
            scheduled("late", 20),
            scheduled("soon", 10),
            labelled("now"),
        ];
        let sent = namespace.send(START, &at(entity), messages).unwrap();
        assert_eq!(drain(&mut namespace, START, from), ["now"]);
        assert_eq!(namespace.deadline(), Some(later(10)));
        namespace.advance(later(10));
        assert_eq!(drain(&mut namespace, later(10), from), ["soon"]);
        namespace.cancel(&at(entity), &sent.numbers[..1]).unwrap();
        assert!(namespace.cancel(&at(entity), &sent.numbers[..1]).is_err());
        namespace.advance(later(30));
        assert!(drain(&mut namespace, later(30), from).is_empty());
    }
}

#[test]
fn peek_shows_scheduled_messages_among_the_others() {
    let mut namespace = namespace();
    let messages = vec![scheduled("1", 9), labelled("2"), scheduled("3", 9)];
    namespace.send(START, &at("queue"), messages).unwrap();
    let mut sequences = |from, count| {
        let found = namespace.peek(START, &at("queue"), from, count).unwrap();
        found
            .iter()
            .map(|delivery| delivery.sequence)
            .collect::<Vec<_>>()
    };
    assert_eq!(sequences(0, 9), [1, 2, 3]);
    assert_eq!(sequences(2, 1), [2]);
}

#[test]
fn repetitions_are_dropped_where_that_is_set() {
    let mut namespace = namespace();
    let window = Some(Duration::from_secs(20));
    let settings = QueueSettings {
        duplicates: window,
        ..QueueSettings::default()
    };
    namespace.create_queue(START, "once", settings).unwrap();
    for entity in ["once", "queue"] {
        for _ in 0..2 {
            namespace
                .send(START, &at(entity), vec![labelled("x")])
                .unwrap();
        }
    }
    assert_eq!(drain(&mut namespace, START, "once").len(), 1);
    assert_eq!(drain(&mut namespace, START, "queue").len(), 2);
}

#[test]
fn an_idle_entity_goes_but_not_while_somebody_is_attached() {
    let mut namespace = namespace();
    let settings = QueueSettings {
        auto_delete_on_idle: Duration::from_secs(300),
        ..QueueSettings::default()
    };
    namespace
        .create_subscription(START, "topic", "temp", settings, Rule::everything())
        .unwrap();
    let temp = at("topic/subscriptions/temp");
    let life = namespace.attach(START, &temp).unwrap();
    namespace.advance(later(1_000));
    namespace.detach(later(1_000), &temp, life);
    assert_eq!(namespace.deadline(), Some(later(1_300)));
    namespace
        .send(
            later(1_200),
            &at("topic"),
            vec![labelled("sending is not using")],
        )
        .unwrap();
    namespace.advance(later(1_299));
    assert_eq!(namespace.life(&temp), Some(life));
    namespace.take_changed();
    namespace.advance(later(1_300));
    assert_eq!(namespace.life(&temp), None);
    assert!(
        namespace.take_changed().contains(&temp),
        "receivers are told"
    );
}

#[test]
fn a_recreated_entity_has_another_life() {
    let mut namespace = namespace();
    let life = namespace.life(&at("queue"));
    namespace.delete(&at("queue")).unwrap();
    namespace
        .create_queue(START, "queue", QueueSettings::default())
        .unwrap();
    assert_ne!(namespace.life(&at("queue")), life);
}

#[test]
fn what_is_not_allowed_is_refused() {
    let mut namespace = namespace();
    let queue = QueueSettings::default;
    assert!(matches!(
        namespace.create_queue(START, "topic", queue()),
        Err(Refusal::Exists(_))
    ));
    for name in ["", "a b", "x/subscriptions/y", "q/$deadletterqueue", "$cbs"] {
        assert!(
            matches!(
                namespace.create_queue(START, name, queue()),
                Err(Refusal::Invalid(_))
            ),
            "{name}"
        );
    }
    let mut subscribe = |topic: &str, name: &str| {
        namespace.create_subscription(START, topic, name, queue(), Rule::everything())
    };
    assert!(matches!(subscribe("none", "a"), Err(Refusal::NotFound(_))));
    assert!(matches!(subscribe("topic", "A"), Err(Refusal::Exists(_))));
    assert!(matches!(
        subscribe("topic", "a/b"),
        Err(Refusal::Invalid(_))
    ));
    let long = QueueSettings {
        lock_duration: NEVER,
        ..queue()
    };
    assert!(matches!(
        namespace.create_queue(START, "x", long),
        Err(Refusal::Invalid(_))
    ));
    let mut send = |to: &str, message| namespace.send(START, &at(to), vec![message]);
    assert!(matches!(
        send("none", labelled("")),
        Err(Refusal::NotFound(_))
    ));
    assert!(matches!(
        send("topic/subscriptions/a", labelled("")),
        Err(Refusal::Invalid(_))
    ));
    let mut large = labelled("large");
    large.content.body = vec![0; 256 * 1024 + 1].into();
    assert!(matches!(
        send("queue", large),
        Err(Refusal::TooLarge(262_144))
    ));
}

#[test]
fn deferred_messages_are_received_all_or_none() {
    let mut namespace = namespace();
    let queue = at("queue");
    namespace.send(START, &queue, vec![labelled("1")]).unwrap();
    let delivery = namespace.receive(START, &queue, false).unwrap().unwrap();
    let (token, _) = delivery.lock.unwrap();
    let set = vec![("why".to_owned(), Property::from("later"))];
    namespace
        .settle(START, &queue, &token, Outcome::Defer(set))
        .unwrap();
    assert!(
        namespace
            .receive_deferred(START, &queue, &[1, 2], true)
            .is_err()
    );
    let had = namespace
        .receive_deferred(START, &queue, &[1], true)
        .unwrap();
    assert_eq!(had[0].overrides.len(), 1);
}

#[test]
fn an_entity_tells_when_it_was_created_and_not_when_it_was_looked_at() {
    let mut namespace = namespace();
    for address in ["queue", "topic", "topic/subscriptions/a"] {
        assert_eq!(namespace.created(&at(address)).unwrap(), START, "{address}");
    }
    namespace.delete(&at("topic")).unwrap();
    let settings = TopicSettings::default();
    namespace.create_topic(later(5), "topic", settings).unwrap();
    assert_eq!(namespace.created(&at("topic")).unwrap(), later(5));
}
