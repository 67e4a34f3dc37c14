//! Clients that come back, to another node.

use serde_json::{Value, json};

use super::{Cluster, call, on_every_backplane, tell};

on_every_backplane! {
    a_client_resumes_on_another_node,
    a_client_that_resumes_among_many_messages_misses_and_repeats_none,
}

/// The cursor that came with a message of the group.
fn cursor_of((target, arguments): (String, Value), text: &str) -> Value {
    assert_eq!((target.as_str(), &arguments[0]), ("message", &json!(text)));
    arguments[1].clone()
}

async fn a_client_resumes_on_another_node(url: String) {
    let cluster = Cluster::start(&url).await;
    let (mut a, mut b) = cluster.pair().await;
    call(&mut b, "Resume", json!(["room", null])).await;
    tell(&mut a, "TellGroup", json!(["room", "one"])).await;
    let cursor = cursor_of(b.event().await, "one");
    drop(b);
    for text in ["two", "three"] {
        call(&mut a, "TellGroup", json!(["room", text])).await;
    }
    let mut b = cluster.nodes[0].client().await;
    b.invoke("resume", "Resume", json!(["room", cursor])).await;
    cursor_of(b.event().await, "two");
    let last = cursor_of(b.event().await, "three");
    let resumed = b.receive().await;
    assert_eq!(resumed["result"], json!([last, 2, true]));
    call(&mut a, "TellGroup", json!(["room", "four"])).await;
    cursor_of(b.event().await, "four");

    let wrong = b.call("Resume", json!(["other", last])).await;
    assert!(wrong["error"].is_string());
    let nonsense = b.call("Resume", json!(["room", "nonsense"])).await;
    assert!(nonsense["error"].is_string());
}

async fn a_client_that_resumes_among_many_messages_misses_and_repeats_none(url: String) {
    const MESSAGES: usize = 300;
    let cluster = Cluster::start(&url).await;
    let (mut b, _) = cluster.pair().await;
    let start = b.call("Resume", json!(["room", null])).await["result"][0].take();
    drop(b);
    let group = cluster.nodes[0].hub.context().clients().group("room");
    let sending = tokio::spawn(async move {
        for number in 0..MESSAGES {
            group.send("message", (number,)).await.unwrap();
        }
    });
    // It comes and goes, on one node and the other, while messages flow.
    let (mut got, mut cursor) = (Vec::new(), start);
    for node in cluster.nodes.iter().cycle() {
        let mut client = node.client().await;
        client.invoke("1", "Resume", json!(["room", cursor])).await;
        for _ in 0..37 {
            let (_, arguments) = loop {
                let mut message = client.receive().await;
                assert!(message.get("error").is_none(), "{message}");
                if message["type"] == 1 {
                    break ((), message["arguments"].take());
                }
            };
            got.push(arguments[0].as_u64().unwrap());
            cursor = arguments[1].clone();
            if got.len() == MESSAGES {
                break;
            }
        }
        if got.len() == MESSAGES {
            break;
        }
    }
    sending.await.unwrap();
    assert_eq!(got, (0..MESSAGES as u64).collect::<Vec<_>>());
}
