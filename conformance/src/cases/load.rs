//! [`Load`]: publishers and subscribers that go on while things break, all recorded, and the
//! checker's judgement at the end.
//!
//! Unlike `workload`, nothing here fails because a publish does. What matters is that what was said of
//! each message is true.

use std::time::Duration;

use scaleout_core::{Event, Position, Start, Topic};
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep_until},
};

#[cfg(all(unix, feature = "processes"))]
use crate::child::{Child, Voice};
use crate::{
    Ctx, Failure, Node, Tail,
    checker::{Observer, Plan, Publisher, Recorder, Totals},
    failure::ensure,
};

/// How long a publish or a subscription may take to come to its end after the last fault. Longer than
/// any publish timeout, and than liveness and back-off together, that a case sets.
const RECOVERY: Duration = Duration::from_secs(30);
/// How many bytes a message of the load has.
const SIZE: usize = 100;

/// Publishers and subscribers of one topic, on any nodes.
pub(super) struct Load {
    ctx: Ctx,
    topic: Topic,
    recorder: Recorder,
    publishing: JoinSet<Result<(), Failure>>,
    subscribing: JoinSet<Result<(), Failure>>,
    stop: watch::Sender<bool>,
    /// Where the log ends, once all publishers have ended.
    end: watch::Sender<Option<Position>>,
}

impl Load {
    pub(super) fn new(ctx: &Ctx) -> Self {
        Self::on(ctx, ctx.topic("load"))
    }

    pub(super) fn on(ctx: &Ctx, topic: Topic) -> Self {
        // Not from the seed: no other run on this broker may have the same.
        let run = (scaleout_core::Epoch::random().get() >> 64) as u64;
        Self {
            ctx: ctx.clone(),
            topic,
            recorder: Recorder::new(run),
            publishing: JoinSet::new(),
            subscribing: JoinSet::new(),
            stop: watch::Sender::new(false),
            end: watch::Sender::new(None),
        }
    }

    pub(super) fn topic(&self) -> &Topic {
        &self.topic
    }

    pub(super) fn recorder(&self) -> &Recorder {
        &self.recorder
    }

    /// Starts a publisher on a node, `number` in the record: one message after the other, one begun
    /// every `pace` at most.
    pub(super) fn publish(&mut self, number: usize, node: &Node, pace: Duration) {
        let publisher = self.recorder.publisher(number, self.topic.clone());
        self.publishing.spawn(publish(
            self.ctx.clone(),
            publisher,
            node.clone(),
            pace,
            self.stop.subscribe(),
        ));
    }

    /// Subscribes on a node, `number` in the record.
    pub(super) async fn subscribe(
        &mut self,
        number: usize,
        node: &Node,
        start: Start,
    ) -> Result<(), Failure> {
        let tail = node.subscribe(&self.topic, start.clone()).await?;
        let began = tail.cursor().position();
        let observer = self
            .recorder
            .observer(number, self.topic.clone(), &start, Some(began));
        let observing = observe(
            self.ctx.clone(),
            tail,
            began,
            observer,
            self.end.subscribe(),
        );
        self.subscribing.spawn(observing);
        Ok(())
    }

    /// Follows the subscription of another process, `number` in the record.
    #[cfg(all(unix, feature = "processes"))]
    pub(super) fn follow(&mut self, number: usize, mut child: Child) {
        let began = child.began();
        let topic = self.topic.clone();
        let observer = self
            .recorder
            .observer(number, topic, &Start::Latest, Some(began));
        let (ctx, mut end) = (self.ctx.clone(), self.end.subscribe());
        self.subscribing.spawn(async move {
            let mut at = began;
            loop {
                let known = *end.borrow_and_update();
                if known.is_some_and(|end| at.epoch == end.epoch && at.sequence >= end.sequence) {
                    observer.drained();
                    return Ok(());
                }
                let observation = if known.is_some() {
                    let what = "what the other process gets";
                    ctx.limits()
                        .within_time(RECOVERY, what, child.next())
                        .await??
                } else {
                    tokio::select! {
                        observation = child.next() => observation?,
                        _ = end.changed() => continue,
                    }
                };
                at = observation.end().unwrap_or(at);
                observer.observed(observation);
            }
        });
    }

    /// Starts a publisher that is another process, `number` in the record, as [`publish`](Self::publish)
    /// does on a node.
    #[cfg(all(unix, feature = "processes"))]
    pub(super) fn speak(&mut self, number: usize, mut voice: Voice, pace: Duration) {
        let mut publisher = self.recorder.publisher(number, self.topic.clone());
        let (limits, stop) = (self.ctx.limits(), self.stop.subscribe());
        self.publishing.spawn(async move {
            let mut next = Instant::now();
            while !*stop.borrow() {
                let (ticket, payload) = publisher.invoke(SIZE);
                let payload = String::from_utf8_lossy(&payload);
                let publish = voice.publish(&payload);
                let stored = limits.within_time(RECOVERY, "the other process to publish", publish);
                ticket.ok(stored.await??);
                next = (next + pace).max(Instant::now());
                sleep_until(next).await;
            }
            Ok(())
        });
    }

    /// Waits until this many more messages have been acknowledged.
    pub(super) async fn progress(&self, messages: usize) -> Result<(), Failure> {
        let goal = self.recorder.acknowledged() + messages;
        self.ctx
            .limits()
            .within_time(
                RECOVERY,
                "publishes to succeed",
                self.recorder.until_acknowledged(goal),
            )
            .await
    }

    /// Stops the publishers, follows every subscription to the end of the log, reads the log on
    /// `fresh`, and has the history judged by `plan`.
    pub(super) async fn finish(mut self, fresh: &Node, plan: Plan) -> Result<Totals, Failure> {
        self.stop.send_replace(true);
        let limits = self.ctx.limits();
        let mut publishing = self.publishing;
        let publishers = async {
            while let Some(ended) = publishing.join_next().await {
                ended??;
            }
            Ok::<_, Failure>(())
        };
        limits
            .within_time(RECOVERY, "all publishers to end", publishers)
            .await??;

        let mut last = self.recorder.publisher(usize::MAX, self.topic.clone());
        let (ticket, payload) = last.invoke(0);
        let fence = fresh.try_publish(&self.topic, payload).await?;
        ticket.end(&fence);
        let end = fence?.cursor().position();
        self.end.send_replace(Some(end));
        while let Some(ended) = self.subscribing.join_next().await {
            ended??;
        }

        if self.ctx.capabilities().history {
            let head = fresh.head(&self.topic).await?;
            let mut tail = fresh.subscribe(&self.topic, Start::Earliest).await?;
            let mut events = Vec::new();
            loop {
                let event = tail.event().await?;
                let at_end = matches!(&event, Event::Message(entry) if entry.position() == end);
                events.push(event);
                if at_end {
                    break;
                }
            }
            self.recorder.last(&head, &events);
        }
        let report = self.recorder.history().check(&plan);
        report.into_result().map_err(Failure::new)
    }

    /// What a backend promises of a load that nothing but its connection was done to.
    pub(super) fn plan(&self) -> Plan {
        Plan::for_backend(self.ctx.capabilities(), self.ctx.dense())
    }
}

async fn publish(
    ctx: Ctx,
    mut publisher: Publisher,
    node: Node,
    pace: Duration,
    stop: watch::Receiver<bool>,
) -> Result<(), Failure> {
    let topic = publisher.topic().clone();
    let mut next = Instant::now();
    while !*stop.borrow() {
        let (ticket, payload) = publisher.invoke(SIZE);
        let publish = node.plane().publish(&topic, payload);
        let result = ctx
            .limits()
            .within_time(RECOVERY, "a publish to end", publish)
            .await?;
        ticket.end(&result);
        if let Err(error) = result {
            ensure!(error.is_transient(), "a publish failed for good: {error:?}");
        }
        next = (next + pace).max(Instant::now());
        sleep_until(next).await;
    }
    Ok(())
}

/// Follows a subscription to the end of the log.
async fn observe(
    ctx: Ctx,
    mut tail: Tail,
    mut at: Position,
    observer: Observer,
    mut end: watch::Receiver<Option<Position>>,
) -> Result<(), Failure> {
    loop {
        let known = *end.borrow_and_update();
        if known.is_some_and(|end| at.epoch == end.epoch && at.sequence >= end.sequence) {
            observer.drained();
            return Ok(());
        }
        let event = if let Some(end) = known {
            let what = format!("what follows {at:?}, up to {end:?}");
            ctx.limits()
                .within_time(RECOVERY, &what, tail.next())
                .await?
        } else {
            tokio::select! {
                event = tail.next() => event,
                _ = end.changed() => continue,
            }
        };
        let event = event.ok_or_else(|| Failure::new("the subscription is at its end"))?;
        observer.saw(&event);
        match &event {
            Event::Message(entry) => at = entry.position(),
            Event::Gap(gap) => at = Position::new(gap.epoch, gap.last),
            Event::Reset(reset) => at = Position::new(reset.epoch, scaleout_core::Sequence::ZERO),
            Event::Closed(error) => {
                return Err(Failure::new(format!("the subscription closed: {error:?}")));
            }
            _ => {}
        }
    }
}
