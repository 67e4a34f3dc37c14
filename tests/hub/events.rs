//! Server-sent events.

use std::net::SocketAddr;

use serde_json::json;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, BufReader},
    net::TcpStream,
};

use crate::{
    http::{exchange, open, request, token},
    node::Node,
};

const ACCEPT: &str = "Accept: text/event-stream\r\n";
const HANDSHAKE: &str = "{\"protocol\":\"json\",\"version\":1}\x1e";

/// An open stream of events.
struct Events(BufReader<TcpStream>);

impl Events {
    async fn open(address: SocketAddr, token: &str) -> Self {
        let (head, stream) = open(address, &format!("GET /chat?id={token}"), ACCEPT, b"").await;
        assert_eq!(head.status, 200);
        for (name, value) in [
            ("content-type", "text/event-stream"),
            ("cache-control", "no-cache,no-store"),
            ("pragma", "no-cache"),
            ("content-encoding", "identity"),
        ] {
            assert_eq!(head.field(name), Some(value));
        }
        let mut events = Self(BufReader::new(stream));
        assert_eq!(events.chunk().await, ":\r\n");
        events
    }

    /// The next piece of the body; empty at its end.
    async fn chunk(&mut self) -> String {
        let mut size = String::new();
        self.0.read_line(&mut size).await.unwrap();
        let size = usize::from_str_radix(size.trim(), 16).unwrap();
        let mut chunk = vec![0; size + 2];
        self.0.read_exact(&mut chunk).await.unwrap();
        chunk.truncate(size);
        String::from_utf8(chunk).unwrap()
    }
}

async fn post(node: &Node, token: &str, body: &str) -> u16 {
    let line = format!("POST /chat?id={token}");
    let (head, _) = exchange(node.address, &line, "", body.as_bytes()).await;
    head.status
}

fn call(target: &str, arguments: &serde_json::Value) -> String {
    let message = json!({"type": 1, "invocationId": "1", "target": target, "arguments": arguments});
    format!("{message}\x1e")
}

#[tokio::test]
async fn a_client_hears_events_and_posts() {
    let node = Node::start().await;
    let token = token(&node).await;
    let mut events = Events::open(node.address, &token).await;
    assert_eq!(post(&node, &token, HANDSHAKE).await, 200);
    assert_eq!(events.chunk().await, "data: {}\x1e\r\n\r\n");
    // A message may come in several requests.
    let call = call("Add", &json!([1, 2]));
    let (first, second) = call.split_at(20);
    assert_eq!(post(&node, &token, first).await, 200);
    assert_eq!(post(&node, &token, second).await, 200);
    assert_eq!(
        events.chunk().await,
        "data: {\"type\":3,\"invocationId\":\"1\",\"result\":3}\x1e\r\n\r\n"
    );
}

#[tokio::test]
async fn the_end_of_the_connection_is_the_end_of_the_events() {
    let mut node = Node::start().await;
    let token = token(&node).await;
    let mut events = Events::open(node.address, &token).await;
    post(&node, &token, HANDSHAKE).await;
    post(&node, &token, &call("Abort", &json!([]))).await;
    let mut all = String::new();
    loop {
        match events.chunk().await {
            chunk if chunk.is_empty() => break,
            chunk => all.push_str(&chunk),
        }
    }
    assert!(all.ends_with("{\"type\":7}\x1e\r\n\r\n"), "{all}");
    node.expect("connected").await;
    node.expect("disconnected: ended by the hub").await;
    assert_eq!(post(&node, &token, "").await, 404);
}

#[tokio::test]
async fn a_client_that_hangs_up_is_gone_at_once() {
    let mut node = Node::start().await;
    let token = token(&node).await;
    let mut events = Events::open(node.address, &token).await;
    post(&node, &token, HANDSHAKE).await;
    events.chunk().await;
    node.expect("connected").await;
    drop(events);
    node.expect("disconnected: the transport broke").await;
    let line = format!("POST /chat?id={token}");
    let (status, _, body) = request(node.address, &line, "").await;
    assert_eq!((status, body.as_str()), (404, "No Connection with that ID"));
}

#[tokio::test]
async fn a_connection_has_one_transport() {
    let node = Node::start().await;
    let token = token(&node).await;
    let _events = Events::open(node.address, &token).await;
    let line = format!("GET /chat?id={token}");
    let (status, _, body) = request(node.address, &line, ACCEPT).await;
    assert_eq!((status, body.as_str()), (409, ""));
    let (status, _, body) = request(node.address, &line, "").await;
    assert_eq!(
        (status, body.as_str()),
        (400, "Cannot change transports mid-connection")
    );
    let delete = format!("DELETE /chat?id={token}");
    assert_eq!(request(node.address, &delete, "").await.0, 400);
}

#[tokio::test]
async fn events_are_text() {
    let node = Node::start().await;
    let token = token(&node).await;
    let mut events = Events::open(node.address, &token).await;
    post(
        &node,
        &token,
        "{\"protocol\":\"messagepack\",\"version\":1}\x1e",
    )
    .await;
    let error = "Cannot use the 'messagepack' protocol on the current transport. \
                 The transport does not support 'Binary' transfer format.";
    assert_eq!(
        events.chunk().await,
        format!("data: {{\"error\":\"{error}\"}}\x1e\r\n\r\n")
    );
    assert_eq!(events.chunk().await, "");
}
