//! [`Node`] and [`Tail`]: a backplane and a subscription as cases use them, with every wait guarded.

use std::{fmt, future::Future, sync::Arc, time::Duration};

use scaleout_core::{
    Backplane, Cursor, Entry, Event, Head, LogName, Message, Position, Receipt, Result, Start,
    Subscription, Topic,
};

use crate::{BoxFuture, Failure, Limits};

/// What stands between the cases and a node's public surface. [`mutants`](crate::mutants) use it to
/// be what a careless node would be; a real target has none.
pub trait Layer: fmt::Debug + Send + Sync {
    /// Stands around a publish.
    fn publish<'a>(
        &'a self,
        plane: &'a Backplane,
        topic: &'a Topic,
        message: Message,
    ) -> BoxFuture<'a, Result<Receipt>> {
        Box::pin(plane.publish(topic, message))
    }

    /// Stands around a subscription.
    fn tail(&self, subscription: Subscription) -> Box<dyn Source> {
        Box::new(subscription)
    }

    /// Stands around closing a node.
    fn close<'a>(&'a self, plane: &'a Backplane, timeout: Duration) -> BoxFuture<'a, Result<()>> {
        Box::pin(plane.close(timeout))
    }
}

/// Where a [`Tail`] takes its events from: a [`Subscription`], or what a [`Layer`] put around one.
pub trait Source: Send {
    /// The next event, as [`Subscription::next`].
    fn next(&mut self) -> BoxFuture<'_, Option<Event>>;

    /// As [`Subscription::cursor`].
    fn cursor(&self) -> Cursor;
}

impl Source for Subscription {
    fn next(&mut self) -> BoxFuture<'_, Option<Event>> {
        Box::pin(Self::next(self))
    }

    fn cursor(&self) -> Cursor {
        Self::cursor(self)
    }
}

/// A backplane. Cheap to clone; the runner closes it after the case, whatever the case did.
#[derive(Clone, Debug)]
pub struct Node {
    plane: Backplane,
    limits: Limits,
    layer: Option<Arc<dyn Layer>>,
}

impl Node {
    pub(crate) fn new(plane: Backplane, limits: Limits, layer: Option<Arc<dyn Layer>>) -> Self {
        Self {
            plane,
            limits,
            layer,
        }
    }

    /// The backplane itself, for what is not guarded here.
    pub fn plane(&self) -> &Backplane {
        &self.plane
    }

    /// The log that carries a topic.
    pub fn log(&self, topic: &Topic) -> LogName {
        self.plane.log_of(topic)
    }

    /// Publishes a message, which must succeed.
    pub async fn publish(
        &self,
        topic: &Topic,
        message: impl Into<Message>,
    ) -> Result<Receipt, Failure> {
        Ok(self.try_publish(topic, message).await??)
    }

    /// Publishes a message, which may fail, but must end. Calls the backplane at once, and polls
    /// its future when it is polled itself.
    #[track_caller]
    pub fn try_publish<'a>(
        &'a self,
        topic: &'a Topic,
        message: impl Into<Message>,
    ) -> impl Future<Output = Result<Result<Receipt>, Failure>> + 'a {
        let publish: BoxFuture<'_, _> = match &self.layer {
            Some(layer) => layer.publish(&self.plane, topic, message.into()),
            None => Box::pin(self.plane.publish(topic, message.into())),
        };
        self.limits.within("publish", publish)
    }

    /// Publishes a batch, which must succeed.
    pub async fn publish_batch<M: Into<Message>>(
        &self,
        topic: &Topic,
        messages: impl IntoIterator<Item = M>,
    ) -> Result<Vec<Receipt>, Failure> {
        Ok(self.try_publish_batch(topic, messages).await??)
    }

    /// Publishes a batch, which may fail, but must end.
    pub async fn try_publish_batch<M: Into<Message>>(
        &self,
        topic: &Topic,
        messages: impl IntoIterator<Item = M>,
    ) -> Result<Result<Vec<Receipt>>, Failure> {
        self.limits
            .within("publish batch", self.plane.publish_batch(topic, messages))
            .await
    }

    /// Subscribes, which must succeed.
    pub async fn subscribe(&self, topic: &Topic, start: Start) -> Result<Tail, Failure> {
        Ok(self.try_subscribe(topic, start).await??)
    }

    /// Subscribes, which may fail, but must end.
    pub async fn try_subscribe(
        &self,
        topic: &Topic,
        start: Start,
    ) -> Result<Result<Tail>, Failure> {
        let subscription = self
            .limits
            .within("subscribe", self.plane.subscribe(topic, start))
            .await?;
        Ok(subscription.map(|subscription| Tail {
            source: match &self.layer {
                Some(layer) => layer.tail(subscription),
                None => Box::new(subscription),
            },
            limits: self.limits,
        }))
    }

    /// The ends of the topic's log.
    pub async fn head(&self, topic: &Topic) -> Result<Head, Failure> {
        let head = self.limits.within("head", self.plane.head(topic)).await?;
        Ok(head?)
    }

    /// Reads a page of history.
    pub async fn read(
        &self,
        topic: &Topic,
        after: Option<&Cursor>,
        limit: usize,
    ) -> Result<Vec<Event>, Failure> {
        let read = self.plane.read(topic, after, limit);
        Ok(self.limits.within("read", read).await??)
    }

    /// Reads all messages from the oldest that is retained up to the head, in pages of `limit`.
    pub async fn read_all(&self, topic: &Topic, limit: usize) -> Result<Vec<Entry>, Failure> {
        let mut entries: Vec<Entry> = Vec::new();
        loop {
            let after = entries.last().map(Entry::cursor);
            let page = self.read(topic, after.as_ref(), limit).await?;
            if page.is_empty() {
                return Ok(entries);
            }
            for event in page {
                entries.push(expect_entry(event)?);
            }
        }
    }

    /// Publishes a fence: a message that nothing else publishes. What was to arrive before it has
    /// arrived when it has.
    pub async fn fence(&self, topic: &Topic) -> Result<Fence, Failure> {
        let receipt = self.publish(topic, "fence").await?;
        Ok(Fence(receipt.cursor().position()))
    }

    /// Closes the node.
    pub async fn close(&self, timeout: Duration) -> Result<Result<()>, Failure> {
        let close: BoxFuture<'_, _> = match &self.layer {
            Some(layer) => layer.close(&self.plane, timeout),
            None => Box::pin(self.plane.close(timeout)),
        };
        self.limits.within("close", close).await
    }
}

/// A message that shows, by its arrival, that nothing before it is still to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fence(Position);

impl Fence {
    /// The fence that a message is: the last of a load, say.
    pub fn of(receipt: &Receipt) -> Self {
        Self(receipt.cursor().position())
    }

    /// Where it stands.
    pub fn position(&self) -> Position {
        self.0
    }
}

/// A subscription.
pub struct Tail {
    source: Box<dyn Source>,
    limits: Limits,
}

impl Tail {
    /// The next event. Fails if the stream ends, or nothing comes.
    pub async fn event(&mut self) -> Result<Event, Failure> {
        self.limits
            .within("the subscription's next event", self.source.next())
            .await?
            .ok_or_else(|| Failure::new("the subscription is at its end"))
    }

    /// What [`Subscription::next`] says, unguarded: for cases about cancellation and ends.
    #[expect(clippy::should_implement_trait, reason = "named as on a subscription")]
    pub fn next(&mut self) -> BoxFuture<'_, Option<Event>> {
        self.source.next()
    }

    /// The next event, which must be a message.
    pub async fn entry(&mut self) -> Result<Entry, Failure> {
        expect_entry(self.event().await?)
    }

    /// The next `count` events, which must be messages.
    pub async fn take(&mut self, count: usize) -> Result<Vec<Entry>, Failure> {
        let mut entries = Vec::with_capacity(count);
        while entries.len() < count {
            entries.push(self.entry().await?);
        }
        Ok(entries)
    }

    /// All messages before the fence. Anything else but a message fails.
    pub async fn until(&mut self, fence: Fence) -> Result<Vec<Entry>, Failure> {
        let mut entries = Vec::new();
        loop {
            let entry = self.entry().await?;
            if entry.position() == fence.0 {
                return Ok(entries);
            }
            if entry.epoch() == fence.0.epoch && entry.sequence() > fence.0.sequence {
                return Err(Failure::new(format!(
                    "sequence {} came, but not {} before it",
                    entry.sequence(),
                    fence.0.sequence
                )));
            }
            entries.push(entry);
        }
    }

    /// All events before the fence, whatever they are.
    pub async fn events_until(&mut self, fence: Fence) -> Result<Vec<Event>, Failure> {
        let mut events = Vec::new();
        loop {
            let event = self.event().await?;
            if matches!(&event, Event::Message(entry) if entry.position() == fence.0) {
                return Ok(events);
            }
            events.push(event);
        }
    }

    /// Where it stands.
    pub fn cursor(&self) -> Cursor {
        self.source.cursor()
    }
}

impl fmt::Debug for Tail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tail")
            .field("cursor", &self.cursor())
            .finish_non_exhaustive()
    }
}

/// The message that an event must be.
#[track_caller]
pub(crate) fn expect_entry(event: Event) -> Result<Entry, Failure> {
    match event {
        Event::Message(entry) => Ok(entry),
        Event::Closed(Some(error)) => Err(Failure::from(error).context("the subscription closed")),
        other => Err(Failure::new(format!("expected a message, got {other:?}"))),
    }
}
