//! Two nodes on one backplane: who gets what is sent to whom.

use scaleout::{
    ErrorKind,
    hub::{Hub, HubError, HubOptions},
};
use serde_json::{Value, json};

use crate::{
    client::Client,
    node::{Node, memory},
};

macro_rules! on_every_backplane {
    ($($test:ident,)*) => {
        mod over_memory {
            $(#[tokio::test]
            async fn $test() {
                super::$test(crate::node::memory()).await;
            })*
        }

        /// They need a Redis on its usual port.
        #[cfg(feature = "redis")]
        mod over_redis {
            $(#[tokio::test]
            async fn $test() {
                super::$test(crate::node::redis()).await;
            })*
        }
    };
}

on_every_backplane! {
    all_are_all_clients_of_all_nodes,
    others_are_all_but_the_caller,
    the_caller_is_the_caller_alone,
    a_connection_is_reached_on_whatever_node_it_is,
    a_connection_that_does_not_exist_is_nobody,
    a_group_spans_nodes,
    a_join_is_effective_when_it_returns,
    joining_twice_is_joining_once_and_so_is_leaving,
    who_has_left_a_group_gets_nothing_more,
    a_group_can_be_founded_again_after_its_last_member_left,
    everybody_sees_one_order,
    a_send_that_the_backplane_cannot_store_fails_the_method,
    a_group_that_cannot_be_a_topic_fails_the_method,
    hubs_of_different_names_do_not_meet,
}

struct Cluster {
    nodes: [Node; 2],
}

impl Cluster {
    async fn start(url: &str) -> Self {
        let options = HubOptions::new;
        Self {
            nodes: [
                Node::on(url, options()).await,
                Node::on(url, options()).await,
            ],
        }
    }

    /// A client on each node.
    async fn pair(&self) -> (Client, Client) {
        (self.nodes[0].client().await, self.nodes[1].client().await)
    }
}

async fn id(client: &mut Client) -> Value {
    client.call("Id", json!([])).await["result"].take()
}

/// Calls a method that must not fail.
async fn call(client: &mut Client, target: &str, arguments: Value) {
    let answer = client.call(target, arguments).await;
    assert_eq!(answer.get("error"), None);
}

/// Sends without waiting for an answer, so that no event is missed.
async fn tell(client: &mut Client, target: &str, arguments: Value) {
    client
        .send(json!({"type": 1, "target": target, "arguments": arguments}))
        .await;
}

fn message(text: &str) -> (String, Value) {
    ("message".to_owned(), json!([text]))
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

async fn everybody_sees_one_order(url: String) {
    const EACH: usize = 200;
    let cluster = Cluster::start(&url).await;
    let (mut a, mut b) = cluster.pair().await;
    let (a_side, b_side) = (
        cluster.nodes[0].hub.context(),
        cluster.nodes[1].hub.context(),
    );
    let send = async |context: scaleout::hub::HubContext, name: &str| {
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
        .close(std::time::Duration::from_secs(5))
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

async fn a_group_that_cannot_be_a_topic_fails_the_method(url: String) {
    let cluster = Cluster::start(&url).await;
    let (mut a, _b) = cluster.pair().await;
    for name in [String::new(), "x".repeat(300)] {
        assert!(a.call("Join", json!([name])).await["error"].is_string());
        assert!(a.call("TellGroup", json!([name, "hello"])).await["error"].is_string());
    }
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

#[tokio::test]
async fn a_hub_that_makes_no_sense_is_not_built() {
    struct Hubless;
    let backplane = scaleout::connect(&memory()).await.unwrap();
    let kind = |outcome: scaleout::Result<Hub>| outcome.unwrap_err().kind();
    let twice = Hub::builder(Hubless)
        .method("Do", async |_: &Hubless| Ok::<_, HubError>(()))
        .method("DO", async |_: &Hubless| Ok::<_, HubError>(()));
    assert_eq!(kind(twice.build(&backplane).await), ErrorKind::InvalidInput);
    let named = Hub::builder(Hubless).name("a/b");
    assert_eq!(kind(named.build(&backplane).await), ErrorKind::InvalidInput);
    let options = HubOptions::new().with_maximum_parallel_invocations_per_client(0);
    let hub = Hub::builder(Hubless).options(options);
    assert_eq!(kind(hub.build(&backplane).await), ErrorKind::InvalidInput);
}
