//! [`Connection`], the record of one client, and [`Connections`], the table of those that exist.
//!
//! A record comes into being when a client negotiates, or with its transport if it skips that. It
//! waits for a transport for a limited time, has one for the rest of its life, and is over with it.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};

use axum::http::{HeaderMap, Uri};
use bytes::Bytes;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{
    context::DisconnectReason,
    id::{self, ConnectionId, NodeTag},
    options::HubOptions,
    protocol::Protocol,
    transport::{Outbound, TooSlow, Transport},
};

/// One client's connection, as long as it lasts.
#[derive(Debug)]
pub(super) struct Connection {
    id: ConnectionId,
    outbound: Outbound,
    phase: Mutex<Phase>,
    /// The request that attached the transport.
    request: OnceLock<Request>,
    /// Chosen in the handshake.
    protocol: OnceLock<Protocol>,
    /// Why it has to end, and the signal that it has to.
    reason: OnceLock<DisconnectReason>,
    ending: CancellationToken,
    /// The client is no longer there.
    gone: CancellationToken,
}

#[derive(Debug)]
enum Phase {
    /// Negotiated; nobody has attached a transport.
    Waiting {
        since: Instant,
    },
    Attached(Transport),
    Disposed,
}

/// What is kept of a request.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) uri: Uri,
    pub(super) headers: HeaderMap,
}

impl Connection {
    fn new(node: &NodeTag, options: &HubOptions) -> Self {
        Self {
            id: ConnectionId::random(node),
            outbound: Outbound::new(
                options.transport_max_buffer_size,
                options.slow_consumer_buffer_size,
            ),
            phase: Mutex::new(Phase::Waiting {
                since: Instant::now(),
            }),
            request: OnceLock::new(),
            protocol: OnceLock::new(),
            reason: OnceLock::new(),
            ending: CancellationToken::new(),
            gone: CancellationToken::new(),
        }
    }

    pub(super) fn id(&self) -> &ConnectionId {
        &self.id
    }

    pub(super) fn outbound(&self) -> &Outbound {
        &self.outbound
    }

    pub(super) fn headers(&self) -> &HeaderMap {
        &self.request().headers
    }

    pub(super) fn uri(&self) -> &Uri {
        &self.request().uri
    }

    fn request(&self) -> &Request {
        self.request.get_or_init(|| Request {
            uri: Uri::default(),
            headers: HeaderMap::new(),
        })
    }

    /// The protocol that client and hub have agreed on; `None` before that.
    pub(super) fn protocol(&self) -> Option<Protocol> {
        self.protocol.get().copied()
    }

    pub(super) fn set_protocol(&self, protocol: Protocol) {
        let _ = self.protocol.set(protocol);
    }

    /// Queues a whole message. A client that is not fast enough loses its connection.
    pub(super) fn push(&self, message: Bytes) {
        if let Err(TooSlow) = self.outbound.push(message) {
            metrics::counter!("scaleout_hub_slow_clients_total").increment(1);
            tracing::warn!(connection = %self.id, "a client reads too slowly; its connection is dropped");
            self.end(DisconnectReason::TooSlow);
            self.outbound.abort();
        }
    }

    /// Waits until little enough is queued. Cancel-safe.
    pub(super) async fn room(&self) {
        self.outbound.room().await;
    }

    /// Ends the connection; the first reason counts.
    pub(super) fn end(&self, reason: DisconnectReason) {
        let _ = self.reason.set(reason);
        self.ending.cancel();
    }

    /// Resolves when the connection has to end. Cancel-safe.
    pub(super) async fn ending(&self) -> DisconnectReason {
        self.ending.cancelled().await;
        self.reason
            .get()
            .cloned()
            .unwrap_or(DisconnectReason::Aborted)
    }

    /// Resolves when the client is no longer there. Cancel-safe.
    pub(super) async fn gone(&self) {
        self.gone.cancelled().await;
    }

    pub(super) fn set_gone(&self) {
        self.gone.cancel();
    }

    fn phase(&self) -> MutexGuard<'_, Phase> {
        // Nothing that runs under the lock leaves the phase half changed.
        self.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why a request does not get its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AttachError {
    /// There is none of this token.
    Unknown,
    /// It has this transport already.
    Busy,
    /// It has another one.
    OtherTransport,
    /// It is just over.
    Disposed,
}

/// The connections that exist on this node, by the secret that clients show.
#[derive(Debug, Default)]
pub(super) struct Connections {
    by_token: Mutex<HashMap<Arc<str>, Arc<Connection>>>,
}

impl Connections {
    /// Makes a connection that waits for its transport, and the token to attach it with. In negotiate
    /// version 0 the id serves as token.
    pub(super) fn create(
        &self,
        node: &NodeTag,
        options: &HubOptions,
        id_is_token: bool,
    ) -> (Arc<Connection>, Arc<str>) {
        let connection = Arc::new(Connection::new(node, options));
        let token = if id_is_token {
            connection.id.as_str().into()
        } else {
            id::token()
        };
        self.table().insert(token.clone(), connection.clone());
        (connection, token)
    }

    pub(super) fn find(&self, token: &str) -> Option<Arc<Connection>> {
        self.table().get(token).cloned()
    }

    /// Takes the connection of `token` for a transport. Nobody else can take it afterwards.
    pub(super) fn attach(
        &self,
        token: &str,
        transport: Transport,
        request: Request,
    ) -> Result<Arc<Connection>, AttachError> {
        let connection = self.find(token).ok_or(AttachError::Unknown)?;
        let mut phase = connection.phase();
        match *phase {
            Phase::Waiting { .. } => *phase = Phase::Attached(transport),
            Phase::Attached(attached) if attached == transport => return Err(AttachError::Busy),
            Phase::Attached(_) => return Err(AttachError::OtherTransport),
            Phase::Disposed => return Err(AttachError::Disposed),
        }
        drop(phase);
        let _ = connection.request.set(request);
        Ok(connection)
    }

    /// Forgets a connection that is over.
    pub(super) fn remove(&self, token: &str) {
        if let Some(connection) = self.table().remove(token) {
            *connection.phase() = Phase::Disposed;
        }
    }

    /// Forgets the connections that have waited for a transport for too long.
    pub(super) fn sweep(&self, patience: Duration) {
        self.table().retain(|_, connection| {
            let mut phase = connection.phase();
            let keep = !matches!(*phase, Phase::Waiting { since } if since.elapsed() > patience);
            if !keep {
                *phase = Phase::Disposed;
            }
            keep
        });
    }

    fn table(&self) -> MutexGuard<'_, HashMap<Arc<str>, Arc<Connection>>> {
        // Nothing that runs under the lock leaves the table half changed.
        self.by_token.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> Request {
        Request {
            uri: Uri::from_static("/chat"),
            headers: HeaderMap::new(),
        }
    }

    fn create(connections: &Connections) -> Arc<str> {
        connections
            .create(&NodeTag::random(), &HubOptions::new(), false)
            .1
    }

    #[test]
    fn a_connection_takes_one_transport_once() {
        let connections = Connections::default();
        let token = create(&connections);
        let attach = |token: &str| {
            connections
                .attach(token, Transport::WebSockets, request())
                .map(drop)
        };
        assert_eq!(attach(&token), Ok(()));
        assert_eq!(attach(&token), Err(AttachError::Busy));
        connections.remove(&token);
        assert_eq!(attach(&token), Err(AttachError::Unknown));
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_nobody_attaches_to_is_forgotten() {
        let connections = Connections::default();
        let (idle, used) = (create(&connections), create(&connections));
        connections
            .attach(&used, Transport::WebSockets, request())
            .unwrap();
        let patience = Duration::from_secs(15);
        tokio::time::advance(patience).await;
        connections.sweep(patience);
        assert!(connections.find(&idle).is_some());
        tokio::time::advance(Duration::from_millis(1)).await;
        connections.sweep(patience);
        assert!(connections.find(&idle).is_none());
        assert!(connections.find(&used).is_some());
    }
}
