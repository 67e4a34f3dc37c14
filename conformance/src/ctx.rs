//! [`Ctx`]: what a case works with.

use std::{
    fmt,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use scaleout_core::{
    AnyBackend, Backend, Backplane, Capabilities, Connector, Namespace, Partitioning, Result, Topic,
};
use tokio::time::Instant;

use crate::{
    Admin, Bare, Broker, Case, Failure, Limits, Node, Rng, Setup, Target, target::not_offered, url,
};

/// How long closing what a case opened may take.
const CLOSE: Duration = Duration::from_secs(5);
/// How long a broker may take to start; more than it is waited for where it is started.
const START: Duration = Duration::from_secs(40);

/// What a case works with: a namespace of its own, and everything it opens in it. Cheap to clone.
#[derive(Clone)]
pub struct Ctx(Arc<Inner>);

struct Inner {
    case: &'static Case,
    target: Arc<dyn Target>,
    capabilities: Capabilities,
    namespace: Namespace,
    limits: Limits,
    seed: u64,
    unique: AtomicU64,
    opened: Mutex<Vec<Opened>>,
}

enum Opened {
    Node(Backplane),
    Bare(AnyBackend),
}

impl Ctx {
    pub(crate) fn new(
        case: &'static Case,
        target: Arc<dyn Target>,
        run: &str,
        seed: u64,
        limits: Limits,
    ) -> Result<Self> {
        let connector = target.connector(&target.url())?;
        Ok(Self(Arc::new(Inner {
            case,
            capabilities: connector.backend.capabilities(),
            namespace: Namespace::new(format!("conf-{run}-{}", case.id))?,
            target,
            limits,
            seed,
            unique: AtomicU64::new(0),
            opened: Mutex::default(),
        })))
    }

    /// Opens a node, connected, with the options of the target's URL.
    pub async fn node(&self) -> Result<Node, Failure> {
        self.open().node().await
    }

    /// Opens a bare backend, connected.
    pub async fn bare(&self) -> Result<Bare, Failure> {
        self.open().bare().await
    }

    /// Begins to open a node or a bare backend with options that differ.
    pub fn open(&self) -> Open {
        Open {
            ctx: self.clone(),
            target: self.0.target.clone(),
            params: vec![("namespace".to_owned(), self.0.namespace.to_string())],
            via: Vec::new(),
            wrap: None,
            tracked: true,
        }
    }

    /// Starts a broker that this case owns. Nodes reach it with [`Open::at`].
    pub async fn broker(&self, setup: Setup) -> Result<Box<dyn Broker>, Failure> {
        let start = self.0.target.broker(setup);
        Ok(self
            .0
            .limits
            .within_time(START, "start a broker", start)
            .await??)
    }

    /// The case that runs.
    pub fn case(&self) -> &'static Case {
        self.0.case
    }

    /// What is tested.
    pub fn target(&self) -> &Arc<dyn Target> {
        &self.0.target
    }

    /// The broker's back door. A case that uses it lists what it uses in its needs.
    pub fn admin(&self) -> Result<&dyn Admin, Failure> {
        Ok(self
            .0
            .target
            .admin()
            .ok_or_else(|| not_offered("administration"))?)
    }

    /// What the backend claims.
    pub fn capabilities(&self) -> &Capabilities {
        &self.0.capabilities
    }

    /// Whether the sequences of one topic follow each other without holes.
    pub fn dense(&self) -> bool {
        self.0.capabilities.dense
            && matches!(self.0.capabilities.partitioning, Partitioning::PerTopic)
    }

    /// The case's namespace.
    pub fn namespace(&self) -> &Namespace {
        &self.0.namespace
    }

    /// A topic of the case.
    ///
    /// # Panics
    ///
    /// If it is no valid name.
    #[expect(
        clippy::expect_used,
        reason = "names of topics in cases are written by hand"
    )]
    pub fn topic(&self, name: impl AsRef<str>) -> Topic {
        Topic::new(name).expect("a case names its topics validly")
    }

    /// A topic that nothing in this case used before.
    pub fn fresh_topic(&self) -> Topic {
        let number = self.0.unique.fetch_add(1, Ordering::Relaxed);
        self.topic(format!("fresh/{number}"))
    }

    /// Guards against hanging.
    pub fn limits(&self) -> Limits {
        self.0.limits
    }

    /// The seed of everything random in the case.
    pub fn seed(&self) -> u64 {
        self.0.seed
    }

    /// Randomness that the seed repeats, different in each case.
    pub fn rng(&self) -> Rng {
        let case = self
            .0
            .case
            .id
            .bytes()
            .fold(0, |hash, byte| hash << 8 | u64::from(byte));
        Rng::new(self.0.seed ^ case)
    }

    fn opened(&self, opened: Opened) {
        self.0
            .opened
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(opened);
    }

    /// Closes what the case opened. What the case closed itself is closed again, which must be
    /// harmless.
    pub(crate) async fn close(&self) -> Result<(), Failure> {
        let opened =
            std::mem::take(&mut *self.0.opened.lock().unwrap_or_else(PoisonError::into_inner));
        let timeout = self.0.limits.scaled(CLOSE);
        let mut namespaces = vec![self.0.namespace.clone()];
        for opened in opened {
            match opened {
                Opened::Node(plane) => {
                    if !namespaces.contains(&plane.options().namespace) {
                        namespaces.push(plane.options().namespace.clone());
                    }
                    self.0
                        .limits
                        .within("close a node", plane.close(timeout))
                        .await?
                        .ok();
                }
                Opened::Bare(backend) => {
                    let close = backend.close(Instant::now() + timeout);
                    self.0.limits.within("close a backend", close).await?.ok();
                }
            }
        }
        if let Some(admin) = self.0.target.admin() {
            for namespace in &namespaces {
                self.0
                    .limits
                    .within("clean up", admin.clean(namespace))
                    .await??;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Ctx {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ctx")
            .field("namespace", &self.0.namespace)
            .field("seed", &self.0.seed)
            .finish_non_exhaustive()
    }
}

/// Opens a node or a bare backend.
#[derive(Clone)]
pub struct Open {
    ctx: Ctx,
    target: Arc<dyn Target>,
    params: Vec<(String, String)>,
    via: Vec<SocketAddr>,
    wrap: Option<Arc<Wrap>>,
    tracked: bool,
}

type Wrap = dyn Fn(AnyBackend) -> AnyBackend + Send + Sync;

impl Open {
    /// Sets a query parameter of the URL: `set("liveness", "1s")`.
    #[must_use]
    pub fn set(mut self, name: &str, value: impl fmt::Display) -> Self {
        self.params.retain(|(set, _)| set != name);
        self.params.push((name.to_owned(), value.to_string()));
        self
    }

    /// Makes logs keep this many frames. The case needs
    /// [`Need::RetentionFrames`](crate::Need::RetentionFrames).
    #[must_use]
    pub fn retention(mut self, frames: usize) -> Self {
        let params = self.target.retention_frames(frames).unwrap_or_default();
        for (name, value) in params {
            self = self.set(&name, value);
        }
        self
    }

    /// Makes logs keep frames for this long. The case needs
    /// [`Need::RetentionAge`](crate::Need::RetentionAge).
    #[must_use]
    pub fn retention_age(mut self, age: Duration) -> Self {
        let params = self.target.retention_age(age).unwrap_or_default();
        for (name, value) in params {
            self = self.set(&name, value);
        }
        self
    }

    /// Goes by this address, where a proxy listens.
    #[must_use]
    pub fn via(mut self, addr: SocketAddr) -> Self {
        self.via = vec![addr];
        self
    }

    /// Goes by any of these addresses. The case needs
    /// [`Need::SeveralAddresses`](crate::Need::SeveralAddresses).
    #[must_use]
    pub fn via_any(mut self, addrs: &[SocketAddr]) -> Self {
        self.via = addrs.to_vec();
        self
    }

    /// Goes to another target: the broker that the case owns.
    #[must_use]
    pub fn at(mut self, target: Arc<dyn Target>) -> Self {
        self.target = target;
        self
    }

    /// Puts something around the backend: to measure, or to watch.
    #[must_use]
    pub fn wrap(mut self, wrap: impl Fn(AnyBackend) -> AnyBackend + Send + Sync + 'static) -> Self {
        self.wrap = Some(Arc::new(wrap));
        self
    }

    /// Leaves closing to the case: for those about what happens when a handle is merely dropped.
    #[must_use]
    pub fn untracked(mut self) -> Self {
        self.tracked = false;
        self
    }

    /// The URL with all that was set. It may hold a password.
    pub fn url(&self) -> String {
        let url = match self.via[..] {
            [] => self.target.url(),
            [addr] => self.target.url_via(addr),
            _ => {
                let addrs: Vec<_> = self.via.iter().map(SocketAddr::to_string).collect();
                url::with_authority(&self.target.url(), &addrs.join(","))
            }
        };
        url::with_params(&url, &self.params)
    }

    /// The guards against hanging.
    pub(crate) fn limits(&self) -> Limits {
        self.ctx.limits()
    }

    /// What the URL stands for.
    pub fn connector(&self) -> Result<Connector> {
        let mut connector = self.target.connector(&self.url())?;
        if let Some(wrap) = &self.wrap {
            connector.backend = wrap(connector.backend);
        }
        Ok(connector)
    }

    /// Opens a node, which must connect.
    pub async fn node(self) -> Result<Node, Failure> {
        Ok(self.try_node().await??)
    }

    /// Opens a node; that may fail, but must end.
    pub async fn try_node(self) -> Result<Result<Node>, Failure> {
        let connector = self.connector()?;
        let connect = self
            .ctx
            .limits()
            .within("connect", Backplane::connect(connector));
        Ok(connect.await?.map(|plane| self.take(plane)))
    }

    /// Opens a node that connects in the background.
    pub fn lazy_node(self) -> Result<Node, Failure> {
        let plane = Backplane::connect_lazy(self.connector()?)?;
        Ok(self.take(plane))
    }

    /// Opens a bare backend, which must connect.
    pub async fn bare(self) -> Result<Bare, Failure> {
        let bare = self.lazy_bare()?;
        bare.probe().await??;
        Ok(bare)
    }

    /// Opens a bare backend that has not connected yet.
    pub fn lazy_bare(self) -> Result<Bare, Failure> {
        let Connector { backend, options } = self.connector()?;
        if self.tracked {
            self.ctx.opened(Opened::Bare(backend.clone()));
        }
        let partitioning = options
            .partitioning
            .unwrap_or(backend.capabilities().partitioning);
        Ok(Bare::new(
            backend,
            options.namespace,
            partitioning,
            self.ctx.limits(),
        ))
    }

    fn take(self, plane: Backplane) -> Node {
        if self.tracked {
            self.ctx.opened(Opened::Node(plane.clone()));
        }
        Node::new(plane, self.ctx.limits(), self.target.layer())
    }
}

impl fmt::Debug for Open {
    /// Without what may be a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Open")
            .field("via", &self.via)
            .finish_non_exhaustive()
    }
}
