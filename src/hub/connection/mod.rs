//! [`Connection`], the record of one client: what its transports and the hub share.
//!
//! A record comes into being when a client negotiates, or with its transport if it skips that. It
//! waits for a transport for a limited time, and is over with it; but long polling is a transport
//! anew with each poll, and a client that can reconnect statefully may come back with another
//! WebSocket.

mod phase;
mod table;

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use axum::http::{HeaderMap, Uri};
use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use self::phase::Phase;
pub(super) use self::{
    phase::Attached,
    table::{AttachError, Connections},
};
use super::{
    auth::User,
    context::DisconnectReason,
    id::{self, ConnectionId, NodeTag},
    options::HubOptions,
    protocol::Protocol,
    transport::{
        InputEnd, Kind, Limits, Outbound, PipeReader, PipeWriter, Pushed, Transport, pipe,
    },
};

/// One client's connection, as long as it lasts.
#[derive(Debug)]
pub(super) struct Connection {
    id: ConnectionId,
    /// The secret that the client shows with every request.
    token: Arc<str>,
    /// Whether the client asked to be allowed to come back.
    pub(super) asked_stateful: bool,
    outbound: Outbound,
    input: PipeWriter,
    /// Taken by whoever serves the connection, when it gets its first transport.
    reader: Mutex<Option<PipeReader>>,
    /// Requests that bring bytes come one after the other.
    pub(super) sending: tokio::sync::Mutex<()>,
    /// So do transports.
    pub(super) turn: Arc<tokio::sync::Mutex<()>>,
    phase: Mutex<Phase>,
    /// Who negotiated; every later request must come from the same user.
    user: User,
    /// The request that attached the first transport.
    request: OnceLock<Request>,
    /// Chosen in the handshake.
    protocol: OnceLock<Protocol>,
    /// Why it has to end, and the signal that it has to.
    reason: OnceLock<DisconnectReason>,
    ending: CancellationToken,
    /// The client is no longer there.
    gone: CancellationToken,
}

/// What is kept of a request.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) uri: Uri,
    pub(super) headers: HeaderMap,
    pub(super) user: User,
}

/// How a connection begins.
#[derive(Debug, Default)]
pub(super) struct Birth {
    /// In negotiate version 0 the id serves as token.
    pub(super) id_is_token: bool,
    pub(super) stateful: bool,
    pub(super) user: User,
}

impl Connection {
    fn new(node: &NodeTag, options: &HubOptions, birth: Birth) -> Self {
        let id = ConnectionId::random(node);
        let token = if birth.id_is_token {
            id.as_str().into()
        } else {
            id::token()
        };
        let (input, reader) = pipe(options.application_max_buffer_size);
        Self {
            id,
            token,
            asked_stateful: birth.stateful,
            outbound: Outbound::new(Limits {
                high_water: options.transport_max_buffer_size,
                limit: options.slow_consumer_buffer_size,
                slow_consumer: options.slow_consumer,
                retained: options.stateful_reconnect_buffer_size,
            }),
            input,
            reader: Mutex::new(Some(reader)),
            sending: tokio::sync::Mutex::default(),
            turn: Arc::default(),
            phase: Mutex::new(Phase::new()),
            user: birth.user,
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

    pub(super) fn token(&self) -> &Arc<str> {
        &self.token
    }

    pub(super) fn outbound(&self) -> &Outbound {
        &self.outbound
    }

    pub(super) fn input(&self) -> &PipeWriter {
        &self.input
    }

    pub(super) fn headers(&self) -> &HeaderMap {
        &self.request().headers
    }

    pub(super) fn uri(&self) -> &Uri {
        &self.request().uri
    }

    /// Who made the connection; once it has a transport, as the request for that has it.
    pub(super) fn user(&self) -> &User {
        self.request
            .get()
            .map_or(&self.user, |request| &request.user)
    }

    /// For those who know that there is one.
    fn request(&self) -> &Request {
        self.request.get_or_init(|| Request {
            uri: Uri::default(),
            headers: HeaderMap::new(),
            user: self.user.clone(),
        })
    }

    /// `None` before one is attached.
    pub(super) fn transport(&self) -> Option<Transport> {
        self.phase().transport()
    }

    /// The protocol that client and hub have agreed on; `None` before that.
    pub(super) fn protocol(&self) -> Option<Protocol> {
        self.protocol.get().copied()
    }

    pub(super) fn set_protocol(&self, protocol: Protocol) {
        let _ = self.protocol.set(protocol);
    }

    /// What the client sends, for the one who serves it.
    fn take_reader(&self) -> Option<PipeReader> {
        self.reader
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }

    /// Queues a whole message. A client that is not fast enough loses its connection, or what waits
    /// for longest, as the hub prefers.
    pub(super) fn push(&self, message: Bytes, kind: Kind) {
        match self.outbound.push(message, kind) {
            Pushed::Queued => {}
            Pushed::Dropped(count) => {
                metrics::counter!("scaleout_hub_dropped_messages_total").increment(count as u64);
            }
            Pushed::TooSlow => self.drop_slow(),
        }
    }

    /// Drops a connection whose client reads too slowly.
    fn drop_slow(&self) {
        metrics::counter!("scaleout_hub_slow_clients_total").increment(1);
        tracing::warn!(connection = %self.id, "a client reads too slowly; its connection is dropped");
        self.end(DisconnectReason::TooSlow);
        self.outbound.abort();
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

    /// The client has left, or its last transport broke: nothing more can be written. What it sent
    /// before that is still handled.
    pub(super) fn left(&self, how: InputEnd) {
        self.input.end(how);
        self.outbound.abort();
        self.gone.cancel();
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
