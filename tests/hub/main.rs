//! The hub as its clients see it: bytes on a socket.
//!
//! `client` is a WebSocket client that can do what no decent one does; `node` is a server with a hub
//! to talk to. The other files are tests, by subject.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::unused_async, reason = "hub methods are async")]

mod client;
mod no_history;
mod node;

mod auth;
/// They need a Redis on its usual port.
#[cfg(feature = "redis")]
mod broker;
mod closing;
mod cluster;
mod events;
mod http;
mod http2;
mod invocations;
mod limits;
mod lost;
mod malformed;
mod polling;
mod shutdown;
mod slow;
mod stateful;
mod streaming;
mod test_client;
mod timing;
