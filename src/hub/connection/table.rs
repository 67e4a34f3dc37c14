//! [`Connections`], the table of those that exist on this node.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{
    Birth, Connection, Request,
    phase::{Attached, Phase, Taken},
};
use crate::hub::{
    context::DisconnectReason,
    id::NodeTag,
    options::HubOptions,
    transport::{InputEnd, PipeReader, Transport},
};

/// Why a request does not get its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AttachError {
    /// It has this transport already.
    Busy,
    /// It has another one.
    OtherTransport,
    /// It is just over.
    Disposed,
}

impl From<Taken> for AttachError {
    fn from(taken: Taken) -> Self {
        match taken {
            Taken::Busy => Self::Busy,
            Taken::ByOtherTransport => Self::OtherTransport,
            Taken::Disposed => Self::Disposed,
        }
    }
}

/// The connections that exist on this node, by the secret that clients show.
#[derive(Debug, Default)]
pub(crate) struct Connections {
    by_token: Mutex<HashMap<Arc<str>, Arc<Connection>>>,
}

impl Connections {
    /// Makes a connection that waits for its transport.
    pub(crate) fn create(
        &self,
        node: &NodeTag,
        options: &HubOptions,
        birth: Birth,
    ) -> Arc<Connection> {
        let connection = Arc::new(Connection::new(node, options, birth));
        self.table()
            .insert(connection.token().clone(), connection.clone());
        connection
    }

    pub(crate) fn find(&self, token: &str) -> Option<Arc<Connection>> {
        self.table().get(token).cloned()
    }

    /// Forgets a connection that is over. What waits to be written still is.
    pub(crate) fn remove(&self, connection: &Connection) {
        self.table().remove(connection.token());
        *connection.phase() = Phase::Disposed;
    }

    /// Ends the connections that have been without a transport for too long, and forgets them; and
    /// those whose clients have not read for too long, where the transport cannot tell.
    pub(crate) fn sweep(&self, options: &HubOptions) {
        self.table().retain(|_, connection| {
            let mut phase = connection.phase();
            if !phase.is_idle_for(options.disconnect_timeout) {
                let is_stalled = || {
                    let outbound = connection.outbound();
                    outbound.is_stalled_for(options.transport_send_timeout)
                };
                // The HTTP server asks for more of a response only when it has room for it. A
                // WebSocket times each of its writes, and a poll takes all that waits.
                if phase.transport() == Some(Transport::ServerSentEvents) && is_stalled() {
                    connection.drop_slow();
                }
                return true;
            }
            *phase = Phase::Disposed;
            connection.end(DisconnectReason::Lost);
            connection.left(InputEnd::Lost);
            false
        });
    }

    fn table(&self) -> MutexGuard<'_, HashMap<Arc<str>, Arc<Connection>>> {
        // Nothing that runs under the lock leaves the table half changed.
        self.by_token.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Connection {
    /// Attaches a transport. With the first one comes what the client sends, for the one who serves it.
    pub(crate) fn attach(
        &self,
        transport: Transport,
        request: Request,
    ) -> Result<(Attached, Option<PipeReader>), AttachError> {
        let replaces = transport == Transport::LongPolling
            || (transport == Transport::WebSockets && self.outbound().outlives_transport());
        let attached = self.phase().attach(transport, replaces)?;
        let reader = if attached.first {
            let _ = self.request.set(request);
            self.take_reader()
        } else {
            None
        };
        Ok((attached, reader))
    }

    /// The transport is gone, and another one of its kind may come.
    pub(crate) fn detach(&self, attached: &Attached) {
        self.phase().detach(attached);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use axum::http::{HeaderMap, Uri};

    use super::*;
    use crate::hub::auth::User;

    fn request() -> Request {
        Request {
            uri: Uri::from_static("/chat"),
            headers: HeaderMap::new(),
            user: User::anonymous(),
        }
    }

    fn create(connections: &Connections) -> Arc<Connection> {
        connections.create(&NodeTag::random(), &HubOptions::new(), Birth::default())
    }

    #[test]
    fn a_connection_takes_one_transport_once() {
        let connections = Connections::default();
        let connection = create(&connections);
        let attach = |transport| connection.attach(transport, request()).map(drop);
        assert_eq!(attach(Transport::WebSockets), Ok(()));
        assert_eq!(attach(Transport::WebSockets), Err(AttachError::Busy));
        assert_eq!(
            attach(Transport::LongPolling),
            Err(AttachError::OtherTransport)
        );
        connections.remove(&connection);
        assert_eq!(attach(Transport::WebSockets), Err(AttachError::Disposed));
    }

    #[test]
    fn polls_follow_each_other() {
        let connections = Connections::default();
        let connection = create(&connections);
        let attach = || {
            connection
                .attach(Transport::LongPolling, request())
                .unwrap()
        };
        let (first, reader) = attach();
        assert!(first.first && reader.is_some());
        let (second, reader) = attach();
        assert!(!second.first && reader.is_none() && first.replaced.is_cancelled());
        connection.detach(&first);
        assert!(!second.replaced.is_cancelled());
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_nobody_attaches_to_is_forgotten() {
        let connections = Connections::default();
        let (idle, used) = (create(&connections), create(&connections));
        used.attach(Transport::WebSockets, request()).unwrap();
        let options = HubOptions::new();
        tokio::time::advance(options.disconnect_timeout).await;
        connections.sweep(&options);
        assert!(connections.find(idle.token()).is_some());
        tokio::time::advance(Duration::from_millis(1)).await;
        connections.sweep(&options);
        assert!(connections.find(idle.token()).is_none());
        assert!(connections.find(used.token()).is_some());
    }
}
