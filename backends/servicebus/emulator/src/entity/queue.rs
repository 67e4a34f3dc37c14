//! The messages of one queue, subscription or dead-letter queue: order, locks and timers.
//!
//! It has no clock: every call is told the time.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use crate::{
    clock::Moment,
    entity::{Message, Property, QueueSettings, Refusal, settings::NEVER},
};

/// What a receiver shows to settle a message. The service draws it as a GUID.
pub type LockToken = [u8; 16];

/// What becomes of a message when a receiver asks for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// It is locked under this token until it is settled or the lock ends.
    PeekLock(LockToken),
    /// It is gone.
    ReceiveAndDelete,
}

/// What a receiver decides about a message that it holds the lock of. The properties are set on the message.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "the names are the service's")]
pub enum Outcome {
    Complete,
    Abandon(Vec<(String, Property)>),
    Defer(Vec<(String, Property)>),
    DeadLetter(Vec<(String, Property)>),
    /// Unlocked without counting the delivery.
    Release,
}

/// A message on its way to a receiver.
#[derive(Clone, Debug, PartialEq)]
pub struct Delivery {
    /// The message's number in this queue.
    pub sequence: u64,
    /// The number that the topic, or the queue it was sent to, gave.
    pub enqueue_number: u64,
    /// When it was enqueued.
    pub enqueued_at: Moment,
    /// How many deliveries failed before.
    pub delivery_count: u32,
    /// The lock and when it ends, with peek-lock.
    pub lock: Option<(LockToken, Moment)>,
    /// Whether it waits to be taken, was deferred, or is scheduled.
    pub state: MessageState,
    /// Properties that were set on the way, over the message's own.
    pub overrides: Vec<(String, Property)>,
    /// What the sender sent.
    pub message: Arc<Message>,
}

/// The state that `x-opt-message-state` tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the service's")]
pub enum MessageState {
    Active = 0,
    Deferred = 1,
    Scheduled = 2,
}

#[derive(Debug)]
struct Entry {
    enqueue_number: u64,
    enqueued_at: Moment,
    expires_at: Option<Moment>,
    delivery_count: u32,
    overrides: Vec<(String, Property)>,
    message: Arc<Message>,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Ready,
    Deferred,
    Locked {
        token: LockToken,
        until: Moment,
        deferred: bool,
    },
}

impl Entry {
    /// When something happens to this message by itself.
    fn due(&self) -> Option<Moment> {
        match self.state {
            State::Ready => self.expires_at,
            State::Deferred => None,
            State::Locked { until, .. } => Some(until),
        }
    }
}

/// The messages of one queue.
#[derive(Debug, Default)]
pub(super) struct Queue {
    entries: BTreeMap<u64, Entry>,
    ready: BTreeSet<u64>,
    locks: HashMap<LockToken, u64>,
    timers: BTreeSet<(Moment, u64)>,
    last_sequence: u64,
    /// Absent in a dead-letter queue.
    dead: Option<Box<Queue>>,
}

impl Queue {
    pub(super) fn with_dead_letters() -> Self {
        Self {
            dead: Some(Box::default()),
            ..Self::default()
        }
    }

    pub(super) fn dead_letters(&mut self) -> Option<&mut Self> {
        self.dead.as_deref_mut()
    }

    pub(super) fn dead_letters_ref(&self) -> Option<&Self> {
        self.dead.as_deref()
    }

    /// The number of the last message.
    pub(super) fn last_sequence(&self) -> u64 {
        self.last_sequence
    }

    /// Takes a number without a message: scheduled messages are cancelled by it.
    pub(super) fn next_sequence(&mut self) -> u64 {
        self.last_sequence += 1;
        self.last_sequence
    }

    /// Adds a message at the end. Without an enqueue number it gets the sequence it has here.
    pub(super) fn push(
        &mut self,
        now: Moment,
        message: Arc<Message>,
        enqueue_number: Option<u64>,
        settings: &QueueSettings,
    ) {
        let sequence = self.next_sequence();
        let ttl = message
            .time_to_live
            .unwrap_or(NEVER)
            .min(settings.time_to_live);
        let entry = Entry {
            enqueue_number: enqueue_number.unwrap_or(sequence),
            enqueued_at: now,
            expires_at: (ttl < NEVER).then(|| now.after(ttl)),
            delivery_count: 0,
            overrides: Vec::new(),
            message,
            state: State::Ready,
        };
        self.put(sequence, entry);
    }

    /// The next message, if there is one.
    pub(super) fn receive(
        &mut self,
        now: Moment,
        mode: Mode,
        settings: &QueueSettings,
    ) -> Option<Delivery> {
        self.advance(now, settings);
        let sequence = *self.ready.first()?;
        self.take(now, sequence, mode, settings)
    }

    /// A deferred message, by its number.
    pub(super) fn receive_deferred(
        &mut self,
        now: Moment,
        sequence: u64,
        mode: Mode,
        settings: &QueueSettings,
    ) -> Option<Delivery> {
        self.advance(now, settings);
        if self.entries.get(&sequence)?.state != State::Deferred {
            return None;
        }
        self.take(now, sequence, mode, settings)
    }

    /// Whether `receive_deferred` would find this message.
    pub(super) fn has_deferred(&self, sequence: u64) -> bool {
        self.entries
            .get(&sequence)
            .is_some_and(|entry| entry.state == State::Deferred)
    }

    /// Messages from this number on, without locking any.
    pub(super) fn peek(&self, from: u64, count: usize) -> Vec<Delivery> {
        let entries = self.entries.range(from..);
        entries
            .take(count)
            .map(|(sequence, entry)| delivery(*sequence, entry))
            .collect()
    }

    /// Settles a locked message.
    pub(super) fn settle(
        &mut self,
        now: Moment,
        token: &LockToken,
        outcome: Outcome,
        settings: &QueueSettings,
    ) -> Result<(), Refusal> {
        self.advance(now, settings);
        let sequence = *self.locks.get(token).ok_or(Refusal::LockLost)?;
        let Some(mut entry) = self.remove(sequence) else {
            return Err(Refusal::LockLost);
        };
        match outcome {
            Outcome::Complete => {}
            Outcome::Abandon(set) => {
                override_properties(&mut entry.overrides, set);
                self.put_back(now, sequence, entry, true, settings);
            }
            Outcome::Release => self.put_back(now, sequence, entry, false, settings),
            Outcome::Defer(set) => {
                override_properties(&mut entry.overrides, set);
                entry.state = State::Deferred;
                self.put(sequence, entry);
            }
            Outcome::DeadLetter(set) => {
                override_properties(&mut entry.overrides, set);
                self.bury(entry);
            }
        }
        Ok(())
    }

    /// Starts the lock's time anew, and tells when it ends.
    pub(super) fn renew(
        &mut self,
        now: Moment,
        token: &LockToken,
        settings: &QueueSettings,
    ) -> Result<Moment, Refusal> {
        self.advance(now, settings);
        let sequence = *self.locks.get(token).ok_or(Refusal::LockLost)?;
        let Some(mut entry) = self.remove(sequence) else {
            return Err(Refusal::LockLost);
        };
        let end = now.after(settings.lock_duration);
        if let State::Locked { until, .. } = &mut entry.state {
            *until = end;
        }
        self.put(sequence, entry);
        Ok(end)
    }

    /// Ends every lock, as if its time were over.
    pub(super) fn break_locks(&mut self, now: Moment, settings: &QueueSettings) {
        let locked: Vec<u64> = self.locks.values().copied().collect();
        for sequence in locked {
            self.time_out(now, sequence, settings);
        }
    }

    /// Lets happen what is due: locks end, messages expire.
    pub(super) fn advance(&mut self, now: Moment, settings: &QueueSettings) {
        while let Some(&(at, sequence)) = self.timers.first() {
            if at > now {
                break;
            }
            self.time_out(now, sequence, settings);
        }
        if let Some(dead) = &mut self.dead {
            dead.advance(now, settings);
        }
    }

    /// When `advance` has something to do next.
    pub(super) fn deadline(&self) -> Option<Moment> {
        let own = self.timers.first().map(|(at, _)| *at);
        let dead = self.dead.as_ref().and_then(|dead| dead.deadline());
        own.into_iter().chain(dead).min()
    }

    /// Whether a receiver would get something.
    pub(super) fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Messages that are here, in whatever state.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Bytes that the messages take.
    pub(super) fn bytes(&self) -> usize {
        self.entries
            .values()
            .map(|entry| entry.message.content.len())
            .sum()
    }

    fn take(
        &mut self,
        now: Moment,
        sequence: u64,
        mode: Mode,
        settings: &QueueSettings,
    ) -> Option<Delivery> {
        let mut entry = self.remove(sequence)?;
        let token = match mode {
            Mode::ReceiveAndDelete => return Some(delivery(sequence, &entry)),
            Mode::PeekLock(token) => token,
        };
        entry.state = State::Locked {
            token,
            until: now.after(settings.lock_duration),
            deferred: entry.state == State::Deferred,
        };
        let delivery = delivery(sequence, &entry);
        self.put(sequence, entry);
        Some(delivery)
    }

    fn time_out(&mut self, now: Moment, sequence: u64, settings: &QueueSettings) {
        let Some(entry) = self.remove(sequence) else {
            return;
        };
        match entry.state {
            State::Locked { .. } => self.put_back(now, sequence, entry, true, settings),
            State::Ready | State::Deferred => self.expire(entry, settings),
        }
    }

    /// A locked message is free again, unless it was delivered too often or waited too long.
    fn put_back(
        &mut self,
        now: Moment,
        sequence: u64,
        mut entry: Entry,
        counted: bool,
        settings: &QueueSettings,
    ) {
        if counted {
            entry.delivery_count += 1;
        }
        let deferred = matches!(entry.state, State::Locked { deferred: true, .. });
        entry.state = if deferred {
            State::Deferred
        } else {
            State::Ready
        };
        // A dead-letter queue keeps its messages however often they are delivered.
        if self.dead.is_some() && entry.delivery_count >= settings.max_delivery_count {
            let reason = format!(
                "Message could not be consumed after {} delivery attempts.",
                entry.delivery_count
            );
            override_properties(
                &mut entry.overrides,
                dead_letter_reason("MaxDeliveryCountExceeded", &reason),
            );
            self.bury(entry);
        } else if entry.due().is_some_and(|at| at <= now) {
            self.expire(entry, settings);
        } else {
            self.put(sequence, entry);
        }
    }

    fn expire(&mut self, mut entry: Entry, settings: &QueueSettings) {
        if !settings.dead_letter_on_expiration {
            return;
        }
        override_properties(
            &mut entry.overrides,
            dead_letter_reason(
                "TTLExpiredException",
                "The message expired and was dead lettered.",
            ),
        );
        self.bury(entry);
    }

    /// Moves a message to the dead-letter queue, where it waits for ever.
    fn bury(&mut self, mut entry: Entry) {
        entry.state = State::Ready;
        entry.expires_at = None;
        match &mut self.dead {
            Some(dead) => {
                let sequence = dead.next_sequence();
                dead.put(sequence, entry);
            }
            // In the dead-letter queue itself it just stays, at the end.
            None => {
                let sequence = self.next_sequence();
                self.put(sequence, entry);
            }
        }
    }

    fn put(&mut self, sequence: u64, entry: Entry) {
        if let Some(at) = entry.due() {
            self.timers.insert((at, sequence));
        }
        match entry.state {
            State::Ready => {
                self.ready.insert(sequence);
            }
            State::Locked { token, .. } => {
                self.locks.insert(token, sequence);
            }
            State::Deferred => {}
        }
        self.entries.insert(sequence, entry);
    }

    fn remove(&mut self, sequence: u64) -> Option<Entry> {
        let entry = self.entries.remove(&sequence)?;
        if let Some(at) = entry.due() {
            self.timers.remove(&(at, sequence));
        }
        match entry.state {
            State::Ready => {
                self.ready.remove(&sequence);
            }
            State::Locked { token, .. } => {
                self.locks.remove(&token);
            }
            State::Deferred => {}
        }
        Some(entry)
    }
}

/// The properties that tell why a message is in the dead-letter queue.
#[must_use]
pub fn dead_letter_reason(reason: &str, description: &str) -> Vec<(String, Property)> {
    vec![
        ("DeadLetterReason".into(), reason.into()),
        ("DeadLetterErrorDescription".into(), description.into()),
    ]
}

fn override_properties(overrides: &mut Vec<(String, Property)>, set: Vec<(String, Property)>) {
    for (name, value) in set {
        overrides.retain(|(old, _)| *old != name);
        overrides.push((name, value));
    }
}

fn delivery(sequence: u64, entry: &Entry) -> Delivery {
    let (lock, deferred) = match entry.state {
        State::Ready => (None, false),
        State::Deferred => (None, true),
        State::Locked {
            token,
            until,
            deferred,
        } => (Some((token, until)), deferred),
    };
    Delivery {
        sequence,
        enqueue_number: entry.enqueue_number,
        enqueued_at: entry.enqueued_at,
        delivery_count: entry.delivery_count,
        lock,
        state: if deferred {
            MessageState::Deferred
        } else {
            MessageState::Active
        },
        overrides: entry.overrides.clone(),
        message: Arc::clone(&entry.message),
    }
}

#[cfg(test)]
mod tests;
