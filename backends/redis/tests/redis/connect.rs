//! Connecting: credentials, TLS, and servers that will not do.

use std::{fs, path::PathBuf, time::Duration};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use scaleout_core::{Backend, ErrorKind, Result};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::TcpListener,
    time::timeout,
};

use crate::support::{Server, append, arrival, backend, free_port, log};

#[tokio::test]
async fn a_password_is_needed_where_one_is_set_and_never_shown() {
    let server = Server::start_with(&["--requirepass", "right-s3cret"]);
    let url = |password: &str| format!("redis://:{password}@127.0.0.1:{}/", server.port());
    let fine = backend(&url("right-s3cret"));
    append(&fine, &log("a"), "x").await;
    assert!(!format!("{fine:?}").contains("right-s3cret"));

    let wrong = backend(&url("wrong-s3cret"));
    let none = backend(&format!("redis://127.0.0.1:{}/", server.port()));
    for backend in [wrong, none] {
        let probe = timeout(Duration::from_secs(2), backend.probe())
            .await
            .unwrap();
        for error in [
            probe.unwrap_err(),
            backend
                .append(&log("a"), &crate::support::frame("x"))
                .await
                .unwrap_err(),
            backend.listen(&log("a"), None).await.unwrap_err(),
        ] {
            assert_eq!(error.kind(), ErrorKind::Auth, "{error}");
            assert!(!format!("{error} {error:?}").contains("s3cret"), "{error}");
            assert_eq!(error.to_string().lines().count(), 1);
        }
    }
}

/// What the README tells operators to grant.
const RIGHTS: &str = include_str!("../../README.md");

#[tokio::test]
async fn a_user_with_the_rights_that_the_readme_names_can_do_all() {
    let server = Server::start();
    let rule = RIGHTS
        .lines()
        .find_map(|line| line.strip_prefix("ACL SETUSER scaleout on >PASSWORD "))
        .unwrap();
    let mut words = vec!["ACL", "SETUSER", "app", "on", ">pass word"];
    words.extend(rule.split(' '));
    server.command(&words).await;
    let url = format!(
        "redis://app:pass%20word@127.0.0.1:{}/?retention_bytes=1000",
        server.port()
    );
    let backend = backend(&url);
    backend.probe().await.unwrap();
    let mut listener = backend.listen(&log("a"), None).await.unwrap();
    // Enough publishers and bytes for every branch of the script.
    for _ in 0..2_100 {
        append(&backend, &log("a"), "x").await;
        arrival(&mut listener).await;
    }
    assert!(
        !backend
            .read(&log("a"), None, 10)
            .await
            .unwrap()
            .frames
            .is_empty()
    );
    drop(listener);
    backend.listen(&log("a"), None).await.unwrap();
}

#[tokio::test]
async fn a_log_that_is_not_permitted_harms_no_other() {
    let server = Server::start();
    let words = "ACL SETUSER app on >pw ~so:*a} ~so:*a}:s &so:*a} +@all";
    server.command(&words.split(' ').collect::<Vec<_>>()).await;
    let backend = backend(&format!("redis://app:pw@127.0.0.1:{}/", server.port()));
    let [allowed, denied] = [log("a"), log("b")];
    let frame = crate::support::frame("x");
    let (mine, theirs, heard, unheard) = tokio::join!(
        backend.append(&allowed, &frame),
        backend.append(&denied, &frame),
        backend.listen(&allowed, None),
        backend.listen(&denied, None),
    );
    assert!(mine.is_ok() && heard.is_ok());
    let refused = theirs.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Auth, "{refused}");
    assert_eq!(refused.outcome(), scaleout_core::Outcome::NotStored);
    assert_eq!(unheard.unwrap_err().kind(), ErrorKind::Auth);
    append(&backend, &allowed, "y").await;
}

#[tokio::test]
async fn a_frame_that_is_stored_and_may_not_be_published_is_not_called_unstored() {
    let server = Server::start();
    let words = "ACL SETUSER app on >pw ~so:* &so:* +@all";
    server.command(&words.split(' ').collect::<Vec<_>>()).await;
    let backend = backend(&format!("redis://app:pw@127.0.0.1:{}/", server.port()));
    append(&backend, &log("a"), "x").await;
    server
        .command(&["ACL", "SETUSER", "app", "resetchannels"])
        .await;
    // A right guess of the log's state, and none.
    for log in [log("a"), log("b")] {
        let error = backend
            .append(&log, &crate::support::frame("y"))
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Auth, "{error}");
        assert_eq!(error.outcome(), scaleout_core::Outcome::Unknown);
        assert!(backend.read(&log, None, 0).await.unwrap().head.get() > 0);
    }
}

#[tokio::test]
async fn tls_reaches_a_server_whose_authority_is_named() {
    let certificates = Certificates::make("tls");
    let port = free_port();
    let _server = certificates.serve(port);
    let url = |host: &str, ca: &str| {
        format!(
            "rediss://{host}:{port}/?ca_cert={}/{ca}",
            certificates.path()
        )
    };
    let backend = backend(&url("localhost", "ca.pem"));
    let mut listener = backend.listen(&log("a"), None).await.unwrap();
    append(&backend, &log("a"), "secretly").await;
    arrival(&mut listener).await;

    let error = probe(&url("localhost", "other.pem")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Auth, "{error}");
    // The certificate is for localhost, not for its address.
    let error = probe(&url("127.0.0.1", "ca.pem")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Auth, "{error}");
    let error = probe(&format!("rediss://localhost:{port}/"))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Auth, "{error}");
}

#[tokio::test]
async fn tls_and_no_tls_do_not_meet() {
    let plain = Server::start();
    let error = probe(&format!(
        "rediss://localhost:{}/?request_timeout=2s",
        plain.port()
    ))
    .await;
    let kind = error.unwrap_err().kind();
    assert!(
        matches!(kind, ErrorKind::Incompatible | ErrorKind::Unavailable),
        "{kind:?}"
    );

    let certificates = Certificates::make("no-tls");
    let port = free_port();
    let _server = certificates.serve(port);
    let error = probe(&format!("redis://localhost:{port}/?request_timeout=2s"))
        .await
        .unwrap_err();
    assert!(error.is_transient(), "{error}");
}

#[tokio::test]
async fn a_server_that_is_too_old_or_a_cluster_is_refused_in_one_clear_line() {
    for (info, says) in [
        (
            "redis_version:6.0.16\r\nredis_mode:standalone\r\nrun_id:0123456789abcdef",
            "6.0.16",
        ),
        (
            "redis_version:7.2.0\r\nredis_mode:cluster\r\nrun_id:0123456789abcdef",
            "Cluster",
        ),
    ] {
        let port = pretend(Pretence::Info(info)).await;
        let error = probe(&format!("redis://:s3cret@127.0.0.1:{port}/"))
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Incompatible, "{error}");
        let line = error.to_string();
        assert!(line.contains(says) && line.lines().count() == 1, "{line}");
    }
    // Before version 6 there is no HELLO; the server repeats what it was sent.
    let error = "-ERR unknown command `HELLO`, with args beginning with: `3`, `AUTH`, `default`, `s3cret`, \r\n";
    let port = pretend(Pretence::Always(error)).await;
    let error = probe(&format!("redis://:s3cret@127.0.0.1:{port}/"))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Incompatible, "{error}");
    assert!(!format!("{error} {error:?}").contains("s3cret"), "{error}");
}

#[tokio::test]
async fn what_is_no_redis_is_an_error_and_not_a_panic() {
    for garbage in [
        "HTTP/1.1 400 Bad Request\r\n\r\n",
        "*-7\r\n",
        "$99999999999\r\n",
        "\0\0\0\0\r\n",
    ] {
        let port = pretend(Pretence::Always(garbage)).await;
        let error = probe(&format!("redis://127.0.0.1:{port}/?request_timeout=1s"))
            .await
            .unwrap_err();
        assert!(error.is_transient(), "{garbage:?}: {error}");
    }
}

#[tokio::test]
async fn a_host_that_does_not_answer_is_given_up_within_the_request_timeout() {
    let port = pretend(Pretence::Silence).await;
    let error = probe(&format!("redis://127.0.0.1:{port}/?request_timeout=200ms"))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    let error = probe("redis://no-such-host.invalid/").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
}

async fn probe(url: &str) -> Result<()> {
    let probe = backend(url);
    timeout(Duration::from_secs(10), probe.probe())
        .await
        .unwrap()
}

/// A certificate for `localhost`, its authority, and another authority, as PEM files.
struct Certificates {
    directory: PathBuf,
}

impl Certificates {
    fn make(name: &str) -> Self {
        let directory =
            std::env::temp_dir().join(format!("scaleout-{name}-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let authority = || {
            let mut params = CertificateParams::default();
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
        };
        let ours = authority();
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(["localhost".to_owned()])
            .unwrap()
            .signed_by(&key, &ours)
            .unwrap();
        for (file, text) in [
            ("ca.pem", ours.pem()),
            ("other.pem", authority().pem()),
            ("server.pem", certificate.pem()),
            ("key.pem", key.serialize_pem()),
        ] {
            fs::write(directory.join(file), text).unwrap();
        }
        Self { directory }
    }

    fn path(&self) -> &str {
        self.directory.to_str().unwrap()
    }

    fn serve(&self, port: u16) -> Server {
        let file = |name| self.directory.join(name).to_str().unwrap().to_owned();
        Server::start_with(&[
            "--tls-port",
            &port.to_string(),
            "--tls-cert-file",
            &file("server.pem"),
            "--tls-key-file",
            &file("key.pem"),
            "--tls-ca-cert-file",
            &file("ca.pem"),
            "--tls-auth-clients",
            "no",
        ])
    }
}

impl Drop for Certificates {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}

#[derive(Clone, Copy)]
enum Pretence {
    /// `+OK` to every command, and this to `INFO`.
    Info(&'static str),
    /// This to everything.
    Always(&'static str),
    Silence,
}

/// Something on a port that is not the Redis it should be.
async fn pretend(pretence: Pretence) -> u16 {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = socket.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = socket.accept().await {
            tokio::spawn(async move {
                let (read, mut write) = stream.into_split();
                let mut lines = BufReader::new(read).lines();
                while let Ok(Some(line)) = lines.next_line().await {
                    let answer = match (line.as_str(), pretence) {
                        ("HELLO" | "INFO" | "CLIENT" | "PING", Pretence::Always(answer)) => {
                            answer.to_owned()
                        }
                        ("INFO", Pretence::Info(info)) => format!("${}\r\n{info}\r\n", info.len()),
                        ("HELLO" | "CLIENT" | "PING", Pretence::Info(_)) => "+OK\r\n".to_owned(),
                        _ => continue,
                    };
                    if write.write_all(answer.as_bytes()).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    port
}
