//! The namespace: all entities, and what can be done with their messages.

mod manage;
mod parts;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use crate::{
    clock::Moment,
    entity::{
        Address, Delivery, LockToken, Message, Mode, Outcome, QueueSettings, Refusal, Tier,
        duplicates::Duplicates, queue::Queue,
    },
};

pub use self::manage::Counts;

use self::parts::{Mailbox, QueueNode, Topic};

/// All entities of one namespace.
#[derive(Debug)]
pub struct Namespace {
    tier: Tier,
    queues: BTreeMap<String, QueueNode>,
    topics: BTreeMap<String, Topic>,
    /// What every lock token of this namespace begins with.
    token_prefix: u64,
    last_token: u64,
    last_life: u64,
    /// Entities that may have something new for a receiver, or are gone.
    changed: BTreeSet<Address>,
}

/// What came of sending.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// The number of each message: what cancels a scheduled one.
    pub numbers: Vec<u64>,
    /// How many rules were looked at. The service counts each as an operation.
    pub rules: usize,
}

impl Namespace {
    /// A namespace without entities. The prefix should differ from that of other ones: it makes their lock tokens
    /// differ.
    #[must_use]
    pub fn new(tier: Tier, token_prefix: u64) -> Self {
        Self {
            tier,
            queues: BTreeMap::new(),
            topics: BTreeMap::new(),
            token_prefix,
            last_token: 0,
            last_life: 0,
            changed: BTreeSet::new(),
        }
    }

    /// The tier, which says how large a message may be.
    #[must_use]
    pub fn tier(&self) -> Tier {
        self.tier
    }

    /// Takes messages for a queue or a topic: all of them or none.
    ///
    /// # Errors
    ///
    /// `NotFound` if there is no such queue or topic, `TooLarge` if a message is larger than the tier takes.
    pub fn send(
        &mut self,
        now: Moment,
        to: &Address,
        messages: Vec<Message>,
    ) -> Result<Sent, Refusal> {
        let limit = self.tier.max_message_size();
        if messages.iter().any(|message| message.content.len() > limit) {
            return Err(Refusal::TooLarge(limit));
        }
        if to.subscription.is_some() || to.dead_letter {
            return Err(Refusal::Invalid(format!("nothing can be sent to {to}")));
        }
        let mut sent = Sent::default();
        if let Some(node) = self.queues.get_mut(&to.entity) {
            node.mailbox.last_used = now;
            for message in messages {
                sent.numbers.push(node.mailbox.queue.last_sequence() + 1);
                if is_repetition(
                    &mut node.duplicates,
                    node.mailbox.settings.duplicates,
                    &message,
                    now,
                ) {
                    continue;
                }
                let message = Arc::new(message);
                match message.scheduled_at.filter(|at| *at > now) {
                    Some(at) => {
                        let number = node.mailbox.queue.next_sequence();
                        node.scheduled.add(at, number, message);
                    }
                    None => {
                        let Mailbox {
                            queue, settings, ..
                        } = &mut node.mailbox;
                        queue.push(now, message, None, settings);
                    }
                }
            }
            self.changed.insert(to.clone());
            return Ok(sent);
        }
        let Some(topic) = self.topics.get_mut(&to.entity) else {
            return Err(not_found(to));
        };
        topic.last_used = now;
        for message in messages {
            sent.numbers.push(topic.last_number + 1);
            if is_repetition(
                &mut topic.duplicates,
                topic.settings.duplicates,
                &message,
                now,
            ) {
                continue;
            }
            let message = Arc::new(message);
            match message.scheduled_at.filter(|at| *at > now) {
                Some(at) => {
                    topic.last_number += 1;
                    topic.scheduled.add(at, topic.last_number, message);
                }
                None => {
                    let changed = &mut self.changed;
                    sent.rules += topic.publish(now, &message, |key| {
                        changed.insert(subscription(&to.entity, key));
                    });
                }
            }
        }
        Ok(sent)
    }

    /// Takes back scheduled messages.
    ///
    /// # Errors
    ///
    /// `NotFound` if the entity or one of the messages is not there; those before it are taken back.
    pub fn cancel(&mut self, from: &Address, numbers: &[u64]) -> Result<(), Refusal> {
        let scheduled = if let Some(node) = self.queues.get_mut(&from.entity) {
            &mut node.scheduled
        } else if let Some(topic) = self.topics.get_mut(&from.entity) {
            &mut topic.scheduled
        } else {
            return Err(not_found(from));
        };
        for number in numbers {
            if !scheduled.cancel(*number) {
                return Err(Refusal::NotFound(format!("the scheduled message {number}")));
            }
        }
        Ok(())
    }

    /// The next message of a queue or subscription, if there is one.
    ///
    /// # Errors
    ///
    /// `NotFound` if there is no such entity.
    pub fn receive(
        &mut self,
        now: Moment,
        from: &Address,
        delete: bool,
    ) -> Result<Option<Delivery>, Refusal> {
        let mode = self.mode(delete);
        let (queue, settings) = self.used(now, from)?;
        Ok(queue.receive(now, mode, settings))
    }

    /// Deferred messages, by their numbers.
    ///
    /// # Errors
    ///
    /// `NotFound` if the entity or one of the messages is not there; then none is locked or deleted.
    pub fn receive_deferred(
        &mut self,
        now: Moment,
        from: &Address,
        numbers: &[u64],
        delete: bool,
    ) -> Result<Vec<Delivery>, Refusal> {
        let modes: Vec<_> = numbers
            .iter()
            .map(|number| (*number, self.mode(delete)))
            .collect();
        let (queue, settings) = self.used(now, from)?;
        if let Some(missing) = numbers.iter().find(|number| !queue.has_deferred(**number)) {
            return Err(Refusal::NotFound(format!("the deferred message {missing}")));
        }
        let receive = |(number, mode)| queue.receive_deferred(now, number, mode, settings);
        Ok(modes.into_iter().filter_map(receive).collect())
    }

    /// Messages from this number on, scheduled ones included, without locking them.
    ///
    /// # Errors
    ///
    /// `NotFound` if there is no such entity.
    pub fn peek(
        &mut self,
        now: Moment,
        from: &Address,
        number: u64,
        count: usize,
    ) -> Result<Vec<Delivery>, Refusal> {
        let (queue, settings) = self.used(now, from)?;
        queue.advance(now, settings);
        let mut found = queue.peek(number, count);
        if let Some(node) = self.queues.get(&from.entity).filter(|_| !from.dead_letter) {
            found.extend(node.scheduled.peek(number, count));
            found.sort_by_key(|delivery| delivery.sequence);
            found.truncate(count);
        }
        Ok(found)
    }

    /// Settles a locked message.
    ///
    /// # Errors
    ///
    /// `LockLost` if the token locks nothing (any more), `NotFound` if there is no such entity.
    pub fn settle(
        &mut self,
        now: Moment,
        of: &Address,
        token: &LockToken,
        outcome: Outcome,
    ) -> Result<(), Refusal> {
        let frees = outcome != Outcome::Complete;
        let (queue, settings) = self.used(now, of)?;
        queue.settle(now, token, outcome, settings)?;
        if frees {
            self.mark(of);
        }
        Ok(())
    }

    /// Starts a lock's time anew, and tells when it ends.
    ///
    /// # Errors
    ///
    /// As `settle`.
    pub fn renew(
        &mut self,
        now: Moment,
        of: &Address,
        token: &LockToken,
    ) -> Result<Moment, Refusal> {
        let (queue, settings) = self.used(now, of)?;
        queue.renew(now, token, settings)
    }

    /// Ends all locks of an entity, as if their time were over.
    ///
    /// # Errors
    ///
    /// `NotFound` if there is no such entity.
    pub fn break_locks(&mut self, now: Moment, of: &Address) -> Result<(), Refusal> {
        let (queue, settings) = self.used(now, of)?;
        queue.break_locks(now, settings);
        self.mark(of);
        Ok(())
    }

    /// Counts a receiver, and tells which life of the entity it is attached to. An entity with receivers is in use.
    ///
    /// # Errors
    ///
    /// `NotFound` if there is no such queue or subscription.
    pub fn attach(&mut self, now: Moment, to: &Address) -> Result<u64, Refusal> {
        let mailbox = self.mailbox(to)?;
        mailbox.consumers += 1;
        mailbox.last_used = now;
        Ok(mailbox.life)
    }

    /// Counts a receiver off again.
    pub fn detach(&mut self, now: Moment, from: &Address, life: u64) {
        if let Ok(mailbox) = self.mailbox(from)
            && mailbox.life == life
        {
            mailbox.consumers = mailbox.consumers.saturating_sub(1);
            mailbox.last_used = now;
        }
    }

    /// The life of what can be sent to or received from at this address, if it is there.
    #[must_use]
    pub fn life(&self, of: &Address) -> Option<u64> {
        match (&of.subscription, self.queues.get(&of.entity)) {
            (None, Some(node)) => Some(node.mailbox.life),
            (None, None) => self.topics.get(&of.entity).map(|topic| topic.life),
            (Some(name), _) => {
                let topic = self.topics.get(&of.entity)?;
                topic
                    .subscriptions
                    .get(name)
                    .map(|found| found.mailbox.life)
            }
        }
    }

    /// Whether the address is a topic, which can be sent to but not received from.
    #[must_use]
    pub fn is_topic(&self, address: &Address) -> bool {
        address.subscription.is_none() && self.topics.contains_key(&address.entity)
    }

    /// Lets happen what is due: locks end, messages expire or are enqueued, idle entities go.
    pub fn advance(&mut self, now: Moment) {
        let mut gone = Vec::new();
        for (key, node) in &mut self.queues {
            let Mailbox {
                queue, settings, ..
            } = &mut node.mailbox;
            while let Some(message) = node.scheduled.due(now) {
                queue.push(now, message, None, settings);
                self.changed.insert(entity(key));
            }
            advance(now, &mut node.mailbox, || entity(key), &mut self.changed);
            if node.mailbox.end().is_some_and(|at| at <= now) {
                gone.push(entity(key));
            }
        }
        for (key, topic) in &mut self.topics {
            while let Some(message) = topic.scheduled.due(now) {
                let changed = &mut self.changed;
                topic.publish(now, &message, |name| {
                    changed.insert(subscription(key, name));
                });
            }
            for (name, found) in &mut topic.subscriptions {
                let address = || subscription(key, name);
                advance(now, &mut found.mailbox, address, &mut self.changed);
                if found.mailbox.end().is_some_and(|at| at <= now) {
                    gone.push(address());
                }
            }
            if topic.end().is_some_and(|at| at <= now) {
                gone.push(entity(key));
            }
        }
        for address in gone {
            // Subscriptions went with their topic, perhaps.
            let _ = self.delete(&address);
        }
    }

    /// When `advance` has something to do next.
    #[must_use]
    pub fn deadline(&self) -> Option<Moment> {
        let queues = self
            .queues
            .values()
            .flat_map(|node| [deadline(&node.mailbox), node.scheduled.deadline()]);
        let topics = self.topics.values().flat_map(|topic| {
            let subscriptions = topic
                .subscriptions
                .values()
                .map(|found| deadline(&found.mailbox));
            subscriptions.chain([topic.end(), topic.scheduled.deadline()])
        });
        queues.chain(topics).flatten().min()
    }

    /// Entities that may have something new for a receiver, or are gone, since the last call.
    pub fn take_changed(&mut self) -> BTreeSet<Address> {
        std::mem::take(&mut self.changed)
    }

    fn mode(&mut self, delete: bool) -> Mode {
        if delete {
            return Mode::ReceiveAndDelete;
        }
        self.last_token += 1;
        let token = (u128::from(self.token_prefix) << 64) | u128::from(self.last_token);
        Mode::PeekLock(token.to_be_bytes())
    }

    fn used(
        &mut self,
        now: Moment,
        address: &Address,
    ) -> Result<(&mut Queue, &QueueSettings), Refusal> {
        let mailbox = self.mailbox(address)?;
        mailbox.last_used = now;
        Ok(mailbox.part(address.dead_letter))
    }

    fn mailbox(&mut self, address: &Address) -> Result<&mut Mailbox, Refusal> {
        let found = match &address.subscription {
            None => self
                .queues
                .get_mut(&address.entity)
                .map(|node| &mut node.mailbox),
            Some(name) => self
                .topics
                .get_mut(&address.entity)
                .and_then(|topic| topic.subscriptions.get_mut(name))
                .map(|found| &mut found.mailbox),
        };
        found.ok_or_else(|| not_found(address))
    }

    /// Notes that receivers of an entity, or of its dead-letter queue, may find something.
    fn mark(&mut self, address: &Address) {
        for dead_letter in [false, true] {
            self.changed.insert(Address {
                dead_letter,
                ..address.entity()
            });
        }
    }
}

fn advance(
    now: Moment,
    mailbox: &mut Mailbox,
    address: impl Fn() -> Address,
    changed: &mut BTreeSet<Address>,
) {
    if mailbox.queue.deadline().is_none_or(|at| at > now) {
        return;
    }
    mailbox.queue.advance(now, &mailbox.settings);
    for dead_letter in [false, true] {
        if mailbox.part(dead_letter).0.has_ready() {
            changed.insert(Address {
                dead_letter,
                ..address()
            });
        }
    }
}

fn deadline(mailbox: &Mailbox) -> Option<Moment> {
    mailbox
        .queue
        .deadline()
        .into_iter()
        .chain(mailbox.end())
        .min()
}

fn is_repetition(
    duplicates: &mut Duplicates,
    window: Option<std::time::Duration>,
    message: &Message,
    now: Moment,
) -> bool {
    match (window, &message.system.message_id) {
        (Some(window), Some(id)) => duplicates.seen(id, window, now),
        _ => false,
    }
}

fn entity(key: &str) -> Address {
    Address {
        entity: key.into(),
        subscription: None,
        dead_letter: false,
        management: false,
    }
}

fn subscription(topic: &str, key: &str) -> Address {
    Address {
        subscription: Some(key.into()),
        ..entity(topic)
    }
}

fn not_found(address: &Address) -> Refusal {
    Refusal::NotFound(format!("the messaging entity '{address}'"))
}

#[cfg(test)]
mod tests;
