//! [`Hub`], the handle, and what all its connections share.

use std::{collections::HashMap, fmt, sync::Arc, time::Duration};

use axum::Router;

use super::{
    auth::Authenticate,
    builder::HubBuilder,
    connection::{Connection, Connections},
    context::{Context, HubContext},
    dispatch,
    http::{self, Application, Serving},
    lifecycle::Lifecycle,
    lifetime::Lifetime,
    method::Endpoint,
    options::HubOptions,
    transport::PipeReader,
};

/// A hub on this node.
///
/// A cheap handle: clones are the same hub. When the last of them is gone, the routers made by
/// [`routes`](Self::routes) included, all connections are dropped and all tasks end. To leave
/// politely, [`close`](Self::close) it first.
#[derive(Clone)]
pub struct Hub {
    handle: Arc<Handle>,
}

/// Ends everything when the last [`Hub`] is dropped. Tasks hold [`Shared`], not this.
struct Handle {
    shared: Arc<Shared>,
    endpoint: Arc<http::Endpoint>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.lifecycle.kill();
        self.shared.lifetime.stop();
    }
}

/// What all connections of a hub share.
pub(super) struct Shared {
    pub(super) name: String,
    pub(super) options: HubOptions,
    /// By name in lower case.
    pub(super) methods: HashMap<String, Registered>,
    pub(super) on_connected: Option<Arc<dyn Endpoint>>,
    pub(super) on_disconnected: Option<Arc<dyn Endpoint>>,
    pub(super) lifetime: Lifetime,
    pub(super) lifecycle: Arc<Lifecycle>,
}

/// A method of the hub, and who may call it.
pub(super) struct Registered {
    pub(super) endpoint: Arc<dyn Endpoint>,
    pub(super) policy: Option<Policy>,
}

pub(super) type Policy = Arc<dyn Fn(&Context) -> bool + Send + Sync>;

struct Dispatcher(Arc<Shared>);

impl Application for Dispatcher {
    fn serve(&self, connection: Arc<Connection>, input: PipeReader) -> Serving {
        Box::pin(dispatch::serve(self.0.clone(), connection, input))
    }
}

impl Hub {
    /// Begins a hub. `hub` is the state that all invocations share, and its type names the hub.
    pub fn builder<H: Send + Sync + 'static>(hub: H) -> HubBuilder<H> {
        HubBuilder::new(hub)
    }

    pub(super) fn start(shared: Shared, authenticate: Option<Authenticate>) -> Self {
        let shared = Arc::new(shared);
        let endpoint = Arc::new(http::Endpoint {
            options: shared.options.clone(),
            lifecycle: shared.lifecycle.clone(),
            authenticate,
            node: shared.lifetime.node().clone(),
            app: Box::new(Dispatcher(shared.clone())),
            connections: Connections::default(),
        });
        shared.lifecycle.spawn(endpoint.clone().sweep());
        Self {
            handle: Arc::new(Handle { shared, endpoint }),
        }
    }

    /// The hub's routes: `path` for transports and `path/negotiate`, each with and without a slash at
    /// its end. Merge them into the application's router. `path` begins with a slash.
    pub fn routes<S: Clone + Send + Sync + 'static>(&self, path: &str) -> Router<S> {
        self.handle.endpoint.routes(path, self.clone())
    }

    /// The hub as tasks outside its methods see it.
    pub fn context(&self) -> HubContext {
        HubContext::of(&self.shared().lifetime)
    }

    /// How many clients are connected to this node.
    pub fn connections(&self) -> usize {
        self.shared().lifetime.connections()
    }

    /// Closes the hub on this node: takes no new connections, lets running methods finish, tells every
    /// client that it may reconnect (which brings it to another node), closes its transport, and
    /// unsubscribes. Returns after `timeout` at the latest; what is not done by then is dropped.
    /// Methods get the first half of that time. When it returns, no task of the hub is left.
    ///
    /// The backplane stays open. Close it afterwards.
    ///
    /// # Cancellation
    ///
    /// If the future is dropped, the hub goes on closing; running methods are not stopped.
    pub async fn close(&self, timeout: Duration) {
        let shared = self.shared();
        if !shared.lifecycle.close(timeout).await {
            tracing::warn!(
                hub = shared.name,
                "closing took too long; the rest was dropped"
            );
        }
        shared.lifetime.close().await;
    }

    pub(super) fn endpoint(&self) -> &Arc<http::Endpoint> {
        &self.handle.endpoint
    }

    fn shared(&self) -> &Arc<Shared> {
        &self.handle.shared
    }
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hub")
            .field("name", &self.shared().name)
            .field("connections", &self.connections())
            .finish_non_exhaustive()
    }
}
