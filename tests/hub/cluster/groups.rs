//! Groups whose members are on several nodes.

use serde_json::json;

use super::{Cluster, call, id, message, on_every_backplane, tell};

on_every_backplane! {
    a_group_spans_nodes,
    a_join_is_effective_when_it_returns,
    joining_twice_is_joining_once_and_so_is_leaving,
    who_has_left_a_group_gets_nothing_more,
    a_group_can_be_founded_again_after_its_last_member_left,
    a_group_that_cannot_be_a_topic_fails_the_method,
    another_nodes_connection_joins_and_leaves,
}

async fn a_group_spans_nodes(url: String) {
    let cluster = Cluster::start(&url).await;
    let (mut a, mut b) = cluster.pair().await;
    let mut outsider = cluster.nodes[1].client().await;
    call(&mut a, "Join", json!(["room"])).await;
    call(&mut b, "Join", json!(["room"])).await;
    tell(&mut outsider, "TellGroup", json!(["room", "from outside"])).await;
    assert_eq!(a.event().await, message("from outside"));
    assert_eq!(b.event().await, message("from outside"));

    tell(&mut a, "TellOthersInGroup", json!(["room", "from a"])).await;
    tell(&mut a, "TellGroup", json!(["room", "to the room"])).await;
    assert_eq!(a.event().await, message("to the room"));
    assert_eq!(b.event().await, message("from a"));

    tell(&mut a, "TellAll", json!(["to all"])).await;
    assert_eq!(outsider.event().await, message("to all"));
}

async fn a_join_is_effective_when_it_returns(url: String) {
    let cluster = Cluster::start(&url).await;
    let (mut a, mut b) = cluster.pair().await;
    for n in 0..50 {
        let group = format!("room/{n}");
        call(&mut a, "Join", json!([group])).await;
        call(&mut b, "TellGroup", json!([group, "welcome"])).await;
        assert_eq!(a.event().await, message("welcome"));
    }
}

async fn joining_twice_is_joining_once_and_so_is_leaving(url: String) {
    let cluster = Cluster::start(&url).await;
    let (mut a, mut b) = cluster.pair().await;
    for _ in 0..2 {
        call(&mut a, "Join", json!(["room"])).await;
    }
    for text in ["1", "2"] {
        call(&mut b, "TellGroup", json!(["room", text])).await;
        assert_eq!(a.event().await, message(text));
    }
    for _ in 0..2 {
        call(&mut a, "Leave", json!(["room"])).await;
    }
}

async fn who_has_left_a_group_gets_nothing_more(url: String) {
    let cluster = Cluster::start(&url).await;
    let (mut a, mut b) = cluster.pair().await;
    let mut stays = cluster.nodes[0].client().await;
    for client in [&mut a, &mut stays] {
        call(client, "Join", json!(["room"])).await;
    }
    call(&mut a, "Leave", json!(["room"])).await;
    call(&mut b, "TellGroup", json!(["room", "still there?"])).await;
    assert_eq!(stays.event().await, message("still there?"));
    // A node gives a message to all members of a group before it takes in new ones.
    a.invoke("fence", "Join", json!(["another room"])).await;
    assert_eq!(a.receive().await["invocationId"], "fence");
}

async fn a_group_can_be_founded_again_after_its_last_member_left(url: String) {
    let cluster = Cluster::start(&url).await;
    let (mut a, mut b) = cluster.pair().await;
    for n in 0..20 {
        call(&mut a, "Join", json!(["room"])).await;
        tell(&mut b, "TellGroup", json!(["room", n.to_string()])).await;
        assert_eq!(a.event().await, message(&n.to_string()));
        call(&mut a, "Leave", json!(["room"])).await;
    }
}

async fn a_group_that_cannot_be_a_topic_fails_the_method(url: String) {
    let cluster = Cluster::start(&url).await;
    let (mut a, _b) = cluster.pair().await;
    for name in [String::new(), "x".repeat(300)] {
        assert!(a.call("Join", json!([name])).await["error"].is_string());
        assert!(a.call("TellGroup", json!([name, "hello"])).await["error"].is_string());
    }
}

async fn another_nodes_connection_joins_and_leaves(url: String) {
    let cluster = Cluster::start(&url).await;
    let (mut a, mut b) = cluster.pair().await;
    let b_id = id(&mut b).await;
    for _ in 0..2 {
        let joined = a.call("JoinOther", json!([b_id, "room"])).await;
        assert_eq!(joined["result"], true);
    }
    tell(&mut a, "TellGroup", json!(["room", "in"])).await;
    assert_eq!(b.event().await, message("in"));
    let left = a.call("LeaveOther", json!([b_id, "room"])).await;
    assert_eq!(left["result"], true);
    tell(&mut a, "TellGroup", json!(["room", "out"])).await;
    call(&mut a, "Join", json!(["room"])).await;
    tell(&mut a, "TellAll", json!(["all"])).await;
    assert_eq!(b.event().await, message("all"));
    for target in ["JoinOther", "LeaveOther"] {
        let nobody = a.call(target, json!(["nobody", "room"])).await;
        assert_eq!(nobody["result"], false);
    }
}
