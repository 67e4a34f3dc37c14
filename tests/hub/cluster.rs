//! Two nodes on one backplane: who gets what is sent to whom.

use std::time::Duration;

use scaleout::{
    ErrorKind,
    hub::{Hub, HubContext, HubError, HubOptions},
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

        /// They need a PostgreSQL on its usual port.
        #[cfg(feature = "postgres")]
        mod over_postgres {
            $(#[tokio::test]
            async fn $test() {
                super::$test(crate::node::postgres()).await;
            })*
        }

        /// They need a RabbitMQ on its usual port.
        #[cfg(feature = "rabbitmq")]
        mod over_rabbitmq {
            $(#[tokio::test]
            async fn $test() {
                let url = crate::node::rabbitmq();
                super::$test(url.clone()).await;
                scaleout_rabbitmq::remove(&url).await.unwrap();
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
    a_user_is_reached_on_all_connections,
    a_client_of_another_node_is_asked,
    whom_nobody_can_ask_is_told_at_once,
    another_nodes_connection_joins_and_leaves,
    who_is_in_a_group_is_known_everywhere,
    a_client_resumes_on_another_node,
    a_client_that_resumes_among_many_messages_misses_and_repeats_none,
    a_process_without_clients_is_heard_and_gets_answers,
    who_asked_a_client_of_a_node_that_dies_is_told,
    who_was_on_a_node_that_died_is_no_longer_in_a_group,
    a_node_that_closes_is_not_waited_for,
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

/// Answers the next question.
async fn answer(client: &mut Client, answer: &str, value: Value) {
    let question = client.receive().await;
    assert_eq!(question["target"], "question");
    client
        .send(json!({"type": 3, "invocationId": question["invocationId"], answer: value}))
        .await;
}

async fn a_client_of_another_node_is_asked(url: String) {
    let cluster = Cluster::start(&url).await;
    let (mut a, mut b) = cluster.pair().await;
    let b_id = id(&mut b).await;
    let ask = json!([b_id, "how are you?"]);
    for (how, value, result) in [
        ("result", json!("well"), Ok("well")),
        ("error", json!("go away"), Err("HubException: go away")),
        (
            "result",
            json!(1),
            Err("HubException: Error trying to deserialize result to String."),
        ),
    ] {
        let (answered, ()) = tokio::join!(a.call("Ask", ask.clone()), answer(&mut b, how, value));
        match result {
            Ok(result) => assert_eq!(answered["result"], result),
            Err(error) => {
                let told = answered["error"].as_str().unwrap();
                assert!(told.contains(error), "{told}");
            }
        }
    }
    // The answer of somebody else ends that one's connection.
    a.invoke("1", "Ask", ask).await;
    let question = b.receive().await["invocationId"].take();
    let mut c = cluster.nodes[1].client().await;
    c.send(json!({"type": 3, "invocationId": question, "result": "I am b"}))
        .await;
    assert_eq!(c.until_closed().await.1, Some(1000));
    drop(b);
    let told = a.receive().await;
    let error = format!(
        "An unexpected error occurred invoking 'Ask' on the server. HubException: Connection '{}' disconnected.",
        b_id.as_str().unwrap()
    );
    assert_eq!(told["error"], error);
}

async fn whom_nobody_can_ask_is_told_at_once(url: String) {
    let cluster = Cluster::start(&url).await;
    let (mut a, mut b) = cluster.pair().await;
    let gone = id(&mut b).await;
    drop(b);
    let node_that_never_was = json!("x".repeat(34));
    for stranger in [json!("nobody"), node_that_never_was, gone] {
        let asked = a.call("Ask", json!([stranger, "hello?"]));
        let answer = tokio::time::timeout(Duration::from_secs(5), asked).await;
        let error = answer.unwrap()["error"].as_str().unwrap().to_owned();
        // The one that is just leaving may still be found.
        assert!(
            error.ends_with("does not exist.") || error.ends_with("disconnected."),
            "{error}"
        );
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

/// The cursor that came with a message of the group.
fn cursor_of((target, arguments): (String, Value), text: &str) -> Value {
    assert_eq!((target.as_str(), &arguments[0]), ("message", &json!(text)));
    arguments[1].clone()
}

async fn a_client_resumes_on_another_node(url: String) {
    let cluster = Cluster::start(&url).await;
    let (mut a, mut b) = cluster.pair().await;
    call(&mut b, "Resume", json!(["room", null])).await;
    tell(&mut a, "TellGroup", json!(["room", "one"])).await;
    let cursor = cursor_of(b.event().await, "one");
    drop(b);
    for text in ["two", "three"] {
        call(&mut a, "TellGroup", json!(["room", text])).await;
    }
    let mut b = cluster.nodes[0].client().await;
    b.invoke("resume", "Resume", json!(["room", cursor])).await;
    cursor_of(b.event().await, "two");
    let last = cursor_of(b.event().await, "three");
    let resumed = b.receive().await;
    assert_eq!(resumed["result"], json!([last, 2, true]));
    call(&mut a, "TellGroup", json!(["room", "four"])).await;
    cursor_of(b.event().await, "four");

    let wrong = b.call("Resume", json!(["other", last])).await;
    assert!(wrong["error"].is_string());
    let nonsense = b.call("Resume", json!(["room", "nonsense"])).await;
    assert!(nonsense["error"].is_string());
}

async fn a_client_that_resumes_among_many_messages_misses_and_repeats_none(url: String) {
    const MESSAGES: usize = 300;
    let cluster = Cluster::start(&url).await;
    let (mut b, _) = cluster.pair().await;
    let start = b.call("Resume", json!(["room", null])).await["result"][0].take();
    drop(b);
    let group = cluster.nodes[0].hub.context().clients().group("room");
    let sending = tokio::spawn(async move {
        for number in 0..MESSAGES {
            group.send("message", (number,)).await.unwrap();
        }
    });
    // It comes and goes, on one node and the other, while messages flow.
    let (mut got, mut cursor) = (Vec::new(), start);
    for node in cluster.nodes.iter().cycle() {
        let mut client = node.client().await;
        client.invoke("1", "Resume", json!(["room", cursor])).await;
        for _ in 0..37 {
            let (_, arguments) = loop {
                let mut message = client.receive().await;
                assert!(message.get("error").is_none(), "{message}");
                if message["type"] == 1 {
                    break ((), message["arguments"].take());
                }
            };
            got.push(arguments[0].as_u64().unwrap());
            cursor = arguments[1].clone();
            if got.len() == MESSAGES {
                break;
            }
        }
        if got.len() == MESSAGES {
            break;
        }
    }
    sending.await.unwrap();
    assert_eq!(got, (0..MESSAGES as u64).collect::<Vec<_>>());
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

/// Nodes that notice soon when another one has died.
fn impatient() -> HubOptions {
    HubOptions::new()
        .with_node_heartbeat_interval(Duration::from_millis(100))
        .with_node_timeout(Duration::from_millis(500))
}

/// A node that ends without a word, as a process that is killed does.
async fn node_to_die(url: &str) -> Node {
    Node::on(url, impatient()).await
}

async fn who_asked_a_client_of_a_node_that_dies_is_told(url: String) {
    let (a, b) = (Node::on(&url, impatient()).await, node_to_die(&url).await);
    let (mut asker, mut asked) = (a.client().await, b.client().await);
    let asked_id = id(&mut asked).await;
    asker
        .invoke("1", "Ask", json!([asked_id, "still there?"]))
        .await;
    assert_eq!(asked.receive().await["target"], "question");
    drop(b);
    let error = asker.receive().await["error"].take();
    assert!(
        error.as_str().unwrap().ends_with("disconnected."),
        "{error}"
    );
    // Later there is no such connection.
    let error = asker.call("Ask", json!([asked_id, "hello?"])).await["error"].take();
    assert!(
        error.as_str().unwrap().ends_with("does not exist."),
        "{error}"
    );
    let joined = asker.call("JoinOther", json!([asked_id, "room"])).await;
    assert_eq!(joined["result"], false);
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
