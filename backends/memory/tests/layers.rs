//! Q05: the whole suite through a stack of layers around the backend, as an application may put there:
//! one that counts, one that lets so many requests through at a time, one that gives a request up
//! that takes too long, and one that is slow now and then.

mod support;

use std::{
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use scaleout_conformance::{Admin, BoxFuture, Broker, Need, Params, Setup, Target, libtest::Run};
use scaleout_core::{
    AnyBackend, Appended, Backend, Capabilities, Connector, EncodedFrame, Error, ErrorKind,
    Listener, LogName, Page, Position, Result,
};
use tokio::{
    sync::Semaphore,
    time::{Instant, sleep, timeout},
};

use self::support::MemoryTarget;

/// How many requests of a node are under way at a time.
const AT_A_TIME: usize = 4;
/// When a request is given up. The memory broker never takes so long.
const PATIENCE: Duration = Duration::from_secs(60);
/// Every so many requests one is slow.
const SLOW_NTH: u64 = 17;
const SLOW: Duration = Duration::from_millis(2);

fn main() -> ExitCode {
    let target = match MemoryTarget::new("layers") {
        Ok(target) => Layered(Arc::new(target)),
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::FAILURE;
        }
    };
    Run::new(target)
        .expect_skips(include_str!("expected-skips.txt"))
        .main()
}

/// The layers, around a node's backend.
#[derive(Debug)]
struct Layers {
    inner: AnyBackend,
    requests: AtomicU64,
    permits: Semaphore,
}

impl Layers {
    fn new(inner: AnyBackend) -> Self {
        Self {
            inner,
            requests: AtomicU64::new(0),
            permits: Semaphore::new(AT_A_TIME),
        }
    }

    async fn through<T>(&self, request: impl Future<Output = Result<T>>) -> Result<T> {
        let closed = || Error::new(ErrorKind::Closed, "the semaphore is closed");
        let _permit = self.permits.acquire().await.map_err(|_| closed())?;
        if self.requests.fetch_add(1, Ordering::Relaxed) % SLOW_NTH == SLOW_NTH - 1 {
            sleep(SLOW).await;
        }
        let answered = timeout(PATIENCE, request).await;
        answered.unwrap_or_else(|_| {
            let late = Error::new(ErrorKind::Timeout, "it took too long");
            Err(late.with_unknown_outcome())
        })
    }
}

impl Backend for Layers {
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    async fn probe(&self) -> Result<()> {
        self.through(self.inner.probe()).await
    }

    async fn append(&self, log: &LogName, frame: &EncodedFrame) -> Result<Appended> {
        self.through(self.inner.append(log, frame)).await
    }

    async fn read(&self, log: &LogName, after: Option<Position>, limit: usize) -> Result<Page> {
        self.through(self.inner.read(log, after, limit)).await
    }

    async fn listen(&self, log: &LogName, after: Option<Position>) -> Result<Listener> {
        self.through(self.inner.listen(log, after)).await
    }

    async fn close(&self, deadline: Instant) -> Result<()> {
        self.inner.close(deadline).await
    }
}

/// A target whose backends are behind the layers; also those of the brokers that it starts.
#[derive(Debug)]
struct Layered(Arc<dyn Target>);

impl Target for Layered {
    fn url(&self) -> String {
        self.0.url()
    }

    fn connector(&self, url: &str) -> Result<Connector> {
        let mut connector = self.0.connector(url)?;
        connector.backend = AnyBackend::new(Layers::new(connector.backend));
        Ok(connector)
    }

    fn retention_frames(&self, frames: usize) -> Option<Params> {
        self.0.retention_frames(frames)
    }

    fn retention_age(&self, age: Duration) -> Option<Params> {
        self.0.retention_age(age)
    }

    fn admin(&self) -> Option<&dyn Admin> {
        self.0.admin()
    }

    fn offers_broker(&self, need: Need) -> bool {
        self.0.offers_broker(need)
    }

    fn broker(&self, setup: Setup) -> BoxFuture<'_, Result<Box<dyn Broker>>> {
        Box::pin(async move {
            let broker = LayeredBroker(self.0.broker(setup).await?);
            Ok(Box::new(broker) as Box<dyn Broker>)
        })
    }
}

#[derive(Debug)]
struct LayeredBroker(Box<dyn Broker>);

impl Broker for LayeredBroker {
    fn target(&self) -> Arc<dyn Target> {
        Arc::new(Layered(self.0.target()))
    }

    fn wipe(&self) -> BoxFuture<'_, Result<()>> {
        self.0.wipe()
    }

    fn kick(&self) -> BoxFuture<'_, Result<()>> {
        self.0.kick()
    }
}
