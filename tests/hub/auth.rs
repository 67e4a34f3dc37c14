//! Who a client is, and what it may do.

use std::time::Duration;

use scaleout::hub::HubOptions;
use serde_json::{Value, json};

use crate::{
    http::{WEBSOCKET, exchange, request},
    node::Node,
};

#[tokio::test]
async fn a_client_is_who_its_token_says() {
    let node = Node::start().await;
    let mut ada = node.client_of("ada").await;
    assert_eq!(ada.call("User", json!([])).await["result"], "ada");
    let mut anonymous = node.client().await;
    assert_eq!(
        anonymous.call("User", json!([])).await["result"],
        Value::Null
    );
}

#[tokio::test]
async fn a_client_without_a_valid_token_gets_no_connection() {
    let node = Node::start().await;
    for line in [
        "POST /chat/negotiate?access_token=forged",
        "GET /chat?access_token=forged",
        "POST /chat?access_token=forged&id=x",
    ] {
        let (head, body) = exchange(node.address, line, "", b"").await;
        assert_eq!((head.status, body.as_slice()), (401, &b""[..]), "{line}");
        assert_eq!(head.field("www-authenticate"), Some("bearer"));
    }
    let headers = format!("Authorization: Bearer nobody\r\n{WEBSOCKET}");
    assert_eq!(request(node.address, "GET /chat", &headers).await.0, 403);
}

#[tokio::test]
async fn a_connection_belongs_to_the_user_who_made_it() {
    let node = Node::start().await;
    let line = "POST /chat/negotiate?access_token=ada";
    let (_, _, answer) = request(node.address, line, "").await;
    let answer: Value = serde_json::from_str(&answer).unwrap();
    let id = answer["connectionId"].as_str().unwrap();
    let poll = |user: &str| format!("GET /chat?id={id}&access_token={user}");
    assert_eq!(request(node.address, &poll("bob"), "").await.0, 403);
    assert_eq!(request(node.address, &poll("ada"), "").await.0, 200);
}

#[tokio::test]
async fn a_method_can_be_for_some_users_only() {
    let node = Node::start().await;
    let mut admin = node.client_of("admin").await;
    assert_eq!(
        admin.call("AdminsOnly", json!([])).await["result"],
        "welcome"
    );
    let mut ada = node.client_of("ada").await;
    assert_eq!(
        ada.call("adminsonly", json!([])).await["error"],
        "Failed to invoke 'adminsonly' because user is unauthorized"
    );
}

#[tokio::test]
async fn a_connection_can_end_with_its_authentication() {
    let options = HubOptions::new().with_close_on_authentication_expiration(true);
    let mut node = Node::with(options).await;
    let mut client = node.client_of("expiring").await;
    assert_eq!(
        client.until_closed().await,
        (vec![json!({"type": 7, "allowReconnect": true})], Some(1000))
    );
    node.expect("connected").await;
    node.expect("disconnected: the user's authentication has expired")
        .await;
    // By default it does not.
    let node = Node::start().await;
    let mut client = node.client_of("expiring").await;
    tokio::time::sleep(Duration::from_millis(150)).await;
    assert_eq!(client.call("Add", json!([1, 2])).await["result"], 3);
}
