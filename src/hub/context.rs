//! [`Context`], what a hub method knows of its caller, and [`HubContext`], the hub from outside.

use std::{fmt, sync::Arc};

use axum::http::{HeaderMap, Uri};

use super::{
    clients::{Clients, Target},
    connection::Connection,
    hub::Shared,
    id::ConnectionId,
};
use crate::Result;

/// One connection as a hub method sees it: who calls, and who can be reached from here.
///
/// Cheap to clone, and allowed to outlive the method: a task that a method starts can keep it and
/// send to the caller later.
#[derive(Clone)]
pub struct Context {
    shared: Arc<Shared>,
    connection: Arc<Connection>,
    reason: Option<Arc<DisconnectReason>>,
}

impl Context {
    pub(super) fn new(shared: Arc<Shared>, connection: Arc<Connection>) -> Self {
        Self {
            shared,
            connection,
            reason: None,
        }
    }

    pub(super) fn with_reason(mut self, reason: DisconnectReason) -> Self {
        self.reason = Some(Arc::new(reason));
        self
    }

    /// The caller's connection.
    pub fn connection_id(&self) -> &ConnectionId {
        self.connection.id()
    }

    /// The headers of the request that opened the connection.
    pub fn headers(&self) -> &HeaderMap {
        self.connection.headers()
    }

    /// Path and query of the request that opened the connection.
    pub fn uri(&self) -> &Uri {
        self.connection.uri()
    }

    /// The clients of this hub, on all nodes.
    pub fn clients(&self) -> Clients {
        Clients::new(self.shared.clone())
    }

    /// The caller alone.
    pub fn caller(&self) -> Target {
        Target::caller(self.shared.clone(), self.connection.clone())
    }

    /// Everybody except the caller.
    pub fn others(&self) -> Target {
        self.clients().all_except([self.connection_id()])
    }

    /// Everybody in `group` except the caller.
    pub fn others_in_group(&self, group: impl Into<String>) -> Target {
        self.clients().group_except(group, [self.connection_id()])
    }

    /// Puts the caller into `group`. When this returns, whatever anybody sends to the group from now
    /// on reaches the caller. Joining twice is the same as joining once; a connection that is gone
    /// does not join. The membership ends with the connection.
    ///
    /// # Errors
    ///
    /// What [`Backplane::subscribe`](crate::Backplane::subscribe) returns; the caller is not in the group
    /// then. [`InvalidInput`](crate::ErrorKind::InvalidInput) if the name is too long to be part of a
    /// topic.
    ///
    /// # Cancellation
    ///
    /// If the future is dropped before it is done, the caller is not in the group.
    pub async fn join(&self, group: impl AsRef<str>) -> Result<()> {
        self.shared
            .lifetime
            .join(&self.connection, group.as_ref())
            .await
    }

    /// Takes the caller out of `group`. When this returns, nothing that is sent to the group from now
    /// on reaches the caller. Leaving a group that the caller is not in does nothing.
    ///
    /// # Errors
    ///
    /// None yet; a backplane may have to be asked some day.
    #[expect(
        clippy::unused_async,
        reason = "joins and leaves of remote connections will wait"
    )]
    pub async fn leave(&self, group: impl AsRef<str>) -> Result<()> {
        self.shared.lifetime.leave(&self.connection, group.as_ref());
        Ok(())
    }

    /// Ends the caller's connection. The client is told not to reconnect.
    pub fn abort(&self) {
        self.connection.end(DisconnectReason::Aborted);
    }

    /// Resolves when the caller's connection is over. Running methods are not stopped by that; one
    /// that has nothing to do without its caller can wait for this.
    ///
    /// # Cancellation
    ///
    /// Safe to drop and call again.
    pub async fn aborted(&self) {
        self.connection.gone().await;
    }

    /// Why the connection is over: `Some` only in the handler of
    /// [`on_disconnected`](super::HubBuilder::on_disconnected).
    pub fn disconnect_reason(&self) -> Option<&DisconnectReason> {
        self.reason.as_deref()
    }

    /// The hub, for work that outlives the connection.
    pub fn hub(&self) -> HubContext {
        HubContext::new(self.shared.clone())
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("hub", &self.shared.name)
            .field("connection_id", self.connection_id())
            .finish_non_exhaustive()
    }
}

/// A hub from outside its methods: from any task, to send to its clients.
///
/// Cheap to clone. It does not keep the hub open.
#[derive(Clone)]
pub struct HubContext {
    shared: Arc<Shared>,
}

impl HubContext {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// The clients of this hub, on all nodes.
    pub fn clients(&self) -> Clients {
        Clients::new(self.shared.clone())
    }
}

impl fmt::Debug for HubContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HubContext")
            .field("hub", &self.shared.name)
            .finish_non_exhaustive()
    }
}

/// Why a connection is over.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DisconnectReason {
    /// The client left, by a close message or by closing the transport.
    Closed {
        /// What the client said was wrong.
        error: Option<String>,
    },
    /// The transport broke.
    Lost,
    /// The client stayed silent for too long.
    TimedOut,
    /// The client broke the protocol.
    Protocol(String),
    /// The client read too slowly for what it was sent.
    TooSlow,
    /// The hub ended the connection, by [`Context::abort`] or by an error in `on_connected`.
    Aborted,
    /// This node's hub is closing.
    ServerClosing,
}

impl fmt::Display for DisconnectReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed { error: None } => f.write_str("closed by the client"),
            Self::Closed { error: Some(error) } => write!(f, "closed by the client: {error}"),
            Self::Lost => f.write_str("the transport broke"),
            Self::TimedOut => f.write_str("the client was silent for too long"),
            Self::Protocol(error) => write!(f, "the client broke the protocol: {error}"),
            Self::TooSlow => f.write_str("the client read too slowly"),
            Self::Aborted => f.write_str("ended by the hub"),
            Self::ServerClosing => f.write_str("the server is closing"),
        }
    }
}
