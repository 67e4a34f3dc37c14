//! Over plain TCP, against a server that echoes.

use std::{
    future::Future,
    io::ErrorKind,
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::timeout,
};

use super::*;

/// A guard against hanging.
async fn soon<F: Future>(future: F) -> F::Output {
    timeout(Duration::from_secs(10), future)
        .await
        .expect("hangs")
}

/// An echo server behind a proxy.
async fn proxied() -> Proxy {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let upstream = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut read, mut write) = stream.split();
                let _ = tokio::io::copy(&mut read, &mut write).await;
            });
        }
    });
    Proxy::start(upstream).await.unwrap()
}

async fn client(proxy: &Proxy) -> TcpStream {
    soon(TcpStream::connect(proxy.addr())).await.unwrap()
}

async fn echo(stream: &mut TcpStream, sent: &[u8]) {
    stream.write_all(sent).await.unwrap();
    let mut back = vec![0; sent.len()];
    soon(stream.read_exact(&mut back)).await.unwrap();
    assert_eq!(back, sent);
}

/// Reads until the connection ends; what came, and whether it ended with an RST.
async fn rest(stream: &mut TcpStream) -> (Vec<u8>, bool) {
    let mut bytes = Vec::new();
    match soon(stream.read_to_end(&mut bytes)).await {
        Ok(_) => (bytes, false),
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::ConnectionReset);
            (bytes, true)
        }
    }
}

#[tokio::test]
async fn a_healthy_proxy_passes_everything_and_counts() {
    let proxy = proxied().await;
    let mut stream = client(&proxy).await;
    echo(&mut stream, &vec![7; 300_000]).await;
    assert_eq!(proxy.connects(), 1);
    assert_eq!(proxy.connections(), 1);
    assert_eq!(Direction::BOTH.map(|way| proxy.passed(way)), [300_000; 2]);
    stream.shutdown().await.unwrap();
    assert_eq!(rest(&mut stream).await, (Vec::new(), false));
}

#[tokio::test]
async fn a_reset_ends_every_connection_and_spares_new_ones() {
    let proxy = proxied().await;
    let mut streams = [client(&proxy).await, client(&proxy).await];
    for stream in &mut streams {
        echo(stream, b"before").await;
    }
    proxy.reset();
    for stream in &mut streams {
        assert!(rest(stream).await.1);
    }
    echo(&mut client(&proxy).await, b"after").await;
}

#[tokio::test]
async fn refused_connections_end_with_an_rst_and_count() {
    let proxy = proxied().await;
    let mut old = client(&proxy).await;
    echo(&mut old, b"old").await;
    proxy.refuse_new();
    for _ in 0..3 {
        assert!(rest(&mut client(&proxy).await).await.1);
    }
    echo(&mut old, b"still there").await;
    assert_eq!(proxy.connects(), 4);
    proxy.heal();
    echo(&mut client(&proxy).await, b"new").await;
}

#[tokio::test]
async fn a_black_hole_holds_one_way_until_healed() {
    let proxy = proxied().await;
    let mut stream = client(&proxy).await;
    echo(&mut stream, b"before").await;
    for way in Direction::BOTH {
        let passed = proxy.passed(Direction::ToBroker);
        proxy.blackhole(way);
        stream.write_all(b"held").await.unwrap();
        if way == Direction::FromBroker {
            // It gets there; only the answer does not come back.
            while proxy.passed(Direction::ToBroker) == passed {
                tokio::task::yield_now().await;
            }
        }
        let nothing = timeout(Duration::from_millis(50), stream.read_u8()).await;
        assert!(nothing.is_err(), "{way:?}");
        proxy.heal();
        let mut back = [0; 4];
        soon(stream.read_exact(&mut back)).await.unwrap();
        assert_eq!(&back, b"held");
    }
}

#[tokio::test]
async fn a_black_hole_hides_the_end_of_a_connection() {
    let proxy = proxied().await;
    let mut stream = client(&proxy).await;
    echo(&mut stream, b"before").await;
    proxy.blackhole(Direction::ToBroker);
    drop(stream);
    let mut other = client(&proxy).await;
    let nothing = timeout(Duration::from_millis(50), other.read_u8()).await;
    assert!(nothing.is_err());
    assert_eq!(proxy.connections(), 1, "the broker still has the old one");
    proxy.heal();
    echo(&mut other, b"after").await;
    soon(async {
        while proxy.connections() > 1 {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_cut_falls_between_two_bytes_and_only_once() {
    let proxy = proxied().await;
    for bytes in [0, 1, 7] {
        let mut stream = client(&proxy).await;
        proxy.cut_after(bytes, Direction::FromBroker);
        stream.write_all(b"12345678").await.unwrap();
        let (came, broken) = rest(&mut stream).await;
        assert_eq!((came.len() as u64, broken), (bytes, true));
        echo(&mut client(&proxy).await, b"next").await;
    }
    assert_eq!(proxy.cuts(), 3);
    soon(proxy.until_cuts(3)).await;
}

#[tokio::test]
async fn delayed_bytes_take_their_time_and_keep_their_order() {
    let proxy = proxied().await;
    let mut stream = client(&proxy).await;
    proxy.delay(Duration::from_millis(20), Duration::from_millis(10));
    let began = Instant::now();
    for number in 0..50_u8 {
        stream.write_all(&[number]).await.unwrap();
        tokio::task::yield_now().await;
    }
    let mut back = [0; 50];
    soon(stream.read_exact(&mut back)).await.unwrap();
    assert!(began.elapsed() >= Duration::from_millis(40));
    assert!(back.is_sorted());
}

#[tokio::test]
async fn sliced_bytes_all_arrive() {
    let proxy = proxied().await;
    proxy.slice();
    echo(&mut client(&proxy).await, &[5; 5_000]).await;
}

#[tokio::test]
async fn garbled_bytes_are_none_that_were_sent() {
    let proxy = proxied().await;
    let mut stream = client(&proxy).await;
    proxy.garble();
    stream.write_all(b"+OK\r\n").await.unwrap();
    let mut back = [0; 5];
    soon(stream.read_exact(&mut back)).await.unwrap();
    assert!(back.iter().all(|byte| !byte.is_ascii()), "{back:?}");
    proxy.heal();
    echo(&mut stream, b"after").await;
}

#[tokio::test]
async fn a_dropped_proxy_ends_its_connections() {
    let proxy = proxied().await;
    let mut stream = client(&proxy).await;
    echo(&mut stream, b"before").await;
    let addr = proxy.addr();
    drop(proxy);
    rest(&mut stream).await;
    soon(async {
        while TcpStream::connect(addr).await.is_ok() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn an_unreachable_broker_looks_like_a_reset() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let upstream = listener.local_addr().unwrap().to_string();
    drop(listener);
    let proxy = Proxy::start(upstream).await.unwrap();
    assert!(rest(&mut client(&proxy).await).await.1);
}
