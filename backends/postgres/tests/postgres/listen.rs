//! Listening: what rides along, what wakes, what is lost, and what is left behind.

use std::time::Duration;

use scaleout_core::{Arrival, Backend};
use tokio::time::{Instant, timeout};

use crate::support::{Cluster, append, arrival, log};

#[tokio::test]
async fn frames_ride_along_up_to_the_limit_and_larger_ones_wake() {
    let cluster = Cluster::start().await;
    let backend = cluster.backend();
    let mut listener = backend.listen(&log("t"), None).await.unwrap();
    // A frame of one message without headers has 38 bytes besides the payload.
    let mut woken = 0;
    for size in [
        0, 1, 5_000, 5_760, 5_761, 5_762, 5_763, 5_764, 6_000, 100_000,
    ] {
        append(&backend, &log("t"), &"x".repeat(size)).await;
        match listener.next().await.unwrap() {
            Arrival::Wake => woken += 1,
            Arrival::Frame { frame, .. } => assert!(woken == 0 && frame.bytes.len() >= size),
            other => panic!("{other:?}"),
        }
    }
    assert!((2..=6).contains(&woken), "{woken}");
}

#[tokio::test]
async fn a_notification_that_is_lost_costs_no_more_than_a_second() {
    let cluster = Cluster::start().await;
    let backend = cluster.backend();
    let mut listener = backend.listen(&log("t"), None).await.unwrap();
    append(&backend, &log("t"), "heard").await;
    arrival(&mut listener).await;
    // What the first comparison has to say is over.
    while timeout(Duration::from_millis(1_700), listener.next())
        .await
        .is_ok()
    {}
    // A frame that nobody is told of.
    cluster
        .sql(
            "BEGIN; UPDATE scaleout.log SET head = head + 1, frames = frames + 1;
             INSERT INTO scaleout.frame SELECT log, 2, 1, 2, now(), bytes FROM scaleout.frame;
             COMMIT",
        )
        .await;
    let unheard = Instant::now();
    assert_eq!(listener.next().await.unwrap(), Arrival::Wake);
    let took = unheard.elapsed();
    // The second, and as much for a machine that does other things.
    assert!(took < Duration::from_secs(2), "{took:?}");
}

#[tokio::test]
async fn a_thousand_logs_that_were_listened_to_leave_nothing_behind() {
    let cluster = Cluster::start().await;
    let backend = cluster.backend();
    let statistics = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'";
    backend.probe().await.unwrap();
    let sessions = cluster.sql(statistics).await;
    for _ in 0..2 {
        let logs: Vec<_> = (0..1_000)
            .map(|number| log(&format!("t{number}")))
            .collect();
        let listening = logs.iter().map(|log| backend.listen(log, None));
        let listeners = futures_util::future::try_join_all(listening).await.unwrap();
        append(&backend, &logs[999], "x").await;
        drop(listeners);
        // One that comes after them is confirmed after they were called off.
        let mut last = backend.listen(&log("last"), None).await.unwrap();
        append(&backend, &log("last"), "x").await;
        arrival(&mut last).await;
    }
    assert_eq!(cluster.sql(statistics).await, sessions);
}
