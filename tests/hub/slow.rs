//! Clients without a WebSocket that read no more. The socket stays open, and nothing comes out of it.

use std::time::Duration;

use scaleout::hub::HubOptions;
use serde_json::json;
use tokio::{io::AsyncReadExt, net::TcpStream};

use crate::{
    http::{exchange, open, token},
    node::Node,
};

const HANDSHAKE: &str = "{\"protocol\":\"json\",\"version\":1}\x1e";

/// More than the buffers of a socket and of the HTTP server hold.
const LARGE: usize = 16 << 20;

async fn post(node: &Node, token: &str, body: &str) -> u16 {
    let line = format!("POST /chat?id={token}");
    exchange(node.address, &line, "", body.as_bytes())
        .await
        .0
        .status
}

/// A client that has shaken hands, and reads no more of its events.
async fn listen(node: &mut Node) -> (String, TcpStream) {
    let token = token(node).await;
    let line = format!("GET /chat?id={token}");
    let accept = "Accept: text/event-stream\r\n";
    let (head, stream) = open(node.address, &line, accept, b"").await;
    assert_eq!(head.status, 200);
    assert_eq!(post(node, &token, HANDSHAKE).await, 200);
    node.expect("connected").await;
    (token, stream)
}

/// A client that has shaken hands, and polls no more.
async fn poll_once(node: &mut Node) -> String {
    let token = token(node).await;
    assert_eq!(post(node, &token, HANDSHAKE).await, 200);
    for answer in ["", "{}\x1e"] {
        let line = format!("GET /chat?id={token}");
        let (_, body) = exchange(node.address, &line, "", b"").await;
        assert_eq!(body, answer.as_bytes());
    }
    node.expect("connected").await;
    token
}

/// Sends this much to everybody, and shows that it delays nobody.
async fn flood(node: &Node, bytes: usize) {
    let mut reader = node.client().await;
    let text = "x".repeat(256 << 10);
    let all = node.hub.context().clients().all();
    for _ in 0..bytes / text.len() {
        all.send("message", (&text,)).await.unwrap();
        reader.event().await;
    }
}

/// Options with which only the clock can end a client.
fn patient_with_bytes() -> HubOptions {
    HubOptions::new()
        .with_slow_consumer_buffer_size(4 * LARGE)
        .with_transport_send_timeout(Duration::from_millis(300))
}

#[tokio::test]
async fn who_reads_no_more_of_its_events_is_dropped_after_a_while() {
    let mut node = Node::with(patient_with_bytes()).await;
    let (token, stream) = listen(&mut node).await;
    flood(&node, LARGE).await;
    node.expect("connected").await;
    let mut ends = [node.noted().await, node.noted().await];
    ends.sort();
    assert_eq!(
        ends,
        [
            "disconnected: the client read too slowly",
            "disconnected: the transport broke"
        ]
    );
    assert_eq!(post(&node, &token, "").await, 404);
    drop(stream);
}

#[tokio::test]
async fn who_reads_its_events_slowly_is_not() {
    let mut node = Node::with(patient_with_bytes()).await;
    let (token, mut stream) = listen(&mut node).await;
    let reading = tokio::spawn(async move {
        let mut total = 0;
        let mut buffer = vec![0; 1 << 20];
        // For longer than the client may stall, and never for that long without reading.
        while total < LARGE {
            tokio::time::sleep(Duration::from_millis(50)).await;
            match stream.read(&mut buffer).await.unwrap() {
                0 => break,
                read => total += read,
            }
        }
        (total, stream)
    });
    flood(&node, LARGE).await;
    let (total, _open) = reading.await.unwrap();
    assert!(total >= LARGE);
    assert_eq!(post(&node, &token, "").await, 200);
}

#[tokio::test]
async fn who_reads_no_more_of_its_events_costs_only_so_much() {
    let options = HubOptions::new().with_transport_send_timeout(Duration::from_secs(3600));
    let mut node = Node::with(options).await;
    let _open = listen(&mut node).await;
    flood(&node, LARGE).await;
    node.expect("connected").await;
    let mut ends = [node.noted().await, node.noted().await];
    ends.sort();
    assert_eq!(ends[0], "disconnected: the client read too slowly");
}

#[tokio::test]
async fn who_does_not_read_what_its_poll_brings_is_gone_after_a_while() {
    let options = patient_with_bytes().with_disconnect_timeout(Duration::from_secs(2));
    let mut node = Node::with(options).await;
    let token = poll_once(&mut node).await;
    let text = "x".repeat(1 << 20);
    let all = node.hub.context().clients().all();
    all.send("message", (&text,)).await.unwrap();
    let line = format!("GET /chat?id={token}");
    let (head, stream) = open(node.address, &line, "", b"").await;
    assert_eq!(head.status, 200);
    node.expect("disconnected: the transport broke").await;
    assert_eq!(post(&node, &token, "").await, 404);
    drop(stream);
}

#[tokio::test]
async fn who_does_not_poll_costs_only_so_much() {
    let options = HubOptions::new().with_disconnect_timeout(Duration::from_secs(3600));
    let mut node = Node::with(options).await;
    let token = poll_once(&mut node).await;
    flood(&node, 4 << 20).await;
    node.expect("connected").await;
    let mut ends = [node.noted().await, node.noted().await];
    ends.sort();
    assert_eq!(ends[0], "disconnected: the client read too slowly");
    let line = format!("GET /chat?id={token}");
    let (head, _) = exchange(node.address, &line, "", json!({}).to_string().as_bytes()).await;
    assert_eq!(head.status, 204);
}
