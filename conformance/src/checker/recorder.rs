use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use bytes::Bytes;
use scaleout_core::{
    Epoch, Event, Head, Outcome, Position, Receipt, Result, Sequence, Start, Topic,
};
use tokio::sync::watch;

use super::{
    Ending, Final, History, Observation, Publish, Read, Subscriber, SubscriberStart, Value,
};

/// Takes down what happens while it happens. Cheap to clone; every task of a case may hold one.
///
/// ```
/// # use scaleout_conformance::checker::{Plan, Recorder};
/// # use scaleout_core::{Error, ErrorKind, Topic};
/// let topic = Topic::new("room/42")?;
/// let recorder = Recorder::new(7);
/// let mut publisher = recorder.publisher(0, topic);
/// let (ticket, payload) = publisher.invoke(200);
/// // let result = node.publish(topic, payload).await;
/// # let result = Err(Error::new(ErrorKind::Unavailable, "down")); assert_eq!(payload.len(), 200);
/// ticket.end(&result);
/// let report = recorder.history().check(&Plan::new());
/// assert!(!report.passed(), "nothing was published");
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Recorder {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    run: u64,
    began: Instant,
    state: Mutex<State>,
    acknowledged: watch::Sender<usize>,
}

#[derive(Debug, Default)]
struct State {
    history: History,
    publishers: u32,
}

impl Recorder {
    /// A recorder whose values carry `run`, which no other run on the same broker may use.
    pub fn new(run: u64) -> Self {
        Self {
            shared: Arc::new(Shared {
                run,
                began: Instant::now(),
                state: Mutex::default(),
                acknowledged: watch::Sender::new(0),
            }),
        }
    }

    /// A publisher on a node. What it invokes is held to one order: use one for each task.
    pub fn publisher(&self, node: usize, topic: Topic) -> Publisher {
        let mut state = self.shared.lock();
        let number = state.publishers;
        state.publishers += 1;
        Publisher {
            shared: self.shared.clone(),
            topic,
            node,
            number,
            counter: 0,
        }
    }

    /// A subscription on a node that began at `start`. For [`Start::Latest`] give the cursor that the
    /// subscription has at the beginning, so that its first message is checked too.
    pub fn observer(
        &self,
        node: usize,
        topic: Topic,
        start: &Start,
        began_at: Option<Position>,
    ) -> Observer {
        let start = match (start, began_at) {
            (Start::After(cursor), _) => SubscriberStart::After(cursor.position()),
            (Start::Earliest, _) => SubscriberStart::Earliest,
            // A broker without history cannot tell it before a message comes.
            (Start::Latest, Some(position)) if position.epoch == Epoch::new(0) => {
                SubscriberStart::Unknown
            }
            (Start::Latest, Some(position)) => SubscriberStart::After(position),
            (Start::Latest, None) => SubscriberStart::Unknown,
        };
        let mut state = self.shared.lock();
        state.history.subscribers.push(Subscriber {
            topic,
            node,
            start,
            observations: Vec::new(),
            drained: false,
        });
        Observer {
            shared: self.shared.clone(),
            index: state.history.subscribers.len() - 1,
        }
    }

    /// A read of a log's head begins on a node.
    pub fn read(&self, node: usize, topic: Topic) -> ReadTicket {
        ReadTicket {
            shared: self.shared.clone(),
            topic,
            node,
            invoked: self.shared.now(),
        }
    }

    /// A fault is injected.
    pub fn fault(&self, what: impl Into<String>) {
        let now = self.shared.now();
        self.shared.lock().history.faults.push((now, what.into()));
    }

    /// What the log holds now that everything has ended: its head, and what a fresh subscription from
    /// the oldest message yielded.
    pub fn last(&self, head: &Head, entries: &[Event]) {
        let entries = entries
            .iter()
            .filter_map(|event| match Observation::of(event) {
                Observation::Entry(position, value) => Some((position.sequence, value)),
                _ => None,
            });
        let mut entries: Vec<(Sequence, Option<Value>)> = entries.collect();
        entries.sort_by_key(|(sequence, _)| *sequence);
        let position = head.cursor.position();
        self.shared.lock().history.finals.push(Final {
            topic: head.cursor.topic().clone(),
            epoch: position.epoch,
            floor: head.floor,
            entries,
        });
    }

    /// How many publishes have ended well so far.
    pub fn acknowledged(&self) -> usize {
        *self.shared.acknowledged.borrow()
    }

    /// Waits until so many publishes have ended well.
    pub async fn until_acknowledged(&self, count: usize) {
        let mut acknowledged = self.shared.acknowledged.subscribe();
        // The sender lives as long as `self`, so this cannot fail.
        let _ = acknowledged
            .wait_for(|acknowledged| *acknowledged >= count)
            .await;
    }

    /// What was recorded so far.
    pub fn history(&self) -> History {
        self.shared.lock().history.clone()
    }
}

impl Shared {
    fn now(&self) -> Duration {
        self.began.elapsed()
    }

    /// A task that panicked while it recorded left a whole record behind.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Records the publishes of one task to one topic.
#[derive(Debug)]
pub struct Publisher {
    shared: Arc<Shared>,
    topic: Topic,
    node: usize,
    number: u32,
    counter: u64,
}

impl Publisher {
    /// The topic to publish to.
    pub fn topic(&self) -> &Topic {
        &self.topic
    }

    /// A publish begins: what it must carry, at least `size` bytes, and a ticket to say how it ends.
    ///
    /// Where several are under way at once, they must begin in this order.
    pub fn invoke(&mut self, size: usize) -> (Ticket, Bytes) {
        let value = Value {
            run: self.shared.run,
            publisher: self.number,
            counter: self.counter,
        };
        self.counter += 1;
        let mut state = self.shared.lock();
        state.history.publishes.push(Publish {
            topic: self.topic.clone(),
            node: self.node,
            value,
            // Taken under the lock: the list is in the order of time.
            invoked: self.shared.now(),
            ending: Ending::Unknown,
        });
        let ticket = Ticket {
            shared: self.shared.clone(),
            index: state.history.publishes.len() - 1,
        };
        drop(state);
        (ticket, value.to_payload(size))
    }
}

/// Records how a publish ends. One that is dropped leaves the outcome unknown, as does a publish whose
/// future was dropped.
#[derive(Debug)]
#[must_use]
pub struct Ticket {
    shared: Arc<Shared>,
    index: usize,
}

impl Ticket {
    /// Records the library's answer.
    pub fn end(self, result: &Result<Receipt>) {
        match result {
            Ok(receipt) => self.ok(receipt.cursor().position()),
            Err(error) if error.outcome() == Outcome::NotStored => self.fail(),
            Err(_) => {}
        }
    }

    /// It is stored, at this position.
    pub fn ok(self, position: Position) {
        let now = self.shared.now();
        let shared = self.shared.clone();
        self.set(Ending::Ok(position, now));
        shared
            .acknowledged
            .send_modify(|acknowledged| *acknowledged += 1);
    }

    /// It is certainly not stored.
    pub fn fail(self) {
        self.set(Ending::Fail);
    }

    fn set(self, ending: Ending) {
        self.shared.lock().history.publishes[self.index].ending = ending;
    }
}

/// Records what a subscription yields.
#[derive(Debug)]
pub struct Observer {
    shared: Arc<Shared>,
    index: usize,
}

impl Observer {
    /// It yielded an event.
    pub fn saw(&self, event: &Event) {
        self.observed(Observation::of(event));
    }

    /// It yielded this.
    pub fn observed(&self, observation: Observation) {
        self.shared.lock().history.subscribers[self.index]
            .observations
            .push(observation);
    }

    /// It was followed until everything had arrived: what it lacks is lost.
    pub fn drained(&self) {
        self.shared.lock().history.subscribers[self.index].drained = true;
    }
}

/// Records what a read shows.
#[derive(Debug)]
#[must_use]
pub struct ReadTicket {
    shared: Arc<Shared>,
    topic: Topic,
    node: usize,
    invoked: Duration,
}

impl ReadTicket {
    /// The newest position that the read showed.
    pub fn showed(self, head: Position) {
        let read = Read {
            topic: self.topic,
            node: self.node,
            invoked: self.invoked,
            head,
        };
        self.shared.lock().history.reads.push(read);
    }
}
