//! Serves a hub and its page.

use std::io::{self, Write};

use axum::{Router, response::Html, routing::get};
use scaleout::hub::Hub;
use tokio::net::TcpListener;

const HEAD: &str = concat!(
    "<!doctype html><meta charset=utf-8><body style='font: 16px sans-serif; margin: 2em'><script>",
    include_str!("client.js"),
    "</script>",
);

/// Serves `hub` at `/hub` and a page with this body, on two nodes if there are two hubs.
pub(crate) async fn serve<const N: usize>(hubs: [Hub; N], body: &'static str) -> io::Result<()> {
    serve_from(5001, hubs, body).await
}

/// The same on this port, and on the next one for a second node.
pub(crate) async fn serve_from<const N: usize>(
    port: u16,
    hubs: [Hub; N],
    body: &'static str,
) -> io::Result<()> {
    let mut servers = Vec::new();
    for (hub, port) in hubs.into_iter().zip(port..) {
        let page = get(move || async move { Html([HEAD, body].concat()) });
        let app = Router::new().route("/", page).merge(hub.routes("/hub"));
        let listener = TcpListener::bind(("127.0.0.1", port)).await?;
        writeln!(io::stdout(), "open http://127.0.0.1:{port}")?;
        servers.push(tokio::spawn(
            async move { axum::serve(listener, app).await },
        ));
    }
    for server in servers {
        server.await??;
    }
    Ok(())
}
