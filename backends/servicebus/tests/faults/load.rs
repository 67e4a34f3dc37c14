//! Publishers and subscribers that go on while things break, and the suite's checker to judge what they saw.

use std::time::Duration;

use scaleout_conformance::checker::{Observer, Plan, Publisher, Recorder};
use scaleout_core::{Backplane, Epoch, Event, Position, Start, Topic};
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep_until},
};

use crate::{next, soon};

/// Between two messages of a publisher.
const PACE: Duration = Duration::from_millis(5);
/// Of a message, in bytes.
const SIZE: usize = 100;

/// Traffic of some topics.
pub(crate) struct Load {
    topics: Vec<Topic>,
    recorder: Recorder,
    publishing: JoinSet<()>,
    following: JoinSet<()>,
    stop: watch::Sender<bool>,
    /// Where each topic ends, once all publishers have ended.
    ends: watch::Sender<Option<Vec<Position>>>,
}

impl Load {
    pub(crate) fn new(topics: &[&str]) -> Self {
        // No other run may have the same.
        let run = (Epoch::random().get() >> 64) as u64;
        Self {
            topics: topics.iter().map(|t| Topic::new(*t).unwrap()).collect(),
            recorder: Recorder::new(run),
            publishing: JoinSet::new(),
            following: JoinSet::new(),
            stop: watch::Sender::new(false),
            ends: watch::Sender::new(None),
        }
    }

    /// Publishes to each topic on this node, one message after the other, until the end.
    pub(crate) fn publish(&mut self, number: usize, node: &Backplane) {
        for topic in &self.topics {
            let publisher = self.recorder.publisher(number, topic.clone());
            let stop = self.stop.subscribe();
            self.publishing
                .spawn(publish(publisher, node.clone(), stop));
        }
    }

    /// Follows each topic on this node.
    pub(crate) async fn follow(&mut self, number: usize, node: &Backplane) {
        for (index, topic) in self.topics.iter().enumerate() {
            let tail = soon(node.subscribe(topic, Start::Latest)).await.unwrap();
            let began = Some(tail.cursor().position());
            let topic = topic.clone();
            let observer = self.recorder.observer(number, topic, &Start::Latest, began);
            let ends = self.ends.subscribe();
            self.following.spawn(follow(tail, observer, index, ends));
        }
    }

    /// Waits until so many more messages were acknowledged.
    pub(crate) async fn progress(&self, messages: usize) {
        let goal = self.recorder.acknowledged() + messages;
        soon(self.recorder.until_acknowledged(goal)).await;
    }

    pub(crate) fn fault(&self, what: &str) {
        self.recorder.fault(what);
    }

    /// Ends the publishers, follows every topic to its end, and judges.
    pub(crate) async fn finish(mut self, node: &Backplane, plan: Plan) {
        self.stop.send_replace(true);
        soon(async {
            while let Some(ended) = self.publishing.join_next().await {
                ended.unwrap();
            }
        })
        .await;
        let mut ends = Vec::new();
        for topic in &self.topics {
            let mut last = self.recorder.publisher(usize::MAX, topic.clone());
            let (ticket, payload) = last.invoke(0);
            let fence = soon(node.publish(topic, payload)).await;
            ticket.end(&fence);
            ends.push(fence.unwrap().cursor().position());
        }
        self.ends.send_replace(Some(ends));
        soon(async {
            while let Some(ended) = self.following.join_next().await {
                ended.unwrap();
            }
        })
        .await;
        let report = self.recorder.history().check(&plan);
        report.into_result().unwrap_or_else(|why| panic!("{why}"));
    }
}

async fn publish(mut publisher: Publisher, node: Backplane, stop: watch::Receiver<bool>) {
    let topic = publisher.topic().clone();
    let mut due = Instant::now();
    while !*stop.borrow() {
        let (ticket, payload) = publisher.invoke(SIZE);
        let published = soon(node.publish(&topic, payload)).await;
        ticket.end(&published);
        if let Err(error) = published {
            assert!(error.is_transient(), "a publish failed for good: {error:?}");
        }
        due = (due + PACE).max(Instant::now());
        sleep_until(due).await;
    }
}

async fn follow(
    mut tail: scaleout_core::Subscription,
    observer: Observer,
    index: usize,
    mut ends: watch::Receiver<Option<Vec<Position>>>,
) {
    let mut at = None;
    loop {
        let end = ends.borrow_and_update().as_ref().map(|ends| ends[index]);
        // The end is the last message of all, which nothing comes after.
        if end.is_some() && at == end {
            return observer.drained();
        }
        let event = match end {
            Some(_) => next(&mut tail).await,
            None => tokio::select! {
                event = tail.next() => event.expect("the subscription ended"),
                _ = ends.changed() => continue,
            },
        };
        observer.saw(&event);
        match event {
            Event::Message(entry) => at = Some(entry.position()),
            Event::Closed(error) => panic!("the subscription closed: {error:?}"),
            _ => {}
        }
    }
}
