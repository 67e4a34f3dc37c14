//! Streams in both directions.

use scaleout::hub::HubOptions;
use serde_json::{Value, json};

use crate::{client::Client, node::Node};

async fn stream(client: &mut Client, id: &str, target: &str, arguments: Value) {
    let message = json!({"type": 4, "invocationId": id, "target": target, "arguments": arguments});
    client.send(message).await;
}

/// Invokes a method with a stream of this id.
async fn upload(client: &mut Client, kind: u8, target: &str, stream_id: &str) {
    let message = json!({
        "type": kind, "invocationId": "1", "target": target, "arguments": [], "streamIds": [stream_id],
    });
    client.send(message).await;
}

async fn item(client: &mut Client, stream_id: &str, item: Value) {
    let message = json!({"type": 2, "invocationId": stream_id, "item": item});
    client.send(message).await;
}

async fn end(client: &mut Client, stream_id: &str) {
    client
        .send(json!({"type": 3, "invocationId": stream_id}))
        .await;
}

#[tokio::test]
async fn items_come_before_the_completion() {
    let node = Node::start().await;
    let mut client = node.client().await;
    stream(&mut client, "1", "count", json!([2])).await;
    for number in 0..2 {
        let item = json!({"type": 2, "invocationId": "1", "item": number});
        assert_eq!(client.receive().await, item);
    }
    let completion = json!({"type": 3, "invocationId": "1"});
    assert_eq!(client.receive().await, completion);
}

#[tokio::test]
async fn a_stream_that_fails_says_so_behind_its_items() {
    let node = Node::start().await;
    let mut client = node.client().await;
    stream(&mut client, "1", "BreakOff", json!([])).await;
    assert_eq!(client.receive().await["item"], 1);
    assert_eq!(
        client.receive().await["error"],
        "An error occurred on the server while streaming results. HubException: no more"
    );
}

#[tokio::test]
async fn a_stream_that_is_canceled_is_dropped() {
    let mut node = Node::start().await;
    let mut client = node.client().await;
    node.expect("connected").await;
    stream(&mut client, "1", "CountForEver", json!([])).await;
    assert_eq!(client.receive().await["item"], 0);
    // Its id is taken for as long as it runs.
    stream(&mut client, "1", "Count", json!([1])).await;
    client.send(json!({"type": 5, "invocationId": "1"})).await;
    node.expect("dropped").await;
    let mut errors = Vec::new();
    loop {
        let message = client.receive().await;
        if message["type"] == 3 {
            match message.get("error") {
                Some(error) => errors.push(error.clone()),
                None => break,
            }
        }
    }
    assert_eq!(errors, ["Invocation ID '1' is already in use."]);
    // What is not running cannot be canceled.
    client.send(json!({"type": 5, "invocationId": "1"})).await;
    assert_eq!(client.call("Add", json!([1, 2])).await["result"], 3);
}

#[tokio::test]
async fn a_stream_ends_with_its_connection() {
    let mut node = Node::start().await;
    let mut client = node.client().await;
    stream(&mut client, "1", "CountForEver", json!([])).await;
    client.receive().await;
    drop(client);
    node.expect("connected").await;
    node.expect("dropped").await;
    node.expect("disconnected: the transport broke").await;
}

#[tokio::test]
async fn a_streaming_method_runs_beside_the_others() {
    let node = Node::start().await;
    let mut client = node.client().await;
    client.invoke("1", "Wait", json!([])).await;
    stream(&mut client, "2", "Count", json!([1])).await;
    assert_eq!(client.receive().await["item"], 0);
    node.state.go.notify_one();
}

#[tokio::test]
async fn a_client_has_only_so_many_streams() {
    let node = Node::with(HubOptions::new().with_maximum_streams_per_client(1)).await;
    let mut client = node.client().await;
    upload(&mut client, 1, "Sum", "s").await;
    stream(&mut client, "2", "Count", json!([1])).await;
    assert_eq!(
        client.receive().await["error"],
        "An unexpected error occurred invoking 'Count' on the server. HubException: The client has too many streams open."
    );
    end(&mut client, "s").await;
    assert_eq!(client.receive().await["result"], 0);
    stream(&mut client, "2", "Count", json!([1])).await;
    assert_eq!(client.receive().await["item"], 0);
}

#[tokio::test]
async fn a_method_reads_what_the_client_streams() {
    let node = Node::start().await;
    let mut client = node.client().await;
    upload(&mut client, 1, "Sum", "s").await;
    for number in 1..=100 {
        item(&mut client, "s", json!(number)).await;
    }
    item(&mut client, "unknown", json!(1)).await;
    end(&mut client, "s").await;
    assert_eq!(client.receive().await["result"], 5050);
    // Nobody reads what comes late.
    item(&mut client, "s", json!(1)).await;
    assert_eq!(client.call("Add", json!([1, 2])).await["result"], 3);
}

#[tokio::test]
async fn both_directions_combine() {
    let node = Node::start().await;
    let mut client = node.client().await;
    upload(&mut client, 4, "Double", "s").await;
    for number in [1, 2] {
        item(&mut client, "s", json!(number)).await;
        assert_eq!(client.receive().await["item"], number * 2);
    }
    end(&mut client, "s").await;
    assert_eq!(
        client.receive().await,
        json!({"type": 3, "invocationId": "1"})
    );
}

#[tokio::test]
async fn an_upload_that_fails_fails_its_reader() {
    let mut node = Node::start().await;
    let mut client = node.client().await;
    node.expect("connected").await;
    let failed = |why: &str| {
        format!("An unexpected error occurred invoking 'Sum' on the server. HubException: {why}")
    };
    upload(&mut client, 1, "Sum", "s").await;
    let error = json!({"type": 3, "invocationId": "s", "error": "out of numbers"});
    client.send(error).await;
    assert_eq!(client.receive().await["error"], failed("out of numbers"));
    node.expect("upload failed: out of numbers").await;

    upload(&mut client, 1, "Sum", "s").await;
    item(&mut client, "s", json!("one")).await;
    assert_eq!(
        client.receive().await["error"],
        failed("Failed to bind Stream message.")
    );
    node.expect("upload failed: Failed to bind Stream message.")
        .await;

    upload(&mut client, 1, "Sum", "s").await;
    client.close(Some(1000)).await;
    node.expect("upload failed: The underlying connection was closed.")
        .await;
}

#[tokio::test]
async fn the_number_of_streams_has_to_fit() {
    let node = Node::start().await;
    let mut client = node.client().await;
    assert_eq!(
        client.call("Sum", json!([])).await["error"],
        "An unexpected error occurred invoking 'Sum' on the server. HubException: Client sent 0 stream(s), Hub method expects 1."
    );
}
