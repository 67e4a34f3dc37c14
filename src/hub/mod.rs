//! The hub: a server for the ASP.NET Core SignalR protocol, on every node.
//!
//! A hub is a Rust type whose async methods clients invoke, and through which the server invokes
//! methods of clients: all of them, the others, one, or a group, on whatever node they are. The
//! official SignalR clients connect to it as they are.
//!
//! ```
//! use scaleout::hub::{Context, Hub, HubError};
//!
//! struct Chat;
//!
//! impl Chat {
//!     async fn send(&self, ctx: Context, user: String, text: String) -> Result<(), HubError> {
//!         ctx.clients().all().send("broadcastMessage", (user, text)).await?;
//!         Ok(())
//!     }
//!
//!     async fn join(&self, ctx: Context, room: String) -> Result<(), HubError> {
//!         if room.is_empty() {
//!             return Err(HubError::new("a room needs a name"));
//!         }
//!         ctx.join(&room).await?;
//!         Ok(())
//!     }
//! }
//!
//! # #[cfg(feature = "memory")]
//! # async fn serve() -> Result<(), Box<dyn std::error::Error>> {
//! let backplane = scaleout::connect("memory:").await?;
//! let hub = Hub::builder(Chat)
//!     .method("Send", Chat::send)
//!     .method("Join", Chat::join)
//!     .build(&backplane)
//!     .await?;
//! let app: axum::Router = axum::Router::new().merge(hub.routes("/chat"));
//! hub.context().clients().all().send("broadcastMessage", ("server", "hello")).await?;
//! # Ok(())
//! # }
//! ```
//!
//! [`test`](mod@self::test) has a client in memory, for tests of hubs.
//!
//! # Inside
//!
//! A request meets `http`, which answers it or attaches a `transport` to a `connection`. From then
//! on two tasks serve the client: the transport, which carries bytes, and `dispatch`, which reads
//! messages out of them with a `protocol` and has `invocation` run each call through `method`. What is sent
//! to clients goes through `lifetime`: out on the backplane, and from there into the queue of every
//! connection that it is for. No task waits for another client than its own.

mod auth;
mod builder;
mod clients;
mod connection;
mod context;
mod counting;
mod dispatch;
mod error;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
mod http;
#[expect(clippy::module_inception, reason = "it is the hub")]
mod hub;
mod id;
mod invocation;
mod lifecycle;
mod lifetime;
mod method;
mod options;
mod protocol;
mod raw;
pub mod test;
mod transport;

pub use self::{
    auth::{AuthError, Credentials, User},
    builder::HubBuilder,
    clients::{Arguments, Client, ClientError, Clients, Sent, Target},
    context::{Context, DisconnectReason, HubContext},
    error::HubError,
    http::ignore_case,
    hub::Hub,
    id::ConnectionId,
    lifetime::{Lost, LostReason, Member, Resumed},
    method::{Argument, Method, Reply, StreamMethod, StreamReply, Upload},
    options::{HubOptions, SlowConsumer, WhenBrokerDown},
    protocol::{Binary, Protocol, Timestamp},
    raw::{RawConnection, RawEndpoint},
    transport::Transport,
};
