//! What happens when nothing happens. Time stands still in these tests and jumps to the next timer
//! whenever everybody waits.

use std::time::Duration;

use scaleout::hub::HubOptions;
use serde_json::json;
use tokio::time::Instant;

use crate::node::Node;

const NORMAL: Option<u16> = Some(1000);

/// Whether `since` is about `seconds` ago.
fn about(since: Instant, seconds: u64) -> bool {
    let from = Duration::from_secs(seconds);
    (from..from + Duration::from_secs(1)).contains(&since.elapsed())
}

#[tokio::test(start_paused = true)]
async fn the_server_pings_every_15_seconds() {
    let mut node = Node::start().await;
    let mut client = node.client_in_memory().await;
    client.shake_hands().await;
    let start = Instant::now();
    for seconds in [15, 30, 45] {
        assert_eq!(client.receive().await, json!({"type": 6}));
        assert!(about(start, seconds), "{:?}", start.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_never_pings_is_never_timed_out() {
    let mut node = Node::start().await;
    let mut client = node.client_in_memory().await;
    client.shake_hands().await;
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(120) {
        assert_eq!(client.receive().await, json!({"type": 6}));
    }
    assert_eq!(client.call("Add", json!([1, 2])).await["result"], 3);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_stops_pinging_is_timed_out_and_may_come_back() {
    let mut node = Node::with(HubOptions::new().with_enable_detailed_errors(true)).await;
    let mut client = node.client_in_memory().await;
    client.shake_hands().await;
    client.send(json!({"type": 6})).await;
    let start = Instant::now();
    let (messages, code) = client.until_closed().await;
    assert!(about(start, 30), "{:?}", start.elapsed());
    let error = "Connection closed with an error. OperationCanceledException: \
                 Client hasn't sent a message/ping within the configured ClientTimeoutInterval.";
    let close = json!({"type": 7, "error": error, "allowReconnect": true});
    assert_eq!((messages.last(), code), (Some(&close), NORMAL));
    node.expect("connected").await;
    node.expect("disconnected: the client was silent for too long")
        .await;
}

#[tokio::test(start_paused = true)]
async fn any_message_counts_as_a_sign_of_life() {
    let mut node = Node::start().await;
    let mut client = node.client_in_memory().await;
    client.shake_hands().await;
    client.send(json!({"type": 6})).await;
    for _ in 0..6 {
        tokio::time::sleep(Duration::from_secs(29)).await;
        assert_eq!(client.call("Add", json!([1, 2])).await["result"], 3);
    }
}

#[tokio::test(start_paused = true)]
async fn waiting_for_the_hub_is_not_silence() {
    let mut node = Node::start().await;
    let mut client = node.client_in_memory().await;
    client.shake_hands().await;
    client.send(json!({"type": 6})).await;
    client.invoke("1", "Wait", json!([])).await;
    client.invoke("2", "Add", json!([1, 2])).await;
    node.expect("connected").await;
    node.expect("waiting").await;
    tokio::time::sleep(Duration::from_secs(50)).await;
    node.state.go.notify_one();
    assert_eq!(client.event().await.0, "waited");
    assert_eq!(client.receive().await["invocationId"], "1");
    assert_eq!(client.receive().await["invocationId"], "2");
}

#[tokio::test(start_paused = true)]
async fn a_handshake_that_does_not_come_is_canceled_after_15_seconds() {
    let mut node = Node::start().await;
    let mut client = node.client_in_memory().await;
    let start = Instant::now();
    client.send_raw("{\"protocol\":").await;
    let canceled = vec![json!({"error": "Handshake was canceled."})];
    assert_eq!(client.until_closed().await, (canceled, NORMAL));
    assert!(about(start, 15), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_answer_a_close_is_hung_up_on_after_5_seconds() {
    let mut node = Node::start().await;
    let mut client = node.client_in_memory().await;
    client.shake_hands().await;
    client
        .send(json!({"type": 1, "target": "Abort", "arguments": []}))
        .await;
    assert_eq!(client.until_closed().await.1, NORMAL);
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert!(client.can_send().await);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(!client.can_send().await);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_takes_no_bytes_is_dropped_after_10_seconds() {
    let mut node = Node::start().await;
    let mut client = node.client_in_memory().await;
    client.shake_hands().await;
    node.expect("connected").await;
    let start = Instant::now();
    // The client's side holds 1 MiB, and this does not fit behind it.
    for _ in 0..2 {
        client.invoke("1", "Blob", json!([1 << 20])).await;
    }
    node.expect("disconnected: the transport broke").await;
    assert!(about(start, 10), "{:?}", start.elapsed());
}
