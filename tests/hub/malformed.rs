//! Clients that do not keep to the protocol lose their connection, and nobody else loses anything.

use scaleout::hub::HubOptions;
use serde_json::{Value, json};

use crate::{
    client::{BINARY, Client, TEXT},
    node::Node,
};

const NORMAL: Option<u16> = Some(1000);

fn closed_with_error() -> Vec<Value> {
    vec![json!({"type": 7, "error": "Connection closed with an error.", "allowReconnect": true})]
}

#[tokio::test]
async fn a_message_that_cannot_be_read_ends_the_connection() {
    let node = Node::start().await;
    for message in [
        "",
        "garbage",
        "[]",
        "{}",
        r#"{"type":1}"#,
        r#"{"type":1,"invocationId":null,"target":"a","arguments":[]}"#,
    ] {
        let mut client = node.client().await;
        client.send_raw(&format!("{message}\x1e")).await;
        assert_eq!(
            client.until_closed().await,
            (closed_with_error(), NORMAL),
            "{message}"
        );
    }
}

#[tokio::test]
async fn what_is_wrong_with_it_is_told_with_detailed_errors() {
    let mut node = Node::with(HubOptions::new().with_enable_detailed_errors(true)).await;
    let mut client = node.client().await;
    client.send_raw("{\"type\":1,\"arguments\":[]}\x1e").await;
    let (messages, code) = client.until_closed().await;
    assert_eq!(
        (messages[0]["error"].as_str().unwrap(), code),
        (
            "Connection closed with an error. InvalidDataException: Missing required property 'target'.",
            NORMAL
        )
    );
    node.expect("connected").await;
    node.expect("disconnected: the client broke the protocol: Missing required property 'target'.")
        .await;
}

#[tokio::test]
async fn bytes_that_are_no_websocket_end_the_connection_with_1002() {
    let mut node = Node::start().await;
    let mut bystander = node.client().await;
    node.expect("connected").await;
    for garbage in [
        &b"\xff\xff\xff\xff\xff\xff\xff\xff"[..],
        // A continuation of nothing, a ping in two frames, an opcode that does not exist.
        &b"\x80\x80\x01\x02\x03\x04"[..],
        &b"\x09\x80\x01\x02\x03\x04"[..],
        &b"\x83\x80\x01\x02\x03\x04"[..],
        // What no client may send without a mask (RFC 6455, section 5.1): data, a ping, a close.
        &b"\x81\x0b{\"type\":6}\x1e"[..],
        &b"\x89\x00"[..],
        &b"\x88\x02\x03\xe8"[..],
    ] {
        let mut client = node.client().await;
        client.send_bytes(garbage).await;
        assert_eq!(
            client.until_closed().await,
            (vec![], Some(1002)),
            "{garbage:?}"
        );
        node.expect("connected").await;
        node.expect(
            "disconnected: the client broke the protocol: The transport received malformed data.",
        )
        .await;
    }
    assert_eq!(bystander.call("Add", json!([1, 2])).await["result"], 3);
}

#[tokio::test]
async fn text_that_is_not_utf_8_ends_the_connection_with_1007() {
    let node = Node::start().await;
    let mut client = node.client().await;
    client.send_frame(0x80 | TEXT, b"\xff\xfe").await;
    assert_eq!(client.until_closed().await, (vec![], Some(1007)));
}

#[tokio::test]
async fn a_client_that_closes_in_the_middle_of_a_message_broke_the_protocol() {
    let mut node = Node::start().await;
    let mut client = node.client().await;
    client.send_raw("{\"type\":").await;
    client.close(None).await;
    assert_eq!(client.until_closed().await.1, NORMAL);
    node.expect("connected").await;
    node.expect("disconnected: the client broke the protocol: Connection terminated while reading a message.")
        .await;
}

#[tokio::test]
async fn where_units_and_frames_begin_and_end_does_not_matter() {
    let node = Node::start().await;
    let mut client = Client::open(node.address).await;
    let call = json!({"type": 1, "invocationId": "1", "target": "Echo", "arguments": ["ö"]});
    let stream = format!("{{\"protocol\":\"json\",\"version\":1}}\x1e{call}\x1e");
    // One byte per frame, in messages of three frames, which cuts the ö in two.
    for message in stream.as_bytes().chunks(3) {
        let last = message.len() - 1;
        for (index, byte) in message.iter().enumerate() {
            let opcode = if index == 0 { BINARY } else { 0 };
            let fin = if index == last { 0x80 } else { 0 };
            client.send_frame(fin | opcode, &[*byte]).await;
        }
    }
    assert_eq!(client.receive().await, json!({}));
    assert_eq!(client.receive().await["result"], "ö");
}

#[tokio::test]
async fn the_first_messages_may_come_with_the_handshake() {
    let node = Node::start().await;
    let mut client = Client::open(node.address).await;
    let call = json!({"type": 1, "invocationId": "1", "target": "Add", "arguments": [1, 2]});
    client
        .send_raw(&format!(
            "{{\"protocol\":\"json\",\"version\":1}}\x1e{{\"type\":6}}\x1e{call}\x1e"
        ))
        .await;
    assert_eq!(client.receive().await, json!({}));
    assert_eq!(client.receive().await["result"], 3);
}
