//! [`Context`], what a hub method knows of its caller, and [`HubContext`], the hub from outside.

use std::{fmt, sync::Arc};

use axum::http::{HeaderMap, Uri};

use super::{
    auth::User,
    clients::{Client, Clients, Target},
    connection::Connection,
    id::ConnectionId,
    invocation::Turn,
    lifetime::{Lifetime, Member, Resumed, parse_cursor},
    options::HubOptions,
    transport::Transport,
};
use crate::{Backplane, Health, Result};

/// One connection as a hub method sees it: who calls, and who can be reached from here.
///
/// Cheap to clone, and allowed to outlive the method: a task that a method starts can keep it and
/// send to the caller later.
#[derive(Clone)]
pub struct Context {
    lifetime: Lifetime,
    connection: Arc<Connection>,
    turn: Turn,
    reason: Option<Arc<DisconnectReason>>,
}

impl Context {
    pub(super) fn new(lifetime: Lifetime, connection: Arc<Connection>, turn: Turn) -> Self {
        Self {
            lifetime,
            connection,
            turn,
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

    /// Who the caller is, as the hub's
    /// [`authenticate`](super::HubBuilder::authenticate) has found out.
    pub fn user(&self) -> &User {
        self.connection.user()
    }

    /// The headers of the request that opened the connection.
    pub fn headers(&self) -> &HeaderMap {
        self.connection.headers()
    }

    /// Path and query of the request that opened the connection.
    pub fn uri(&self) -> &Uri {
        self.connection.uri()
    }

    /// What carries the connection.
    pub fn transport(&self) -> Transport {
        // A hub sees no connection before its first transport.
        self.connection.transport().unwrap_or(Transport::WebSockets)
    }

    /// The clients of this hub, on all nodes.
    pub fn clients(&self) -> Clients {
        Clients::new(self.lifetime.clone(), self.turn.clone())
    }

    /// The caller alone.
    pub fn caller(&self) -> Client {
        self.clients().caller(self.connection.clone())
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
    /// then. [`InvalidInput`](crate::ErrorKind::InvalidInput) if the name is empty or too long to be part
    /// of a topic.
    ///
    /// # Cancellation
    ///
    /// If the future is dropped before it is done, the caller is not in the group.
    pub async fn join(&self, group: impl AsRef<str>) -> Result<()> {
        self.lifetime.join(&self.connection, group.as_ref()).await
    }

    /// Puts the caller into `group` at the place where it was before, on whatever node that was. It is
    /// given what the group got after `cursor`, in order and once, and only then what comes from now
    /// on. Each of these messages has its own cursor as an additional last argument: the client keeps
    /// the newest one, and brings it along when it comes back.
    ///
    /// Without a cursor the caller begins now.
    ///
    /// # Errors
    ///
    /// As [`join`](Self::join); [`InvalidInput`](crate::ErrorKind::InvalidInput) also if the text is not a
    /// cursor of this group, [`Unsupported`](crate::ErrorKind::Unsupported) if the broker keeps no history.
    ///
    /// # Cancellation
    ///
    /// If the future is dropped before it is done, the caller is not in the group.
    pub async fn resume(&self, group: impl AsRef<str>, cursor: Option<&str>) -> Result<Resumed> {
        let cursor = cursor.map(parse_cursor).transpose()?;
        self.lifetime
            .resume(&self.connection, group.as_ref(), cursor)
            .await
    }

    /// Takes the caller out of `group`. When this returns, nothing that is sent to the group from now
    /// on reaches the caller. Leaving a group that the caller is not in does nothing.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) if there can be no group of this name.
    #[expect(
        clippy::unused_async,
        reason = "a backplane may have to be asked some day"
    )]
    pub async fn leave(&self, group: impl AsRef<str>) -> Result<()> {
        self.lifetime.leave(&self.connection, group.as_ref())
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
        HubContext::new(self.lifetime.clone(), None)
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("hub", &self.lifetime.name())
            .field("connection_id", self.connection_id())
            .finish_non_exhaustive()
    }
}

/// A hub from outside its methods: from any task, to send to its clients.
///
/// Cheap to clone. It does not keep a hub of this process open.
#[derive(Clone)]
pub struct HubContext {
    lifetime: Lifetime,
    /// What ends a line of its own, when the last clone is dropped.
    _line: Option<Arc<Line>>,
}

/// A line to the hub that belongs to no hub of this process.
#[derive(Debug)]
struct Line(Lifetime);

impl Drop for Line {
    fn drop(&mut self) {
        self.0.stop();
    }
}

impl HubContext {
    fn new(lifetime: Lifetime, line: Option<Arc<Line>>) -> Self {
        Self {
            lifetime,
            _line: line,
        }
    }

    pub(super) fn of(lifetime: &Lifetime) -> Self {
        Self::new(lifetime.clone(), None)
    }

    /// The hub of this name from a process that has no clients: a worker, say.
    ///
    /// ```
    /// # #[cfg(feature = "memory")]
    /// # async fn publish() -> scaleout::Result<()> {
    /// # use scaleout::hub::HubContext;
    /// let backplane = scaleout::connect("memory:").await?;
    /// let hub = HubContext::connect(&backplane, "Chat").await?;
    /// hub.clients().user("ada").send("orderShipped", (42,)).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) if there can be no hub of this name; what
    /// [`Backplane::subscribe`] returns: the answers of clients and nodes come that way.
    ///
    /// # Cancellation
    ///
    /// If the future is dropped, nothing is left behind.
    pub async fn connect(backplane: &Backplane, name: &str) -> Result<Self> {
        Self::connect_with(backplane, name, HubOptions::new()).await
    }

    /// The same, with options: those about clients' connections have no meaning here.
    ///
    /// # Errors
    ///
    /// As [`connect`](Self::connect), and if an option is not valid.
    ///
    /// # Cancellation
    ///
    /// As [`connect`](Self::connect).
    pub async fn connect_with(
        backplane: &Backplane,
        name: &str,
        options: HubOptions,
    ) -> Result<Self> {
        options.validate()?;
        let lifetime = Lifetime::start(backplane, name, options, false, None).await?;
        let line = Arc::new(Line(lifetime.clone()));
        Ok(Self::new(lifetime, Some(line)))
    }

    /// The clients of this hub, on all nodes.
    pub fn clients(&self) -> Clients {
        Clients::new(self.lifetime.clone(), Turn::none())
    }

    /// Puts a connection into `group`, on whatever node it is. When this returns, whatever anybody sends
    /// to the group from now on reaches it. `false` if there is no such connection.
    ///
    /// # Errors
    ///
    /// As [`Context::join`]; [`Timeout`](crate::ErrorKind::Timeout) or
    /// [`Unavailable`](crate::ErrorKind::Unavailable) if the connection's node could not do it.
    ///
    /// # Cancellation
    ///
    /// If the future is dropped, the connection may or may not be in the group.
    pub async fn join(
        &self,
        connection: impl Into<ConnectionId>,
        group: impl AsRef<str>,
    ) -> Result<bool> {
        self.lifetime
            .join_any(&connection.into(), group.as_ref())
            .await
    }

    /// Takes a connection out of `group`, on whatever node it is. When this returns, nothing that is
    /// sent to the group from now on reaches it. `false` if there is no such connection.
    ///
    /// # Errors
    ///
    /// As [`join`](Self::join).
    ///
    /// # Cancellation
    ///
    /// If the future is dropped, the connection may or may not be in the group.
    pub async fn leave(
        &self,
        connection: impl Into<ConnectionId>,
        group: impl AsRef<str>,
    ) -> Result<bool> {
        self.lifetime
            .leave_any(&connection.into(), group.as_ref())
            .await
    }

    /// Who is in `group`, on all nodes, in the order of the connections' ids. A node that has died
    /// does not count any more, after [`node_timeout`](HubOptions::node_timeout) at the latest; until
    /// then this waits for it.
    ///
    /// # Errors
    ///
    /// What [`Backplane::publish`] returns.
    ///
    /// # Cancellation
    ///
    /// Safe.
    pub async fn members(&self, group: impl AsRef<str>) -> Result<Vec<Member>> {
        self.lifetime.members(group.as_ref()).await
    }

    /// How this node's connection to the broker is.
    pub fn health(&self) -> Health {
        self.lifetime.health()
    }
}

impl fmt::Debug for HubContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HubContext")
            .field("hub", &self.lifetime.name())
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
    /// The user's authentication has expired.
    Expired,
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
            Self::Expired => f.write_str("the user's authentication has expired"),
            Self::TooSlow => f.write_str("the client read too slowly"),
            Self::Aborted => f.write_str("ended by the hub"),
            Self::ServerClosing => f.write_str("the server is closing"),
        }
    }
}
