//! [`MutantTarget`]: stands around a target and changes its backends or nodes.

use std::{
    fmt,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use scaleout_core::{AnyBackend, Connector, LogName, Result};

use crate::{Admin, BoxFuture, Broker, Clock, Layer, Need, Params, Setup, Target, Tls};

/// Changes a backend. All backends that one [`MutantTarget`] opens go through the same one, so it may
/// hold what they share.
pub(super) type Mutate = Arc<dyn Fn(AnyBackend) -> AnyBackend + Send + Sync>;

/// What the clock of a broker was set to.
#[derive(Clone, Debug, Default)]
pub(super) struct BrokersClock(Arc<Mutex<Clock>>);

impl BrokersClock {
    pub(super) fn get(&self) -> Clock {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A target whose backends, or whose nodes' surface, are changed; also those of the brokers it starts.
pub struct MutantTarget {
    inner: Arc<dyn Target>,
    mutate: Option<Mutate>,
    layer: Option<Arc<dyn Layer>>,
    connect: Option<Connect>,
    gullible: bool,
    clock: Option<BrokersClock>,
}

/// Reads a URL in place of the target.
type Connect = fn(&dyn Target, &str) -> Result<Connector>;

impl MutantTarget {
    /// Changes the backends.
    pub fn backend(
        inner: Arc<dyn Target>,
        mutate: impl Fn(AnyBackend) -> AnyBackend + Send + Sync + 'static,
    ) -> Self {
        Self {
            inner,
            mutate: Some(Arc::new(mutate)),
            layer: None,
            connect: None,
            gullible: false,
            clock: None,
        }
    }

    /// Puts a layer between the cases and the nodes.
    pub fn layer(inner: Arc<dyn Target>, layer: impl Layer + 'static) -> Self {
        Self {
            inner,
            mutate: None,
            layer: None,
            connect: None,
            gullible: false,
            clock: None,
        }
        .with_layer(layer)
    }

    /// Puts a layer between the cases and the nodes as well.
    #[must_use]
    pub fn with_layer(mut self, layer: impl Layer + 'static) -> Self {
        self.layer = Some(Arc::new(layer));
        self
    }

    /// Notes in `clock` what the clock of a broker is set to.
    #[must_use]
    pub(super) fn with_clock(mut self, clock: BrokersClock) -> Self {
        self.clock = Some(clock);
        self
    }

    /// Trusts brokers whoever they are.
    pub fn gullible(inner: Arc<dyn Target>) -> Self {
        Self {
            gullible: true,
            ..Self::connector(inner, |target, url| target.connector(url))
        }
    }

    /// Reads URLs otherwise.
    pub fn connector(
        inner: Arc<dyn Target>,
        connect: fn(&dyn Target, &str) -> Result<Connector>,
    ) -> Self {
        Self {
            inner,
            mutate: None,
            layer: None,
            connect: Some(connect),
            gullible: false,
            clock: None,
        }
    }
}

impl fmt::Debug for MutantTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MutantTarget")
            .field("inner", &self.inner)
            .finish_non_exhaustive()
    }
}

impl Target for MutantTarget {
    fn url(&self) -> String {
        self.inner.url()
    }

    fn connector(&self, url: &str) -> Result<Connector> {
        let mut connector = match self.connect {
            Some(connect) => connect(&*self.inner, url)?,
            None => self.inner.connector(url)?,
        };
        if let Some(mutate) = &self.mutate {
            connector.backend = mutate(connector.backend);
        }
        Ok(connector)
    }

    fn addr(&self) -> Option<String> {
        self.inner.addr()
    }

    fn url_via(&self, addr: SocketAddr) -> String {
        self.inner.url_via(addr)
    }

    fn takes_several_addresses(&self) -> bool {
        self.inner.takes_several_addresses()
    }

    fn retention_frames(&self, frames: usize) -> Option<Params> {
        self.inner.retention_frames(frames)
    }

    fn retention_age(&self, age: Duration) -> Option<Params> {
        self.inner.retention_age(age)
    }

    fn admin(&self) -> Option<&dyn Admin> {
        self.inner.admin()
    }

    fn offers_broker(&self, need: Need) -> bool {
        self.inner.offers_broker(need)
    }

    fn broker(&self, setup: Setup) -> BoxFuture<'_, Result<Box<dyn Broker>>> {
        Box::pin(async move {
            let broker = MutantBroker {
                inner: self.inner.broker(setup).await?,
                mutate: self.mutate.clone(),
                layer: self.layer.clone(),
                connect: self.connect,
                gullible: self.gullible,
                clock: self.clock.clone(),
            };
            Ok(Box::new(broker) as Box<dyn Broker>)
        })
    }

    fn layer(&self) -> Option<Arc<dyn Layer>> {
        self.layer.clone()
    }
}

/// A broker that is reached through the same changes.
struct MutantBroker {
    inner: Box<dyn Broker>,
    mutate: Option<Mutate>,
    layer: Option<Arc<dyn Layer>>,
    connect: Option<Connect>,
    gullible: bool,
    clock: Option<BrokersClock>,
}

impl fmt::Debug for MutantBroker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MutantBroker")
            .field("inner", &self.inner)
            .finish_non_exhaustive()
    }
}

impl MutantBroker {
    fn changed(&self, inner: Arc<dyn Target>) -> Arc<dyn Target> {
        Arc::new(MutantTarget {
            inner,
            mutate: self.mutate.clone(),
            layer: self.layer.clone(),
            connect: self.connect,
            gullible: self.gullible,
            clock: self.clock.clone(),
        })
    }
}

impl Broker for MutantBroker {
    fn target(&self) -> Arc<dyn Target> {
        self.changed(self.inner.target())
    }

    fn start(&self) -> BoxFuture<'_, Result<()>> {
        self.inner.start()
    }

    fn kill(&self) -> BoxFuture<'_, Result<()>> {
        self.inner.kill()
    }

    fn term(&self) -> BoxFuture<'_, Result<()>> {
        self.inner.term()
    }

    fn stop(&self) -> BoxFuture<'_, Result<()>> {
        self.inner.stop()
    }

    fn cont(&self) -> BoxFuture<'_, Result<()>> {
        self.inner.cont()
    }

    fn set_clock(&self, clock: Clock) -> BoxFuture<'_, Result<()>> {
        if let Some(BrokersClock(noted)) = &self.clock {
            *noted.lock().unwrap_or_else(PoisonError::into_inner) = clock;
        }
        self.inner.set_clock(clock)
    }

    fn time(&self) -> BoxFuture<'_, Result<SystemTime>> {
        self.inner.time()
    }

    fn wipe(&self) -> BoxFuture<'_, Result<()>> {
        self.inner.wipe()
    }

    fn snapshot(&self) -> BoxFuture<'_, Result<()>> {
        self.inner.snapshot()
    }

    fn restore(&self) -> BoxFuture<'_, Result<()>> {
        self.inner.restore()
    }

    fn fill(&self) -> BoxFuture<'_, Result<()>> {
        self.inner.fill()
    }

    fn relieve(&self) -> BoxFuture<'_, Result<()>> {
        self.inner.relieve()
    }

    fn revoke(&self) -> BoxFuture<'_, Result<()>> {
        self.inner.revoke()
    }

    fn kick(&self) -> BoxFuture<'_, Result<()>> {
        self.inner.kick()
    }

    fn password(&self) -> Option<String> {
        self.inner.password()
    }

    fn tls(&self) -> Option<Tls> {
        let tls = self.inner.tls()?;
        if self.gullible {
            return Some(Tls {
                other_authority: self.target(),
                other_name: self.target(),
                ..tls
            });
        }
        Some(Tls {
            plain: self.changed(tls.plain),
            other_authority: self.changed(tls.other_authority),
            other_name: self.changed(tls.other_name),
        })
    }

    fn restricted<'a>(&'a self, logs: &'a [LogName]) -> BoxFuture<'a, Result<Arc<dyn Target>>> {
        Box::pin(async move { Ok(self.changed(self.inner.restricted(logs).await?)) })
    }

    fn read_only(&self) -> BoxFuture<'_, Result<Arc<dyn Target>>> {
        Box::pin(async move { Ok(self.changed(self.inner.read_only().await?)) })
    }
}
