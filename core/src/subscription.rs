//! [`Subscription`]: one reader of one topic.

mod catch_up;

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use futures_core::Stream;

use self::catch_up::CatchUp;
use crate::{
    Cursor, Entry, Error, ErrorKind, Event, Frame, Gap, Position, Sequence, Topic, Unreadable,
    backplane::Handle,
    feed::Lease,
    order::{Item, Placed},
    window::{Joined, ReaderId, Taken},
};

/// One reader of one topic: a stream of [`Event`]s in the topic's one order.
///
/// It reads at its own pace: a slow reader delays nobody. What it is too slow for is read from the
/// broker's history, or reported as a [`Gap`](Event::Gap). It runs until the backplane is closed; a
/// subscription that is alive keeps its node running, even when every other handle is dropped.
///
/// Dropping it ends the subscription; the last one of a topic ends the node's subscription at the
/// broker.
pub struct Subscription {
    topic: Topic,
    /// Just after what was yielded last.
    position: Position,
    mode: Mode,
    /// The frame whose messages are being yielded.
    frame: Option<Current>,
    reader: ReaderId,
    lease: Lease,
    handle: Arc<Handle>,
}

enum Mode {
    /// Follows the window.
    Window,
    /// Reads history until it can join the window.
    CatchUp(Box<CatchUp>),
    /// Nothing more comes.
    Closed,
}

struct Current {
    frame: Arc<Frame>,
    first: Sequence,
    next: u32,
}

impl Subscription {
    /// A subscription that continues just after `position`. With `check`, the position comes from
    /// elsewhere, and is compared with the broker before it is trusted.
    pub(crate) fn new(
        handle: Arc<Handle>,
        lease: Lease,
        topic: Topic,
        position: Position,
        check: bool,
    ) -> Self {
        let reader = lease.window.attach();
        let mut subscription = Self {
            topic,
            position,
            mode: Mode::Window,
            frame: None,
            reader,
            lease,
            handle,
        };
        // A position that the window covers needs no check: the broker told it to this node.
        let ahead = check && subscription.lease.window.is_ahead(position);
        if (ahead || !subscription.join()) && subscription.handle.node.capabilities.history {
            subscription.catch_up(check);
        }
        subscription
    }

    /// The topic.
    pub fn topic(&self) -> &Topic {
        &self.topic
    }

    /// Where it stands: just after what it yielded last, or, before that, where it started.
    pub fn cursor(&self) -> Cursor {
        Cursor::new(self.topic.clone(), self.position)
    }

    /// The next event; `None` after [`Event::Closed`].
    ///
    /// # Cancellation
    ///
    /// Safe: an event is lost only if it was returned.
    pub async fn next(&mut self) -> Option<Event> {
        std::future::poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await
    }

    /// Follows the window if it covers the position.
    fn join(&mut self) -> bool {
        let joined = self.lease.window.join(self.reader, self.position) != Joined::No;
        if joined {
            self.mode = Mode::Window;
        }
        joined
    }

    fn catch_up(&mut self, unchecked: bool) {
        let node = &self.handle.node;
        let catch_up = CatchUp::new(
            node.clone(),
            self.lease.log.clone(),
            self.position,
            unchecked,
        );
        self.mode = Mode::CatchUp(Box::new(catch_up));
    }

    /// The next message of the current frame that belongs to the topic and was not yielded yet.
    fn next_in_frame(&mut self) -> Option<Entry> {
        let current = self.frame.as_mut()?;
        let len = current.frame.messages().len();
        while (current.next as usize) < len {
            let index = current.next;
            current.next += 1;
            let sequence = current.first.plus(u64::from(index));
            if sequence <= self.position.sequence {
                continue;
            }
            self.position.sequence = sequence;
            let other_topic = current
                .frame
                .topic(index as usize)
                .is_some_and(|topic| *topic != self.topic);
            if !other_topic {
                return Some(Entry::new(
                    self.topic.clone(),
                    self.position,
                    current.frame.clone(),
                    index,
                ));
            }
        }
        self.frame = None;
        None
    }

    /// Turns an item into an event, clipped to what lies after the position. A frame becomes the
    /// current one instead.
    fn take_item(&mut self, item: Item) -> Option<Event> {
        let settles = item.settles();
        if let Item::Reset(reset, _) = item {
            self.position = settles;
            return Some(Event::Reset(reset));
        }
        let start = match item {
            Item::Frame(_, ref placed) => placed.first,
            _ => Sequence::ZERO,
        };
        if self.position.epoch != settles.epoch {
            // Only a log whose broker cannot tell its position is unknown before its first frame.
            self.position = Position::new(settles.epoch, start.previous());
        }
        if settles.sequence <= self.position.sequence {
            return None;
        }
        let next = self.position.sequence.next();
        match item {
            Item::Frame(_, Placed { first, frame, .. }) => {
                let frame = frame.ok()?;
                let skip = self
                    .position
                    .sequence
                    .next()
                    .get()
                    .saturating_sub(first.get());
                self.frame = Some(Current {
                    frame,
                    first,
                    next: u32::try_from(skip).unwrap_or(u32::MAX),
                });
                None
            }
            Item::Gap(gap) => {
                self.position = settles;
                Some(Event::Gap(Gap::new(
                    gap.epoch,
                    gap.first.max(next),
                    gap.last,
                )))
            }
            Item::Unreadable(frame) => {
                self.position = settles;
                let first = frame.first.max(next);
                Some(Event::Unreadable(Unreadable::new(
                    frame.epoch,
                    first,
                    frame.last,
                    frame.reason,
                )))
            }
            Item::Reset(..) => None,
        }
    }

    fn poll_item(&mut self, cx: &mut Context<'_>) -> Poll<Next> {
        loop {
            match &mut self.mode {
                Mode::Closed => return Poll::Ready(Next::End),
                Mode::Window => match self.lease.window.take(self.reader, cx.waker()) {
                    Taken::Item(item) => return Poll::Ready(Next::Item(item)),
                    Taken::Pending => return Poll::Pending,
                    Taken::Lapsed => {
                        if let Some(gap) = self.fall_behind() {
                            return Poll::Ready(Next::Item(gap));
                        }
                    }
                    Taken::Ended => return Poll::Ready(self.close(None)),
                },
                Mode::CatchUp(catch_up) => {
                    if let Some(item) = catch_up.next_item() {
                        return Poll::Ready(Next::Item(item));
                    }
                    // Everything it read was yielded, or was a repetition.
                    self.position = catch_up.position();
                    let unchecked = catch_up.is_unchecked();
                    if !unchecked && self.join() {
                        continue;
                    }
                    let Mode::CatchUp(catch_up) = &mut self.mode else {
                        continue;
                    };
                    if let Err(error) = ready!(catch_up.poll_read(&self.lease, cx)) {
                        let reason = (error.kind() != ErrorKind::Closed).then_some(error);
                        return Poll::Ready(self.close(reason));
                    }
                }
            }
        }
    }

    /// The window no longer holds the next item. Where history can be read it is caught up with;
    /// elsewhere it is lost.
    fn fall_behind(&mut self) -> Option<Item> {
        if self.handle.node.capabilities.history {
            self.catch_up(true);
            return None;
        }
        self.lease.window.join_oldest(self.reader, self.position)
    }

    fn close(&mut self, reason: Option<Error>) -> Next {
        self.mode = Mode::Closed;
        Next::Closed(reason)
    }
}

enum Next {
    Item(Item),
    /// The first time that nothing more comes.
    Closed(Option<Error>),
    /// Every later time.
    End,
}

impl Stream for Subscription {
    type Item = Event;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        let this = self.get_mut();
        loop {
            if let Some(entry) = this.next_in_frame() {
                return Poll::Ready(Some(Event::Message(entry)));
            }
            match ready!(this.poll_item(cx)) {
                Next::Item(item) => {
                    if let Some(event) = this.take_item(item) {
                        return Poll::Ready(Some(event));
                    }
                }
                Next::Closed(error) => return Poll::Ready(Some(Event::Closed(error))),
                Next::End => return Poll::Ready(None),
            }
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.lease.window.detach(self.reader);
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription")
            .field("topic", &self.topic)
            .field("position", &self.position)
            .finish_non_exhaustive()
    }
}
