//! [`Feed`]: one log on one node. It listens, reads history from where it stands, and passes both
//! through the ordering machine into the window.

mod receipts;
mod registry;

use std::{
    future::poll_fn,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Waker},
    time::{Duration, SystemTime},
};

use tokio::{
    sync::Notify,
    time::{Instant, sleep, timeout_at},
};
use tracing::{debug, warn};

pub(crate) use self::{
    receipts::Receipts,
    registry::{Feeds, Lease},
};
use crate::{
    Arrival, Backend, Error, ErrorKind, Listener, LogName, Result,
    frame::unix_millis,
    link::{Backoff, within},
    node::Node,
    order::{Item, Order, Placed},
    window::Window,
};

/// How many arrivals are ordered before the window's readers are woken.
const BURST: usize = 256;

#[derive(Debug)]
pub(crate) struct Feed {
    pub(crate) log: LogName,
    pub(crate) window: Window,
    /// Publishes of this node that wait for their frame to come back.
    pub(crate) receipts: Receipts,
    live: AtomicBool,
    /// Why the broker refuses this log, while it does.
    refused: Mutex<Option<Error>>,
    live_changed: Notify,
    poke: Mutex<Poke>,
}

/// Tells an idle feed to compare itself with the broker. Smaller than a `Notify` and its future,
/// which matters for a node of 100,000 topics.
#[derive(Debug, Default)]
struct Poke {
    poked: Option<Poked>,
    waker: Option<Waker>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Poked {
    /// Compare, if the log was idle since the last time.
    WhenIdle,
    /// Compare.
    Now,
}

impl Feed {
    fn new(log: LogName, node: &Node) -> Self {
        Self {
            log,
            window: Window::new(node.options.window_frames, node.options.window_bytes),
            receipts: Receipts::default(),
            live: AtomicBool::new(false),
            refused: Mutex::default(),
            live_changed: Notify::new(),
            poke: Mutex::default(),
        }
    }

    /// Waits until the broker has confirmed the subscription and the feed has caught up.
    ///
    /// # Errors
    ///
    /// What the broker refuses this log with, if waiting cannot help.
    ///
    /// # Cancellation
    ///
    /// Safe.
    pub(crate) async fn live(&self) -> Result<()> {
        loop {
            let mut changed = std::pin::pin!(self.live_changed.notified());
            changed.as_mut().enable();
            if self.is_live() {
                return Ok(());
            }
            if let Some(refused) = &*self.lock_refused() {
                return Err(refused.duplicate());
            }
            changed.await;
        }
    }

    /// Whether the broker has confirmed that this node listens.
    pub(crate) fn is_live(&self) -> bool {
        self.live.load(Ordering::Acquire)
    }

    fn lock_refused(&self) -> MutexGuard<'_, Option<Error>> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_refused(&self, error: Error) {
        *self.lock_refused() = Some(error);
        self.live_changed.notify_waiters();
    }

    /// Makes the feed compare itself with the broker, if its log was idle since the last call.
    pub(crate) fn recheck(&self) {
        self.poke(Poked::WhenIdle);
    }

    /// Makes the feed compare itself with the broker.
    pub(crate) fn compare(&self) {
        self.poke(Poked::Now);
    }

    fn poke(&self, poked: Poked) {
        let mut poke = self.lock_poke();
        poke.poked = poke.poked.max(Some(poked));
        if let Some(waker) = poke.waker.take() {
            waker.wake();
        }
    }

    fn poll_poked(&self, cx: &Context<'_>) -> Option<Poked> {
        let mut poke = self.lock_poke();
        let poked = poke.poked.take();
        if poked.is_none() && !poke.waker.as_ref().is_some_and(|w| w.will_wake(cx.waker())) {
            poke.waker = Some(cx.waker().clone());
        }
        poked
    }

    fn lock_poke(&self) -> MutexGuard<'_, Poke> {
        self.poke.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_live(&self, live: bool) {
        self.live.store(live, Ordering::Release);
        if live {
            *self.lock_refused() = None;
            self.live_changed.notify_waiters();
        }
    }
}

/// Follows a log until the task is aborted or the node closed.
async fn run(node: Arc<Node>, feed: Arc<Feed>) {
    let mut order = None;
    let mut backoff = Backoff::new(&node.options);
    while let Ok(generation) = Box::pin(node.link.connected()).await {
        let error = match Box::pin(start(&node, &feed, &mut order)).await {
            Ok((listener, order)) => {
                backoff.reset();
                feed.set_live(true);
                let ended = follow(&node, &feed, listener, order).await;
                feed.set_live(false);
                ended
            }
            Err(error) => error,
        };
        match error.kind() {
            ErrorKind::Unavailable | ErrorKind::Timeout => {
                node.link.interrupted(generation, &error);
            }
            ErrorKind::Busy => debug!(log = %feed.log, %error, "reading from history"),
            _ => {
                // Something about this log alone, such as a right that is missing.
                warn!(log = %feed.log, %error, "cannot follow a log; trying again");
                if !error.is_transient() {
                    feed.set_refused(error);
                }
                Box::pin(sleep(backoff.next())).await;
            }
        }
    }
}

/// Listens, and reads what came before the listener did.
async fn start<'o>(
    node: &Node,
    feed: &Feed,
    order: &'o mut Option<Order>,
) -> Result<(Listener, &'o mut Order)> {
    let limit = node.options.request_timeout;
    let after = order.as_ref().map(Order::position);
    let listener = within(limit, node.backend.listen(&feed.log, after)).await?;
    let order = match order {
        Some(order) => {
            order.want();
            order
        }
        None => {
            let head = match within(limit, node.backend.read(&feed.log, None, 0)).await {
                Ok(page) => crate::Position::new(page.epoch, page.head),
                Err(error) if error.kind() == ErrorKind::Unsupported => Order::UNKNOWN,
                Err(error) => return Err(error),
            };
            feed.window.start(head);
            order.insert(Order::at_head(node.rules.clone(), head))
        }
    };
    read_history(node, feed, order).await?;
    Ok((listener, order))
}

/// Takes what arrives, until the listener ends. Returns why it did.
///
/// A node may have 100,000 of these waiting, so what is rarely needed is boxed.
async fn follow(node: &Node, feed: &Feed, mut listener: Listener, order: &mut Order) -> Error {
    let mut out = Vec::new();
    let mut idle = false;
    loop {
        let deadline = order.deadline();
        let mut burst = poll_fn(|cx| poll_burst(feed, &mut listener, order, &mut out, cx));
        let next = match deadline {
            None => burst.await,
            Some(deadline) => Box::pin(timeout_at(deadline, &mut burst))
                .await
                .unwrap_or(Next::Late),
        };
        match next {
            Next::Burst => idle = false,
            Next::Late => order.expire(Instant::now(), &mut out),
            Next::Poked(poked) => {
                // A log that was busy since the last time needs no check.
                if std::mem::replace(&mut idle, true) || poked == Poked::Now {
                    order.want();
                }
            }
            Next::End(error) => {
                publish_items(node, feed, &mut out);
                return error;
            }
        }
        publish_items(node, feed, &mut out);
        if order.wants()
            && let Err(error) = Box::pin(read_history(node, feed, order)).await
        {
            return error;
        }
        tokio::task::coop::consume_budget().await;
    }
}

enum Next {
    /// Frames arrived and were ordered.
    Burst,
    Poked(Poked),
    /// A hole has been open for too long.
    Late,
    End(Error),
}

/// Orders what has arrived, up to [`BURST`] frames or until history is wanted.
fn poll_burst(
    feed: &Feed,
    listener: &mut Listener,
    order: &mut Order,
    out: &mut Vec<Item>,
    cx: &mut Context<'_>,
) -> Poll<Next> {
    let mut now = None;
    for _ in 0..BURST {
        match listener.poll_next(cx) {
            Poll::Ready(Ok(Arrival::Frame { epoch, frame })) => {
                let now = *now.get_or_insert_with(Instant::now);
                order.live(epoch, Placed::decode(frame), now, out);
            }
            Poll::Ready(Ok(Arrival::Wake)) => order.want(),
            Poll::Ready(Ok(Arrival::Lost { epoch })) => {
                let now = *now.get_or_insert_with(Instant::now);
                order.lost(epoch, now, out);
            }
            Poll::Ready(Err(error)) => return Poll::Ready(Next::End(error)),
            Poll::Pending => break,
        }
        if order.wants() {
            return Poll::Ready(Next::Burst);
        }
    }
    if now.is_some() {
        return Poll::Ready(Next::Burst);
    }
    feed.poll_poked(cx)
        .map_or(Poll::Pending, |poked| Poll::Ready(Next::Poked(poked)))
}

/// Reads history for as long as the ordering machine wants it.
async fn read_history(node: &Node, feed: &Feed, order: &mut Order) -> Result<()> {
    let mut out = Vec::new();
    while order.wants() {
        let read = node.backend.read(
            &feed.log,
            Some(order.read_from()),
            node.options.page_messages,
        );
        let page = within(node.options.request_timeout, read).await?;
        order.page(page, &mut out);
        publish_items(node, feed, &mut out);
    }
    Ok(())
}

/// Puts what is in order into the window, and counts it.
fn publish_items(node: &Node, feed: &Feed, out: &mut Vec<Item>) {
    if out.is_empty() {
        return;
    }
    let mut returned = Vec::new();
    for item in &*out {
        match item {
            Item::Frame(epoch, placed) => {
                node.metrics.delivered.increment(u64::from(placed.len));
                if let Ok(frame) = &placed.frame {
                    let sent = frame.published_at_millis();
                    let lag = unix_millis(SystemTime::now()).saturating_sub(sent);
                    node.metrics.lag.record(Duration::from_millis(lag));
                    returned.extend(
                        feed.receipts
                            .take(frame)
                            .map(|waiting| (waiting, crate::Position::new(*epoch, placed.first))),
                    );
                }
            }
            Item::Gap(gap) => {
                node.metrics.gaps.increment(1);
                warn!(log = %feed.log, first = %gap.first, last = %gap.last, "messages are lost");
            }
            Item::Reset(reset, _) => {
                node.metrics.resets.increment(1);
                warn!(log = %feed.log, epoch = %reset.epoch, reason = ?reset.reason, "log was reset");
            }
            Item::Unreadable(frame) => {
                node.metrics.unreadable.increment(1);
                warn!(log = %feed.log, first = %frame.first, reason = %frame.reason, "frame skipped");
            }
        }
    }
    feed.window.push(out.drain(..));
    // Whoever published it may subscribe now, and is not to get it again.
    for (waiting, position) in returned {
        // Whoever waited may have gone.
        let _ = waiting.send(position);
    }
    // The memory of a burst is not kept by an idle topic.
    out.shrink_to(4);
}
