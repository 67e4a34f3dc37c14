//! Listen: receives from the node's subscription, and completes what the core has taken.

use std::{sync::Arc, time::Duration};

use scaleout_core::{
    Arrival, Epoch, Error, ErrorKind, Listener, ListenerSender, Result, StoredFrame,
};
use tokio::time::{Instant, timeout_at};

use crate::{
    backend::SLOT,
    inbox::{Passed, Sorted},
    life,
    own::{Held, Own, Shared},
    transport::{Incoming, Outgoing, Receiver, Sent, Transport},
    wire,
};

/// Messages that are completed with one word, at most.
const BURST: usize = 64;
/// How much longer than their locks last messages are waited for.
pub(crate) const GRACE: Duration = Duration::from_secs(2);

impl<T: Transport> Shared<T> {
    /// Subscribes to a log. `resumes` says that the listener follows another one that ended.
    pub(crate) async fn listen(self: &Arc<Self>, log: u16, resumes: bool) -> Result<Listener> {
        let mut kept = self.take_kept(log)?;
        if let (Some(held), false) = (&mut kept, resumes) {
            // It holds what was sent for somebody who is gone.
            held.discard();
            kept = None;
        }
        let epoch = self.topics.life(log).await?;
        if let Some(mut held) = kept {
            let own = held.own()?;
            if self.topics.given().is_none() && own.epoch != epoch {
                // It went with its topic.
                held.forget();
            } else {
                match self.transport.receive(&own.topic, &own.name).await? {
                    Some(receiver) => {
                        own.inbox.forget_late();
                        return Ok(self.deliver(held, receiver, None));
                    }
                    None => held.forget(),
                }
            }
        }
        let mut held = self.make(log, epoch).await?;
        let own = held.own()?;
        let receiver = self.transport.receive(&own.topic, &own.name).await?;
        let Some(mut receiver) = receiver else {
            return Err(match self.topics.given() {
                Some(_) => self.topics.missing(&own.topic),
                None => Error::new(
                    ErrorKind::Broker,
                    format!("servicebus: a subscription of {} was deleted", own.topic),
                ),
            });
        };
        if self.topics.given().is_some() && !resumes {
            self.skip(own, &mut receiver).await?;
        }
        // What was sent between the end of the old subscription and this one is gone.
        Ok(self.deliver(held, receiver, resumes.then_some(epoch)))
    }

    /// Skips what a subscription has that was made before this node was there: all that comes before a
    /// mark.
    async fn skip(&self, own: &mut Own, receiver: &mut T::Receiver) -> Result<()> {
        let id = Epoch::random().get();
        let mark = Outgoing {
            id: format!("mark-{id:032x}"),
            body: wire::mark(id),
        };
        let body = mark.body.clone();
        let mut passed = Passed::default();
        if self.transport.send(&own.topic, mark).await? == Sent::NoTopic {
            return Err(self.topics.missing(&own.topic));
        }
        loop {
            let (incoming, lock) = receiver.next().await?;
            receiver.complete(vec![lock]).await?;
            if incoming.body == body {
                own.inbox.begin_after(&incoming, passed);
                return Ok(());
            }
            passed.push(incoming);
        }
    }

    fn deliver(
        self: &Arc<Self>,
        mut held: Held<T>,
        mut receiver: T::Receiver,
        lost: Option<Epoch>,
    ) -> Listener {
        let (sender, listener) = Listener::channel();
        if let Some(epoch) = lost {
            sender.send(Arrival::Lost { epoch });
        }
        let locked = self.config.lock_duration + GRACE;
        held.keep();
        self.spawn(async move {
            let ended = match held.own() {
                Ok(own) => tokio::select! {
                    ended = pump(own, &mut receiver, &sender, locked) => ended,
                    () = sender.closed() => Ok(()),
                },
                Err(error) => Err(error),
            };
            // First the link: the service does not give a subscription up that is received from.
            drop(receiver);
            match ended {
                // Kept before the core knows, as it comes back at once.
                Err(error) => {
                    drop(held);
                    sender.end(error);
                }
                Ok(()) => held.discard(),
            }
        });
        listener
    }
}

/// Hands messages over until the listener wants no more.
async fn pump<R: Receiver>(
    own: &mut Own,
    receiver: &mut R,
    sender: &ListenerSender,
    locked: Duration,
) -> Result<()> {
    let mut foreign = Foreign::default();
    let mut hole_since = None;
    hand_over(own, sender, &mut foreign).await;
    while sender.room().await {
        let first = match hole_since {
            Some(since) => {
                let Ok(next) = timeout_at(since + locked, receiver.next()).await else {
                    lose(own, sender);
                    hand_over(own, sender, &mut foreign).await;
                    hole_since = own.inbox.has_hole().then(Instant::now);
                    continue;
                };
                next?
            }
            None => receiver.next().await?,
        };
        let mut next = Some(first);
        let mut locks = Vec::new();
        while let Some((incoming, lock)) = next {
            locks.push(lock);
            if !take(own, receiver, sender, &mut foreign, incoming).await? {
                return Ok(());
            }
            next = match locks.len() < BURST {
                true => receiver.more().transpose()?,
                false => None,
            };
        }
        receiver.complete(locks).await?;
        foreign.tell(own);
        hole_since = match own.inbox.has_hole() {
            true => hole_since.or_else(|| Some(Instant::now())),
            false => None,
        };
    }
    Ok(())
}

/// Takes a message in, with what a hole before it is found to hold, and hands over what is due. Returns
/// whether the listener takes more.
async fn take<R: Receiver>(
    own: &mut Own,
    receiver: &mut R,
    sender: &ListenerSender,
    foreign: &mut Foreign,
    incoming: Incoming,
) -> Result<bool> {
    match own.inbox.put(incoming) {
        Sorted::Due | Sorted::Repeated => {}
        Sorted::Restarted { topic } => {
            if topic {
                own.epoch = life::after(own.epoch);
            }
            sender.send(Arrival::Lost { epoch: own.epoch });
        }
        Sorted::Hole { from, to } => match receiver.peek(from, to).await? {
            Some(found) => {
                own.inbox.fill(found);
                // What is not there now is not locked but gone: it was too old, or delivered too often.
                while hand_over(own, sender, foreign).await && own.inbox.has_hole() {
                    lose(own, sender);
                }
            }
            None if own.inbox.is_full() => lose(own, sender),
            None => {}
        },
    }
    Ok(hand_over(own, sender, foreign).await)
}

/// What is missing before the first message that is held does not come any more.
fn lose(own: &mut Own, sender: &ListenerSender) {
    own.inbox.give_up();
    sender.send(Arrival::Lost { epoch: own.epoch });
}

/// Hands over what is due. Returns whether the listener takes more.
async fn hand_over(own: &mut Own, sender: &ListenerSender, foreign: &mut Foreign) -> bool {
    while let Some(incoming) = own.inbox.due() {
        let frame = match read(&incoming) {
            Ok(Some(frame)) => frame,
            Ok(None) => continue,
            Err(NotOurs) => {
                foreign.count += 1;
                foreign.number = incoming.number;
                continue;
            }
        };
        let epoch = own.epoch;
        if !sender.room().await || !sender.send(Arrival::Frame { epoch, frame }) {
            return false;
        }
    }
    true
}

/// The frame that a message carries, if it does. The service's numbers begin with 1.
fn read(incoming: &Incoming) -> Result<Option<StoredFrame>, NotOurs> {
    let number = u64::try_from(incoming.number).map_err(|_| NotOurs)?;
    let number = number.checked_sub(1).ok_or(NotOurs)?;
    match wire::Body::decode(incoming.body.clone()) {
        wire::Body::Frame { len, bytes } if (1..=SLOT).contains(&u64::from(len)) => {
            Ok(Some(StoredFrame::in_slot(number, SLOT, len, bytes)))
        }
        wire::Body::Mark => Ok(None),
        _ => Err(NotOurs),
    }
}

/// Somebody else wrote it.
struct NotOurs;

/// Messages that somebody else wrote into the topic.
#[derive(Default)]
struct Foreign {
    count: usize,
    number: i64,
}

impl Foreign {
    fn tell(&mut self, own: &Own) {
        if self.count > 0 {
            tracing::warn!(
                topic = %own.topic, count = self.count, number = self.number,
                "messages that are not of this library were skipped"
            );
            *self = Self::default();
        }
    }
}
