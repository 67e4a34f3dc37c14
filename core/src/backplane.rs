//! [`Backplane`]: a node.

use std::{fmt, sync::Arc, time::Duration};

use tokio::{
    sync::watch,
    time::{Instant, timeout_at},
};

use crate::{
    AnyBackend, Backend, Capabilities, Connector, Cursor, Error, ErrorKind, Event, Head, Health,
    LogName, Message, Options, Page, Position, Receipt, Result, Start, State, Subscription, Topic,
    history,
    link::{probe, within},
    node::Node,
    publisher::{self, Messages},
};

/// One node on the backplane: a server process has one. Cheap to clone.
///
/// Its tasks run on the tokio runtime that it was made on. They end with [`close`](Self::close), or
/// when the last clone and the last [`Subscription`] are dropped; what was accepted for publishing
/// is flushed only by `close`.
#[derive(Clone)]
pub struct Backplane {
    handle: Arc<Handle>,
}

/// Ends the node when it is dropped.
#[derive(Debug)]
pub(crate) struct Handle {
    pub(crate) node: Arc<Node>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.node.abort();
    }
}

impl Backplane {
    /// Connects to the broker. From then on a lost connection is regained, for ever.
    ///
    /// # Errors
    ///
    /// What the broker or the network answers to the one try:
    /// [`Unavailable`](ErrorKind::Unavailable) or [`Timeout`](ErrorKind::Timeout) after
    /// [`Options::request_timeout`], [`Auth`](ErrorKind::Auth), [`Incompatible`](ErrorKind::Incompatible);
    /// [`InvalidInput`](ErrorKind::InvalidInput) if the options contradict each other.
    ///
    /// # Cancellation
    ///
    /// Safe: nothing is left behind.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime with time and I/O enabled.
    pub async fn connect(connector: Connector) -> Result<Self> {
        connector.options.validate()?;
        probe(&connector.backend, connector.options.request_timeout).await?;
        Ok(Self::from_node(Node::start(connector, State::Connected)?))
    }

    /// Makes a node that connects in the background, for ever: the broker may appear later.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](ErrorKind::InvalidInput) if the options contradict each other.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime with time and I/O enabled.
    pub fn connect_lazy(connector: Connector) -> Result<Self> {
        Ok(Self::from_node(Node::start(connector, State::Connecting)?))
    }

    fn from_node(node: Arc<Node>) -> Self {
        Self {
            handle: Arc::new(Handle { node }),
        }
    }

    /// Names this node; another one has another id, also in the same process.
    pub fn node_id(&self) -> NodeId {
        self.node().id
    }

    /// What the backend offers.
    pub fn capabilities(&self) -> &Capabilities {
        &self.node().capabilities
    }

    /// The node's options.
    pub fn options(&self) -> &Options {
        &self.node().options
    }

    /// The bare backend under this node.
    pub fn backend(&self) -> &AnyBackend {
        &self.node().backend
    }

    /// The log that carries a topic.
    pub fn log_of(&self, topic: &Topic) -> LogName {
        self.node().log_of(topic)
    }

    /// The largest payload of a message without headers, in bytes, on any topic.
    pub fn max_payload_bytes(&self) -> usize {
        let overhead = crate::FrameBuilder::max_overhead(self.node().names_topics());
        self.capabilities().max_frame_bytes.saturating_sub(overhead)
    }

    /// Publishes one message. Resolves once it is stored, with the position at which everybody gets
    /// it.
    ///
    /// Messages of one task that awaits each publish before the next keep their order; of publishes
    /// that run concurrently, those that were polled first come first.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](ErrorKind::InvalidInput) for a bad topic name, [`TooLarge`](ErrorKind::TooLarge),
    /// [`Busy`](ErrorKind::Busy) if the queue is full and [`Options::when_full`] says to reject,
    /// [`Closed`](ErrorKind::Closed); after [`Options::publish_timeout`], in which it was tried again
    /// and again, [`Unavailable`](ErrorKind::Unavailable) or [`Timeout`](ErrorKind::Timeout); at once
    /// what the broker refuses for good. [`Error::outcome`] says whether the message may be stored.
    ///
    /// # Cancellation
    ///
    /// A publish that is dropped before its first poll does nothing. Later it may or may not be
    /// stored, once; other publishes are not affected.
    pub async fn publish<T>(&self, topic: T, message: impl Into<Message>) -> Result<Receipt>
    where
        T: TryInto<Topic>,
        T::Error: Into<Error>,
    {
        let topic = topic.try_into().map_err(Into::into)?;
        let messages = Messages::One(message.into());
        let first = publisher::publish(self.node(), &topic, messages).await?;
        Ok(Receipt::new(Cursor::new(topic, first)))
    }

    /// Publishes a batch, which is stored, ordered and seen as a whole or not at all. The receipts
    /// are in the order of the messages; an empty batch is none, and does nothing.
    ///
    /// # Errors
    ///
    /// As [`publish`](Self::publish). A batch has to fit into one frame, or it is
    /// [`TooLarge`](ErrorKind::TooLarge).
    ///
    /// # Cancellation
    ///
    /// As [`publish`](Self::publish): all of it may be stored, or nothing.
    pub async fn publish_batch<T, M>(
        &self,
        topic: T,
        messages: impl IntoIterator<Item = M>,
    ) -> Result<Vec<Receipt>>
    where
        T: TryInto<Topic>,
        T::Error: Into<Error>,
        M: Into<Message>,
    {
        let topic = topic.try_into().map_err(Into::into)?;
        let messages: Vec<Message> = messages.into_iter().map(Into::into).collect();
        let count = messages.len() as u64;
        if count == 0 {
            return Ok(Vec::new());
        }
        let first = publisher::publish(self.node(), &topic, Messages::Batch(messages)).await?;
        let at = |index| Position::new(first.epoch, first.sequence.plus(index));
        Ok((0..count)
            .map(|index| Receipt::new(Cursor::new(topic.clone(), at(index))))
            .collect())
    }

    /// Subscribes to a topic. Once this resolves, everything that is published on any node arrives.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](ErrorKind::InvalidInput) for a bad topic name or another topic's cursor,
    /// [`Unsupported`](ErrorKind::Unsupported) for a start in history that the backend does not have,
    /// [`Closed`](ErrorKind::Closed); at once what the broker refuses for good, such as
    /// [`Auth`](ErrorKind::Auth); [`Unavailable`](ErrorKind::Unavailable) or
    /// [`Timeout`](ErrorKind::Timeout) if the broker cannot be reached within
    /// [`Options::publish_timeout`].
    ///
    /// # Cancellation
    ///
    /// Safe: nothing is left behind, here or at the broker.
    pub async fn subscribe<T>(&self, topic: T, start: Start) -> Result<Subscription>
    where
        T: TryInto<Topic>,
        T::Error: Into<Error>,
    {
        let topic = topic.try_into().map_err(Into::into)?;
        let node = self.node();
        if let Start::After(cursor) = &start {
            check_topic(cursor, &topic)?;
        }
        if start == Start::Earliest && !node.capabilities.history {
            return Err(no_history(node));
        }
        if node.is_closing() {
            // As a publish that fails: it lets others run.
            tokio::task::coop::consume_budget().await;
            return Err(Error::closed());
        }
        let log = node.log_of(&topic);
        let (lease, started) = node.feeds.lease(node, &log)?;
        if !lease.is_live() {
            node.link.check_not_refused()?;
        }
        let deadline = Instant::now() + node.options.publish_timeout;
        let live = timeout_at(deadline, lease.live()).await;
        if node.is_closing() {
            return Err(Error::closed());
        }
        live.unwrap_or_else(|_| Err(self.unreachable()))?;
        let (position, check) = match start {
            Start::After(cursor) => (cursor.position(), true),
            Start::Earliest => {
                let page = self.ends(&log).await?;
                (Position::new(page.epoch, page.floor.previous()), true)
            }
            // The feed began with this call, so all it has comes after it.
            Start::Latest if started || !node.capabilities.history => (lease.window.tail(), false),
            // The feed may not have taken yet what was published before this call.
            Start::Latest => {
                let page = self.ends(&log).await?;
                (Position::new(page.epoch, page.head), false)
            }
        };
        let handle = self.handle.clone();
        Ok(Subscription::new(handle, lease, topic, position, check))
    }

    /// The ends of the log that carries a topic.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](ErrorKind::InvalidInput), [`Unsupported`](ErrorKind::Unsupported) where
    /// history cannot be read, [`Closed`](ErrorKind::Closed), and what the broker answers.
    ///
    /// # Cancellation
    ///
    /// Safe.
    pub async fn head<T>(&self, topic: T) -> Result<Head>
    where
        T: TryInto<Topic>,
        T::Error: Into<Error>,
    {
        let topic = topic.try_into().map_err(Into::into)?;
        let page = self.ends(&self.node().log_of(&topic)).await?;
        Ok(Head {
            floor: page.floor,
            cursor: Cursor::new(topic, Position::new(page.epoch, page.head)),
        })
    }

    /// Reads up to `limit` messages of history after a cursor, or from the oldest one that is
    /// retained. A gap or a reset stands where a [`Subscription`] would have it. At the head the
    /// answer is empty.
    ///
    /// # Errors
    ///
    /// As [`head`](Self::head); [`InvalidInput`](ErrorKind::InvalidInput) also for another topic's
    /// cursor.
    ///
    /// # Cancellation
    ///
    /// Safe.
    pub async fn read<T>(
        &self,
        topic: T,
        after: Option<&Cursor>,
        limit: usize,
    ) -> Result<Vec<Event>>
    where
        T: TryInto<Topic>,
        T::Error: Into<Error>,
    {
        let topic = topic.try_into().map_err(Into::into)?;
        if let Some(cursor) = after {
            check_topic(cursor, &topic)?;
        }
        if !self.node().capabilities.history {
            return Err(no_history(self.node()));
        }
        let after = match after {
            Some(cursor) => cursor.position(),
            None => {
                let page = self.ends(&self.node().log_of(&topic)).await?;
                Position::new(page.epoch, page.floor.previous())
            }
        };
        history::read(self.node(), &topic, after, limit).await
    }

    /// The node's health now.
    pub fn health(&self) -> Health {
        self.node().link.health()
    }

    /// Follows the node's health: connecting, connected, interrupted, closed.
    pub fn watch_health(&self) -> watch::Receiver<Health> {
        self.node().link.watch()
    }

    /// Closes the node: accepts nothing more, flushes what was accepted, ends the subscriptions with
    /// [`Event::Closed`], and leaves no task and nothing at the broker. Returns within `timeout`,
    /// whatever happens. Closing again is harmless.
    ///
    /// # Errors
    ///
    /// [`Timeout`](ErrorKind::Timeout) if not everything was flushed in time. Each publish that was
    /// not has ended with an error of its own. The node is closed all the same.
    ///
    /// # Cancellation
    ///
    /// The node accepts nothing more; call it again to finish.
    pub async fn close(&self, timeout: Duration) -> Result<()> {
        self.node().close(Instant::now() + timeout).await
    }

    pub(crate) fn node(&self) -> &Arc<Node> {
        &self.handle.node
    }

    /// Epoch, floor and head of a log.
    async fn ends(&self, log: &LogName) -> Result<Page> {
        let node = self.node();
        if node.is_closing() {
            return Err(Error::closed());
        }
        if !node.capabilities.history {
            return Err(no_history(node));
        }
        within(
            node.options.request_timeout,
            node.backend.read(log, None, 0),
        )
        .await
    }

    fn unreachable(&self) -> Error {
        let node = self.node();
        node.link.why_down().unwrap_or_else(|| {
            Error::new(
                ErrorKind::Timeout,
                format!(
                    "the broker did not confirm the subscription within {:?}",
                    node.options.publish_timeout
                ),
            )
        })
    }
}

impl fmt::Debug for Backplane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Backplane")
            .field("node", &self.node().id)
            .field("backend", &self.node().backend)
            .field("state", &self.health().state)
            .finish()
    }
}

fn check_topic(cursor: &Cursor, topic: &Topic) -> Result<()> {
    if cursor.topic() == topic {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::InvalidInput,
        format!(
            "the cursor belongs to topic {:?}, not to {topic:?}",
            cursor.topic()
        ),
    ))
}

pub(crate) fn no_history(node: &Node) -> Error {
    Error::new(
        ErrorKind::Unsupported,
        format!("backend {} cannot read history", node.capabilities.name),
    )
}

/// Names a node.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct NodeId(u128);

impl NodeId {
    pub(crate) fn random() -> Self {
        Self(crate::random::u128())
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NodeId({self})")
    }
}
