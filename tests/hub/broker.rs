//! What sends do while the broker cannot be reached. A proxy stands between the node and Redis.

use std::time::Duration;

use scaleout::{
    ErrorKind, State,
    hub::{HubOptions, WhenBrokerDown},
};
use scaleout_conformance::proxy::Proxy;
use serde_json::json;

use crate::node::{Node, redis};

struct Cut {
    node: Node,
    proxy: Proxy,
}

impl Cut {
    /// A node whose broker is away, and its client.
    async fn start(policy: WhenBrokerDown) -> (Self, crate::client::Client) {
        let proxy = Proxy::start("127.0.0.1:6379").await.unwrap();
        let url = redis().replace("127.0.0.1", &proxy.addr().to_string());
        let options = HubOptions::new().with_when_broker_down(policy);
        let node = Node::on(&url, options).await;
        let mut client = node.client().await;
        client.call("Join", json!(["room"])).await;
        proxy.refuse_new();
        proxy.reset();
        let mut health = node.backplane.watch_health();
        health
            .wait_for(|health| health.state == State::Interrupted)
            .await
            .unwrap();
        (Self { node, proxy }, client)
    }
}

#[tokio::test]
async fn a_send_waits_until_the_broker_is_back() {
    let (cut, mut client) = Cut::start(WhenBrokerDown::Wait).await;
    let context = cut.node.hub.context();
    assert_eq!(context.health().state, State::Interrupted);
    let sending = tokio::spawn(async move {
        let all = context.clients().all();
        all.send("message", ("late",)).await
    });
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!sending.is_finished());
    cut.proxy.heal();
    assert!(!sending.await.unwrap().unwrap().is_local());
    assert_eq!(client.event().await.1, json!(["late"]));
}

#[tokio::test]
async fn a_send_fails_at_once_if_the_hub_prefers_that() {
    let (cut, mut client) = Cut::start(WhenBrokerDown::Fail).await;
    let all = cut.node.hub.context().clients().all();
    let error = all.send("message", ("never",)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    // Clients of this node are reached the short way.
    client.call("TellCaller", json!(["here"])).await;
}

#[tokio::test]
async fn a_send_reaches_this_nodes_clients_if_the_hub_prefers_that() {
    let (cut, mut client) = Cut::start(WhenBrokerDown::DeliverLocally).await;
    let clients = cut.node.hub.context().clients();
    let sent = clients.all().send("message", ("all",)).await.unwrap();
    assert!(sent.is_local());
    assert_eq!(client.event().await.1, json!(["all"]));
    let group = clients.group("room");
    assert!(group.send("message", ("room",)).await.unwrap().is_local());
    assert_eq!(client.event().await.1, json!(["room"]));
    // When the broker is back, what was sent meanwhile does not come again.
    cut.proxy.heal();
    let mut health = cut.node.backplane.watch_health();
    health
        .wait_for(|health| health.state == State::Connected)
        .await
        .unwrap();
    let sent = clients.all().send("message", ("back",)).await.unwrap();
    assert!(!sent.is_local());
    assert_eq!(client.event().await.1, json!(["back"]));
}
