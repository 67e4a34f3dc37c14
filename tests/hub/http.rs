//! Negotiation and the status codes of requests that get no transport.

use std::net::SocketAddr;

use scaleout::hub::{HubOptions, Transport};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{client::Client, node::Node};

/// The head of a response.
pub(crate) struct Head {
    pub(crate) status: u16,
    text: String,
}

impl Head {
    /// A header's value; in lower case, as all of the head.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        let mut lines = self.text.lines();
        lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }
}

/// Sends a request and reads the head of the response.
pub(crate) async fn open(
    address: SocketAddr,
    line: &str,
    headers: &str,
    body: &[u8],
) -> (Head, TcpStream) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let length = body.len();
    let request =
        format!("{line} HTTP/1.1\r\nHost: test\r\nContent-Length: {length}\r\n{headers}\r\n");
    stream
        .write_all(&[request.as_bytes(), body].concat())
        .await
        .unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    let text = String::from_utf8(head).unwrap().to_lowercase();
    let status = text.split(' ').nth(1).unwrap().parse().unwrap();
    (Head { status, text }, stream)
}

/// The same, and reads the body.
pub(crate) async fn exchange(
    address: SocketAddr,
    line: &str,
    headers: &str,
    body: &[u8],
) -> (Head, Vec<u8>) {
    let (head, mut stream) = open(address, line, headers, body).await;
    let length = match head.field("content-length") {
        Some(length) => length.parse().unwrap(),
        None => {
            assert_eq!(head.status, 204, "an explicit length");
            0
        }
    };
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.unwrap();
    (head, body)
}

/// Sends a request and returns status, content type and body.
pub(crate) async fn request(
    address: SocketAddr,
    line: &str,
    headers: &str,
) -> (u16, String, String) {
    let (head, body) = exchange(address, line, headers, b"").await;
    let content_type = head.field("content-type").unwrap_or_default().to_owned();
    (head.status, content_type, String::from_utf8(body).unwrap())
}

/// Negotiates, and returns the token to connect with.
pub(crate) async fn token(node: &Node) -> String {
    let answer = negotiate(node, "?negotiateVersion=1").await;
    answer["connectionToken"].as_str().unwrap().to_owned()
}

async fn negotiate(node: &Node, query: &str) -> Value {
    let line = format!("POST /chat/negotiate{query}");
    let (status, content_type, body) = request(node.address, &line, "").await;
    assert_eq!((status, content_type.as_str()), (200, "application/json"));
    serde_json::from_str(&body).unwrap()
}

pub(crate) const WEBSOCKET: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

#[tokio::test]
async fn version_1_gives_a_secret_token_beside_the_public_id() {
    let node = Node::start().await;
    let mut answer = negotiate(&node, "?negotiateVersion=1").await;
    let id = answer["connectionId"].take();
    let token = answer["connectionToken"].take();
    assert_ne!(id, token);
    assert_eq!(
        answer,
        json!({
            "negotiateVersion": 1,
            "connectionId": null,
            "connectionToken": null,
            "availableTransports": [
                {"transport": "WebSockets", "transferFormats": ["Text", "Binary"]},
                {"transport": "ServerSentEvents", "transferFormats": ["Text"]},
                {"transport": "LongPolling", "transferFormats": ["Text", "Binary"]},
            ],
        })
    );

    let path = format!("/chat?id={}", token.as_str().unwrap());
    let mut client = Client::upgrade(TcpStream::connect(node.address).await.unwrap(), &path).await;
    client.shake_hands().await;
    assert_eq!(client.call("Id", json!([])).await["result"], id);
}

#[tokio::test]
async fn version_0_uses_the_id_as_token() {
    let node = Node::start().await;
    let answer = negotiate(&node, "").await;
    assert_eq!(answer["negotiateVersion"], 0);
    assert_eq!(answer.get("connectionToken"), None);
    let id = answer["connectionId"].as_str().unwrap();
    let path = format!("/chat?ID={id}");
    let mut client = Client::upgrade(TcpStream::connect(node.address).await.unwrap(), &path).await;
    client.shake_hands().await;
    assert_eq!(client.call("Id", json!([])).await["result"], id);
}

#[tokio::test]
async fn a_version_that_is_not_known_is_an_error_in_the_answer() {
    let node = Node::with(HubOptions::new().with_minimum_protocol_version(1)).await;
    let unsupported =
        "The client requested version '0', but the server does not support this version.";
    assert_eq!(negotiate(&node, "").await, json!({"error": unsupported}));
    assert_eq!(
        negotiate(&node, "?NEGOTIATEVERSION=x").await,
        json!({"error": "The client requested a non-integer protocol version."})
    );
}

#[tokio::test]
async fn only_the_right_methods_are_allowed() {
    let node = Node::start().await;
    for line in [
        "GET /chat/negotiate",
        "PUT /chat",
        "OPTIONS /chat/",
        "DELETE /chat/negotiate/",
    ] {
        let (status, content_type, body) = request(node.address, line, "").await;
        assert_eq!(
            (status, content_type.as_str(), body.as_str()),
            (405, "text/plain", ""),
            "{line}"
        );
    }
    assert_eq!(
        request(node.address, "POST /chat/negotiate/", "").await.0,
        200
    );
}

#[tokio::test]
async fn requests_without_a_connection_are_told_so() {
    let node = Node::start().await;
    let required = (
        400,
        "text/plain".to_owned(),
        "Connection ID required".to_owned(),
    );
    let unknown = (
        404,
        "text/plain".to_owned(),
        "No Connection with that ID".to_owned(),
    );
    for line in ["GET /chat", "POST /chat", "DELETE /chat"] {
        assert_eq!(request(node.address, line, "").await, required, "{line}");
        assert_eq!(
            request(node.address, &format!("{line}?id=x"), "").await,
            unknown,
            "{line}"
        );
    }
    assert_eq!(
        request(node.address, "GET /chat?id=x", WEBSOCKET).await,
        unknown
    );
}

#[tokio::test]
async fn requests_that_do_not_fit_their_connection_are_told_so() {
    let options = HubOptions::new().with_transports([Transport::WebSockets]);
    let node = Node::with(options).await;
    let answer = negotiate(&node, "?negotiateVersion=1").await;
    let token = answer["connectionToken"].as_str().unwrap();
    let connect = format!("GET /chat?id={token}");

    let (status, _, body) = request(node.address, &connect, "Accept: text/event-stream\r\n").await;
    let text = "ServerSentEvents transport not supported by this end point type";
    assert_eq!((status, body.as_str()), (404, text));
    let (status, _, body) = request(node.address, &connect, "").await;
    let text = "LongPolling transport not supported by this end point type";
    assert_eq!((status, body.as_str()), (404, text));

    let stream = TcpStream::connect(node.address).await.unwrap();
    let mut client = Client::upgrade(stream, &format!("/chat?id={token}")).await;
    client.shake_hands().await;
    let (status, _, body) = request(node.address, &connect, WEBSOCKET).await;
    assert_eq!((status, body.as_str()), (409, ""));
    let (status, _, body) = request(node.address, &format!("POST /chat?id={token}"), "").await;
    let text = "POST requests are not allowed for WebSocket connections.";
    assert_eq!((status, body.as_str()), (405, text));
    let (status, _, body) = request(node.address, &format!("DELETE /chat?id={token}"), "").await;
    let text = "Cannot terminate this connection using the DELETE endpoint.";
    assert_eq!((status, body.as_str()), (400, text));
}

#[tokio::test]
async fn a_connection_that_is_over_is_unknown() {
    let mut node = Node::start().await;
    let answer = negotiate(&node, "?negotiateVersion=1").await;
    let token = answer["connectionToken"].as_str().unwrap();
    let stream = TcpStream::connect(node.address).await.unwrap();
    let mut client = Client::upgrade(stream, &format!("/chat?id={token}")).await;
    client.shake_hands().await;
    drop(client);
    node.expect("connected").await;
    node.expect("disconnected: the transport broke").await;
    assert_eq!(
        request(node.address, &format!("GET /chat?id={token}"), WEBSOCKET)
            .await
            .0,
        404
    );
}

#[tokio::test]
async fn a_handshake_that_is_not_websocket_is_refused() {
    let node = Node::start().await;
    let old = WEBSOCKET.replace("13", "8");
    let (status, _, body) = request(node.address, "GET /chat", &old).await;
    assert_eq!(
        (status, body.as_str()),
        (426, "WebSocket version 13 is required.")
    );
    let no_key = WEBSOCKET.replace("Sec-WebSocket-Key", "X-Key");
    let (status, _, body) = request(node.address, "GET /chat", &no_key).await;
    assert_eq!(
        (status, body.as_str()),
        (400, "Sec-WebSocket-Key is missing.")
    );
}

#[tokio::test]
async fn a_method_can_read_the_request_that_opened_its_connection() {
    let node = Node::start().await;
    let mut client = node.client().await;
    assert_eq!(
        client.call("Header", json!(["x-test"])).await["result"],
        "yes"
    );
    assert_eq!(
        client.call("Header", json!(["x-other"])).await["result"],
        Value::Null
    );
}
