//! What is left at the server of what was used.

use std::{fs, time::Duration};

use scaleout_core::{Backend, Backplane, Start};

use crate::support::Cluster;

const TOPICS: usize = 1_000;
const CLOSE: Duration = Duration::from_secs(10);
/// What three times a thousand topics may leave in a session's memory: less than a page for each.
const SLACK_KIB: u64 = 2_048;

#[tokio::test]
async fn a_namespace_that_is_removed_leaves_no_row_and_the_others_theirs() {
    const FRAMES: u64 = 600;
    let cluster = Cluster::start().await;
    cluster.backend().probe().await.unwrap();
    cluster
        .sql("CREATE ROLE chat LOGIN PASSWORD 'pw'; GRANT USAGE ON SCHEMA scaleout TO chat")
        .await;
    let publish = format!(
        "SELECT count(scaleout.publish('t' || n % 150, 'x', ns))
         FROM generate_series(1, 300) AS n, unnest(ARRAY['gone', 'stays']) AS ns;
         SELECT count(scaleout.publish('long', 'x', 'gone')) FROM generate_series(1, {FRAMES})"
    );
    cluster.sql(&publish).await;
    // By somebody who has a node's rights and no more.
    let url = format!(
        "postgres://chat:pw@127.0.0.1:{}/postgres?namespace=gone",
        cluster.port()
    );
    scaleout_postgres::remove(&url).await.unwrap();
    let left = "SELECT (SELECT count(*) FROM scaleout.log), (SELECT count(*) FROM scaleout.frame),
        (SELECT count(*) FROM scaleout.log WHERE namespace = 'stays'),
        (SELECT count(*) FROM scaleout.trimmed)";
    assert_eq!(cluster.sql(left).await, "150|300|150|0");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_topics_subscribed_and_dropped_leave_nothing() {
    let cluster = Cluster::start().await;
    let node = Backplane::connect(scaleout_postgres::connector(&cluster.url()).unwrap());
    let node = node.await.unwrap();
    // So that all of its sessions are there.
    drop(node.subscribe("first", Start::Latest).await.unwrap());
    node.publish("first", "m").await.unwrap();
    let before = Sessions::of(&cluster).await;

    let mut rounds = Vec::new();
    for _ in 0..3 {
        let mut tails = Vec::with_capacity(TOPICS);
        for number in 0..TOPICS {
            let tail = node.subscribe(format!("{number}"), Start::Latest).await;
            tails.push(tail.unwrap());
        }
        let used = Sessions::of(&cluster).await;
        assert_eq!(used.count, before.count, "sessions for topics");
        drop(tails);
        // The last of them is in order when this one is: they share a session.
        drop(node.subscribe("last", Start::Latest).await.unwrap());
        rounds.push((used, Sessions::of(&cluster).await));
    }
    println!("before {before:?}, subscribed and dropped {rounds:?}");
    let after = &rounds[2].1;
    assert_eq!(after.count, before.count);
    assert!(
        after.private_kib <= rounds[0].0.private_kib + SLACK_KIB,
        "the sessions' memory grows: {rounds:?}"
    );

    node.close(CLOSE).await.unwrap();
    assert_eq!(Sessions::of(&cluster).await.count, 0);
}

/// The node's sessions.
#[derive(Debug)]
struct Sessions {
    count: usize,
    /// The memory that is theirs alone, where the system tells it.
    private_kib: u64,
}

impl Sessions {
    async fn of(cluster: &Cluster) -> Self {
        let pids = "SELECT pid FROM pg_stat_activity WHERE usename = 'app'";
        let pids = cluster.sql(pids).await;
        let pids: Vec<_> = pids.lines().collect();
        Self {
            count: pids.len(),
            private_kib: pids.iter().filter_map(|pid| private_kib(pid)).sum(),
        }
    }
}

fn private_kib(pid: &str) -> Option<u64> {
    let told = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let line = told
        .lines()
        .find(|line| line.starts_with("Private_Dirty"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}
