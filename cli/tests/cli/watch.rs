//! `publish` and `tail` in processes of their own, with a Redis between them.

use crate::{
    ended::{run, run_with_input},
    redis::Redis,
    running::Running,
};

fn json(tail: &Running) -> serde_json::Value {
    serde_json::from_str(&tail.line()).unwrap()
}

#[track_caller]
fn publish(url: &str, topic: &str, text: &str) -> String {
    let ended = run(&["publish", url, topic, text]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    ended.stdout.trim_end().to_owned()
}

#[test]
fn what_one_process_publishes_another_one_shows() {
    let redis = Redis::start();
    let tail = Running::start(&["tail", &redis.url(), "room/1", "--json"]);
    assert_eq!(json(&tail)["event"], "subscribed");

    let cursor = publish(&redis.url(), "room/1", "grüße \"you\"\n");
    let line = json(&tail);
    assert_eq!(line["event"], "message");
    assert_eq!(line["topic"], "room/1");
    assert_eq!(line["sequence"], 1);
    assert_eq!(line["payload"], "grüße \"you\"\n");
    assert_eq!(line["cursor"], cursor.as_str());

    assert_eq!(tail.interrupt(), Some(0));
}

#[test]
fn a_cursor_continues_exactly_after_its_message() {
    let redis = Redis::start();
    publish(&redis.url(), "room/1", "one");
    let cursor = publish(&redis.url(), "room/1", "two");
    publish(&redis.url(), "room/1", "three");

    let tail = Running::start(&["tail", &redis.url(), "room/1", "--from", &cursor]);
    assert_eq!(tail.line(), "room/1 #3 three");
    let all = Running::start(&["tail", &redis.url(), "room/1", "--from", "earliest"]);
    assert_eq!(
        [all.line(), all.line(), all.line()].join(", "),
        "room/1 #1 one, room/1 #2 two, room/1 #3 three"
    );
}

#[test]
fn standard_input_is_one_message_of_any_bytes() {
    let redis = Redis::start();
    let tail = Running::start(&["tail", &redis.url(), "bytes", "--json"]);
    json(&tail);
    let ended = run_with_input(&["publish", &redis.url(), "bytes"], b"\x00\xff\n");
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(json(&tail)["payload_base64"], "AP8K");
}

#[test]
fn several_topics_share_one_tail() {
    let redis = Redis::start();
    let tail = Running::start(&["tail", &redis.url(), "a", "b", "--json"]);
    assert_eq!(json(&tail)["topic"], "a");
    assert_eq!(json(&tail)["topic"], "b");
    publish(&redis.url(), "b", "to b");
    assert_eq!(json(&tail)["payload"], "to b");
    publish(&redis.url(), "a", "to a");
    assert_eq!(json(&tail)["payload"], "to a");
}

#[test]
fn what_strangers_publish_does_not_control_the_terminal() {
    let redis = Redis::start();
    publish(&redis.url(), "room/1", "\x1b[2J\rroom/1 #2 forged");
    let tail = Running::start(&["tail", &redis.url(), "room/1", "--from", "earliest"]);
    assert_eq!(tail.line(), "room/1 #1 \\u{1b}[2J\\rroom/1 #2 forged");
}
