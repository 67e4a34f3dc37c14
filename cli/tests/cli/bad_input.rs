//! Whatever is wrong: one clear line, no panic, no secret.

use crate::ended::{Ended, run, run_with_input};

const SECRET: &str = "hunter2";

#[track_caller]
fn serve_refused(url: &str, why: &str) {
    if cfg!(feature = "hub") {
        let args = ["serve", "--listen", "127.0.0.1:0", "--backplane", url];
        refused(&args, 1, why);
    }
}

/// The arguments fail with this exit code and one line that contains `why`.
#[track_caller]
fn refused(args: &[&str], code: i32, why: &str) {
    assert_refused(args, &run(args), code, why);
}

#[track_caller]
fn assert_refused(args: &[&str], ended: &Ended, code: i32, why: &str) {
    let Ended { stderr, .. } = ended;
    assert_eq!(ended.code, Some(code), "{args:?}: {ended:?}");
    assert_eq!(ended.stdout, "", "{args:?}");
    assert!(stderr.starts_with("error: "), "{args:?}: {stderr}");
    assert!(stderr.contains(why), "{args:?}: {stderr}");
    assert!(!stderr.contains(SECRET), "{args:?}: {stderr}");
    assert!(!stderr.contains("panicked"), "{args:?}: {stderr}");
    if code == 1 {
        assert_eq!(stderr.lines().count(), 1, "{args:?}: {stderr}");
    }
}

#[test]
fn urls() {
    let enabled = "enabled are memory:";
    for (url, why) in [
        ("kafka://me:hunter2@localhost/", "unknown scheme `kafka`"),
        ("kafka://me:hunter2@localhost/", enabled),
        ("me:hunter2@localhost", "unknown scheme `me`"),
        ("hunter2@localhost", "does not begin with a scheme"),
        ("", "does not begin with a scheme"),
        ("memory:?namspace=chat", "unknown option \"namspace\""),
        ("memory:?namspace=chat", "allowed are:"),
        ("memory:?namespace=a/b", "namespace"),
        ("memory:?liveness=10", "a whole number with a unit"),
        ("memory:?liveness=1s&liveness=2s", "given twice"),
        ("memory:?frame_bytes=0", "at least 1"),
        ("memory:a/b", "not the URL of a memory broker"),
    ] {
        refused(&["publish", url, "topic", "text"], 1, why);
        refused(&["tail", url, "topic"], 1, why);
        refused(&["bench", url], 1, why);
        refused(&["check", url], 1, why);
        serve_refused(url, why);
    }
}

#[test]
#[cfg(not(feature = "redis"))]
fn a_feature_that_is_not_enabled() {
    let url = "redis://:hunter2@localhost/";
    refused(
        &["publish", url, "topic", "text"],
        1,
        "feature `redis` is not enabled",
    );
}

#[test]
fn topics() {
    let long = "x".repeat(256);
    for (topic, why) in [
        ("", "must not be empty"),
        (long.as_str(), "256 bytes is too long"),
    ] {
        refused(&["publish", "memory:", topic, "text"], 1, why);
        refused(&["tail", "memory:", topic], 1, why);
    }
}

#[test]
fn cursors() {
    let cursor = run(&["publish", "memory:", "room/1", "text"]).stdout;
    let cursor = cursor.trim();
    let from = |cursor: &'static str| ["tail", "memory:", "room/1", "--from", cursor];
    refused(&from("yesterday"), 2, "not a cursor");
    refused(&from("AAAA"), 2, "version 0 is unknown");
    refused(
        &["tail", "memory:", "room/2", "--from", cursor],
        1,
        "belongs to topic \"room/1\"",
    );
    refused(
        &["tail", "memory:", "room/1", "room/2", "--from", cursor],
        1,
        "alone",
    );
}

#[test]
fn payloads() {
    let url = "memory:?max_frame_bytes=2000";
    let large = "x".repeat(2_001);
    refused(&["publish", url, "topic", &large], 1, "2000");
    let args = ["publish", url, "topic", "-"];
    let ended = run_with_input(&args, large.as_bytes());
    assert_refused(&args, &ended, 1, "2000");
    let args = ["publish", url, "topic"];
    assert_eq!(run_with_input(&args, b"not that large").code, Some(0));
}

#[test]
fn arguments() {
    refused(&["tail", "memory:"], 2, "TOPIC");
    refused(&["pubish"], 2, "unrecognized subcommand");
    refused(&["bench", "memory:", "--seconds", "0"], 2, "0 is not in");
    let url = "redis://:hunter2@localhost/";
    refused(
        &["check", "memory:", url],
        2,
        "unexpected argument 'redis://localhost/'",
    );
}

#[test]
#[cfg(feature = "hub")]
fn an_address_that_is_taken() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap().to_string();
    refused(
        &["serve", "--listen", &addr],
        1,
        &format!("cannot listen on {addr}"),
    );
}

#[test]
#[cfg(feature = "redis")]
fn a_broker_that_refuses_or_is_not_there() {
    let redis = crate::redis::Redis::start();
    let wrong = redis.url().replace(":hunter2@", ":hunter2-but-wrong@");
    let none = redis.url().replace(":hunter2@", "");
    let nobody = format!("redis://:hunter2@127.0.0.1:{}/", crate::redis::free_port());
    let nowhere = "redis://:hunter2@no-such-host.invalid/";
    for (url, why) in [
        (wrong.as_str(), "WRONGPASS"),
        (none.as_str(), "NOAUTH"),
        (nobody.as_str(), "refused"),
        (nowhere, "no-such-host.invalid"),
    ] {
        refused(&["publish", url, "topic", "text"], 1, why);
        refused(&["tail", url, "topic"], 1, why);
        refused(&["check", url], 1, why);
        refused(&["bench", url], 1, why);
        serve_refused(url, why);
    }
}
