//! Clients that come back to their connection with another socket.

use std::time::Duration;

use scaleout::hub::HubOptions;
use serde_json::{Value, json};
use tokio::net::TcpStream;

use crate::{
    client::Client,
    http::{WEBSOCKET, request},
    node::Node,
};

async fn node() -> Node {
    Node::with(HubOptions::new().with_allow_stateful_reconnects(true)).await
}

async fn negotiate(node: &Node) -> String {
    let line = "POST /chat/negotiate?negotiateVersion=1&UseStatefulReconnect=True";
    let (_, _, answer) = request(node.address, line, "").await;
    let answer: Value = serde_json::from_str(&answer).unwrap();
    assert_eq!(answer["useStatefulReconnect"], true);
    answer["connectionToken"].as_str().unwrap().to_owned()
}

async fn attach(node: &Node, token: &str) -> Client {
    let stream = TcpStream::connect(node.address).await.unwrap();
    Client::upgrade(stream, &format!("/chat?id={token}")).await
}

/// A client that counts messages, and its token.
async fn connect(node: &Node) -> (Client, String) {
    let token = negotiate(node).await;
    let mut client = attach(node, &token).await;
    client
        .send_raw("{\"protocol\":\"json\",\"version\":2}\x1e")
        .await;
    assert_eq!(client.receive().await, json!({}));
    (client, token)
}

#[tokio::test]
async fn what_happened_meanwhile_is_sent_again() {
    let mut node = node().await;
    let (mut client, token) = connect(&node).await;
    node.expect("connected").await;
    let id = client.call("Id", json!([])).await["result"].take();
    drop(client);
    node.hub
        .context()
        .clients()
        .all()
        .send("message", ("meanwhile",))
        .await
        .unwrap();

    let mut client = attach(&node, &token).await;
    assert_eq!(client.receive().await, json!({"type": 9, "sequenceId": 1}));
    assert_eq!(client.receive().await["result"], id);
    assert_eq!(client.receive().await["arguments"], json!(["meanwhile"]));
    // The call comes again, and is not made again.
    client.send(json!({"type": 9, "sequenceId": 1})).await;
    client.invoke("call", "Id", json!([])).await;
    assert_eq!(client.call("Add", json!([1, 2])).await["result"], 3);
}

#[tokio::test]
async fn what_was_acknowledged_is_not_sent_again() {
    let node = node().await;
    let (mut client, token) = connect(&node).await;
    client.call("Add", json!([1, 2])).await;
    client.send(json!({"type": 8, "sequenceId": 1})).await;
    client.call("Add", json!([3, 4])).await;
    drop(client);
    let mut client = attach(&node, &token).await;
    assert_eq!(client.receive().await, json!({"type": 9, "sequenceId": 2}));
    assert_eq!(client.receive().await["result"], 7);
}

#[tokio::test]
async fn the_server_acknowledges_what_arrived() {
    let node = node().await;
    let (mut client, _) = connect(&node).await;
    client.call("Add", json!([1, 2])).await;
    client.call("Add", json!([1, 2])).await;
    assert_eq!(client.receive().await, json!({"type": 8, "sequenceId": 2}));
}

#[tokio::test]
async fn a_new_socket_takes_the_place_of_one_that_is_still_there() {
    let mut node = node().await;
    let (mut old, token) = connect(&node).await;
    node.expect("connected").await;
    let mut new = attach(&node, &token).await;
    assert_eq!(old.until_closed().await.1, Some(1000));
    assert_eq!(new.receive().await, json!({"type": 9, "sequenceId": 1}));
    assert_eq!(new.call("Add", json!([1, 2])).await["result"], 3);
}

#[tokio::test]
async fn a_sequence_that_was_never_sent_ends_the_connection() {
    let node = node().await;
    let (mut client, _) = connect(&node).await;
    client.send(json!({"type": 9, "sequenceId": 5})).await;
    let error = "Connection closed with an error.";
    let close = json!({"type": 7, "error": error, "allowReconnect": true});
    assert_eq!(client.until_closed().await, (vec![close], Some(1000)));
}

#[tokio::test]
async fn a_client_that_does_not_come_back_is_gone_after_a_while() {
    let options = HubOptions::new()
        .with_allow_stateful_reconnects(true)
        .with_disconnect_timeout(Duration::from_millis(100));
    let mut node = Node::with(options).await;
    let (client, token) = connect(&node).await;
    drop(client);
    node.expect("connected").await;
    node.expect("disconnected: the transport broke").await;
    let line = format!("GET /chat?id={token}");
    assert_eq!(request(node.address, &line, WEBSOCKET).await.0, 404);
}

#[tokio::test]
async fn a_client_that_leaves_in_peace_cannot_come_back() {
    let mut node = node().await;
    let (mut client, token) = connect(&node).await;
    client.send(json!({"type": 7})).await;
    assert_eq!(
        client.until_closed().await,
        (vec![json!({"type": 7})], Some(1000))
    );
    node.expect("connected").await;
    node.expect("disconnected: closed by the client").await;
    let line = format!("GET /chat?id={token}");
    assert_eq!(request(node.address, &line, WEBSOCKET).await.0, 404);
}

#[tokio::test]
async fn a_client_that_does_not_count_has_one_socket() {
    let mut node = node().await;
    let token = negotiate(&node).await;
    let mut client = attach(&node, &token).await;
    client.shake_hands().await;
    drop(client);
    node.expect("connected").await;
    node.expect("disconnected: the transport broke").await;
}
