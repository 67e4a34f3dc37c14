//! [`Queue`]: what waits to be published to one log.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::{
    sync::{Semaphore, SemaphorePermit, TryAcquireError, oneshot},
    task::JoinHandle,
    time::{Instant, timeout_at},
};

use super::Messages;
use crate::{
    Error, ErrorKind, LogName, Options, Position, PublisherId, Result, Topic, WhenFull,
    feed::Lease, node::Node,
};

/// A publish that waits.
#[derive(Debug)]
pub(super) struct Request {
    /// The topic, where the log carries several.
    pub(super) topic: Option<Topic>,
    pub(super) messages: Messages,
    pub(super) size: usize,
    pub(super) deadline: Instant,
    pub(super) reply: oneshot::Sender<Result<Position>>,
}

#[derive(Debug)]
pub(super) struct Queue {
    log: LogName,
    state: Mutex<State>,
    /// Room for messages and for bytes. Fair: who waits first gets room first.
    messages: Semaphore,
    bytes: Semaphore,
    max_messages: u32,
    max_bytes: u32,
}

#[derive(Debug)]
struct State {
    waiting: VecDeque<Request>,
    /// A task empties the queue.
    running: bool,
    task: Option<JoinHandle<()>>,
    publisher: PublisherId,
    counter: u64,
    /// The feed that brings frames back, where the broker does not tell positions itself.
    feed: Option<Arc<Lease>>,
    /// The feed was used since the last [`Queue::release_feed`].
    feed_used: bool,
}

impl Queue {
    pub(super) fn new(log: LogName, options: &Options) -> Self {
        let permits = |n: usize| u32::try_from(n).unwrap_or(u32::MAX).min(1 << 30);
        let max_messages = permits(options.queue_messages);
        let max_bytes = permits(options.queue_bytes);
        Self {
            log,
            state: Mutex::new(State {
                waiting: VecDeque::new(),
                running: false,
                task: None,
                publisher: PublisherId::random(),
                counter: 0,
                feed: None,
                feed_used: false,
            }),
            messages: Semaphore::new(max_messages as usize),
            bytes: Semaphore::new(max_bytes as usize),
            max_messages,
            max_bytes,
        }
    }

    pub(super) fn log(&self) -> &LogName {
        &self.log
    }

    /// Whether nothing waits and nothing is in flight.
    pub(super) fn is_idle(&self) -> bool {
        !self.lock().running
    }

    /// Takes room for a request, or waits for it.
    ///
    /// # Cancellation
    ///
    /// Room that was taken is given back when the answer is dropped.
    pub(super) async fn room(
        &self,
        node: &Node,
        messages: usize,
        bytes: usize,
        deadline: Instant,
    ) -> Result<Room<'_>> {
        // A batch larger than the whole queue waits for all of it.
        let most = |n: usize, max: u32| u32::try_from(n).unwrap_or(max).min(max);
        Ok(Room {
            messages: acquire(
                node,
                &self.messages,
                most(messages, self.max_messages),
                deadline,
            )
            .await?,
            bytes: acquire(node, &self.bytes, most(bytes, self.max_bytes), deadline).await?,
        })
    }

    /// Queues a request that has room. Returns whether a task has to be started to empty the queue.
    pub(super) fn push(&self, node: &Node, room: Room<'_>, request: Request) -> Result<bool> {
        let mut state = self.lock();
        // A publish that had to wait for room may be too late by now.
        if node.is_closing() {
            return Err(Error::closed());
        }
        node.metrics.queued.increment(1.0);
        room.messages.forget();
        room.bytes.forget();
        state.waiting.push_back(request);
        Ok(!std::mem::replace(&mut state.running, true))
    }

    /// Keeps the handle of the task that empties the queue.
    pub(super) fn set_task(&self, task: JoinHandle<()>) {
        self.lock().task = Some(task);
    }

    pub(super) fn take_task(&self) -> Option<JoinHandle<()>> {
        self.lock().task.take()
    }

    /// Takes what goes into the next frame; nothing once the queue is empty. Requests whose caller
    /// has gone are withdrawn.
    pub(super) fn take(&self, node: &Node) -> Option<Vec<Request>> {
        let mut taken = Vec::new();
        let (mut messages, mut bytes) = (0_usize, 0_usize);
        let most = usize::try_from(node.capabilities.max_frame_messages())
            .unwrap_or(usize::MAX)
            .min(node.options.frame_messages as usize);
        let mut removed = 0.0;
        let mut state = self.lock();
        while let Some(request) = state.waiting.front() {
            let count = request.messages.as_slice().len();
            let fits = messages + count <= most && bytes + request.size <= node.options.frame_bytes;
            if !fits && !taken.is_empty() {
                break;
            }
            let Some(request) = state.waiting.pop_front() else {
                break;
            };
            removed += 1.0;
            self.give_back(&request);
            if !request.reply.is_closed() {
                messages += count;
                bytes += request.size;
                taken.push(request);
            }
        }
        node.metrics.queued.decrement(removed);
        if taken.is_empty() {
            state.running = false;
            state.waiting.shrink_to(64);
            return None;
        }
        Some(taken)
    }

    /// The feed of the log. It is kept for a while, so that not every lone publish of a node without
    /// subscriptions subscribes at the broker anew.
    pub(super) fn feed(&self, node: &Arc<Node>) -> Result<Arc<Lease>> {
        let mut state = self.lock();
        state.feed_used = true;
        if let Some(feed) = &state.feed {
            return Ok(feed.clone());
        }
        let (lease, _) = node.feeds.lease(node, &self.log)?;
        let feed = Arc::new(lease);
        state.feed = Some(feed.clone());
        Ok(feed)
    }

    /// Gives the feed away if it was not used since the last call. To be dropped without a lock.
    pub(super) fn release_feed(&self) -> Option<Arc<Lease>> {
        let mut state = self.lock();
        if std::mem::take(&mut state.feed_used) || state.running {
            return None;
        }
        state.feed.take()
    }

    /// The publisher id and counter of the next frame.
    pub(super) fn next_counter(&self) -> (PublisherId, u64) {
        let mut state = self.lock();
        state.counter += 1;
        (state.publisher, state.counter)
    }

    /// Takes a new publisher id: the last frame was given up, and its counter must not be taken for
    /// a loss if it was never stored, nor be used again if it was.
    pub(super) fn give_up(&self) {
        let mut state = self.lock();
        state.publisher = PublisherId::random();
        state.counter = 0;
    }

    fn give_back(&self, request: &Request) {
        let most = |n: usize, max: u32| n.min(max as usize);
        self.messages
            .add_permits(most(request.messages.as_slice().len(), self.max_messages));
        self.bytes.add_permits(most(request.size, self.max_bytes));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Room for a request in the queue.
pub(super) struct Room<'q> {
    messages: SemaphorePermit<'q>,
    bytes: SemaphorePermit<'q>,
}

async fn acquire<'q>(
    node: &Node,
    room: &'q Semaphore,
    permits: u32,
    deadline: Instant,
) -> Result<SemaphorePermit<'q>> {
    match room.try_acquire_many(permits) {
        Ok(permit) => return Ok(permit),
        Err(TryAcquireError::Closed) => return Err(Error::closed()),
        Err(TryAcquireError::NoPermits) => {}
    }
    if node.options.when_full == WhenFull::Reject {
        return Err(Error::new(ErrorKind::Busy, "the publish queue is full"));
    }
    match timeout_at(deadline, room.acquire_many(permits)).await {
        Ok(Ok(permit)) => Ok(permit),
        Ok(Err(_)) => Err(Error::closed()),
        Err(_) => Err(node.link.why_down().unwrap_or_else(|| {
            Error::new(
                ErrorKind::Timeout,
                format!(
                    "no room in the publish queue within {:?}",
                    node.options.publish_timeout
                ),
            )
        })),
    }
}
