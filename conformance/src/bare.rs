//! [`Bare`]: a backend without the core above it, as cases use it.

use std::task::{Context, Poll, Waker};

use scaleout_core::{
    AnyBackend, Appended, Arrival, Backend, Carries, EncodedFrame, Epoch, FrameBuilder, Listener,
    LogName, Message, Namespace, Page, Partitioning, Position, PublisherId, Result, Sequence,
    StoredFrame, Topic,
};

use crate::{Failure, Limits};

/// A backend with a connection of its own, every wait guarded. The runner closes it after the case.
#[derive(Clone, Debug)]
pub struct Bare {
    backend: AnyBackend,
    namespace: Namespace,
    partitioning: Partitioning,
    limits: Limits,
}

impl Bare {
    pub(crate) fn new(
        backend: AnyBackend,
        namespace: Namespace,
        partitioning: Partitioning,
        limits: Limits,
    ) -> Self {
        Self {
            backend,
            namespace,
            partitioning,
            limits,
        }
    }

    /// The backend itself, for what is not guarded here.
    pub fn backend(&self) -> &AnyBackend {
        &self.backend
    }

    /// The log that carries a topic.
    pub fn log(&self, topic: &Topic) -> LogName {
        LogName::of_topic(&self.namespace, topic, self.partitioning)
    }

    /// Connects, and makes a round trip.
    pub async fn probe(&self) -> Result<Result<()>, Failure> {
        self.limits.within("probe", self.backend.probe()).await
    }

    /// A publisher of its own to a topic.
    pub fn publisher(&self, topic: &Topic) -> BarePublisher {
        BarePublisher {
            bare: self.clone(),
            log: self.log(topic),
            topic: topic.clone(),
            id: PublisherId::random(),
            counter: 0,
        }
    }

    /// Appends a frame, which must succeed.
    pub async fn append(&self, log: &LogName, frame: &EncodedFrame) -> Result<Appended, Failure> {
        Ok(self.try_append(log, frame).await??)
    }

    /// Appends a frame, which may fail, but must end.
    pub async fn try_append(
        &self,
        log: &LogName,
        frame: &EncodedFrame,
    ) -> Result<Result<Appended>, Failure> {
        self.limits
            .within("append", self.backend.append(log, frame))
            .await
    }

    /// Reads frames.
    pub async fn read(
        &self,
        log: &LogName,
        after: Option<Position>,
        limit: usize,
    ) -> Result<Page, Failure> {
        let read = self.backend.read(log, after, limit);
        Ok(self.limits.within("read", read).await??)
    }

    /// Reads all frames from the floor to the head, in pages of about `limit` messages, and checks
    /// that the pages fit together.
    pub async fn read_all(&self, log: &LogName, limit: usize) -> Result<Vec<StoredFrame>, Failure> {
        self.read_on(log, None, limit).await
    }

    /// As [`read_all`](Self::read_all), from a place on.
    pub async fn read_on(
        &self,
        log: &LogName,
        mut after: Option<Position>,
        limit: usize,
    ) -> Result<Vec<StoredFrame>, Failure> {
        let mut frames: Vec<StoredFrame> = Vec::new();
        loop {
            let page = self.read(log, after, limit).await?;
            let Some(last) = page.frames.last() else {
                return Ok(frames);
            };
            after = Some(Position::new(page.epoch, last.last()));
            let done = last.last() >= page.head;
            if let (Some(before), Some(next)) = (frames.last(), page.frames.first())
                && next.first <= before.last()
            {
                return Err(Failure::new(format!(
                    "a page after {} begins with {}",
                    before.last(),
                    next.first
                )));
            }
            frames.extend(page.frames);
            if done {
                return Ok(frames);
            }
        }
    }

    /// Subscribes to a log.
    pub async fn listen(&self, log: &LogName) -> Result<BareListener, Failure> {
        let listen = self.backend.listen(log, None);
        Ok(BareListener {
            listener: self.limits.within("listen", listen).await??,
            limits: self.limits,
        })
    }
}

/// A publisher that numbers its frames, and does nothing else of what the core does.
#[derive(Debug)]
pub struct BarePublisher {
    bare: Bare,
    log: LogName,
    topic: Topic,
    id: PublisherId,
    counter: u64,
}

impl BarePublisher {
    /// Who publishes.
    pub fn id(&self) -> PublisherId {
        self.id
    }

    /// The log that it appends to.
    pub fn log(&self) -> &LogName {
        &self.log
    }

    /// Its next frame, of these messages.
    pub fn next_frame<M: Into<Message>>(
        &mut self,
        messages: impl IntoIterator<Item = M>,
    ) -> EncodedFrame {
        self.counter += 1;
        frame(&self.log, &self.topic, self.id, self.counter, messages)
    }

    /// Appends a frame of these messages.
    pub async fn append<M: Into<Message>>(
        &mut self,
        messages: impl IntoIterator<Item = M>,
    ) -> Result<Appended, Failure> {
        let frame = self.next_frame(messages);
        self.bare.append(&self.log, &frame).await
    }
}

/// A frame of these messages for a log.
pub fn frame<M: Into<Message>>(
    log: &LogName,
    topic: &Topic,
    publisher: PublisherId,
    counter: u64,
    messages: impl IntoIterator<Item = M>,
) -> EncodedFrame {
    builder(log, topic, messages).finish(publisher, counter)
}

/// The same, stamped with a time in milliseconds since the Unix epoch.
pub(crate) fn frame_at<M: Into<Message>>(
    log: &LogName,
    topic: &Topic,
    publisher: PublisherId,
    counter: u64,
    messages: impl IntoIterator<Item = M>,
    published_at: u64,
) -> EncodedFrame {
    builder(log, topic, messages).finish_at(publisher, counter, published_at)
}

fn builder<M: Into<Message>>(
    log: &LogName,
    topic: &Topic,
    messages: impl IntoIterator<Item = M>,
) -> FrameBuilder {
    let named = match log.carries() {
        Carries::Topic(_) => None,
        Carries::Share { .. } => Some(topic),
    };
    let mut builder = FrameBuilder::new();
    for message in messages {
        builder.push(named, &message.into());
    }
    builder
}

/// A subscription at the broker.
#[derive(Debug)]
pub struct BareListener {
    listener: Listener,
    limits: Limits,
}

impl BareListener {
    /// The next arrival, which must not be the end.
    pub async fn arrival(&mut self) -> Result<Arrival, Failure> {
        let next = self.listener.next();
        Ok(self
            .limits
            .within("the listener's next arrival", next)
            .await??)
    }

    /// What [`Listener::next`] says; guarded.
    pub async fn next(&mut self) -> Result<Result<Arrival>, Failure> {
        let next = self.listener.next();
        self.limits
            .within("the listener's next arrival or end", next)
            .await
    }

    /// The next frame, with its epoch. A wake-up is answered by `None`: the backend wants it read.
    pub async fn frame(&mut self) -> Result<Option<(Epoch, StoredFrame)>, Failure> {
        match self.arrival().await? {
            Arrival::Frame { epoch, frame } => Ok(Some((epoch, frame))),
            _ => Ok(None),
        }
    }

    /// What has arrived by now, without waiting.
    pub fn arrived(&mut self) -> Result<Option<Arrival>, Failure> {
        match self
            .listener
            .poll_next(&mut Context::from_waker(Waker::noop()))
        {
            Poll::Ready(arrival) => Ok(Some(arrival?)),
            Poll::Pending => Ok(None),
        }
    }
}

/// Whether sequences that follow each other do so as the backend promises.
pub(crate) fn follows(dense: bool, before: Sequence, after: Sequence) -> bool {
    if dense {
        after == before.next()
    } else {
        after > before
    }
}
