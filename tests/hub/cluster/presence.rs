//! Who is in a group, on nodes that come and go.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Cluster, call, impatient, node_to_die, on_every_backplane};
use crate::node::Node;

on_every_backplane! {
    who_is_in_a_group_is_known_everywhere,
    who_was_on_a_node_that_died_is_no_longer_in_a_group,
    a_node_that_closes_is_not_waited_for,
}

async fn who_is_in_a_group_is_known_everywhere(url: String) {
    let cluster = Cluster::start(&url).await;
    let mut ada = cluster.nodes[0].client_of("ada").await;
    let mut bob = cluster.nodes[1].client_of("bob").await;
    for client in [&mut ada, &mut bob] {
        call(client, "Join", json!(["room"])).await;
    }
    let users = |members: Value| {
        let members = members["result"].as_array().unwrap().clone();
        let mut users: Vec<_> = members.iter().map(|one| one["userId"].clone()).collect();
        users.sort_by_key(Value::to_string);
        users
    };
    for client in [&mut ada, &mut bob] {
        let members = client.call("Members", json!(["room"])).await;
        assert_eq!(users(members), ["ada", "bob"]);
    }
    call(&mut ada, "Leave", json!(["room"])).await;
    let members = bob.call("Members", json!(["room"])).await;
    assert_eq!(users(members), ["bob"]);
}

async fn who_was_on_a_node_that_died_is_no_longer_in_a_group(url: String) {
    let (a, b) = (Node::on(&url, impatient()).await, node_to_die(&url).await);
    let (mut here, mut there) = (a.client().await, b.client().await);
    for client in [&mut here, &mut there] {
        call(client, "Join", json!(["room"])).await;
    }
    let count = |members: Value| members["result"].as_array().unwrap().len();
    assert_eq!(count(here.call("Members", json!(["room"])).await), 2);
    drop(b);
    // It waits for the reply of the node until that counts as dead.
    assert_eq!(count(here.call("Members", json!(["room"])).await), 1);
}

async fn a_node_that_closes_is_not_waited_for(url: String) {
    let cluster = Cluster::start(&url).await;
    let (mut a, mut b) = cluster.pair().await;
    call(&mut a, "Join", json!(["room"])).await;
    call(&mut b, "Join", json!(["room"])).await;
    drop(b);
    cluster.nodes[1].hub.close(Duration::from_secs(5)).await;
    let members = a.call("Members", json!(["room"]));
    let members = tokio::time::timeout(Duration::from_secs(5), members).await;
    assert_eq!(members.unwrap()["result"].as_array().unwrap().len(), 1);
}
