//! [`CatchUp`]: a subscription's own reading of history, until its node's window covers its position.

use std::{
    collections::VecDeque,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::sleep;
use tracing::debug;

use crate::{
    Backend, Error, ErrorKind, LogName, Page, Position, Result,
    feed::Feed,
    link::{Backoff, within},
    node::Node,
    order::{Item, Order},
};

/// Behind a mutex that is never locked, so that a subscription is `Sync` although a read need not be.
type PendingRead = Mutex<Option<Pin<Box<dyn Future<Output = Result<Page>> + Send>>>>;

pub(super) struct CatchUp {
    node: Arc<Node>,
    log: LogName,
    order: Order,
    items: VecDeque<Item>,
    /// The position has yet to be compared with the broker.
    unchecked: bool,
    /// A read that is under way. It lives here and not in the caller's future, so that a caller that
    /// gives up loses nothing.
    read: PendingRead,
    backoff: Backoff,
}

impl CatchUp {
    pub(super) fn new(node: Arc<Node>, log: LogName, position: Position, unchecked: bool) -> Self {
        Self {
            order: Order::resume(node.rules.clone(), position),
            backoff: Backoff::new(&node.options),
            node,
            log,
            items: VecDeque::new(),
            unchecked,
            read: Mutex::default(),
        }
    }

    /// Up to where history was read.
    pub(super) fn position(&self) -> Position {
        self.order.position()
    }

    /// Whether the position has yet to be compared with the broker.
    pub(super) fn is_unchecked(&self) -> bool {
        self.unchecked
    }

    /// What was read and not taken yet.
    pub(super) fn next_item(&mut self) -> Option<Item> {
        self.items.pop_front()
    }

    /// Reads a page. `Ready` says that there may be items, or that it is worth trying again to join
    /// the window, which did not cover the position.
    ///
    /// # Errors
    ///
    /// Only those that end the subscription. Others are tried again, for ever.
    pub(super) fn poll_read(&mut self, feed: &Feed, cx: &mut Context<'_>) -> Poll<Result<()>> {
        if self.node.is_closing() {
            return Poll::Ready(Err(Error::closed()));
        }
        let mut pending = match self.read.get_mut() {
            Ok(read) => read.take(),
            Err(poisoned) => poisoned.into_inner().take(),
        };
        let mut read = match pending.take() {
            Some(read) => read,
            None => self.start_read(feed),
        };
        let Poll::Ready(answer) = read.as_mut().poll(cx) else {
            self.read = Mutex::new(Some(read));
            return Poll::Pending;
        };
        match answer {
            Ok(page) => {
                self.unchecked = false;
                self.backoff.reset();
                let mut items = Vec::new();
                self.order.page(page, &mut items);
                self.items.extend(items);
            }
            Err(error) if error.kind() == ErrorKind::Closed => return Poll::Ready(Err(error)),
            Err(error) => {
                debug!(log = %self.log, %error, "cannot read history; trying again");
                let wait = self.backoff.next();
                self.read = Mutex::new(Some(self.read_after(wait)));
            }
        }
        Poll::Ready(Ok(()))
    }

    fn start_read(&mut self, feed: &Feed) -> Pin<Box<dyn Future<Output = Result<Page>> + Send>> {
        let mut wait = Duration::ZERO;
        if !self.order.wants() {
            // Read to the head, and the window is elsewhere. Either it has moved on meanwhile, or it
            // has yet to learn of a new epoch that the broker told here.
            self.order.want();
            if feed.window.tail().epoch != self.position().epoch {
                feed.compare();
                wait = self.backoff.next();
            }
        }
        self.read_after(wait)
    }

    fn read_after(&self, wait: Duration) -> Pin<Box<dyn Future<Output = Result<Page>> + Send>> {
        let (node, log, from) = (self.node.clone(), self.log.clone(), self.order.read_from());
        Box::pin(async move {
            if !wait.is_zero() {
                sleep(wait).await;
            }
            node.link.connected().await?;
            let read = node
                .backend
                .read(&log, Some(from), node.options.page_messages);
            within(node.options.request_timeout, read).await
        })
    }
}
