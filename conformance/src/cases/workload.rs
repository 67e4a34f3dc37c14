//! [`Workload`]: publishers and subscribers on several nodes at once, and the checker's judgement.

use std::time::Duration;

use scaleout_core::{Entry, Position, Sequence, Start, Topic};
use tokio::{sync::watch, task::JoinSet};

use crate::{
    Ctx, Failure, Node, Rng, Tail,
    checker::{Observer, Plan, Recorder},
    failure::{ensure, ensure_eq},
};

/// How long all publishers together may take on a machine that does nothing else.
const PUBLISHING: Duration = Duration::from_secs(60);

/// Publishers and subscribers of one topic on several nodes, all recorded.
pub(super) struct Workload {
    ctx: Ctx,
    topic: Topic,
    nodes: Vec<Node>,
    recorder: Recorder,
    planned: usize,
    publishing: JoinSet<Result<Option<Position>, Failure>>,
    subscribing: JoinSet<Result<usize, Failure>>,
    /// Where the log ends, once all publishers have ended.
    end: watch::Sender<Option<Position>>,
}

impl Workload {
    /// No load yet, on so many nodes.
    pub(super) async fn new(ctx: &Ctx, nodes: usize) -> Result<Self, Failure> {
        let mut opened = Vec::with_capacity(nodes);
        while opened.len() < nodes {
            opened.push(ctx.node().await?);
        }
        // Not from the seed: no other run on this broker may have the same.
        let run = (scaleout_core::Epoch::random().get() >> 64) as u64;
        Ok(Self {
            ctx: ctx.clone(),
            topic: ctx.topic("load"),
            nodes: opened,
            recorder: Recorder::new(run),
            planned: 0,
            publishing: JoinSet::new(),
            subscribing: JoinSet::new(),
            end: watch::Sender::new(None),
        })
    }

    /// Starts so many publishers on every node. Each publishes so many messages, one by one.
    pub(super) fn publish(&mut self, per_node: usize, messages: usize) {
        let mut rng = self.ctx.rng();
        for (index, node) in self.nodes.iter().enumerate() {
            for _ in 0..per_node {
                let publisher = self.recorder.publisher(index, self.topic.clone());
                let sizes = Rng::new(rng.next_u64());
                self.publishing
                    .spawn(publish(publisher, node.clone(), messages, sizes));
                self.planned += messages;
            }
        }
    }

    /// Subscribes on a node. Everything published so far and from now on is expected there, as
    /// `start` says.
    pub(super) async fn subscribe(&mut self, node: usize, start: Start) -> Result<(), Failure> {
        let tail = self.nodes[node]
            .subscribe(&self.topic, start.clone())
            .await?;
        let began = Some(tail.cursor().position());
        let observer = self
            .recorder
            .observer(node, self.topic.clone(), &start, began);
        self.subscribing
            .spawn(observe(tail, began, observer, self.end.subscribe()));
        Ok(())
    }

    /// Waits for all, reads the log on a fresh node, and has the history judged.
    pub(super) async fn finish(mut self) -> Result<(), Failure> {
        let limits = self.ctx.limits();
        let ended = self.publishing_ended();
        let end = limits
            .within_time(PUBLISHING, "all publishers", ended)
            .await??;
        self.end.send_replace(end);
        let subscribers = self.subscribing.len();
        let mut delivered = 0;
        while let Some(ended) = self.subscribing.join_next().await {
            delivered += ended??;
        }
        if self.ctx.capabilities().history {
            self.read_back().await?;
        }
        let plan = Plan::for_backend(self.ctx.capabilities(), self.ctx.dense())
            .with_publishes(self.planned)
            // Each subscription saw something, whenever it began.
            .with_entries(subscribers.max(1));
        ensure!(
            delivered >= subscribers,
            "{subscribers} subscriptions saw {delivered} messages"
        );
        let report = self.recorder.history().check(&plan);
        report.into_result().map(drop).map_err(Failure::new)
    }

    async fn publishing_ended(&mut self) -> Result<Option<Position>, Failure> {
        let mut end: Option<Position> = None;
        while let Some(ended) = self.publishing.join_next().await {
            let last = ended??;
            end = end.max_by_key_of(last);
        }
        Ok(end)
    }

    /// What a fresh node finds, by reading and by subscribing from the oldest message.
    async fn read_back(&self) -> Result<(), Failure> {
        let fresh = self.ctx.node().await?;
        let head = fresh.head(&self.topic).await?;
        let read = fresh.read_all(&self.topic, 100).await?;
        let mut tail = fresh.subscribe(&self.topic, Start::Earliest).await?;
        let mut events = Vec::with_capacity(read.len());
        let mut last = Sequence::ZERO;
        while last < head.cursor.position().sequence {
            let event = tail.event().await?;
            if let scaleout_core::Event::Message(entry) = &event {
                last = entry.sequence();
                let same = read.get(events.len()).is_some_and(|read| same(read, entry));
                ensure!(same, "a read and a subscription differ at {last}");
            }
            events.push(event);
        }
        ensure_eq!(
            read.len(),
            events.len(),
            "messages read and delivered from the oldest on"
        );
        self.recorder.last(&head, &events);
        Ok(())
    }
}

fn same(one: &Entry, two: &Entry) -> bool {
    one.position() == two.position() && one.message() == two.message()
}

/// The later of two places of one epoch.
trait Later {
    fn max_by_key_of(self, other: Self) -> Self;
}

impl Later for Option<Position> {
    fn max_by_key_of(self, other: Self) -> Self {
        [self, other]
            .into_iter()
            .flatten()
            .max_by_key(|position| position.sequence)
    }
}

async fn publish(
    mut publisher: crate::checker::Publisher,
    node: Node,
    messages: usize,
    mut sizes: Rng,
) -> Result<Option<Position>, Failure> {
    let topic = publisher.topic().clone();
    let mut last = None;
    for _ in 0..messages {
        let (ticket, payload) = publisher.invoke(sizes.below(400));
        let result = node.try_publish(&topic, payload).await?;
        ticket.end(&result);
        last = Some(result?.cursor().position());
    }
    Ok(last)
}

/// Follows a subscription to the end of the log, and says how many messages it gave.
async fn observe(
    mut tail: Tail,
    mut at: Option<Position>,
    observer: Observer,
    mut end: watch::Receiver<Option<Position>>,
) -> Result<usize, Failure> {
    let mut messages = 0;
    loop {
        let known = *end.borrow_and_update();
        if let (Some(end), Some(at)) = (known, at)
            && at.epoch == end.epoch
            && at.sequence >= end.sequence
        {
            observer.drained();
            return Ok(messages);
        }
        let event = if known.is_some() {
            tail.event().await?
        } else {
            tokio::select! {
                event = tail.next() => {
                    event.ok_or_else(|| Failure::new("the subscription is at its end"))?
                }
                _ = end.changed() => continue,
            }
        };
        observer.saw(&event);
        if let scaleout_core::Event::Message(entry) = &event {
            at = Some(entry.position());
            messages += 1;
        }
    }
}
