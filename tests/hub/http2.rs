//! WebSockets as streams of one HTTP/2 connection (RFC 8441).

use axum::{
    body::Body,
    http::{Method, Request, StatusCode, Version},
};
use hyper::{
    body::Incoming,
    client::conn::http2::{self, SendRequest},
    ext::Protocol,
    upgrade::Upgraded,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::json;
use tokio::net::TcpStream;

use crate::{
    client::{Client, Frame},
    node::Node,
};

/// An HTTP/2 connection to a node.
struct Http2(SendRequest<Body>);

impl Http2 {
    async fn connect(node: &Node) -> Self {
        let stream = TcpStream::connect(node.address).await.unwrap();
        let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
        tokio::spawn(connection);
        let mut this = Self(sender);
        // The server says in its first frame that it takes such requests. Before that has come, none is
        // sent.
        while this.ask("/chat?id=nobody", "13").await.is_err() {
            tokio::task::yield_now().await;
        }
        this
    }

    async fn ask(
        &mut self,
        path: &str,
        version: &str,
    ) -> hyper::Result<axum::http::Response<Incoming>> {
        let request = Request::builder()
            .method(Method::CONNECT)
            .version(Version::HTTP_2)
            .uri(format!("http://test{path}"))
            .extension(Protocol::from_static("websocket"))
            .header("sec-websocket-version", version)
            .header("x-test", "yes")
            .body(Body::empty())
            .unwrap();
        self.0.send_request(request).await
    }

    /// Opens a WebSocket.
    async fn open(&mut self, path: &str) -> Client<TokioIo<Upgraded>> {
        let response = self.ask(path, "13").await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers().get("sec-websocket-accept"), None);
        let upgraded = hyper::upgrade::on(response).await.unwrap();
        Client::over(TokioIo::new(upgraded))
    }
}

#[tokio::test]
async fn several_sockets_share_a_connection() {
    let node = Node::start().await;
    let mut http2 = Http2::connect(&node).await;
    let (mut one, mut two) = (http2.open("/chat").await, http2.open("/chat").await);
    one.shake_hands().await;
    two.shake_hands().await;
    let added = two.call("Add", json!([1, 2])).await;
    assert_eq!(added["result"], 3);
    // The request is there to be looked at.
    let header = one.call("Header", json!(["x-test"])).await;
    assert_eq!(header["result"], "yes");
    // More than the first window of a stream.
    let blob = one.call("Blob", json!([200_000])).await;
    assert_eq!(blob["result"].as_str().unwrap().len(), 200_000);

    one.close(Some(1000)).await;
    assert_eq!(one.frame().await, Frame::Close(Some(1000)));
    assert_eq!(one.frame().await, Frame::End);
    let added = two.call("Add", json!([3, 4])).await;
    assert_eq!(added["result"], 7);
}

#[tokio::test]
async fn a_reset_stream_is_a_lost_client() {
    let mut node = Node::start().await;
    let mut http2 = Http2::connect(&node).await;
    let mut client = http2.open("/chat").await;
    client.shake_hands().await;
    node.expect("connected").await;
    drop(client);
    node.expect("disconnected: the transport broke").await;
}

#[tokio::test]
async fn refusals_are_those_of_http_1() {
    let node = Node::start().await;
    let mut http2 = Http2::connect(&node).await;
    let unknown = http2.ask("/chat?id=nobody", "13").await.unwrap();
    assert_eq!(unknown.status(), StatusCode::NOT_FOUND);
    let version = http2.ask("/chat", "12").await.unwrap();
    assert_eq!(version.status(), StatusCode::UPGRADE_REQUIRED);
    let nowhere = http2.ask("/nowhere", "13").await.unwrap();
    assert_eq!(nowhere.status(), StatusCode::NOT_FOUND);
}
