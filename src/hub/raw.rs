//! [`RawEndpoint`]: connections without a hub.

use std::{fmt, pin::Pin, sync::Arc, time::Duration};

use axum::{
    Router,
    http::{HeaderMap, Uri},
};
use bytes::Bytes;
use tokio::select;

use super::{
    auth::{AuthError, Authenticate, Credentials, User},
    connection::{Connection, Connections},
    http::{Application, Endpoint, Serving},
    id::{ConnectionId, NodeTag},
    lifecycle::Lifecycle,
    options::HubOptions,
    transport::{Input, Kind, PipeReader, Transport},
};
use crate::Result;

/// A path at which clients connect as to a hub (they negotiate, and choose a transport), but only
/// exchange bytes. What they mean is up to the application.
///
/// A cheap handle: clones are the same endpoint.
#[derive(Clone)]
pub struct RawEndpoint {
    endpoint: Arc<Endpoint>,
    _handle: Arc<Handle>,
}

/// Ends everything when the last [`RawEndpoint`] is dropped.
struct Handle(Arc<Lifecycle>);

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.kill();
    }
}

impl RawEndpoint {
    /// Has `serve` serve each connection; it is over when `serve` returns.
    ///
    /// ```
    /// use scaleout::hub::{HubOptions, RawConnection, RawEndpoint};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> scaleout::Result<()> {
    /// let echo = RawEndpoint::new(HubOptions::new(), async |mut connection: RawConnection| {
    ///     while let Some(bytes) = connection.receive().await {
    ///         connection.send(bytes).await;
    ///     }
    /// })?;
    /// let app: axum::Router = echo.routes("/echo");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) if an option is not valid.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime with time enabled.
    pub fn new<F, Fut>(options: HubOptions, serve: F) -> Result<Self>
    where
        F: Fn(RawConnection) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        Self::start(options, None, serve)
    }

    /// The same for clients whom `authenticate` lets pass:
    /// [`HubBuilder::authenticate`](super::HubBuilder::authenticate).
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    ///
    /// # Panics
    ///
    /// As [`new`](Self::new).
    pub fn with_authentication<A, AFut, F, Fut>(
        options: HubOptions,
        authenticate: A,
        serve: F,
    ) -> Result<Self>
    where
        A: Fn(Credentials) -> AFut + Send + Sync + 'static,
        AFut: Future<Output = std::result::Result<User, AuthError>> + Send + 'static,
        F: Fn(RawConnection) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let authenticate: Authenticate =
            Arc::new(move |credentials| Box::pin(authenticate(credentials)));
        Self::start(options, Some(authenticate), serve)
    }

    fn start<F, Fut>(
        options: HubOptions,
        authenticate: Option<Authenticate>,
        serve: F,
    ) -> Result<Self>
    where
        F: Fn(RawConnection) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        options.validate()?;
        let lifecycle = Arc::new(Lifecycle::default());
        let serve = Box::new(move |connection| -> Serving { Box::pin(serve(connection)) });
        let endpoint = Arc::new(Endpoint {
            options,
            lifecycle: lifecycle.clone(),
            authenticate,
            node: NodeTag::random(),
            app: Box::new(Raw {
                serve,
                lifecycle: lifecycle.clone(),
            }),
            connections: Connections::default(),
        });
        lifecycle.spawn(endpoint.clone().sweep());
        Ok(Self {
            endpoint,
            _handle: Arc::new(Handle(lifecycle)),
        })
    }

    /// The endpoint's routes: [`Hub::routes`](super::Hub::routes).
    pub fn routes<S: Clone + Send + Sync + 'static>(&self, path: &str) -> Router<S> {
        self.endpoint.routes(path, self.clone())
    }

    /// Takes no new connections, and lets those that are there know that nothing more is received.
    /// Returns after `timeout` at the latest; what is not done by then is dropped.
    ///
    /// # Cancellation
    ///
    /// If the future is dropped, the endpoint goes on closing.
    pub async fn close(&self, timeout: Duration) {
        self.endpoint.lifecycle.close(timeout).await;
    }
}

impl fmt::Debug for RawEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RawEndpoint").finish_non_exhaustive()
    }
}

type Serve = Box<dyn Fn(RawConnection) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync>;

struct Raw {
    serve: Serve,
    lifecycle: Arc<Lifecycle>,
}

impl Application for Raw {
    fn serve(&self, connection: Arc<Connection>, input: PipeReader) -> Serving {
        (self.serve)(RawConnection {
            connection,
            input,
            lifecycle: self.lifecycle.clone(),
        })
    }
}

/// A connection of a [`RawEndpoint`]. It is over when this is dropped, after what was sent is
/// written.
pub struct RawConnection {
    connection: Arc<Connection>,
    input: PipeReader,
    lifecycle: Arc<Lifecycle>,
}

impl RawConnection {
    /// The connection.
    pub fn id(&self) -> &ConnectionId {
        self.connection.id()
    }

    /// Who the client is.
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
        self.connection.transport().unwrap_or(Transport::WebSockets)
    }

    /// The next bytes that the client has sent, cut anywhere; `None` once it has left, or the endpoint
    /// is closing.
    ///
    /// # Cancellation
    ///
    /// Safe: no byte is lost.
    pub async fn receive(&mut self) -> Option<Bytes> {
        loop {
            let input = select! {
                input = self.input.read() => input,
                _ = self.connection.ending() => return None,
                () = self.lifecycle.closing() => return None,
            };
            match input {
                Ok(Input::Bytes(bytes)) => return Some(bytes),
                Ok(Input::Attached | Input::Detached) => {}
                Err(_) => return None,
            }
        }
    }

    /// Sends bytes, as one unit if the transport has units, and waits until not too much waits for the
    /// client. What a client that has left would get is dropped.
    ///
    /// # Cancellation
    ///
    /// The bytes are sent all the same, once this was polled.
    pub async fn send(&self, bytes: impl Into<Bytes>) {
        self.connection.push(bytes.into(), Kind::Answer);
        self.connection.room().await;
    }
}

impl fmt::Debug for RawConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RawConnection")
            .field("id", self.id())
            .finish_non_exhaustive()
    }
}
