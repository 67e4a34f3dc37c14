//! Asking a client of another node.

use std::time::Duration;

use scaleout::hub::test::TestClient;
use serde_json::json;

use super::{Cluster, answer, id, impatient, node_to_die, on_every_backplane};
use crate::node::Node;

on_every_backplane! {
    a_client_of_another_node_is_asked,
    whom_nobody_can_ask_is_told_at_once,
    a_question_that_nobody_waits_for_any_more_is_forgotten,
    who_asked_a_client_of_a_node_that_dies_is_told,
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

async fn a_question_that_nobody_waits_for_any_more_is_forgotten(url: String) {
    let cluster = Cluster::start(&url).await;
    let asker = cluster.nodes[0].hub.context().clients();
    for node in &cluster.nodes {
        let client = TestClient::connect(&node.hub).await.unwrap();
        let asked = asker.client(client.connection_id());
        let question = tokio::select! {
            answer = asked.invoke::<String>("question", ("now?",)) => panic!("{answer:?}"),
            question = client.next() => question.unwrap(),
        };
        question.answer("too late").unwrap();
        // That harms nobody, and the next question gets its own answer.
        assert_eq!(client.invoke::<i64>("Add", (1, 2)).await.unwrap(), 3);
        let (answer, ()) = tokio::join!(asked.invoke::<String>("question", ("again?",)), async {
            client.next().await.unwrap().answer("in time").unwrap();
        });
        assert_eq!(answer.unwrap(), "in time");
    }
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
