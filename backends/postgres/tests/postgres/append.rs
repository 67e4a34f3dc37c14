//! Appends: one transaction for many logs, and repetitions.

use futures_util::future::join_all;
use scaleout_core::{Backend, PublisherId};

use crate::support::{Cluster, append, frame, log};

#[tokio::test]
async fn nodes_that_append_to_the_same_many_logs_never_block_each_other_for_good() {
    let cluster = Cluster::start().await;
    let nodes = [cluster.backend(), cluster.backend(), cluster.backend()];
    for _ in 0..5 {
        let appends = nodes.iter().enumerate().flat_map(|(number, node)| {
            // Each node in another order.
            (0..64).map(move |topic| {
                let topic = (topic * 7 + number * 13) % 64;
                async move { append(node, &log(&format!("t{topic}")), "x").await }
            })
        });
        join_all(appends).await;
    }
    for topic in 0..64 {
        let page = nodes[0]
            .read(&log(&format!("t{topic}")), None, 100)
            .await
            .unwrap();
        assert_eq!((page.head.get(), page.frames.len()), (15, 15));
    }
}

#[tokio::test]
async fn of_each_publisher_the_last_frame_is_known_whoever_came_between() {
    let cluster = Cluster::start().await;
    let backend = cluster.backend();
    let publishers: Vec<_> = (0..20).map(|_| PublisherId::random()).collect();
    let log = log("t");
    let mut places = Vec::new();
    for counter in [1, 2] {
        places.clear();
        for publisher in &publishers {
            let frame = frame(*publisher, counter, "x");
            places.push(backend.append(&log, &frame).await.unwrap());
        }
    }
    for (publisher, place) in publishers.iter().zip(&places) {
        let again = backend.append(&log, &frame(*publisher, 2, "x")).await;
        assert_eq!(again.unwrap(), *place);
        // Older than the last: not stored either, but nobody knows where it stands.
        let old = backend.append(&log, &frame(*publisher, 1, "x")).await;
        assert_eq!(old.unwrap().first, None);
    }
    assert_eq!(backend.read(&log, None, 0).await.unwrap().head.get(), 40);
}
