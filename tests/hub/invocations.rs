//! Calls of hub methods, and how they fail.

use std::time::Duration;

use scaleout::hub::HubOptions;
use serde_json::{Value, json};

use crate::node::Node;

fn failure(text: &str) -> Value {
    json!({"type": 3, "invocationId": "call", "error": text})
}

#[tokio::test]
async fn a_method_answers_with_its_result() {
    let node = Node::start().await;
    let mut client = node.client().await;
    assert_eq!(
        client.call("Add", json!([2, 3])).await,
        json!({"type": 3, "invocationId": "call", "result": 5})
    );
    let value = json!({"text": "ö <&>\u{1e}", "list": [1, null, {"a": 1.5}]});
    assert_eq!(client.call("Echo", json!([value])).await["result"], value);
    assert_eq!(client.call("Closure", json!(["four"])).await["result"], 4);
}

#[tokio::test]
async fn a_method_that_returns_nothing_answers_null() {
    let node = Node::start().await;
    let mut client = node.client().await;
    let answer = client.call("Void", json!([])).await;
    assert_eq!(
        answer,
        json!({"type": 3, "invocationId": "call", "result": null})
    );
    assert!(answer.as_object().unwrap().contains_key("result"));
}

#[tokio::test]
async fn a_method_is_found_in_upper_and_lower_case() {
    let node = Node::start().await;
    let mut client = node.client().await;
    for name in ["add", "ADD", "aDD"] {
        assert_eq!(client.call(name, json!([1, 1])).await["result"], 2);
    }
}

#[tokio::test]
async fn a_client_is_told_the_text_of_a_hub_error_and_of_no_other() {
    let node = Node::start().await;
    let mut client = node.client().await;
    assert_eq!(
        client.call("Fail", json!(["boom"])).await,
        failure("An unexpected error occurred invoking 'Fail' on the server. HubException: boom")
    );
    assert_eq!(
        client.call("Parse", json!(["x"])).await,
        failure("An unexpected error occurred invoking 'Parse' on the server.")
    );
}

#[tokio::test]
async fn a_client_is_told_everything_with_detailed_errors() {
    let node = Node::with(HubOptions::new().with_enable_detailed_errors(true)).await;
    let mut client = node.client().await;
    assert_eq!(
        client.call("Parse", json!(["x"])).await,
        failure(
            "An unexpected error occurred invoking 'Parse' on the server. ParseIntError: invalid digit found in string"
        )
    );
    assert_eq!(
        client.call("Echo", json!([])).await,
        failure(
            "Failed to invoke 'Echo' due to an error on the server. InvalidDataException: \
             Invocation provides 0 argument(s) but target expects 1."
        )
    );
    assert_eq!(
        client.call("Add", json!([1, "2"])).await,
        failure(
            "Failed to invoke 'Add' due to an error on the server. InvalidDataException: Error binding arguments. \
             Make sure that the types of the provided values match the types of the hub method being invoked."
        )
    );
}

#[tokio::test]
async fn an_unknown_method_is_named() {
    let node = Node::start().await;
    let mut client = node.client().await;
    assert_eq!(
        client.call("Nope", json!([])).await,
        failure(
            "Failed to invoke 'Nope' due to an error on the server. HubException: Method does not exist."
        )
    );
}

#[tokio::test]
async fn arguments_that_do_not_fit_fail_the_call_alone() {
    let node = Node::start().await;
    let mut client = node.client().await;
    for arguments in [
        json!([]),
        json!([1]),
        json!([1, 2, 3]),
        json!([1, "2"]),
        json!([1, 1.5]),
    ] {
        assert_eq!(
            client.call("add", arguments).await,
            failure("Failed to invoke 'add' due to an error on the server.")
        );
    }
    assert_eq!(client.call("Add", json!([1, 2])).await["result"], 3);
}

#[tokio::test]
async fn a_method_that_panics_harms_nobody_but_its_caller() {
    let node = Node::start().await;
    let mut client = node.client().await;
    assert_eq!(
        client.call("Panic", json!([])).await,
        failure("An unexpected error occurred invoking 'Panic' on the server.")
    );
    assert_eq!(client.call("Add", json!([1, 2])).await["result"], 3);
}

#[tokio::test]
async fn a_streaming_invocation_of_an_ordinary_method_is_refused() {
    let node = Node::start().await;
    let mut client = node.client().await;
    client
        .send(json!({"type": 4, "invocationId": "1", "target": "echo", "arguments": [1]}))
        .await;
    assert_eq!(
        client.receive().await["error"],
        "The client attempted to invoke the non-streaming 'echo' method with a streaming invocation."
    );
    client
        .send(json!({"type": 1, "invocationId": "2", "target": "Echo", "arguments": [1], "streamIds": ["3"]}))
        .await;
    assert_eq!(
        client.receive().await["error"],
        "An unexpected error occurred invoking 'Echo' on the server. \
         HubException: Client sent 1 stream(s), Hub method expects 0."
    );
}

#[tokio::test]
async fn an_invocation_without_an_id_gets_no_answer() {
    let node = Node::start().await;
    let mut client = node.client().await;
    for (target, arguments) in [
        ("Nope", json!([])),
        ("Fail", json!(["x"])),
        ("Add", json!([1, 2])),
    ] {
        client
            .send(json!({"type": 1, "target": target, "arguments": arguments}))
            .await;
    }
    client
        .send(json!({"type": 1, "target": "TellCaller", "arguments": ["done"]}))
        .await;
    let next = client.receive().await;
    assert_eq!(
        next,
        json!({"type": 1, "target": "message", "arguments": ["done"]})
    );
}

#[tokio::test]
async fn what_belongs_to_nothing_is_ignored() {
    let node = Node::start().await;
    let mut client = node.client().await;
    for message in [
        json!({"type": 2, "invocationId": "x", "item": 1}),
        json!({"type": 3, "invocationId": "x", "result": 1}),
        json!({"type": 5, "invocationId": "x"}),
        json!({"type": 6}),
        json!({"type": 8, "sequenceId": 1}),
        json!({"type": 9, "sequenceId": 1}),
        json!({"type": 42, "anything": true}),
    ] {
        client.send(message).await;
    }
    assert_eq!(client.call("Add", json!([1, 2])).await["result"], 3);
}

#[tokio::test]
async fn invocations_of_one_client_run_one_after_the_other() {
    let mut node = Node::start().await;
    let mut client = node.client().await;
    client.invoke("1", "Wait", json!([])).await;
    client.invoke("2", "Nope", json!([])).await;
    client.invoke("3", "Add", json!([1, 2])).await;
    node.expect("connected").await;
    node.expect("waiting").await;
    node.state.go.notify_one();
    assert_eq!(client.event().await.0, "waited");
    for id in ["1", "2", "3"] {
        assert_eq!(client.receive().await["invocationId"], id);
    }
}

#[tokio::test]
async fn several_may_run_at_a_time_if_the_options_allow_it() {
    let options = HubOptions::new().with_maximum_parallel_invocations_per_client(2);
    let mut node = Node::with(options).await;
    let mut client = node.client().await;
    client.invoke("1", "Wait", json!([])).await;
    client.invoke("2", "Add", json!([1, 2])).await;
    assert_eq!(client.receive().await["invocationId"], "2");
    node.expect("connected").await;
    node.expect("waiting").await;
    node.state.go.notify_one();
    assert_eq!(client.event().await.0, "waited");
    assert_eq!(client.receive().await["invocationId"], "1");
}

#[tokio::test]
async fn a_thousand_calls_in_one_unit_are_answered_in_order() {
    let node = Node::start().await;
    let mut client = node.client().await;
    let batch: String = (0..1_000)
        .map(|n| {
            let call = json!({"type": 1, "invocationId": n.to_string(), "target": "Echo", "arguments": [n]});
            format!("{call}\x1e")
        })
        .collect();
    assert!(batch.len() > 32_768, "larger than a single message may be");
    client.send_raw(&batch).await;
    for n in 0..1_000 {
        let answer = client.receive().await;
        assert_eq!(
            (&answer["invocationId"], &answer["result"]),
            (&json!(n.to_string()), &json!(n))
        );
    }
}

/// The protocol has no message that takes a question back: a client of the .NET server is not told either,
/// and official clients hold a cancellation by the server for a mistake.
#[tokio::test]
async fn a_client_is_not_told_that_nobody_waits_for_its_answer_any_more() {
    let options = HubOptions::new().with_client_result_timeout(Duration::from_millis(50));
    let node = Node::with(options).await;
    let mut client = node.client().await;
    let id = client.call("Id", json!([])).await["result"].take();
    client.invoke("ask", "Ask", json!([id, "now?"])).await;
    let question = client.receive().await;
    assert_eq!(question["target"], "question");
    let told = client.receive().await;
    assert_eq!(told["invocationId"], "ask");
    assert!(
        told["error"]
            .as_str()
            .unwrap()
            .ends_with("did not answer in time.")
    );
    // The answer that comes all the same is nobody's, and no reason to end the connection.
    client
        .send(json!({"type": 3, "invocationId": question["invocationId"], "result": "too late"}))
        .await;
    client.invoke("fence", "Add", json!([1, 2])).await;
    assert_eq!(
        client.receive().await,
        json!({"type": 3, "invocationId": "fence", "result": 3})
    );
}
