//! What a broker does for the library: [`Backend`].

use std::{fmt, future::Future, pin::Pin, sync::Arc};

use bytes::Bytes;
use tokio::time::Instant;

use crate::{
    EncodedFrame, Epoch, Listener, LogName, Options, Partitioning, Position, Result, Sequence,
};

/// What a backend offers. Static: known without connecting.
///
/// Asking for what is not offered gives [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Capabilities {
    /// The backend's name as users know it: `redis`.
    pub name: &'static str,
    /// Sequences of an epoch have no holes, so a hole is a loss.
    pub dense: bool,
    /// Stored frames can be read back: [`Backend::read`] works.
    pub history: bool,
    /// [`Backend::append`] answers with the position.
    pub receipts: bool,
    /// The broker itself detects the repetition of a frame, and answers it with the first receipt.
    pub dedup: bool,
    /// Once an append returned, a read on any node sees it.
    pub linearizable: bool,
    /// Frames are dropped by count, oldest first.
    pub trim: bool,
    /// Frames are dropped by age.
    pub trim_age: bool,
    /// What survives the end of the broker's process or machine, with the broker's own defaults.
    pub durability: Durability,
    /// The largest encoded frame that the broker takes, in bytes.
    pub max_frame_bytes: usize,
    /// How topics map to logs unless the options say otherwise.
    pub partitioning: Partitioning,
    /// Where the broker is without dedup, how many sequences before a cursor a resume reads to learn
    /// the publishers' counters. 0 where [`dedup`](Self::dedup) is set.
    pub lookback: u64,
    /// How many sequences there are to one number that the broker gives, where the broker numbers
    /// frames and not messages; see [`StoredFrame::in_slot`]. The most messages in a frame. 1 where
    /// the backend numbers messages.
    pub slot: u64,
}

impl Capabilities {
    /// A backend of that name that offers nothing but dense, receipted, per-topic logs of frames up
    /// to `max_frame_bytes`. Set the fields that differ.
    pub fn new(name: &'static str, max_frame_bytes: usize) -> Self {
        Self {
            name,
            dense: true,
            history: false,
            receipts: true,
            dedup: false,
            linearizable: false,
            trim: false,
            trim_age: false,
            durability: Durability::None,
            max_frame_bytes,
            partitioning: Partitioning::PerTopic,
            lookback: 0,
            slot: 1,
        }
    }
}

impl Capabilities {
    /// The most messages in a frame.
    pub(crate) fn max_frame_messages(&self) -> u64 {
        if self.slot > 1 {
            self.slot
        } else {
            u64::from(u32::MAX)
        }
    }
}

/// What survives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Durability {
    /// Nothing survives the end of the broker's process. The epoch tells.
    None,
    /// What was acknowledged survives the end of the process.
    ProcessCrash,
    /// What was acknowledged survives the loss of power.
    PowerLoss,
}

/// A frame as the broker holds it.
#[derive(Clone, PartialEq, Eq)]
pub struct StoredFrame {
    /// Sequence of its first message.
    pub first: Sequence,
    /// How many messages it holds, 1 or more: it covers `first..first + len`. The broker says so, so
    /// that a frame that cannot be decoded can still be skipped.
    pub len: u32,
    /// The bytes that were appended.
    pub bytes: Bytes,
}

impl StoredFrame {
    /// A frame that the broker gave the number `number`, where one number stands for `slot` sequences.
    ///
    /// A frame's messages stand at the end of its slot. So every frame ends where the next number's
    /// slot begins, however few messages it has, and a position tells whether its frame has more.
    /// Nothing gets [`Sequence::ZERO`], also if the broker counts from 0.
    ///
    /// ```
    /// # use scaleout_core::StoredFrame;
    /// let frame = StoredFrame::in_slot(2, 100, 3, "...".into());
    /// assert_eq!((frame.first.get(), frame.last().get()), (297, 299));
    /// ```
    pub fn in_slot(number: u64, slot: u64, len: u32, bytes: Bytes) -> Self {
        let end = number.saturating_add(1).saturating_mul(slot);
        Self {
            first: Sequence::new(end.saturating_sub(u64::from(len))),
            len,
            bytes,
        }
    }

    /// Sequence of its last message.
    pub fn last(&self) -> Sequence {
        self.first.plus(u64::from(self.len.saturating_sub(1)))
    }
}

impl fmt::Debug for StoredFrame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "StoredFrame({}+{}, {} bytes)",
            self.first,
            self.len,
            self.bytes.len()
        )
    }
}

/// Answer to an append that the broker has stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Position of the frame's first message, where the broker tells.
    pub first: Option<Position>,
}

/// Answer to a read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The log's present epoch.
    pub epoch: Epoch,
    /// Sequence of the oldest message that is retained; one past the head if none is.
    pub floor: Sequence,
    /// Sequence of the newest message ever appended in this epoch; [`Sequence::ZERO`] if none was.
    pub head: Sequence,
    /// Frames in order, each with a message past the position asked for; the first may begin before
    /// it. Possibly fewer than the limit: more remain exactly if the last one ends before the head.
    pub frames: Vec<StoredFrame>,
}

/// A broker, as the library needs it.
///
/// A backend does these things and no more: it never retries, batches, reorders, deduplicates,
/// buffers or reconnects on its own account. The core does that once for all of them. A request that
/// finds no connection opens one, once, and fails with
/// [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable) if that does not work.
///
/// Every error must say truly whether the frame may have been stored
/// ([`Error::outcome`](crate::Error::outcome)), and must not show a secret.
///
/// # Cancellation
///
/// Any future may be dropped at any point. That must not disturb another request (the next one gets
/// its own answer) nor leave anything behind at the broker; an append may or may not be stored.
///
/// # Example
///
/// A complete backend is in `examples/custom_backend.rs`, and `backends/memory` is the reference.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a scaleout backend",
    note = "implement `scaleout_core::Backend`; `examples/custom_backend.rs` is a complete one"
)]
pub trait Backend: Send + Sync + fmt::Debug + 'static {
    /// What the backend offers.
    fn capabilities(&self) -> Capabilities;

    /// Opens what connections it needs, unless they are open, and makes a round trip on each, so
    /// that a wrong password, an old broker or a dead connection shows. A connection that was open
    /// and has died since is an error, once; the next probe opens another.
    ///
    /// The core calls it while the connection is up too, every half of
    /// [`Options::liveness`](crate::Options::liveness).
    fn probe(&self) -> impl Future<Output = Result<()>> + Send;

    /// Stores a frame at the end of the log. Returns once the broker has confirmed it.
    ///
    /// Sequences within an epoch begin with [`Sequence::FIRST`] where they are dense. Where
    /// [`Capabilities::dedup`] is claimed, a frame whose publisher and counter the log has seen is
    /// not stored again, and gets the first answer.
    fn append(
        &self,
        log: &LogName,
        frame: &EncodedFrame,
    ) -> impl Future<Output = Result<Appended>> + Send;

    /// Reads frames after a position, about `limit` messages of them, at least one frame if there is
    /// one and `limit` is not 0. `limit` 0 asks for epoch, floor and head alone.
    ///
    /// `None`, and a position of another epoch than the log's present one, read from the floor. A
    /// log that was never used has an epoch that stays, floor [`Sequence::FIRST`], and head
    /// [`Sequence::ZERO`]; reading takes no sequence.
    fn read(
        &self,
        log: &LogName,
        after: Option<Position>,
        limit: usize,
    ) -> impl Future<Output = Result<Page>> + Send;

    /// Subscribes to a log's future frames. Resolves once the broker has confirmed the
    /// subscription: what is appended from then on arrives. Dropping the listener ends the
    /// subscription at the broker. A listener whose connection died, or whose queue overflowed, ends
    /// with an error within the liveness time.
    ///
    /// `after` is where the node stands, for brokers that deliver from a position.
    fn listen(
        &self,
        log: &LogName,
        after: Option<Position>,
    ) -> impl Future<Output = Result<Listener>> + Send;

    /// Closes connections and stops tasks, by the deadline whatever happens.
    fn close(&self, deadline: Instant) -> impl Future<Output = Result<()>> + Send;
}

/// Any [`Backend`], behind one pointer. Cheap to clone.
#[derive(Clone)]
pub struct AnyBackend(Arc<dyn Erased>);

type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The object-safe mirror of [`Backend`].
trait Erased: Send + Sync + fmt::Debug {
    fn capabilities(&self) -> Capabilities;
    fn probe(&self) -> BoxFuture<'_, Result<()>>;
    fn append<'a>(
        &'a self,
        log: &'a LogName,
        frame: &'a EncodedFrame,
    ) -> BoxFuture<'a, Result<Appended>>;
    fn read<'a>(
        &'a self,
        log: &'a LogName,
        after: Option<Position>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Page>>;
    fn listen<'a>(
        &'a self,
        log: &'a LogName,
        after: Option<Position>,
    ) -> BoxFuture<'a, Result<Listener>>;
    fn close(&self, deadline: Instant) -> BoxFuture<'_, Result<()>>;
}

impl<B: Backend> Erased for B {
    fn capabilities(&self) -> Capabilities {
        Backend::capabilities(self)
    }

    fn probe(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(Backend::probe(self))
    }

    fn append<'a>(
        &'a self,
        log: &'a LogName,
        frame: &'a EncodedFrame,
    ) -> BoxFuture<'a, Result<Appended>> {
        Box::pin(Backend::append(self, log, frame))
    }

    fn read<'a>(
        &'a self,
        log: &'a LogName,
        after: Option<Position>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Page>> {
        Box::pin(Backend::read(self, log, after, limit))
    }

    fn listen<'a>(
        &'a self,
        log: &'a LogName,
        after: Option<Position>,
    ) -> BoxFuture<'a, Result<Listener>> {
        Box::pin(Backend::listen(self, log, after))
    }

    fn close(&self, deadline: Instant) -> BoxFuture<'_, Result<()>> {
        Box::pin(Backend::close(self, deadline))
    }
}

impl AnyBackend {
    /// Takes a backend.
    pub fn new(backend: impl Backend) -> Self {
        Self(Arc::new(backend))
    }
}

impl fmt::Debug for AnyBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// So that a wrapper (a recorder, a fault injector) can stand around any backend.
impl Backend for AnyBackend {
    fn capabilities(&self) -> Capabilities {
        self.0.capabilities()
    }

    async fn probe(&self) -> Result<()> {
        self.0.probe().await
    }

    async fn append(&self, log: &LogName, frame: &EncodedFrame) -> Result<Appended> {
        self.0.append(log, frame).await
    }

    async fn read(&self, log: &LogName, after: Option<Position>, limit: usize) -> Result<Page> {
        self.0.read(log, after, limit).await
    }

    async fn listen(&self, log: &LogName, after: Option<Position>) -> Result<Listener> {
        self.0.listen(log, after).await
    }

    async fn close(&self, deadline: Instant) -> Result<()> {
        self.0.close(deadline).await
    }
}

/// What a URL stands for: a backend that has not connected yet, and the node's options.
#[derive(Debug)]
pub struct Connector {
    /// The backend.
    pub backend: AnyBackend,
    /// The node's options.
    pub options: Options,
}
