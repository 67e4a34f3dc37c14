//! Long polling.

use std::time::Duration;

use scaleout::hub::HubOptions;
use serde_json::json;

use crate::{
    http::{Head, exchange, token},
    node::Node,
};

const HANDSHAKE: &str = "{\"protocol\":\"json\",\"version\":1}\x1e";

async fn send(node: &Node, method: &str, token: &str, body: &str) -> (Head, String) {
    let line = format!("{method} /chat?id={token}&_=1");
    let (head, body) = exchange(node.address, &line, "", body.as_bytes()).await;
    (head, String::from_utf8(body).unwrap())
}

/// Status and body of a poll.
async fn poll(node: &Node, token: &str) -> (u16, String) {
    let (head, body) = send(node, "GET", token, "").await;
    if head.status < 300 {
        assert_eq!(head.field("cache-control"), Some("no-cache, no-store"));
        assert_eq!(head.field("pragma"), Some("no-cache"));
        assert_eq!(head.field("expires"), Some("thu, 01 jan 1970 00:00:00 gmt"));
    }
    (head.status, body)
}

/// A client that has shaken hands.
async fn connect(node: &Node) -> String {
    let token = token(node).await;
    // What comes before the first poll is kept.
    assert_eq!(send(node, "POST", &token, HANDSHAKE).await.0.status, 200);
    assert_eq!(poll(node, &token).await, (200, String::new()));
    assert_eq!(poll(node, &token).await, (200, "{}\x1e".into()));
    token
}

async fn invoke(node: &Node, token: &str, target: &str, arguments: serde_json::Value) {
    let message = json!({"type": 1, "invocationId": "1", "target": target, "arguments": arguments});
    let (head, body) = send(node, "POST", token, &format!("{message}\x1e")).await;
    assert_eq!(
        (head.status, head.field("content-type"), body.as_str()),
        (200, Some("text/plain"), "")
    );
}

#[tokio::test]
async fn a_poll_brings_what_is_there() {
    let node = Node::start().await;
    let token = connect(&node).await;
    invoke(&node, &token, "Add", json!([1, 2])).await;
    let result = "{\"type\":3,\"invocationId\":\"1\",\"result\":3}\x1e";
    assert_eq!(poll(&node, &token).await, (200, result.into()));
}

#[tokio::test]
async fn a_poll_that_nothing_happens_to_ends_empty() {
    let options = HubOptions::new().with_long_polling_poll_timeout(Duration::from_millis(50));
    let node = Node::with(options).await;
    let token = connect(&node).await;
    let (head, body) = send(&node, "GET", &token, "").await;
    assert_eq!(
        (head.status, head.field("content-type"), body.as_str()),
        (200, Some("text/plain"), "")
    );
}

#[tokio::test]
async fn a_poll_takes_the_place_of_the_one_before() {
    let node = Node::start().await;
    let token = connect(&node).await;
    let first = poll(&node, &token);
    let second = async {
        invoke(&node, &token, "Wait", json!([])).await;
        poll(&node, &token).await
    };
    let go = async {
        let first = first.await;
        node.state.go.notify_one();
        first
    };
    let (first, second) = tokio::join!(go, second);
    assert_eq!(first, (204, String::new()));
    assert!(second.1.contains("waited"), "{second:?}");
}

#[tokio::test]
async fn the_last_words_come_before_the_end() {
    let mut node = Node::start().await;
    let token = connect(&node).await;
    node.expect("connected").await;
    invoke(&node, &token, "Abort", json!([])).await;
    node.expect("disconnected: ended by the hub").await;
    let (status, body) = poll(&node, &token).await;
    assert_eq!(status, 200);
    assert!(body.ends_with("{\"type\":7}\x1e"), "{body}");
    assert_eq!(poll(&node, &token).await, (204, String::new()));
    assert_eq!(poll(&node, &token).await.0, 404);
}

#[tokio::test]
async fn a_client_ends_its_connection() {
    let mut node = Node::start().await;
    let token = connect(&node).await;
    node.expect("connected").await;
    // The second poll ends the first one, so it is open when that has ended.
    let (first, pending) = (poll(&node, &token), poll(&node, &token));
    let end = async {
        assert_eq!(first.await.0, 204);
        send(&node, "DELETE", &token, "").await
    };
    let ((head, body), pending) = tokio::join!(end, pending);
    assert_eq!(pending.0, 204);
    assert_eq!(
        (head.status, head.field("content-type"), body.as_str()),
        (202, Some("text/plain"), "")
    );
    for method in ["GET", "POST", "DELETE"] {
        assert_eq!(send(&node, method, &token, "").await.0.status, 404);
    }
    node.expect("disconnected: closed by the client").await;
}

#[tokio::test]
async fn a_client_that_polls_no_more_is_gone_after_a_while() {
    let options = HubOptions::new().with_disconnect_timeout(Duration::from_millis(100));
    let mut node = Node::with(options).await;
    let token = connect(&node).await;
    node.expect("connected").await;
    node.expect("disconnected: the transport broke").await;
    assert_eq!(poll(&node, &token).await.0, 404);
}

#[tokio::test]
async fn a_protocol_error_does_not_change_the_answer_to_the_request() {
    let node = Node::start().await;
    let token = connect(&node).await;
    assert_eq!(
        send(&node, "POST", &token, "garbage\x1e").await.0.status,
        200
    );
    let error =
        "{\"type\":7,\"error\":\"Connection closed with an error.\",\"allowReconnect\":true}\x1e";
    assert_eq!(poll(&node, &token).await, (200, error.into()));
}
