//! Closing a hub, and dropping it.

use std::time::Duration;

use scaleout::{ErrorKind, hub::HubOptions};
use serde_json::json;
use tokio::time::Instant;

use crate::{client::Frame, node::Node};

const NORMAL: Option<u16> = Some(1000);
const SOON: Duration = Duration::from_secs(10);

#[tokio::test]
async fn clients_are_told_to_come_back_elsewhere() {
    let mut node = Node::start().await;
    let mut client = node.client().await;
    let close = async { node.hub.close(SOON).await };
    let leave = async {
        assert_eq!(
            client.until_closed().await,
            (vec![json!({"type": 7, "allowReconnect": true})], NORMAL)
        );
        client.close(Some(1000)).await;
    };
    tokio::join!(close, leave);
    assert_eq!(node.hub.connections(), 0);
    node.expect("connected").await;
    node.expect("disconnected: the server is closing").await;

    let after = node
        .hub
        .context()
        .clients()
        .all()
        .send("message", ("late",))
        .await;
    assert_eq!(after.unwrap_err().kind(), ErrorKind::Closed);
}

#[tokio::test]
async fn a_running_method_still_answers() {
    let mut node = Node::start().await;
    let mut client = node.client().await;
    client.invoke("1", "Wait", json!([])).await;
    node.expect("connected").await;
    node.expect("waiting").await;
    let hub = node.hub.clone();
    let closing = tokio::spawn(async move { hub.close(SOON).await });
    node.state.go.notify_one();
    let (messages, code) = client.until_closed().await;
    assert_eq!(
        (messages, code),
        (
            vec![
                json!({"type": 1, "target": "waited", "arguments": []}),
                json!({"type": 3, "invocationId": "1", "result": null}),
                json!({"type": 7, "allowReconnect": true}),
            ],
            NORMAL
        )
    );
    client.close(Some(1000)).await;
    closing.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_method_that_does_not_end_delays_the_goodbye_but_not_the_end() {
    let mut node = Node::start().await;
    let mut client = node.client_in_memory().await;
    client.shake_hands().await;
    client.invoke("1", "Wait", json!([])).await;
    node.expect("connected").await;
    node.expect("waiting").await;
    let start = Instant::now();
    let close = node.hub.close(SOON);
    let leave = async {
        let (messages, code) = client.until_closed().await;
        assert_eq!(
            (messages.last(), code),
            (Some(&json!({"type": 7, "allowReconnect": true})), NORMAL)
        );
    };
    tokio::join!(close, leave);
    assert!(start.elapsed() >= SOON && start.elapsed() < SOON + Duration::from_secs(1));
}

#[tokio::test]
async fn nobody_can_connect_to_a_hub_that_is_closing() {
    let node = Node::start().await;
    node.hub.close(SOON).await;
    let (status, ..) =
        crate::http::request(node.address, "POST /chat/negotiate?negotiateVersion=1", "").await;
    assert_eq!(status, 503);
    let (status, ..) =
        crate::http::request(node.address, "GET /chat", crate::http::WEBSOCKET).await;
    assert_eq!(status, 503);
}

#[tokio::test]
async fn dropping_the_hub_drops_its_connections_and_leaves_no_task() {
    let before = tokio::runtime::Handle::current()
        .metrics()
        .num_alive_tasks();
    let mut node = Node::with(HubOptions::new()).await;
    let mut client = node.client().await;
    client.call("Join", json!(["room"])).await;
    client.invoke("1", "Wait", json!([])).await;
    node.expect("connected").await;
    node.expect("waiting").await;

    let backplane = node.backplane.clone();
    drop(node);
    assert_eq!(client.frame().await, Frame::End);
    backplane.close(SOON).await.unwrap();
    drop(backplane);
    while tokio::runtime::Handle::current()
        .metrics()
        .num_alive_tasks()
        > before
    {
        tokio::task::yield_now().await;
    }
}
