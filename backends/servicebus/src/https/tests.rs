use scaleout_servicebus_emulator::{Config as EmulatorConfig, Emulator, entity::Address};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use super::*;
use crate::{config::read, transport::Receiver as _};

async fn start() -> Emulator {
    let mut config = EmulatorConfig::default();
    config.add("t/subscriptions/s").unwrap();
    Emulator::start(config).await.unwrap()
}

fn https(url: &str) -> Https {
    let (config, _) = read(url).unwrap();
    let http = Http::new(&config).unwrap();
    Https::new(&config, http)
}

fn message(id: &str, body: &'static [u8]) -> Outgoing {
    Outgoing {
        id: id.into(),
        body: Bytes::from_static(body),
    }
}

fn active(emulator: &Emulator) -> usize {
    let address = Address::parse("t/subscriptions/s").unwrap();
    emulator
        .with(|namespace, _| namespace.counts(&address))
        .unwrap()
        .active
}

#[tokio::test]
async fn bytes_arrive_as_they_were_sent_and_go_when_they_are_completed() {
    let emulator = start().await;
    let https = https(&emulator.connection_string());
    https.probe().await.unwrap();
    let mut receiver = https.receive("t", "s").await.unwrap().unwrap();
    let body = b"\x00\xff\xfe no text \r\n";
    assert_eq!(
        https.send("t", message("a", body)).await.unwrap(),
        Sent::Stored
    );
    let (incoming, lock) = receiver.next().await.unwrap();
    assert_eq!(&*incoming.body, body);
    assert_eq!(
        (incoming.number, incoming.sequence, incoming.deliveries),
        (1, 1, 0)
    );
    assert_eq!(active(&emulator), 1);
    receiver.complete(vec![lock]).await.unwrap();
    // What comes after it was asked for beside the completion.
    https.send("t", message("b", b"")).await.unwrap();
    let (incoming, lock) = receiver.next().await.unwrap();
    assert_eq!((&*incoming.body, incoming.number), (&b""[..], 2));
    receiver.complete(vec![lock]).await.unwrap();
    while active(&emulator) > 0 {
        let _ = timeout_a_little(receiver.next()).await;
    }
}

async fn timeout_a_little<T>(future: impl Future<Output = T>) -> Option<T> {
    tokio::time::timeout(Duration::from_millis(20), future)
        .await
        .ok()
}

#[tokio::test]
async fn what_is_not_there_is_told_from_what_fails() {
    let emulator = start().await;
    let https = https(&emulator.connection_string());
    assert_eq!(
        https.send("none", message("a", b"")).await.unwrap(),
        Sent::NoTopic
    );
    assert!(https.receive("t", "none").await.unwrap().is_none());
    assert!(https.receive("none", "s").await.unwrap().is_none());
    emulator.faults().busy_for(Duration::from_secs(60));
    let error = https.send("t", message("a", b"")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Broker, "{error}");
    assert_eq!(error.outcome(), scaleout_core::Outcome::NotStored);
}

#[tokio::test]
async fn a_message_that_is_dropped_is_given_back_at_once() {
    let emulator = start().await;
    let https = https(&emulator.connection_string());
    let mut receiver = https.receive("t", "s").await.unwrap().unwrap();
    https.send("t", message("a", b"x")).await.unwrap();
    drop(receiver.next().await.unwrap());
    // Its lock would last for a minute.
    let again = tokio::time::timeout(Duration::from_secs(20), receiver.next()).await;
    let (incoming, _lock) = again.unwrap().unwrap();
    assert_eq!((incoming.sequence, incoming.deliveries), (1, 1));
}

#[tokio::test]
async fn a_waiting_receiver_that_is_dropped_takes_no_message_with_it() {
    let emulator = start().await;
    let https = https(&emulator.connection_string());
    let mut receiver = https.receive("t", "s").await.unwrap().unwrap();
    assert!(timeout_a_little(receiver.next()).await.is_none());
    https.send("t", message("a", b"x")).await.unwrap();
    let (incoming, lock) = receiver.next().await.unwrap();
    assert_eq!(incoming.sequence, 1);
    receiver.complete(vec![lock]).await.unwrap();
}

#[tokio::test]
async fn a_subscription_that_is_deleted_ends_its_receiver() {
    let emulator = start().await;
    let https = https(&format!("{}?liveness=2s", emulator.connection_string()));
    let mut receiver = https.receive("t", "s").await.unwrap().unwrap();
    let address = Address::parse("t").unwrap();
    emulator
        .with(|namespace, _| namespace.delete(&address))
        .unwrap();
    let error = receiver.next().await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Broker, "{error}");
}

#[tokio::test]
async fn a_service_that_says_nothing_any_more_is_noticed() {
    let emulator = start().await;
    let url = format!(
        "{}?liveness=2s&request_timeout=500ms",
        emulator.connection_string()
    );
    let https = https(&url);
    let mut receiver = https.receive("t", "s").await.unwrap().unwrap();
    emulator.faults().stop(true);
    let error = https.probe().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    let error = https.send("t", message("a", b"")).await.unwrap_err();
    assert_eq!(error.outcome(), scaleout_core::Outcome::Unknown);
    let ended = tokio::time::timeout(Duration::from_secs(20), receiver.next()).await;
    assert_eq!(ended.unwrap().err().unwrap().kind(), ErrorKind::Timeout);
}

#[tokio::test]
async fn a_pull_is_overdue_within_the_liveness_time_however_long_other_requests_may_take() {
    let emulator = start().await;
    let url = format!(
        "{}?liveness=2s&request_timeout=60s",
        emulator.connection_string()
    );
    let https = https(&url);
    let mut receiver = https.receive("t", "s").await.unwrap().unwrap();
    emulator.faults().stop(true);
    let began = Instant::now();
    let ended = tokio::time::timeout(Duration::from_secs(20), receiver.next()).await;
    assert_eq!(ended.unwrap().err().unwrap().kind(), ErrorKind::Timeout);
    // Some more, as the machine may be busy.
    assert!(began.elapsed() < Duration::from_secs(4));
}

#[tokio::test]
async fn a_wrong_key_is_a_matter_of_rights() {
    let emulator = start().await;
    let url = format!(
        "servicebus://p:hunter2@{}?emulator=true",
        emulator.address()
    );
    let error = https(&url).probe().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Auth);
    assert!(!format!("{error} {error:?}").contains("hunter2"));
}

#[tokio::test]
async fn many_messages_come_whole() {
    let emulator = start().await;
    let https = https(&emulator.connection_string());
    let mut receiver = https.receive("t", "s").await.unwrap().unwrap();
    for id in 0..200 {
        https
            .send("t", message(&id.to_string(), b"x"))
            .await
            .unwrap();
    }
    let mut numbers = Vec::new();
    while numbers.len() < 200 {
        let (incoming, lock) = receiver.next().await.unwrap();
        numbers.push(incoming.number);
        receiver.complete(vec![lock]).await.unwrap();
    }
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=200).collect::<Vec<_>>());
}

/// The crate reads the number into 32 bits, and wants an id and a time to live, after the message was
/// locked.
#[tokio::test]
async fn numbers_have_64_bits_and_messages_of_others_no_id() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 4_096];
            let _ = stream.read(&mut request).await;
            let answer = "HTTP/1.1 201 Created\r\nConnection: close\r\nContent-Length: 1\r\n\
                BrokerProperties: {\"EnqueuedSequenceNumber\":5000000000,\"SequenceNumber\":7000000000,\
                \"DeliveryCount\":3}\r\nLocation: http://elsewhere.example/t/messages/1/2\r\n\r\n\u{7f}";
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    let https = https(&format!("servicebus://p:k@{at}?emulator=true"));
    let mut receiver = https.receive("t", "s").await.unwrap().unwrap();
    let (incoming, lock) = receiver.next().await.unwrap();
    assert_eq!(incoming.number, 5_000_000_000);
    assert_eq!(incoming.sequence, 7_000_000_000);
    assert_eq!(incoming.deliveries, 2);
    // Completed here, and not where the answer said.
    receiver.complete(vec![lock]).await.unwrap();
}
