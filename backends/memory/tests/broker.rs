//! What the broker does on its own account: retention, expiry, and the operator's handle. What every
//! backend does alike is in the conformance suite.
#![allow(
    clippy::unwrap_used,
    reason = "a test's helpers may panic as the test does"
)]

use std::time::Duration;

use scaleout_core::{
    AnyBackend, Arrival, Backend, EncodedFrame, ErrorKind, FrameBuilder, LogName, Message,
    Namespace, Page, Partitioning, PublisherId, Sequence, Topic,
};
use scaleout_memory::{Memory, connector};
use tokio::time::{Instant, advance};

const HOUR: Duration = Duration::from_secs(3_600);

fn backend(url: &str) -> AnyBackend {
    connector(url).unwrap().backend
}

fn log(topic: &str) -> LogName {
    LogName::of_topic(
        &Namespace::default(),
        &Topic::new(topic).unwrap(),
        Partitioning::PerTopic,
    )
}

fn frame(publisher: PublisherId, counter: u64, payload: &str) -> EncodedFrame {
    let mut builder = FrameBuilder::new();
    builder.push(None, &Message::new(payload.to_owned()));
    builder.finish(publisher, counter)
}

async fn append(backend: &AnyBackend, topic: &str) -> u64 {
    let frame = frame(PublisherId::random(), 1, "payload");
    let appended = backend.append(&log(topic), &frame).await.unwrap();
    appended.first.unwrap().sequence.get()
}

async fn read(backend: &AnyBackend, topic: &str) -> Page {
    backend.read(&log(topic), None, 1_000).await.unwrap()
}

fn sequences(page: &Page) -> Vec<u64> {
    page.frames.iter().map(|frame| frame.first.get()).collect()
}

#[tokio::test]
async fn a_name_is_one_broker_until_nobody_holds_it() {
    let one = backend("memory:shared");
    append(&one, "a").await;
    let other = backend("memory:shared");
    assert_eq!(sequences(&read(&other, "a").await), [1]);
    assert!(
        read(&backend("memory:elsewhere"), "a")
            .await
            .frames
            .is_empty()
    );
    drop((one, other));
    assert!(read(&backend("memory:shared"), "a").await.frames.is_empty());
}

#[tokio::test]
async fn retention_drops_the_oldest_frames_and_moves_the_floor() {
    let backend = backend("memory:frames?retention_frames=2");
    for _ in 0..5 {
        append(&backend, "a").await;
    }
    let page = read(&backend, "a").await;
    assert_eq!(sequences(&page), [4, 5]);
    assert_eq!((page.floor.get(), page.head.get()), (4, 5));
}

#[tokio::test]
async fn the_newest_frame_stays_however_large() {
    let backend = backend("memory:bytes?retention_bytes=1");
    append(&backend, "a").await;
    append(&backend, "a").await;
    assert_eq!(sequences(&read(&backend, "a").await), [2]);
}

#[tokio::test(start_paused = true)]
async fn frames_go_by_age_and_the_head_stays() {
    let backend = backend("memory:age?retention_age=1h");
    append(&backend, "a").await;
    advance(HOUR / 2).await;
    append(&backend, "a").await;
    advance(HOUR / 2).await;
    assert_eq!(sequences(&read(&backend, "a").await), [2]);
    advance(HOUR / 2).await;
    let page = read(&backend, "a").await;
    assert!(page.frames.is_empty());
    assert_eq!((page.floor.get(), page.head.get()), (3, 2));
    assert_eq!(append(&backend, "a").await, 3);
}

#[tokio::test(start_paused = true)]
async fn an_idle_log_expires_and_its_memory_goes() {
    let backend = backend("memory:idle?idle_expiry=1h");
    let admin = Memory::named("idle").unwrap();
    append(&backend, "idle").await;
    append(&backend, "heard").await;
    let listener = backend.listen(&log("heard"), None).await.unwrap();
    let before = read(&backend, "idle").await.epoch;
    advance(HOUR).await;
    append(&backend, "other").await;
    assert_eq!(
        admin.logs(),
        2,
        "the log with a listener stays, and the one just used"
    );
    drop(listener);
    assert_eq!(read(&backend, "heard").await.head, Sequence::ZERO);
    let page = read(&backend, "idle").await;
    assert_ne!(page.epoch, before);
    assert_eq!(page.head, Sequence::ZERO);
}

#[tokio::test]
async fn trimmed_to_empty_a_log_goes_on_where_it_was() {
    let backend = backend("memory:trim");
    let admin = Memory::named("trim").unwrap();
    for _ in 0..3 {
        append(&backend, "a").await;
    }
    let epoch = read(&backend, "a").await.epoch;
    admin.trim(&log("a"), 1);
    assert_eq!(sequences(&read(&backend, "a").await), [3]);
    admin.trim(&log("a"), 0);
    let page = read(&backend, "a").await;
    assert_eq!(
        (page.epoch, page.floor.get(), page.head.get()),
        (epoch, 4, 3)
    );
    assert_eq!(append(&backend, "a").await, 4);
}

#[tokio::test]
async fn listeners_survive_a_wipe_and_hear_the_new_epoch() {
    let backend = backend("memory:wipe");
    let admin = Memory::named("wipe").unwrap();
    append(&backend, "a").await;
    let before = read(&backend, "a").await.epoch;
    let mut listener = backend.listen(&log("a"), None).await.unwrap();
    admin.wipe();
    assert_eq!(append(&backend, "a").await, 1);
    let Arrival::Frame { epoch, frame } = listener.next().await.unwrap() else {
        panic!("a frame was appended");
    };
    assert_ne!(epoch, before);
    assert_eq!(frame.first, Sequence::FIRST);
    assert!(admin.delete(&log("a")));
    assert_ne!(read(&backend, "a").await.epoch, epoch);
    assert!(!admin.delete(&log("never used")));
}

#[tokio::test]
async fn kicked_listeners_end_and_closed_nodes_end_only_their_own() {
    let backends = [backend("memory:kick"), backend("memory:kick")];
    let admin = Memory::named("kick").unwrap();
    let mut kicked = backends[0].listen(&log("a"), None).await.unwrap();
    assert_eq!(admin.kick(), 1);
    assert_eq!(
        kicked.next().await.unwrap_err().kind(),
        ErrorKind::Unavailable
    );

    let mut closed = backends[0].listen(&log("a"), None).await.unwrap();
    let mut open = backends[1].listen(&log("a"), None).await.unwrap();
    backends[0].close(Instant::now()).await.unwrap();
    assert_eq!(closed.next().await.unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(
        backends[0].probe().await.unwrap_err().kind(),
        ErrorKind::Closed
    );
    append(&backends[1], "a").await;
    assert!(open.next().await.is_ok());
    drop((kicked, closed, open));
    assert_eq!(admin.all_listeners(), 0);
}

#[tokio::test]
async fn a_repetition_gets_the_first_receipt() {
    let backend = backend("memory:dedup");
    let publisher = PublisherId::random();
    let first = backend
        .append(&log("a"), &frame(publisher, 1, "x"))
        .await
        .unwrap();
    append(&backend, "a").await;
    let again = backend
        .append(&log("a"), &frame(publisher, 1, "x"))
        .await
        .unwrap();
    assert_eq!(first, again);
    backend
        .append(&log("a"), &frame(publisher, 2, "y"))
        .await
        .unwrap();
    let late = backend
        .append(&log("a"), &frame(publisher, 1, "x"))
        .await
        .unwrap();
    assert_eq!(late.first, None);
    assert_eq!(read(&backend, "a").await.head.get(), 3);
}
