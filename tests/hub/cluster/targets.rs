//! Who gets what is sent to whom, whatever node it is on.

use std::time::Duration;

use scaleout::hub::{Hub, HubContext, HubOptions};
use serde_json::json;

use super::{Cluster, answer, call, id, message, on_every_backplane, tell};
use crate::{client::Client, node::Node};

on_every_backplane! {
    all_are_all_clients_of_all_nodes,
    others_are_all_but_the_caller,
    the_caller_is_the_caller_alone,
    a_connection_is_reached_on_whatever_node_it_is,
    a_connection_that_does_not_exist_is_nobody,
    a_user_is_reached_on_all_connections,
    everybody_sees_one_order,
    a_send_that_the_backplane_cannot_store_fails_the_method,
    hubs_of_different_names_do_not_meet,
    a_process_without_clients_is_heard_and_gets_answers,
}

async fn all_are_all_clients_of_all_nodes(url: String) {
    let cluster = Cluster::start(&url).await;
    let (mut a, mut b) = cluster.pair().await;
    tell(&mut a, "TellAll", json!(["hello"])).await;
    assert_eq!(a.event().await, message("hello"));
    assert_eq!(b.event().await, message("hello"));
}

async fn others_are_all_but_the_caller(url: String) {
    let cluster = Cluster::start(&url).await;
    let (mut a, mut b) = cluster.pair().await;
    tell(&mut a, "TellOthers", json!(["others"])).await;
    // It travels the same way, so it would have come after the first one.
    tell(&mut a, "TellAll", json!(["all"])).await;
    assert_eq!(a.event().await, message("all"));
    assert_eq!(b.event().await, message("others"));
    assert_eq!(b.event().await, message("all"));
}

async fn the_caller_is_the_caller_alone(url: String) {
    let cluster = Cluster::start(&url).await;
    let (mut a, mut b) = cluster.pair().await;
    tell(&mut a, "TellCaller", json!(["caller"])).await;
    assert_eq!(a.event().await, message("caller"));
    tell(&mut a, "TellAll", json!(["all"])).await;
    assert_eq!(b.event().await, message("all"));
}

async fn a_connection_is_reached_on_whatever_node_it_is(url: String) {
    let cluster = Cluster::start(&url).await;
    let (mut a, mut b) = cluster.pair().await;
    let (a_id, b_id) = (id(&mut a).await, id(&mut b).await);
    tell(&mut a, "TellSome", json!([[b_id], "to b"])).await;
    assert_eq!(b.event().await, message("to b"));
    tell(&mut a, "TellSome", json!([[a_id, b_id], "to both"])).await;
    assert_eq!(a.event().await, message("to both"));
    assert_eq!(b.event().await, message("to both"));
}

async fn a_connection_that_does_not_exist_is_nobody(url: String) {
    let cluster = Cluster::start(&url).await;
    let (mut a, mut b) = cluster.pair().await;
    let b_id = id(&mut b).await;
    drop(b);
    for stranger in [b_id, json!("nobody"), json!("")] {
        call(&mut a, "TellSome", json!([[stranger], "hello?"])).await;
    }
}

async fn a_user_is_reached_on_all_connections(url: String) {
    let cluster = Cluster::start(&url).await;
    let mut adas = [
        cluster.nodes[0].client_of("ada").await,
        cluster.nodes[1].client_of("ada").await,
    ];
    let mut bob = cluster.nodes[0].client_of("bob").await;
    for client in &mut adas {
        id(client).await;
    }
    tell(&mut bob, "TellUser", json!(["ada", "for ada"])).await;
    for client in &mut adas {
        assert_eq!(client.event().await, message("for ada"));
    }
    tell(&mut bob, "TellUser", json!(["bob", "for bob"])).await;
    assert_eq!(bob.event().await, message("for bob"));
}

async fn everybody_sees_one_order(url: String) {
    const EACH: usize = 200;
    let cluster = Cluster::start(&url).await;
    let (mut a, mut b) = cluster.pair().await;
    let (a_side, b_side) = (
        cluster.nodes[0].hub.context(),
        cluster.nodes[1].hub.context(),
    );
    let send = async |context: HubContext, name: &str| {
        let all = context.clients().all();
        for n in 0..EACH {
            all.send("message", (format!("{name}{n}"),)).await.unwrap();
        }
    };
    let read = async |client: &mut Client| {
        let mut seen = Vec::new();
        while seen.len() < 2 * EACH {
            seen.push(client.event().await.1);
        }
        seen
    };
    let (_, _, seen_by_a, seen_by_b) = tokio::join!(
        send(a_side, "a"),
        send(b_side, "b"),
        read(&mut a),
        read(&mut b)
    );
    assert_eq!(seen_by_a, seen_by_b);
    let of_a = seen_by_a
        .iter()
        .filter(|text| text[0].as_str().unwrap().starts_with('a'));
    let in_order: Vec<_> = (0..EACH).map(|n| json!([format!("a{n}")])).collect();
    assert!(of_a.eq(&in_order));
}

async fn a_send_that_the_backplane_cannot_store_fails_the_method(url: String) {
    let cluster = Cluster::start(&url).await;
    let (mut a, _b) = cluster.pair().await;
    cluster.nodes[0]
        .backplane
        .close(Duration::from_secs(5))
        .await
        .unwrap();
    let answer = a.call("TellAll", json!(["hello"])).await;
    assert_eq!(
        answer["error"],
        "An unexpected error occurred invoking 'TellAll' on the server."
    );
    let answer = a.call("Join", json!(["room"])).await;
    assert_eq!(
        answer["error"],
        "An unexpected error occurred invoking 'Join' on the server."
    );
    // What needs no backplane goes on.
    call(&mut a, "TellCaller", json!(["still here"])).await;
}

async fn hubs_of_different_names_do_not_meet(url: String) {
    struct Other;
    let node = Node::on(&url, HubOptions::new()).await;
    let other = Hub::builder(Other).build(&node.backplane).await.unwrap();
    let mut client = node.client().await;
    other
        .context()
        .clients()
        .all()
        .send("message", ("not for you",))
        .await
        .unwrap();
    node.hub
        .context()
        .clients()
        .all()
        .send("message", ("for you",))
        .await
        .unwrap();
    assert_eq!(client.event().await, message("for you"));
}

async fn a_process_without_clients_is_heard_and_gets_answers(url: String) {
    let cluster = Cluster::start(&url).await;
    let (mut a, mut b) = cluster.pair().await;
    let b_id = id(&mut b).await;
    id(&mut a).await;
    let backplane = scaleout::connect(&url).await.unwrap();
    let hub = HubContext::connect(&backplane, "TestHub").await.unwrap();
    let sent = hub
        .clients()
        .all()
        .send("message", ("news",))
        .await
        .unwrap();
    assert!(!sent.is_local() && sent.cursors().len() == 1);
    assert_eq!(a.event().await, message("news"));
    assert_eq!(b.event().await, message("news"));
    let client = hub.clients().client(b_id.as_str().unwrap());
    let (answered, ()) = tokio::join!(
        client.invoke::<String>("question", ("who?",)),
        answer(&mut b, "result", json!("b"))
    );
    assert_eq!(answered.unwrap(), "b");
    assert!(hub.join(b_id.as_str().unwrap(), "room").await.unwrap());
    let members = hub.members("room").await.unwrap();
    assert_eq!(members.len(), 1);
    assert_eq!(members[0].connection_id.as_str(), b_id.as_str().unwrap());
}
