//! From publish to delivery of one message at a time.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use scaleout::{Backplane, Event, Start, Subscription, Topic};

use super::{
    Load,
    bare::{Bare, Pair as _},
};

const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// Sorted samples of both sides.
pub(super) struct Latency {
    pub(super) bare: Vec<Duration>,
    pub(super) ours: Vec<Duration>,
}

/// Bare and ours take turns message by message, so that whatever else the machine does meets both.
pub(super) async fn measure(
    url: &str,
    bare: &impl Bare,
    topic: &str,
    load: &Load,
) -> anyhow::Result<Latency> {
    let mut pair = bare.pair(&format!("{topic}/bare")).await?;
    let mut ours = Nodes::connect(url, topic).await?;
    let mut latency = Latency {
        bare: Vec::new(),
        ours: Vec::new(),
    };
    for _ in 0..100 {
        pair.send(&load.payload).await?;
        ours.send(load).await?;
    }
    let started = Instant::now();
    while started.elapsed() < load.lasts * 2 {
        latency.bare.push(pair.send(&load.payload).await?);
        latency.ours.push(ours.send(load).await?);
    }
    ours.close().await?;
    latency.bare.sort_unstable();
    latency.ours.sort_unstable();
    Ok(latency)
}

/// The sample below which `percent` of all lie.
pub(super) fn percentile(sorted: &[Duration], percent: usize) -> f64 {
    let index = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
    sorted
        .get(index)
        .map_or(f64::NAN, |sample| sample.as_secs_f64() * 1e6)
}

/// A publisher node and a subscriber node with nothing else to do.
struct Nodes {
    publisher: Backplane,
    subscriber: Backplane,
    topic: Topic,
    subscription: Subscription,
}

impl Nodes {
    async fn connect(url: &str, topic: &str) -> anyhow::Result<Self> {
        let topic = Topic::new(topic)?;
        let publisher = scaleout::connect(url).await?;
        let subscriber = scaleout::connect(url).await?;
        let subscription = subscriber.subscribe(&topic, Start::Latest).await?;
        Ok(Self {
            publisher,
            subscriber,
            topic,
            subscription,
        })
    }

    async fn send(&mut self, load: &Load) -> anyhow::Result<Duration> {
        let started = Instant::now();
        let publish = async {
            let receipt = self
                .publisher
                .publish(&self.topic, load.payload.clone())
                .await;
            receipt.context("the publish failed")
        };
        let deliver = async {
            match self.subscription.next().await {
                Some(Event::Message(_)) => Ok(started.elapsed()),
                other => bail!("the measure was disturbed: {other:?}"),
            }
        };
        let (_receipt, took) = tokio::try_join!(publish, deliver)?;
        Ok(took)
    }

    async fn close(self) -> scaleout::Result<()> {
        self.publisher.close(CLOSE_TIMEOUT).await?;
        self.subscriber.close(CLOSE_TIMEOUT).await
    }
}
