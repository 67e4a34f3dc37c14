//! Publishing: what waits for a log forms frames, of which one is in flight at a time.

mod queue;
mod registry;

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::oneshot,
    time::{Instant, sleep, timeout_at},
};
use tracing::{debug, warn};

use self::queue::{Queue, Request};
pub(crate) use self::registry::Publishers;
use crate::{
    Appended, Backend, EncodedFrame, Error, ErrorKind, FrameBuilder, Message, Outcome, Position,
    Result, Topic, feed::Lease, link::Backoff, node::Node,
};

/// One message, or a batch that is stored as a whole.
#[derive(Debug)]
pub(crate) enum Messages {
    One(Message),
    Batch(Vec<Message>),
}

impl Messages {
    pub(crate) fn as_slice(&self) -> &[Message] {
        match self {
            Self::One(message) => std::slice::from_ref(message),
            Self::Batch(messages) => messages,
        }
    }
}

/// Publishes to a topic, and returns the position of the first message.
pub(crate) async fn publish(
    node: &Arc<Node>,
    topic: &Topic,
    messages: Messages,
) -> Result<Position> {
    let result = queue(node, topic, messages).await;
    if result.is_err() {
        // A caller that ignores errors and publishes in a loop must not keep others from running, nor
        // itself from being aborted.
        tokio::task::coop::consume_budget().await;
    }
    result
}

async fn queue(node: &Arc<Node>, topic: &Topic, messages: Messages) -> Result<Position> {
    // Counted before the check, so that a close either refuses this publish or waits for it.
    let _busy = node.publishers.busy(&**node);
    if node.is_closing() {
        return Err(Error::closed());
    }
    let named = node.names_topics().then_some(topic);
    let size = checked_size(node, named, messages.as_slice())?;
    let deadline = Instant::now() + node.options.publish_timeout;
    let queue = node.publishers.queue(node, topic);
    let room = queue
        .room(node, messages.as_slice().len(), size, deadline)
        .await?;
    let (reply, answer) = oneshot::channel();
    let request = Request {
        topic: named.cloned(),
        messages,
        size,
        deadline,
        reply,
    };
    if queue.push(node, room, request)? {
        node.publishers.run(node, &queue);
    }
    // The runner answers every request, by the deadline; it goes away only when the node is closed.
    answer
        .await
        .unwrap_or_else(|_| Err(Error::closed().with_unknown_outcome()))
}

/// The most bytes that these messages take in a frame.
fn checked_size(node: &Node, topic: Option<&Topic>, messages: &[Message]) -> Result<usize> {
    let size = messages
        .iter()
        .map(|message| FrameBuilder::max_encoded_len(topic, message))
        .sum();
    let most = node.capabilities.max_frame_messages();
    if messages.len() as u64 > most {
        return Err(Error::new(
            ErrorKind::TooLarge,
            format!(
                "a batch of {} messages is too large; up to {most} are allowed",
                messages.len()
            ),
        ));
    }
    let max = node.capabilities.max_frame_bytes;
    if size > max {
        let what = if messages.len() == 1 {
            "message"
        } else {
            "batch"
        };
        return Err(Error::new(
            ErrorKind::TooLarge,
            format!(
                "a {what} of {size} bytes, encoded, is too large; up to {max} bytes are allowed"
            ),
        ));
    }
    Ok(size)
}

/// Empties a queue, frame by frame, then ends.
async fn run(node: &Arc<Node>, queue: &Queue) {
    while let Some(requests) = queue.take(node) {
        let Some(deadline) = requests.iter().map(|request| request.deadline).min() else {
            continue;
        };
        let mut builder = FrameBuilder::new();
        for request in &requests {
            for message in request.messages.as_slice() {
                builder.push(request.topic.as_ref(), message);
            }
        }
        let (publisher, counter) = queue.next_counter();
        let frame = builder.finish(publisher, counter);
        if node.capabilities.receipts {
            let stored = store(node, queue, &frame, deadline, None).await;
            let first = stored.and_then(|appended| {
                appended.first.ok_or_else(|| {
                    Error::new(ErrorKind::Broker, "the backend gave no position")
                        .with_unknown_outcome()
                })
            });
            answer(node, requests, first);
        } else {
            // Boxed: only some brokers need it.
            Box::pin(store_and_await_return(
                node, queue, requests, &frame, deadline,
            ))
            .await;
        }
    }
}

/// Appends a frame, and tries again with the same publisher and counter until the deadline.
///
/// Where the frame comes back by a feed, that is looked at first: a frame whose confirmation was lost
/// may have come back meanwhile, and need not be stored twice.
async fn store(
    node: &Node,
    queue: &Queue,
    frame: &EncodedFrame,
    deadline: Instant,
    mut returns: Option<(&Lease, &mut oneshot::Receiver<Position>)>,
) -> Result<Appended> {
    let mut backoff = Backoff::new(&node.options);
    let mut may_be_stored = false;
    loop {
        let error = match try_store(node, queue, frame, deadline).await {
            Ok(appended) => return Ok(appended),
            Err(error) => error,
        };
        may_be_stored |= error.outcome() == Outcome::Unknown;
        // A lost connection is waited for by the next try.
        let wait = match error.kind() {
            ErrorKind::Unavailable | ErrorKind::Timeout => Duration::ZERO,
            _ => backoff.next(),
        };
        // A try that has no time to be answered would only blur what is known.
        if !error.is_transient() || Instant::now() + wait >= deadline {
            warn!(log = %queue.log(), %error, "publish failed");
            queue.give_up();
            // An earlier try may have been stored although this one certainly was not.
            return Err(if may_be_stored {
                error.with_unknown_outcome()
            } else {
                error
            });
        }
        debug!(log = %queue.log(), %error, "publish did not succeed; trying again");
        sleep(wait).await;
        if may_be_stored && let Some((feed, returned)) = &mut returns {
            let caught_up = async {
                node.link.connected().await?;
                feed.live().await
            };
            // If that does not happen in time, the next try says why.
            let _ = timeout_at(deadline, caught_up).await;
            if let Ok(position) = returned.try_recv() {
                return Ok(Appended {
                    first: Some(position),
                });
            }
        }
    }
}

/// Waits for the connection and appends a frame, once.
async fn try_store(
    node: &Node,
    queue: &Queue,
    frame: &EncodedFrame,
    deadline: Instant,
) -> Result<Appended> {
    let generation = match node.link.up() {
        Some(generation) => generation,
        None => {
            node.link.check_not_refused()?;
            timeout_at(deadline, node.link.connected())
                .await
                .unwrap_or_else(|_| Err(node.link.why_down().unwrap_or_else(|| late(node))))?
        }
    };
    let until = deadline.min(Instant::now() + node.options.request_timeout);
    let result = timeout_at(until, node.backend.append(queue.log(), frame))
        .await
        .unwrap_or_else(|_| Err(late(node).with_unknown_outcome()));
    if let Err(error) = &result
        && matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Timeout)
    {
        node.link.interrupted(generation, error);
    }
    result
}

/// For brokers whose confirmation does not name the position: stores the frame, and answers when
/// this node's own feed has brought it back. The next frame may leave meanwhile.
async fn store_and_await_return(
    node: &Arc<Node>,
    queue: &Queue,
    requests: Vec<Request>,
    frame: &EncodedFrame,
    deadline: Instant,
) {
    let stored = async {
        node.link.check_not_refused()?;
        let lease = queue.feed(node)?;
        timeout_at(deadline, lease.live())
            .await
            .unwrap_or_else(|_| Err(node.link.why_down().unwrap_or_else(|| late(node))))?;
        let mut returned = lease.receipts.expect(frame.publisher(), frame.counter());
        let back = Some((&*lease, &mut returned));
        let appended = store(node, queue, frame, deadline, back).await?;
        Ok((lease, returned, appended.first))
    };
    match stored.await {
        Err(error) => {
            // Its counter is used up, also if it never left.
            queue.give_up();
            answer(node, requests, Err(error));
        }
        Ok((_, _, Some(first))) => answer(node, requests, Ok(first)),
        Ok((lease, returned, None)) => {
            let waiting = node.clone();
            node.publishers.spawn(node, async move {
                let node = waiting;
                let first = await_return(lease, returned, deadline).await;
                answer(&node, requests, first);
            });
        }
    }
}

async fn await_return(
    lease: Arc<Lease>,
    returned: oneshot::Receiver<Position>,
    deadline: Instant,
) -> Result<Position> {
    match timeout_at(deadline, returned).await {
        Ok(Ok(position)) => Ok(position),
        _ => Err(Error::new(
            ErrorKind::Timeout,
            format!(
                "stored in {}, but its position did not become known in time",
                lease.log
            ),
        )
        .with_unknown_outcome()),
    }
}

/// Answers every request of a frame.
fn answer(node: &Node, requests: Vec<Request>, first: Result<Position>) {
    let count = requests
        .iter()
        .map(|r| r.messages.as_slice().len() as u64)
        .sum();
    match first {
        Ok(mut position) => {
            node.metrics.published.increment(count);
            for request in requests {
                let len = request.messages.as_slice().len() as u64;
                // Whoever waited may have gone; the message is stored all the same.
                let _ = request.reply.send(Ok(position));
                position.sequence = position.sequence.plus(len);
            }
        }
        Err(error) => {
            node.metrics.publish_failed.increment(count);
            for request in requests {
                let _ = request.reply.send(Err(error.duplicate()));
            }
        }
    }
}

fn late(node: &Node) -> Error {
    Error::new(
        ErrorKind::Timeout,
        format!(
            "the broker did not confirm the publish within {:?}",
            node.options.publish_timeout
        ),
    )
}
