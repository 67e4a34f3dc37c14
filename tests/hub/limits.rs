//! How much a client may send, and how little it may read.

use scaleout::hub::HubOptions;
use serde_json::{Value, json};

use crate::{client::Client, node::Node};

const NORMAL: Option<u16> = Some(1000);

/// An invocation of `Echo`.
fn echo(text: &str) -> String {
    format!(
        "{{\"type\":1,\"invocationId\":\"1\",\"target\":\"Echo\",\"arguments\":[\"{text}\"]}}\x1e"
    )
}

/// The same, `size` bytes long, its separator included.
fn message_of(size: usize) -> String {
    let message = echo(&"x".repeat(size - echo("").len()));
    assert_eq!(message.len(), size);
    message
}

fn closed_with_error() -> Vec<Value> {
    vec![json!({"type": 7, "error": "Connection closed with an error.", "allowReconnect": true})]
}

#[tokio::test]
async fn a_message_of_32768_bytes_passes_and_one_byte_more_does_not() {
    let node = Node::start().await;
    let mut client = node.client().await;
    client.send_raw(&message_of(32_768)).await;
    assert_eq!(client.receive().await["invocationId"], "1");

    client.send_raw(&message_of(32_769)).await;
    assert_eq!(client.until_closed().await, (closed_with_error(), NORMAL));
}

#[tokio::test]
async fn a_message_over_the_limit_is_refused_before_it_ends() {
    let mut node = Node::with(HubOptions::new().with_enable_detailed_errors(true)).await;
    let mut client = node.client().await;
    client.send_raw(&"x".repeat(32_768)).await;
    let text = "The maximum message size of 32768B was exceeded. The message size can be configured in AddHubOptions.";
    let (messages, code) = client.until_closed().await;
    assert_eq!(
        messages[0]["error"],
        format!("Connection closed with an error. InvalidDataException: {text}")
    );
    assert_eq!(code, NORMAL);
    node.expect("connected").await;
    node.expect(&format!(
        "disconnected: the client broke the protocol: {text}"
    ))
    .await;
}

#[tokio::test]
async fn what_a_frame_claims_to_hold_costs_nothing_until_it_arrives() {
    let node = Node::start().await;
    let mut client = node.client().await;
    // The head of a frame of 2^40 bytes, and the first of them.
    client
        .send_bytes(b"\x81\xff\x00\x00\x01\x00\x00\x00\x00\x00\0\0\0\0")
        .await;
    client.send_bytes(&[b'x'; 32_768]).await;
    assert_eq!(client.until_closed().await, (closed_with_error(), NORMAL));
}

#[tokio::test]
async fn a_message_without_a_limit_may_be_large() {
    let node = Node::with(HubOptions::new().with_maximum_receive_message_size(None)).await;
    let mut client = node.client().await;
    client.send_raw(&echo(&"x".repeat(4 << 20))).await;
    assert_eq!(
        client.receive().await["result"].as_str().unwrap().len(),
        4 << 20
    );
}

#[tokio::test]
async fn a_handshake_over_the_limit_is_canceled() {
    let node = Node::start().await;
    let mut client = Client::open(node.address).await;
    client.send_raw(&"x".repeat(32_768)).await;
    let canceled = vec![json!({"error": "Handshake was canceled."})];
    assert_eq!(client.until_closed().await, (canceled, NORMAL));
}

#[tokio::test]
async fn a_client_that_does_not_read_is_dropped_and_delays_nobody() {
    let mut node = Node::start().await;
    let mut reader = node.client().await;
    let _idle = node.client().await;
    node.expect("connected").await;
    node.expect("connected").await;

    // More than its queue and the buffers of its socket can hold.
    let text = "x".repeat(256 << 10);
    let all = node.hub.context().clients().all();
    for _ in 0..100 {
        all.send("message", (&text,)).await.unwrap();
        reader.event().await;
    }
    node.expect("disconnected: the client read too slowly")
        .await;
}

#[tokio::test]
async fn a_client_that_asks_without_reading_has_to_wait_and_loses_nothing() {
    let mut node = Node::start().await;
    let mut client = node.client_in_memory().await;
    client.shake_hands().await;
    // Answers of 20 MB in all: far more than may queue for a client.
    for n in 0..1_000 {
        client.invoke(&n.to_string(), "Blob", json!([20_000])).await;
    }
    for n in 0..1_000 {
        assert_eq!(client.receive().await["invocationId"], n.to_string());
    }
}
