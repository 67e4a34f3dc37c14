//! Listen: what arrives, who hears it, and what is left behind.

use std::time::Duration;

use futures_util::future::join_all;
use scaleout_core::{Backend, ErrorKind};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    time::{Instant, timeout},
};

use crate::support::{Server, append, arrival, backend, free_port, is_done, log};

#[tokio::test]
async fn what_is_appended_after_listen_arrives_in_order_with_its_epoch() {
    let server = Server::start();
    let [here, there] = [backend(&server.url()), backend(&server.url())];
    append(&there, &log("a"), "before").await;
    let mut listener = here.listen(&log("a"), None).await.unwrap();
    let mut other = here.listen(&log("a"), None).await.unwrap();
    let mut foreign = here.listen(&log("ab"), None).await.unwrap();
    for n in 2..=50 {
        let (epoch, _) = append(&there, &log("a"), &n.to_string()).await;
        for listener in [&mut listener, &mut other] {
            let (of, frame) = arrival(listener).await;
            assert_eq!((of, frame.first.get()), (epoch, n));
        }
    }
    append(&there, &log("ab"), "fence").await;
    assert_eq!(arrival(&mut foreign).await.1.first.get(), 1);
}

#[tokio::test]
async fn a_wiped_log_is_heard_in_its_new_epoch() {
    let server = Server::start();
    let backend = backend(&server.url());
    let mut listener = backend.listen(&log("a"), None).await.unwrap();
    let (before, _) = append(&backend, &log("a"), "x").await;
    server.command(&["FLUSHALL"]).await;
    let (after, first) = append(&backend, &log("a"), "x").await;
    assert_ne!(before, after);
    assert_eq!(first, 1);
    assert_eq!(arrival(&mut listener).await.0, before);
    assert_eq!(arrival(&mut listener).await.0, after);
}

#[tokio::test]
async fn the_last_listener_takes_the_subscription_with_it() {
    let server = Server::start();
    let backend = backend(&server.url());
    let log = log("a");
    let listeners = join_all((0..5).map(|_| backend.listen(&log, None))).await;
    assert_eq!(server.subscriptions(&log).await, 1);
    let mut listeners: Vec<_> = listeners.into_iter().map(Result::unwrap).collect();
    let last = listeners.pop();
    drop(listeners);
    append(&backend, &log, "still heard").await;
    assert_eq!(arrival(&mut last.unwrap()).await.1.first.get(), 1);
    none_left(&server, &log).await;
    // And it can come back.
    let mut again = backend.listen(&log, None).await.unwrap();
    append(&backend, &log, "heard again").await;
    assert_eq!(arrival(&mut again).await.1.first.get(), 2);
}

#[tokio::test]
async fn a_listen_that_is_cancelled_at_any_point_leaves_nothing_behind() {
    let server = Server::start();
    let backend = backend(&server.url());
    backend.probe().await.unwrap();
    let log = log("a");
    for polls in 0..20 {
        let mut listen = Box::pin(backend.listen(&log, None));
        for _ in 0..polls {
            if is_done(&mut listen).await {
                break;
            }
            tokio::task::yield_now().await;
        }
        drop(listen);
    }
    // Cancelled ones do not harm a later one either.
    let mut listener = backend.listen(&log, None).await.unwrap();
    append(&backend, &log, "x").await;
    arrival(&mut listener).await;
    drop(listener);
    none_left(&server, &log).await;
}

#[tokio::test]
async fn coming_and_going_ends_as_it_should() {
    let server = Server::start();
    let backend = backend(&server.url());
    let logs: Vec<_> = (0..50).map(|n| log(&n.to_string())).collect();
    for round in 0..20 {
        let listeners = join_all(logs.iter().map(|log| backend.listen(log, None))).await;
        for (number, listener) in listeners.into_iter().enumerate() {
            let mut listener = listener.unwrap();
            if number % 5 == round % 5 {
                append(&backend, &logs[number], "x").await;
                arrival(&mut listener).await;
            }
        }
    }
    for log in &logs {
        none_left(&server, log).await;
    }
}

#[tokio::test]
async fn a_lost_connection_ends_all_listeners_and_the_next_request_connects_again() {
    let mut server = Server::start();
    let backend = backend(&server.url());
    let mut listeners = [
        backend.listen(&log("a"), None).await.unwrap(),
        backend.listen(&log("b"), None).await.unwrap(),
    ];
    append(&backend, &log("a"), "x").await;
    arrival(&mut listeners[0]).await;
    server.kill();
    for listener in &mut listeners {
        assert_eq!(
            listener.next().await.unwrap_err().kind(),
            ErrorKind::Unavailable
        );
    }
    let error = backend.listen(&log("a"), None).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    server.restart();
    let mut listener = backend.listen(&log("a"), None).await.unwrap();
    append(&backend, &log("a"), "x").await;
    arrival(&mut listener).await;
}

#[tokio::test]
async fn a_server_that_falls_silent_is_noticed_within_the_liveness_time() {
    let server = Server::start();
    let proxy = Proxy::start(server.port()).await;
    let backend = backend(&format!(
        "redis://127.0.0.1:{}/?liveness=1s&request_timeout=10s",
        proxy.port
    ));
    let mut listener = backend.listen(&log("a"), None).await.unwrap();
    append(&backend, &log("a"), "x").await;
    arrival(&mut listener).await;
    proxy.hold.send_replace(true);
    let since = Instant::now();
    let (log_a, frame) = (log("a"), crate::support::frame("y"));
    let (ended, lost) = tokio::join!(listener.next(), backend.append(&log_a, &frame));
    assert_eq!(ended.unwrap_err().kind(), ErrorKind::Unavailable);
    let lost = lost.unwrap_err();
    assert_eq!(lost.outcome(), scaleout_core::Outcome::Unknown);
    assert!(
        since.elapsed() < Duration::from_secs(2),
        "{:?}",
        since.elapsed()
    );
    proxy.hold.send_replace(false);
    let mut listener = backend.listen(&log("a"), None).await.unwrap();
    append(&backend, &log("a"), "z").await;
    arrival(&mut listener).await;
}

#[tokio::test]
async fn a_closed_backend_leaves_no_connection_and_ends_its_listeners() {
    let server = Server::start();
    let backend = backend(&server.url());
    let mut listener = backend.listen(&log("a"), None).await.unwrap();
    append(&backend, &log("a"), "x").await;
    arrival(&mut listener).await;
    let tasks = tokio::runtime::Handle::current().metrics();
    backend
        .close(Instant::now() + Duration::from_secs(5))
        .await
        .unwrap();
    assert_eq!(tasks.num_alive_tasks(), 0);
    assert_eq!(listener.next().await.unwrap_err().kind(), ErrorKind::Closed);
    let error = backend
        .append(&log("a"), &crate::support::frame("x"))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Closed);
    assert_eq!(
        backend.listen(&log("a"), None).await.unwrap_err().kind(),
        ErrorKind::Closed
    );
    assert_eq!(backend.probe().await.unwrap_err().kind(), ErrorKind::Closed);
    none_left(&server, &log("a")).await;
}

#[tokio::test]
async fn many_who_need_a_connection_share_one() {
    let server = Server::start();
    let backend = backend(&server.url());
    let log = log("a");
    join_all((0..100).map(|_| append(&backend, &log, "x"))).await;
    let port = free_port();
    let nowhere = crate::support::backend(&format!("redis://127.0.0.1:{port}/"));
    let frame = crate::support::frame("x");
    for refused in join_all((0..100).map(|_| nowhere.append(&log, &frame))).await {
        let refused = refused.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Unavailable);
        assert_eq!(refused.outcome(), scaleout_core::Outcome::NotStored);
    }
    let clients: String =
        redis::from_redis_value(server.command(&["INFO", "stats"]).await).unwrap();
    // This one, and the one that asks.
    assert!(
        clients.contains("total_connections_received:2\r\n"),
        "{clients}"
    );
}

#[tokio::test]
async fn an_append_that_is_cancelled_does_not_take_the_next_ones_answer() {
    let server = Server::start();
    let backend = backend(&server.url());
    backend.probe().await.unwrap();
    let log = log("a");
    for polls in 0..12 {
        let frame = crate::support::frame("cancelled");
        let mut cancelled = Box::pin(backend.append(&log, &frame));
        for _ in 0..polls {
            if is_done(&mut cancelled).await {
                break;
            }
            tokio::task::yield_now().await;
        }
        drop(cancelled);
        let payload = format!("kept {polls}");
        let (epoch, sequence) = append(&backend, &log, &payload).await;
        let before =
            scaleout_core::Position::new(epoch, scaleout_core::Sequence::new(sequence - 1));
        let page = backend.read(&log, Some(before), 1).await.unwrap();
        let frame = scaleout_core::Frame::decode(page.frames[0].bytes.clone()).unwrap();
        assert_eq!(frame.messages()[0].payload(), payload.as_bytes());
    }
}

/// Waits until the server has no subscription to the log, which follows from its end without a
/// further sign.
async fn none_left(server: &Server, log: &scaleout_core::LogName) {
    let gone = async {
        while server.subscriptions(log).await != 0 {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(10), gone)
        .await
        .expect("the subscription goes");
}

/// Passes bytes on, unless it is told to hold them.
struct Proxy {
    port: u16,
    hold: watch::Sender<bool>,
}

impl Proxy {
    async fn start(to: u16) -> Self {
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = socket.local_addr().unwrap().port();
        let (hold, held) = watch::channel(false);
        tokio::spawn(async move {
            while let Ok((client, _)) = socket.accept().await {
                let server = TcpStream::connect(("127.0.0.1", to)).await.unwrap();
                let (client_read, client_write) = client.into_split();
                let (server_read, server_write) = server.into_split();
                tokio::spawn(pass(client_read, server_write, held.clone()));
                tokio::spawn(pass(server_read, client_write, held.clone()));
            }
        });
        Self { port, hold }
    }
}

async fn pass(
    mut from: impl AsyncReadExt + Unpin,
    mut to: impl AsyncWriteExt + Unpin,
    mut held: watch::Receiver<bool>,
) {
    let mut buffer = [0; 4_096];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        if held.wait_for(|held| !held).await.is_err()
            || to.write_all(&buffer[..count]).await.is_err()
        {
            return;
        }
    }
}
