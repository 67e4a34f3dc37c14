//! `serve`: what the servers answer besides the hub's own protocol.

use std::{
    io::{Read, Write},
    net::TcpStream,
};

use crate::running::{PATIENCE, Running};

fn get(addr: &str, path: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nHost: {addr}\r\nConnection: close\r\n\r\n");
    exchange(addr, request.as_bytes())
}

fn addr(server: &Running) -> String {
    let line = server.line();
    let addr = line.strip_prefix("listening on http://");
    addr.unwrap_or_else(|| panic!("{line}")).to_owned()
}

#[test]
fn each_address_is_a_node_that_tells_its_health() {
    let server = Running::start(&[
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--listen",
        "127.0.0.1:0",
    ]);
    let nodes = [addr(&server), addr(&server)].map(|addr| {
        let answer = get(&addr, "/health");
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        let health: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!(health["state"], "connected");
        assert_eq!(health["backend"], "memory");
        health["node"].as_str().unwrap().to_owned()
    });
    assert_ne!(nodes[0], nodes[1]);
    assert_eq!(server.interrupt(), Some(0));
}

#[test]
fn the_page_may_talk_to_its_own_server_only() {
    let server = Running::start(&["serve", "--listen", "127.0.0.1:0"]);
    let page = get(&addr(&server), "/");
    assert!(page.starts_with("HTTP/1.1 200"), "{page}");
    assert!(
        page.contains("content-security-policy: default-src 'none'"),
        "{page}"
    );
    assert!(page.contains("<title>Chat</title>"), "{page}");
    let (_, body) = page.split_once("\r\n\r\n").unwrap();
    for url in body.split(['"', '\'']).filter(|text| text.contains("://")) {
        assert_eq!(
            url, "http://www.w3.org/2000/svg",
            "the page needs nothing from elsewhere"
        );
    }
}

#[test]
fn a_server_names_the_others() {
    let peer = "http://127.0.0.1:9";
    let server = Running::start(&["serve", "--listen", "127.0.0.1:0", "--peer", peer]);
    let addr = addr(&server);
    let servers = get(&addr, "/servers");
    assert!(
        servers.ends_with(&format!("[\"http://{addr}\",\"{peer}\"]")),
        "{servers}"
    );
    assert!(get(&addr, "/").contains("ws://127.0.0.1:9"));
}

#[test]
fn garbage_on_the_web_socket_ends_that_connection_and_no_other() {
    let server = Running::start(&["serve", "--listen", "127.0.0.1:0"]);
    let addr = addr(&server);
    let upgrade = format!(
        "GET /chat HTTP/1.1\r\nHost: {addr}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    // With a mask of zeros: text that is no text, JSON that is no JSON, an opcode that is none; a
    // frame without a mask; and what is no frame at all.
    let handshake = b"\x81\xa0\0\0\0\0{\"protocol\":\"json\",\"version\":1}\x1e";
    let garbage: [&[&[u8]]; 5] = [
        &[b"\x81\x84\0\0\0\0\xff\xfe\xfd\xfc"],
        &[handshake, b"\x81\x89\0\0\0\0{\"type\":\x1e"],
        &[handshake, b"\x83\x81\0\0\0\0x"],
        &[handshake, b"\x81\x0b{\"type\":6}\x1e"],
        &[b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"],
    ];
    for frames in garbage {
        let request = [upgrade.as_bytes(), &frames.concat()].concat();
        let answer = exchange(&addr, &request);
        assert!(answer.starts_with("HTTP/1.1 101"), "{answer}");
    }
    assert!(get(&addr, "/health").starts_with("HTTP/1.1 200"));
    assert_eq!(server.interrupt(), Some(0));
}

/// Sends `request` and reads what the server answers until it closes.
pub(crate) fn exchange(addr: &str, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(request).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}
