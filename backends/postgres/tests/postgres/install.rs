//! The schema: installed once, by whoever may, and refused if it is not this library's.

use futures_util::future::join_all;
use scaleout_core::{Backend, ErrorKind};

use crate::support::{Cluster, append, backend, log};

#[tokio::test]
async fn many_nodes_that_start_at_once_install_one_schema() {
    let cluster = Cluster::start().await;
    let nodes: Vec<_> = (0..8).map(|_| cluster.backend()).collect();
    for outcome in join_all(nodes.iter().map(Backend::probe)).await {
        outcome.unwrap();
    }
    let log = log("t");
    let epochs = join_all(nodes.iter().map(|node| append(node, &log, "x"))).await;
    assert!(epochs.iter().all(|(epoch, _)| *epoch == epochs[0].0));
}

#[tokio::test]
async fn a_newer_schema_is_refused() {
    let cluster = Cluster::start().await;
    cluster.backend().probe().await.unwrap();
    cluster
        .sql("CREATE OR REPLACE FUNCTION scaleout.version() RETURNS integer LANGUAGE sql IMMUTABLE AS 'SELECT 2'")
        .await;
    let error = cluster.backend().probe().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Incompatible, "{error}");
    assert!(error.to_string().contains("newer"), "{error}");
}

#[tokio::test]
async fn who_may_not_install_is_told_so_and_needs_no_more_than_the_readme_says() {
    let cluster = Cluster::start().await;
    cluster.sql("CREATE ROLE chat LOGIN PASSWORD 'pw'").await;
    let chat = format!("postgres://chat:pw@127.0.0.1:{}/postgres", cluster.port());
    let error = backend(&chat).probe().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Auth, "{error}");
    assert!(error.to_string().contains("sql/v1.sql"), "{error}");

    cluster.sql(include_str!("../../sql/v1.sql")).await;
    let grant = include_str!("../../README.md")
        .lines()
        .find(|line| line.starts_with("GRANT USAGE"))
        .unwrap();
    cluster.sql(grant).await;
    let node = backend(&format!("{chat}?retention_frames=1&retention_age=1s"));
    node.probe().await.unwrap();
    let mut listener = node.listen(&log("t"), None).await.unwrap();
    for _ in 0..64 {
        append(&node, &log("t"), "x").await;
        listener.next().await.unwrap();
    }
    // A read makes a log, too.
    node.read(&log("u"), None, 10).await.unwrap();
    cluster
        .sql("SET ROLE chat; SELECT scaleout.publish('t', 'x')")
        .await;
    for forbidden in [
        "SELECT * FROM scaleout.frame",
        "DELETE FROM scaleout.log",
        "SELECT scaleout.lock_log('a', 'b')",
    ] {
        let client = tokio_postgres::connect(&chat, tokio_postgres::NoTls)
            .await
            .unwrap();
        tokio::spawn(client.1);
        let error = client.0.execute(forbidden, &[]).await.unwrap_err();
        assert_eq!(error.code().unwrap().code(), "42501", "{forbidden}");
    }
}

#[tokio::test]
async fn a_schema_that_is_dropped_under_a_node_is_installed_again() {
    let cluster = Cluster::start().await;
    let node = cluster.backend();
    let (before, _) = append(&node, &log("t"), "x").await;
    cluster
        .sql("SET client_min_messages = warning; DROP SCHEMA scaleout CASCADE")
        .await;
    let error = node.read(&log("t"), None, 10).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    // As the core does: until it works again.
    while node.probe().await.is_err() {}
    let (after, sequence) = append(&node, &log("t"), "x").await;
    assert_ne!(before, after);
    assert_eq!(sequence, 1);
}
