//! Publishers that publish as fast as they are answered, and subscriptions, all recorded.

use std::time::Duration;

use libtest_mimic::Failed;
use scaleout_conformance::checker::{History, Observer, Publisher, Recorder};
use scaleout_core::{Backplane, Epoch, Event, Position, Sequence, Start, Topic};
use tokio::{sync::watch, task::JoinSet, time::timeout};

/// A guard against hanging: much longer than liveness, back-off and publish timeout together.
const GUARD: Duration = Duration::from_secs(60);

pub(crate) struct Load {
    pub(crate) topic: Topic,
    pub(crate) recorder: Recorder,
    publishing: JoinSet<Result<(), Failed>>,
    subscribing: JoinSet<Result<(), Failed>>,
    stop: watch::Sender<bool>,
    end: watch::Sender<Option<Position>>,
}

impl Load {
    pub(crate) fn new() -> Self {
        Self {
            topic: Topic::new("load").expect("a valid name"),
            recorder: Recorder::new((Epoch::random().get() >> 64) as u64),
            publishing: JoinSet::new(),
            subscribing: JoinSet::new(),
            stop: watch::Sender::new(false),
            end: watch::Sender::new(None),
        }
    }

    /// Starts so many publishers on a node, each with one message under way at a time: together they
    /// fill frames.
    pub(crate) fn publish(&mut self, number: usize, node: &Backplane, publishers: usize) {
        for _ in 0..publishers {
            let publisher = self.recorder.publisher(number, self.topic.clone());
            self.publishing
                .spawn(publish(publisher, node.clone(), self.stop.subscribe()));
        }
    }

    pub(crate) async fn subscribe(
        &mut self,
        number: usize,
        node: &Backplane,
    ) -> Result<(), Failed> {
        let mut tail = node.subscribe(&self.topic, Start::Latest).await?;
        let began = tail.cursor().position();
        let observer =
            self.recorder
                .observer(number, self.topic.clone(), &Start::Latest, Some(began));
        let mut end = self.end.subscribe();
        self.subscribing.spawn(async move {
            let mut at = began;
            loop {
                let known = *end.borrow_and_update();
                if reached(at, known) {
                    observer.drained();
                    return Ok(());
                }
                let event = tokio::select! {
                    event = tail.next() => event,
                    _ = end.changed() => continue,
                };
                at = note(&observer, event.as_ref(), at)?;
            }
        });
        Ok(())
    }

    /// Waits until this many more messages have been acknowledged.
    pub(crate) async fn progress(&self, messages: usize) -> Result<(), Failed> {
        let goal = self.recorder.acknowledged() + messages;
        Ok(timeout(GUARD, self.recorder.until_acknowledged(goal)).await?)
    }

    /// Stops the publishers and waits for them. Returns the position of the last message.
    pub(crate) async fn end(&mut self, fresh: &Backplane) -> Result<Position, Failed> {
        self.stop.send_replace(true);
        while let Some(ended) = timeout(GUARD, self.publishing.join_next()).await? {
            ended??;
        }
        let mut last = self.recorder.publisher(usize::MAX, self.topic.clone());
        let (ticket, payload) = last.invoke(0);
        let fence = fresh.publish(&self.topic, payload).await;
        ticket.end(&fence);
        let end = fence?.cursor().position();
        self.end.send_replace(Some(end));
        Ok(end)
    }

    /// Follows all subscriptions to the end, reads what the log holds, and returns the record.
    pub(crate) async fn finish(
        mut self,
        fresh: &Backplane,
        end: Position,
    ) -> Result<History, Failed> {
        while let Some(ended) = timeout(GUARD, self.subscribing.join_next()).await? {
            ended??;
        }
        let head = fresh.head(&self.topic).await?;
        let mut tail = fresh.subscribe(&self.topic, Start::Earliest).await?;
        let mut events = Vec::new();
        let mut at = Position::new(end.epoch, Sequence::ZERO);
        while at != end {
            let event = timeout(GUARD, tail.next())
                .await?
                .ok_or("the stream ended")?;
            if let Event::Message(entry) = &event {
                at = entry.position();
            }
            events.push(event);
        }
        self.recorder.last(&head, &events);
        Ok(self.recorder.history())
    }
}

/// Whether a subscription has come to the end of the log.
pub(crate) fn reached(at: Position, end: Option<Position>) -> bool {
    end.is_some_and(|end| at.epoch == end.epoch && at.sequence >= end.sequence)
}

fn note(observer: &Observer, event: Option<&Event>, at: Position) -> Result<Position, Failed> {
    let event = event.ok_or("the subscription ended")?;
    observer.saw(event);
    Ok(match event {
        Event::Message(entry) => entry.position(),
        Event::Gap(gap) => Position::new(gap.epoch, gap.last),
        Event::Reset(reset) => Position::new(reset.epoch, Sequence::ZERO),
        Event::Closed(error) => return Err(format!("the subscription closed: {error:?}").into()),
        _ => at,
    })
}

async fn publish(
    mut publisher: Publisher,
    node: Backplane,
    stop: watch::Receiver<bool>,
) -> Result<(), Failed> {
    let topic = publisher.topic().clone();
    while !*stop.borrow() {
        let (ticket, payload) = publisher.invoke(200);
        let result = timeout(GUARD, node.publish(&topic, payload)).await?;
        ticket.end(&result);
        if let Err(error) = result
            && !error.is_transient()
        {
            return Err(format!("a publish failed for good: {error:?}").into());
        }
    }
    Ok(())
}
