//! What the namespace holds: queues, topics and their subscriptions.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use crate::{
    clock::Moment,
    entity::{
        Delivery, Message, MessageState, NEVER, QueueSettings, Rule, TopicSettings,
        duplicates::Duplicates, queue::Queue,
    },
};

/// Something with messages that receivers can attach to: a queue or a subscription.
#[derive(Debug)]
pub(super) struct Mailbox {
    /// As it was given; its key is in lower case.
    pub(super) name: String,
    /// Another one for every entity that ever was, so that one of the same name is not taken for it.
    pub(super) life: u64,
    pub(super) created: Moment,
    pub(super) settings: QueueSettings,
    pub(super) queue: Queue,
    pub(super) consumers: usize,
    pub(super) last_used: Moment,
}

impl Mailbox {
    pub(super) fn new(now: Moment, life: u64, name: &str, settings: QueueSettings) -> Self {
        Self {
            name: name.into(),
            life,
            created: now,
            settings,
            queue: Queue::with_dead_letters(),
            consumers: 0,
            last_used: now,
        }
    }

    pub(super) fn part(&mut self, dead_letter: bool) -> (&mut Queue, &QueueSettings) {
        if !dead_letter {
            return (&mut self.queue, &self.settings);
        }
        // A mailbox is made with a dead-letter queue and keeps it.
        let dead = self
            .queue
            .dead_letters()
            .expect("a mailbox has dead letters");
        (dead, &self.settings)
    }

    /// When it has been idle for so long that it goes, if nobody uses it until then.
    pub(super) fn end(&self) -> Option<Moment> {
        (self.consumers == 0)
            .then(|| idle_end(self.last_used, self.settings.auto_delete_on_idle))?
    }
}

/// A queue, which can be sent to.
#[derive(Debug)]
pub(super) struct QueueNode {
    pub(super) mailbox: Mailbox,
    pub(super) scheduled: Scheduled,
    pub(super) duplicates: Duplicates,
}

/// A subscription of a topic.
#[derive(Debug)]
pub(super) struct Subscription {
    pub(super) mailbox: Mailbox,
    pub(super) rules: Vec<Rule>,
}

/// Partitions of a partitioned topic.
const PARTITIONS: u64 = 16;

/// A topic, which copies what is sent to it into its subscriptions.
#[derive(Debug)]
pub(super) struct Topic {
    pub(super) name: String,
    pub(super) life: u64,
    pub(super) created: Moment,
    pub(super) settings: TopicSettings,
    /// The enqueue number of the last message.
    pub(super) last_number: u64,
    pub(super) scheduled: Scheduled,
    pub(super) duplicates: Duplicates,
    pub(super) subscriptions: BTreeMap<String, Subscription>,
    pub(super) last_used: Moment,
}

impl Topic {
    /// Copies a message into the subscriptions that want it. Returns how many rules were looked at, and
    /// calls back with the key of every subscription that got a copy.
    pub(super) fn publish(
        &mut self,
        now: Moment,
        message: &Arc<Message>,
        mut got: impl FnMut(&str),
    ) -> usize {
        self.last_number += 1;
        let mut number = self.last_number;
        if self.settings.partitioned {
            number |= (number % PARTITIONS) << 48;
        }
        let mut looked_at = 0;
        for (key, subscription) in &mut self.subscriptions {
            let matches = subscription.rules.iter().any(|rule| {
                looked_at += 1;
                rule.filter.matches(message)
            });
            if matches {
                let mailbox = &mut subscription.mailbox;
                let mut settings = mailbox.settings.clone();
                settings.time_to_live = settings.time_to_live.min(self.settings.time_to_live);
                let message = Arc::clone(message);
                mailbox.queue.push(now, message, Some(number), &settings);
                got(key);
            }
        }
        looked_at
    }

    pub(super) fn end(&self) -> Option<Moment> {
        idle_end(self.last_used, self.settings.auto_delete_on_idle)
    }
}

/// Messages that are not enqueued yet. The number they have meanwhile is only good for cancelling.
#[derive(Debug, Default)]
pub(super) struct Scheduled {
    messages: BTreeMap<u64, (Moment, Arc<Message>)>,
    times: BTreeSet<(Moment, u64)>,
}

impl Scheduled {
    pub(super) fn add(&mut self, at: Moment, number: u64, message: Arc<Message>) {
        self.messages.insert(number, (at, message));
        self.times.insert((at, number));
    }

    pub(super) fn cancel(&mut self, number: u64) -> bool {
        let Some((at, _)) = self.messages.remove(&number) else {
            return false;
        };
        self.times.remove(&(at, number))
    }

    /// The next message whose time has come.
    pub(super) fn due(&mut self, now: Moment) -> Option<Arc<Message>> {
        let (_, number) = *self.times.first().filter(|(at, _)| *at <= now)?;
        self.times.pop_first();
        self.messages.remove(&number).map(|(_, message)| message)
    }

    pub(super) fn deadline(&self) -> Option<Moment> {
        self.times.first().map(|(at, _)| *at)
    }

    pub(super) fn len(&self) -> usize {
        self.messages.len()
    }

    pub(super) fn peek(&self, from: u64, count: usize) -> impl Iterator<Item = Delivery> {
        let messages = self.messages.range(from..).take(count);
        messages.map(|(number, (at, message))| Delivery {
            sequence: *number,
            enqueue_number: *number,
            enqueued_at: *at,
            delivery_count: 0,
            lock: None,
            state: MessageState::Scheduled,
            overrides: Vec::new(),
            message: Arc::clone(message),
        })
    }
}

fn idle_end(last_used: Moment, idle: Duration) -> Option<Moment> {
    (idle < NEVER).then(|| last_used.after(idle))
}
