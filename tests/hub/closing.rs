//! How connections end. The official clients take every close code but 1000 for a failure.

use serde_json::{Value, json};

use crate::{
    client::{Client, Frame, PING, PONG},
    node::Node,
};

const NORMAL: Option<u16> = Some(1000);

#[tokio::test]
async fn a_close_by_the_client_is_answered_with_1000_whatever_it_says() {
    let mut node = Node::start().await;
    for code in [None, Some(1000), Some(1001), Some(4000)] {
        let mut client = node.client().await;
        client.close(code).await;
        assert_eq!(client.until_closed().await, (vec![], NORMAL), "{code:?}");
        assert!(client.hung_up().await);
        node.expect("connected").await;
        node.expect("disconnected: closed by the client").await;
    }
}

#[tokio::test]
async fn a_close_before_the_handshake_is_answered_too() {
    let node = Node::start().await;
    let mut client = Client::open(node.address).await;
    client.close(None).await;
    assert_eq!(client.until_closed().await, (vec![], NORMAL));
}

#[tokio::test]
async fn a_close_is_answered_at_once_while_a_method_is_running() {
    let mut node = Node::start().await;
    let mut client = node.client().await;
    client.invoke("1", "WaitForEnd", json!([])).await;
    node.expect("connected").await;
    node.expect("waiting").await;
    client.close(None).await;
    assert_eq!(client.until_closed().await, (vec![], NORMAL));
    node.expect("aborted").await;
    node.expect("disconnected: closed by the client").await;
}

#[tokio::test]
async fn a_close_message_is_answered_with_one() {
    let mut node = Node::start().await;
    let mut client = node.client().await;
    client.send(json!({"type": 7})).await;
    assert_eq!(
        client.until_closed().await,
        (vec![json!({"type": 7})], NORMAL)
    );
    node.expect("connected").await;
    node.expect("disconnected: closed by the client").await;

    let mut client = node.client().await;
    client.send(json!({"type": 7, "error": "tired"})).await;
    assert_eq!(
        client.until_closed().await,
        (vec![json!({"type": 7})], NORMAL)
    );
    node.expect("connected").await;
    node.expect("disconnected: closed by the client: tired")
        .await;
}

#[tokio::test]
async fn the_server_waits_for_the_clients_answer_to_its_close() {
    let node = Node::start().await;
    let mut client = node.client().await;
    client
        .send(json!({"type": 1, "target": "Abort", "arguments": []}))
        .await;
    assert_eq!(
        client.until_closed().await,
        (vec![json!({"type": 7})], NORMAL)
    );
    client.close(Some(1000)).await;
    assert!(client.hung_up().await);
}

#[tokio::test]
async fn a_connection_that_the_hub_aborts_must_not_reconnect() {
    let mut node = Node::start().await;
    let mut client = node.client().await;
    client
        .send(json!({"type": 1, "target": "Abort", "arguments": []}))
        .await;
    assert_eq!(
        client.until_closed().await,
        (vec![json!({"type": 7})], NORMAL)
    );
    node.expect("connected").await;
    node.expect("disconnected: ended by the hub").await;
}

#[tokio::test]
async fn a_client_that_on_connected_refuses_learns_why_and_must_not_reconnect() {
    let mut node = Node::start().await;
    let stream = tokio::net::TcpStream::connect(node.address).await.unwrap();
    let mut client = Client::upgrade(stream, "/chat?refuse").await;
    client.shake_hands().await;
    let close = json!({"type": 7, "error": "Connection closed with an error. HubException: you are not welcome"});
    assert_eq!(client.until_closed().await, (vec![close], NORMAL));
    node.expect("disconnected: ended by the hub").await;
}

#[tokio::test]
async fn a_lost_connection_is_noticed() {
    let mut node = Node::start().await;
    let client = node.client().await;
    node.expect("connected").await;
    assert_eq!(node.hub.connections(), 1);
    drop(client);
    node.expect("disconnected: the transport broke").await;
    assert_eq!(node.hub.connections(), 0);
}

#[tokio::test]
async fn a_handshake_that_fails_is_answered_and_closed() {
    let node = Node::start().await;
    for (handshake, error) in [
        (
            r#"{"protocol":"xml","version":1}"#,
            "The protocol 'xml' is not supported.",
        ),
        (
            r#"{"protocol":"json","version":3}"#,
            "The server does not support version 3 of the 'json' protocol.",
        ),
        (
            "hello",
            "An unexpected error occurred during connection handshake.",
        ),
        (
            "{}",
            "An unexpected error occurred during connection handshake.",
        ),
    ] {
        let mut client = Client::open(node.address).await;
        client.send_raw(&format!("{handshake}\x1e")).await;
        let expected: Vec<Value> = vec![json!({ "error": error })];
        assert_eq!(
            client.until_closed().await,
            (expected, NORMAL),
            "{handshake}"
        );
    }
}

#[tokio::test]
async fn a_websocket_ping_is_answered_while_a_method_is_running() {
    let mut node = Node::start().await;
    let mut client = node.client().await;
    client.invoke("1", "Wait", json!([])).await;
    node.expect("connected").await;
    node.expect("waiting").await;
    client.send_frame(0x80 | PING, b"are you there").await;
    let pong = Frame::Data {
        opcode: PONG,
        payload: b"are you there".to_vec(),
    };
    assert_eq!(client.frame().await, pong);
    node.state.go.notify_one();
}
