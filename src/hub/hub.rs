//! [`Hub`], the handle, and what all its connections share.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, OnceLock},
    time::Duration,
};

use axum::Router;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    builder::HubBuilder, connection::Connections, context::HubContext, lifetime::Lifetime,
    method::Endpoint, options::HubOptions, route,
};

/// How often the table of connections is searched for those that nobody attached to.
const SWEEP: Duration = Duration::from_secs(1);

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
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.kill.cancel();
        self.shared.lifetime.stop();
    }
}

/// What all connections of a hub share.
pub(super) struct Shared {
    pub(super) name: String,
    pub(super) options: HubOptions,
    /// By name in lower case.
    pub(super) methods: HashMap<String, Arc<dyn Endpoint>>,
    pub(super) on_connected: Option<Arc<dyn Endpoint>>,
    pub(super) on_disconnected: Option<Arc<dyn Endpoint>>,
    pub(super) lifetime: Lifetime,
    pub(super) connections: Connections,
    tasks: TaskTracker,
    /// No new connections; those that are there say goodbye.
    closing: CancellationToken,
    /// When running methods have to be done once the hub is closing.
    patience: OnceLock<Instant>,
    /// Everything ends where it stands.
    kill: CancellationToken,
}

/// What the builder knows.
pub(super) struct Parts {
    pub(super) name: String,
    pub(super) options: HubOptions,
    pub(super) methods: HashMap<String, Arc<dyn Endpoint>>,
    pub(super) on_connected: Option<Arc<dyn Endpoint>>,
    pub(super) on_disconnected: Option<Arc<dyn Endpoint>>,
    pub(super) lifetime: Lifetime,
}

impl Hub {
    /// Begins a hub. `hub` is the state that all invocations share, and its type names the hub.
    pub fn builder<H: Send + Sync + 'static>(hub: H) -> HubBuilder<H> {
        HubBuilder::new(hub)
    }

    pub(super) fn start(parts: Parts) -> Self {
        let Parts {
            name,
            options,
            methods,
            on_connected,
            on_disconnected,
            lifetime,
        } = parts;
        let shared = Arc::new(Shared {
            name,
            options,
            methods,
            on_connected,
            on_disconnected,
            lifetime,
            connections: Connections::default(),
            tasks: TaskTracker::new(),
            closing: CancellationToken::new(),
            patience: OnceLock::new(),
            kill: CancellationToken::new(),
        });
        shared.spawn(sweep(shared.clone()));
        Self {
            handle: Arc::new(Handle { shared }),
        }
    }

    /// The hub's routes: `path` for transports and `path/negotiate`, each with and without a slash at
    /// its end. Merge them into the application's router. `path` begins with a slash.
    pub fn routes<S: Clone + Send + Sync + 'static>(&self, path: &str) -> Router<S> {
        route::routes(self, path)
    }

    /// The hub as tasks outside its methods see it.
    pub fn context(&self) -> HubContext {
        HubContext::new(self.shared().clone())
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
        let _ = shared.patience.set(Instant::now() + timeout / 2);
        shared.closing.cancel();
        shared.tasks.close();
        if tokio::time::timeout(timeout, shared.tasks.wait())
            .await
            .is_err()
        {
            tracing::warn!(
                hub = shared.name,
                "closing took too long; the rest is dropped"
            );
            shared.kill.cancel();
            shared.tasks.wait().await;
        }
        shared.lifetime.close().await;
    }

    pub(super) fn shared(&self) -> &Arc<Shared> {
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

impl Shared {
    /// Runs a task that ends with the hub at the latest.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let kill = self.kill.clone();
        self.tasks.spawn(async move {
            kill.run_until_cancelled(task).await;
        });
    }

    pub(super) fn is_closing(&self) -> bool {
        self.closing.is_cancelled() || self.kill.is_cancelled()
    }

    /// Resolves when the hub is closing. Cancel-safe.
    pub(super) async fn closing(&self) {
        self.closing.cancelled().await;
    }

    /// Until when a closing hub waits for running methods.
    pub(super) fn patience(&self) -> Instant {
        self.patience.get().copied().unwrap_or_else(Instant::now)
    }
}

async fn sweep(shared: Arc<Shared>) {
    let mut tick = tokio::time::interval(SWEEP);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let sweeping = async {
        loop {
            tick.tick().await;
            shared.connections.sweep(shared.options.disconnect_timeout);
        }
    };
    shared.closing.run_until_cancelled(sweeping).await;
}
