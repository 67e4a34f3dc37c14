//! Connecting: credentials, several hosts, and servers that will not do.

use std::time::Duration;

use scaleout_core::{Backend, ErrorKind, Result};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    time::timeout,
};

use crate::support::{Cluster, append, backend, log};

#[tokio::test]
async fn a_wrong_password_is_told_at_once_and_never_shown() {
    let cluster = Cluster::start().await;
    let url = |user: &str| format!("postgres://{user}@127.0.0.1:{}/postgres", cluster.port());
    for wrong in ["app:wr0ng-s3cret", "app", "nobody:wr0ng-s3cret"] {
        let error = probe(&url(wrong)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Auth, "{error}");
        assert!(!format!("{error} {error:?}").contains("s3cret"), "{error}");
        assert_eq!(error.to_string().lines().count(), 1);
    }
    let error = probe(&format!("{}?sslmode=require", cluster.url()))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Incompatible, "{error}");
    let missing = cluster.url().rsplit_once('/').unwrap().0.to_owned() + "/missing";
    let error = probe(&missing).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
}

#[tokio::test]
async fn of_several_hosts_the_one_that_can_be_written_to_is_taken() {
    let reader = Cluster::start_with(&[("default_transaction_read_only", "on")]).await;
    let writer = Cluster::start().await;
    let url = writer.url();
    let (before, _) = url.rsplit_once('@').unwrap();
    let ports = format!(
        "{before}@127.0.0.1:1,127.0.0.1:{},127.0.0.1:{}/postgres",
        reader.port(),
        writer.port()
    );
    let node = backend(&ports);
    append(&node, &log("t"), "x").await;
    assert_eq!(writer.sql("SELECT count(*) FROM scaleout.log").await, "1");
}

#[tokio::test]
async fn a_server_that_is_too_old_is_refused_in_one_clear_line() {
    let port = pretend(Some("12.17")).await;
    let error = probe(&format!(
        "postgres://me:s3cret@127.0.0.1:{port}/?target_session_attrs=any"
    ))
    .await
    .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Incompatible, "{error}");
    let line = error.to_string();
    assert!(
        line.contains("12.17") && line.contains("13") && line.lines().count() == 1,
        "{line}"
    );
}

#[tokio::test]
async fn what_is_no_postgres_is_an_error_and_not_a_panic() {
    let port = pretend(None).await;
    let url = format!("postgres://me:s3cret@127.0.0.1:{port}/?request_timeout=1s");
    let error = probe(&url).await.unwrap_err();
    assert!(error.is_transient(), "{error}");
    let error = probe("postgres://no-such-host.invalid/").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
}

async fn probe(url: &str) -> Result<()> {
    let probe = backend(url);
    timeout(Duration::from_secs(10), probe.probe())
        .await
        .unwrap()
}

/// Something on a port: a server of this version that lets everybody in, or no PostgreSQL at all.
async fn pretend(version: Option<&'static str>) -> u16 {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = socket.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = socket.accept().await {
            tokio::spawn(async move {
                let mut buffer = [0; 1_024];
                // The question for TLS, and the answer: no.
                let _ = stream.read(&mut buffer).await;
                let Some(version) = version else {
                    let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
                    return;
                };
                let _ = stream.write_all(b"N").await;
                let _ = stream.read(&mut buffer).await;
                let mut answer = b"R\0\0\0\x08\0\0\0\0".to_vec();
                let status = format!("server_version\0{version}\0");
                answer.push(b'S');
                answer.extend(u32::try_from(status.len() + 4).unwrap().to_be_bytes());
                answer.extend(status.as_bytes());
                answer.extend(b"Z\0\0\0\x05I");
                let _ = stream.write_all(&answer).await;
                let _ = stream.read(&mut buffer).await;
            });
        }
    });
    port
}
