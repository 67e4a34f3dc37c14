//! Append and read: what the scripts do.

use futures_util::future::join_all;
use scaleout_core::{Backend, ErrorKind, Outcome, Position, PublisherId, Sequence};

use crate::support::{self, Server, append, backend, frame, frame_of, log};

#[tokio::test]
async fn sequences_are_dense_from_one_and_receipts_are_where_reads_find_the_frames() {
    let server = Server::start();
    let backend = backend(&server.url());
    let publisher = PublisherId::random();
    let before = backend.read(&log("a"), None, 10).await.unwrap();
    assert_eq!(
        (before.floor, before.head),
        (Sequence::FIRST, Sequence::ZERO)
    );
    let mut next = 1;
    // With and without a right guess of the log's state, which the other publisher spoils.
    for counter in 1..=20_u32 {
        let len = 1 + counter % 3;
        let frame = frame_of(
            publisher,
            counter.into(),
            len as usize,
            &format!("frame {counter}"),
        );
        let appended = backend
            .append(&log("a"), &frame)
            .await
            .unwrap()
            .first
            .unwrap();
        assert_eq!(appended, Position::new(before.epoch, Sequence::new(next)));
        let page = backend
            .read(
                &log("a"),
                Some(Position::new(before.epoch, Sequence::new(next - 1))),
                1,
            )
            .await
            .unwrap();
        assert_eq!(page.frames[0].bytes, frame.bytes());
        assert_eq!(
            (page.frames[0].first.get(), page.frames[0].len),
            (next, len)
        );
        next += u64::from(len);
        if counter % 4 == 0 {
            let other = support::backend(&server.url());
            assert_eq!(
                append(&other, &log("a"), "other").await,
                (before.epoch, next)
            );
            next += 1;
        }
    }
    assert_eq!(
        backend.read(&log("a"), None, 0).await.unwrap().head.get(),
        next - 1
    );
}

#[tokio::test]
async fn a_repetition_is_answered_with_the_first_receipt_on_every_connection() {
    let server = Server::start();
    let [one, other] = [backend(&server.url()), backend(&server.url())];
    let publisher = PublisherId::random();
    let frames = [1, 2].map(|counter| frame_of(publisher, counter, 2, "x"));
    let first = one.append(&log("a"), &frames[0]).await.unwrap();
    append(&other, &log("a"), "between").await;
    assert_eq!(other.append(&log("a"), &frames[0]).await.unwrap(), first);
    assert_eq!(one.append(&log("a"), &frames[0]).await.unwrap(), first);
    let log = log("a");
    let all = join_all((0..32).map(|n| [&one, &other][n % 2].append(&log, &frames[1]))).await;
    let second = all[0].as_ref().unwrap().first.unwrap();
    assert_eq!(second.sequence.get(), 4);
    for appended in all {
        assert_eq!(appended.unwrap().first, Some(second));
    }
    // Late: not stored again, and its position is not known any more.
    assert_eq!(one.append(&log, &frames[0]).await.unwrap().first, None);
    assert_eq!(one.read(&log, None, 100).await.unwrap().head.get(), 5);
}

#[tokio::test]
async fn a_script_that_the_server_forgot_is_sent_again_and_stores_once() {
    let server = Server::start();
    let backend = backend(&server.url());
    append(&backend, &log("a"), "one").await;
    server.command(&["SCRIPT", "FLUSH"]).await;
    let log = log("a");
    let all = join_all((0..100).map(|_| append(&backend, &log, "after"))).await;
    assert_eq!(all.len(), 100);
    server.command(&["SCRIPT", "FLUSH"]).await;
    assert_eq!(
        backend.read(&log, None, 1_000).await.unwrap().head.get(),
        101
    );
}

#[tokio::test]
async fn pages_join_up_whatever_their_limit() {
    let server = Server::start();
    let backend = backend(&server.url());
    for n in 0..40 {
        let frame = frame_of(PublisherId::random(), 1, n % 4 + 1, &n.to_string());
        backend.append(&log("a"), &frame).await.unwrap();
    }
    let whole = backend.read(&log("a"), None, 1_000).await.unwrap();
    assert_eq!((whole.frames.len(), whole.head.get()), (40, 100));
    for limit in [1, 2, 7, 17, 100] {
        let mut frames = Vec::new();
        let mut after = None;
        loop {
            let page = backend.read(&log("a"), after, limit).await.unwrap();
            let Some(last) = page.frames.last() else {
                break;
            };
            after = Some(Position::new(page.epoch, last.last()));
            frames.extend(page.frames);
        }
        assert_eq!(frames, whole.frames, "limit {limit}");
    }
    // From within a frame, that frame comes whole.
    let within = Position::new(whole.epoch, whole.frames[3].first);
    let page = backend.read(&log("a"), Some(within), 1).await.unwrap();
    assert_eq!(page.frames[0], whole.frames[3]);
    // A position of another life, or beyond the head, is not an error.
    let elsewhere = Position::new(scaleout_core::Epoch::random(), Sequence::new(50));
    assert_eq!(
        backend
            .read(&log("a"), Some(elsewhere), 1_000)
            .await
            .unwrap(),
        whole
    );
    let beyond = Position::new(whole.epoch, Sequence::new(500));
    assert!(
        backend
            .read(&log("a"), Some(beyond), 10)
            .await
            .unwrap()
            .frames
            .is_empty()
    );
}

#[tokio::test]
async fn a_page_is_bounded_by_bytes() {
    let server = Server::start();
    let backend = backend(&server.url());
    let payload = "x".repeat(100_000);
    for _ in 0..40 {
        append(&backend, &log("a"), &payload).await;
    }
    let page = backend.read(&log("a"), None, 1_000).await.unwrap();
    let bytes: usize = page.frames.iter().map(|frame| frame.bytes.len()).sum();
    assert!((1 << 20..2 << 20).contains(&bytes), "{bytes}");
    assert_eq!(page.head.get(), 40);
}

#[tokio::test]
async fn retention_by_frames_moves_the_floor_exactly_when_it_is_small() {
    let server = Server::start();
    let backend = backend(&format!("{}?retention_frames=5", server.url()));
    for _ in 0..30 {
        append(&backend, &log("a"), "x").await;
    }
    let page = backend.read(&log("a"), None, 100).await.unwrap();
    assert_eq!(
        (page.floor.get(), page.head.get(), page.frames.len()),
        (26, 30, 5)
    );
    server
        .command(&["XTRIM", "so:{scaleout/t/a}:s", "MAXLEN", "0"])
        .await;
    let page = backend.read(&log("a"), None, 100).await.unwrap();
    assert_eq!(
        (page.floor.get(), page.head.get(), page.frames.len()),
        (31, 30, 0)
    );
    assert_eq!(append(&backend, &log("a"), "x").await, (page.epoch, 31));
}

#[tokio::test]
async fn retention_bounds_bytes_too() {
    let server = Server::start();
    let backend = backend(&format!("{}?retention_bytes=1000000", server.url()));
    let payload = "x".repeat(10_000);
    for _ in 0..1_000 {
        append(&backend, &log("a"), &payload).await;
    }
    let page = backend.read(&log("a"), None, 1).await.unwrap();
    let kept = page.head.get() + 1 - page.floor.get();
    assert!((60..200).contains(&kept), "{kept} frames of 10 kB");
}

#[tokio::test]
async fn the_publishers_that_a_log_remembers_are_bounded() {
    let server = Server::start();
    let backend = backend(&server.url());
    let log = log("a");
    let frames: Vec<_> = (0..5_000).map(|n| frame(&n.to_string())).collect();
    let receipts = join_all(frames.iter().map(|frame| backend.append(&log, frame))).await;
    let fields: i64 =
        redis::from_redis_value(server.command(&["HLEN", "so:{scaleout/t/a}"]).await).unwrap();
    assert!((1_024..=2_052).contains(&fields), "{fields}");
    // The most recent ones are among them.
    for (frame, receipt) in frames.iter().zip(receipts).rev().take(1_000) {
        assert_eq!(backend.append(&log, frame).await.unwrap(), receipt.unwrap());
    }
}

#[tokio::test]
async fn an_unused_log_expires_and_a_read_keeps_it() {
    let server = Server::start();
    let backend = backend(&format!("{}?idle_expiry=8s", server.url()));
    append(&backend, &log("a"), "x").await;
    for key in ["so:{scaleout/t/a}", "so:{scaleout/t/a}:s"] {
        let left: i64 = redis::from_redis_value(server.command(&["PTTL", key]).await).unwrap();
        assert!((8_000..=10_000).contains(&left), "{key}: {left}");
        server.command(&["PEXPIRE", key, "5000"]).await;
    }
    // The next slice of time.
    tokio::time::sleep(std::time::Duration::from_millis(1_001)).await;
    backend.read(&log("a"), None, 0).await.unwrap();
    for key in ["so:{scaleout/t/a}", "so:{scaleout/t/a}:s"] {
        let left: i64 = redis::from_redis_value(server.command(&["PTTL", key]).await).unwrap();
        assert!((8_000..=10_000).contains(&left), "{key}: {left}");
    }
}

#[tokio::test]
async fn a_log_of_which_one_key_is_gone_loses_nothing_silently() {
    let server = Server::start();
    let backend = backend(&server.url());
    let (epoch, _) = append(&backend, &log("a"), "x").await;
    // Redis evicts keys one by one. Without its frames a log has trimmed them;
    server.command(&["DEL", "so:{scaleout/t/a}:s"]).await;
    let page = backend.read(&log("a"), None, 10).await.unwrap();
    assert_eq!(
        (page.epoch, page.floor.get(), page.head.get()),
        (epoch, 2, 1)
    );
    assert_eq!(append(&backend, &log("a"), "x").await, (epoch, 2));
    // without its state it is another log.
    server.command(&["DEL", "so:{scaleout/t/a}"]).await;
    let page = backend.read(&log("a"), None, 10).await.unwrap();
    assert_ne!(page.epoch, epoch);
    assert!(page.frames.is_empty());
    assert_eq!(append(&backend, &log("a"), "x").await, (page.epoch, 1));
}

#[tokio::test]
async fn a_wipe_and_a_restart_begin_a_new_epoch_on_all_nodes() {
    let mut server = Server::start();
    let nodes: Vec<_> = (0..4).map(|_| backend(&server.url())).collect();
    let log = log("a");
    let (before, _) = append(&nodes[0], &log, "x").await;
    server.command(&["FLUSHALL"]).await;
    let heads = join_all(nodes.iter().map(|node| node.read(&log, None, 0))).await;
    let after = heads[0].as_ref().unwrap().epoch;
    assert_ne!(after, before);
    assert!(
        heads
            .iter()
            .all(|head| head.as_ref().unwrap().epoch == after)
    );
    assert_eq!(append(&nodes[1], &log, "x").await, (after, 1));

    server.command(&["SAVE"]).await;
    server.restart();
    let page = loop {
        // The first request may still find the old connection.
        if let Ok(page) = nodes[2].read(&log, None, 10).await {
            break page;
        }
    };
    assert_ne!(
        page.epoch, after,
        "whether the snapshot is the newest, nobody knows"
    );
    assert!(page.frames.is_empty());
}

#[tokio::test]
async fn a_durable_log_goes_on_over_a_restart() {
    let mut server = Server::start();
    let url = format!("{}?durable=true", server.url());
    let (epoch, _) = append(&backend(&url), &log("a"), "x").await;
    server.command(&["SAVE"]).await;
    server.restart();
    assert_eq!(append(&backend(&url), &log("a"), "x").await, (epoch, 2));
}

#[tokio::test]
async fn what_the_server_refuses_is_not_stored_and_the_error_says_so() {
    let server = Server::start();
    let backend = backend(&server.url());
    append(&backend, &log("a"), "x").await;
    server
        .command(&["SET", "so:{scaleout/t/taken}", "by something else"])
        .await;
    let log_a = log("a");
    let (taken, doomed) = (log("taken"), frame("x"));
    // In one batch with others, which are not harmed.
    let (fine, refused) = tokio::join!(
        join_all((0..20).map(|_| append(&backend, &log_a, "x"))),
        backend.append(&taken, &doomed)
    );
    assert_eq!(fine.len(), 20);
    let refused = refused.unwrap_err();
    assert_eq!(
        (refused.kind(), refused.outcome()),
        (ErrorKind::Incompatible, Outcome::NotStored)
    );

    server.command(&["CONFIG", "SET", "maxmemory", "1"]).await;
    let full = backend.append(&log("a"), &frame("x")).await.unwrap_err();
    assert_eq!(
        (full.kind(), full.outcome()),
        (ErrorKind::Broker, Outcome::NotStored)
    );
    assert!(full.to_string().contains("OOM"), "{full}");
    server.command(&["CONFIG", "SET", "maxmemory", "0"]).await;
    assert_eq!(append(&backend, &log("a"), "x").await.1, 22);
}

#[tokio::test]
async fn a_frame_that_is_too_large_is_refused_and_takes_no_sequence() {
    let server = Server::start();
    let backend = backend(&format!("{}?max_frame_bytes=1000", server.url()));
    let error = backend
        .append(&log("a"), &frame(&"x".repeat(1_000)))
        .await
        .unwrap_err();
    assert_eq!(
        (error.kind(), error.outcome()),
        (ErrorKind::TooLarge, Outcome::NotStored)
    );
    assert_eq!(append(&backend, &log("a"), "x").await.1, 1);
}
