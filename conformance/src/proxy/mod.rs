//! A TCP proxy that breaks connections on demand.
//!
//! One stands between one node and the broker, so that a case can break what this node has and
//! nothing else. Faults hold until [`Proxy::heal`]; [`Proxy::reset`] and [`Proxy::cut_after`] happen
//! once. Nothing here knows a protocol.

mod faults;
mod link;
#[cfg(test)]
mod tests;

use std::{
    fmt, io,
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::{JoinHandle, JoinSet},
};

use self::faults::Faults;
use crate::Rng;

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the node to the broker.
    ToBroker,
    /// From the broker to the node.
    FromBroker,
}

impl Direction {
    /// Both.
    pub const BOTH: [Self; 2] = [Self::ToBroker, Self::FromBroker];
}

/// A TCP proxy of one node. Dropping it ends it and its connections.
#[derive(Debug)]
pub struct Proxy {
    addr: SocketAddr,
    shared: Arc<Shared>,
    accept: JoinHandle<()>,
}

struct Shared {
    upstream: String,
    faults: watch::Sender<Faults>,
    /// When each connection was made.
    connects: Mutex<Vec<Instant>>,
    open: AtomicUsize,
    passed: [AtomicU64; 2],
}

impl Proxy {
    /// Listens on a free port of the loopback interface and passes connections on to `upstream`,
    /// `host:port`.
    ///
    /// # Errors
    ///
    /// If no port can be had.
    pub async fn start(upstream: impl Into<String>) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let addr = listener.local_addr()?;
        let shared = Arc::new(Shared {
            upstream: upstream.into(),
            faults: watch::Sender::new(Faults::default()),
            connects: Mutex::default(),
            open: AtomicUsize::new(0),
            passed: [AtomicU64::new(0), AtomicU64::new(0)],
        });
        let accept = tokio::spawn(accept(listener, shared.clone()));
        Ok(Self {
            addr,
            shared,
            accept,
        })
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Ends every connection with an RST on both sides. New ones are unaffected.
    pub fn reset(&self) {
        self.shared.faults.send_modify(|faults| faults.resets += 1);
    }

    /// Ends new connections with an RST as soon as they are made. They still count in
    /// [`connects`](Self::connects): that is why they are not refused outright.
    pub fn refuse_new(&self) {
        self.shared
            .faults
            .send_modify(|faults| faults.refuse = true);
    }

    /// Lets no more bytes through this way, nor the end of a connection. Nobody is told, and
    /// connections can still be made. What is sent meanwhile arrives after [`heal`](Self::heal), as
    /// it would after TCP's retransmission.
    pub fn blackhole(&self, direction: Direction) {
        self.shared
            .faults
            .send_modify(|faults| faults.blackhole[direction as usize] = true);
    }

    /// [`blackhole`](Self::blackhole) both ways.
    pub fn blackhole_both(&self) {
        for direction in Direction::BOTH {
            self.blackhole(direction);
        }
    }

    /// Lets this many more bytes through this way, then ends the connection that would carry the next
    /// one with an RST on both sides. Once: the next connection is whole.
    pub fn cut_after(&self, bytes: u64, direction: Direction) {
        self.shared
            .faults
            .send_modify(|faults| faults.cut[direction as usize] = Some(bytes));
    }

    /// Holds bytes back, both ways, for `delay` and up to `jitter` more. Their order stays.
    pub fn delay(&self, delay: Duration, jitter: Duration) {
        self.shared
            .faults
            .send_modify(|faults| faults.delay = (delay, jitter));
    }

    /// Sends every byte in a segment of its own, both ways.
    pub fn slice(&self) {
        self.shared.faults.send_modify(|faults| faults.slice = true);
    }

    /// Makes nonsense of every byte that comes from the broker.
    pub fn garble(&self) {
        self.shared
            .faults
            .send_modify(|faults| faults.garble = true);
    }

    /// Ends all faults.
    pub fn heal(&self) {
        self.shared.faults.send_modify(Faults::heal);
    }

    /// How many connections were made since the start, those ended at once included.
    pub fn connects(&self) -> u64 {
        self.shared.lock_connects().len() as u64
    }

    /// When each of them was made.
    pub fn connect_times(&self) -> Vec<Instant> {
        self.shared.lock_connects().clone()
    }

    /// How many connections are open to the broker.
    pub fn connections(&self) -> usize {
        self.shared.open.load(Ordering::SeqCst)
    }

    /// How many bytes went this way since the start.
    pub fn passed(&self, direction: Direction) -> u64 {
        self.shared.passed[direction as usize].load(Ordering::SeqCst)
    }

    /// How many connections [`cut_after`](Self::cut_after) has ended since the start.
    pub fn cuts(&self) -> u64 {
        self.shared.faults.borrow().cuts
    }

    /// Waits until [`cut_after`](Self::cut_after) has ended `count` connections since the start.
    pub async fn until_cuts(&self, count: u64) {
        let mut faults = self.shared.faults.subscribe();
        // The sender lives as long as `self`, so this cannot fail.
        let _ = faults.wait_for(|faults| faults.cuts >= count).await;
    }
}

impl Shared {
    /// Counts a connection, and numbers it.
    fn connected(&self) -> u64 {
        let mut connects = self.lock_connects();
        connects.push(Instant::now());
        connects.len() as u64
    }

    fn lock_connects(&self) -> MutexGuard<'_, Vec<Instant>> {
        self.connects.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // Ends the connections too: their tasks belong to this one.
        self.accept.abort();
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("upstream", &self.upstream)
            .field("faults", &*self.faults.borrow())
            .finish_non_exhaustive()
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut links = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = links.join_next() => continue,
        };
        let Ok((client, _)) = accepted else {
            // Out of file descriptors, or gone before it was taken: the next one may do.
            tokio::task::yield_now().await;
            continue;
        };
        let number = shared.connected();
        if shared.faults.borrow().refuse {
            break_off(&client);
            continue;
        }
        links.spawn(link::run(client, shared.clone(), Rng::new(number)));
    }
}

/// Makes the kernel answer with an RST once the stream is dropped.
fn break_off(stream: &TcpStream) {
    // Only fails on a socket that is gone already.
    let _ = stream.set_zero_linger();
}
