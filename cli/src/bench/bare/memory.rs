//! The bare side of `memory:`, a broadcast channel of Tokio: no order across topics, no history, no
//! cursors, and a receiver that lags loses messages.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use tokio::{sync::broadcast, task::JoinSet};

use super::{AHEAD, Bare, Pair};
use crate::bench::{
    Load,
    round::{Round, Watch},
};

/// How many messages a sender sends before it lets others run.
const BURST: u64 = 256;

pub(in crate::bench) struct Channel;

impl Bare for Channel {
    const BACKEND: &'static str = "memory";
    const THROUGHPUT: &'static str = "a Tokio broadcast channel, one sender";
    const SINGLE: &'static str = "Tokio broadcast channels, one sender each";
    type Pair = Ends;

    async fn throughput(&self, _channel: &str, load: &Load) -> anyhow::Result<Round> {
        round(1, load).await
    }

    async fn single(&self, _prefix: &str, channels: usize, load: &Load) -> anyhow::Result<Round> {
        round(channels, load).await
    }

    async fn pair(&self, _channel: &str) -> anyhow::Result<Ends> {
        let (sender, receiver) = broadcast::channel(16);
        Ok(Ends { sender, receiver })
    }
}

/// One sender for each of `channels` channels, and as many receivers as the load has subscribers.
async fn round(channels: usize, load: &Load) -> anyhow::Result<Round> {
    let watch = Watch::start();
    let mut receivers = JoinSet::new();
    let mut senders = JoinSet::new();
    for _ in 0..channels {
        // Room for a burst beyond what may be ahead, so that the first receiver never lags.
        let ahead = AHEAD / channels as u64;
        let (sender, _) = broadcast::channel(usize::try_from(2 * ahead)?);
        let received = Arc::new(AtomicU64::new(0));
        for number in 0..load.subscribers {
            let shown = (number == 0).then(|| received.clone());
            receivers.spawn(receive(sender.subscribe(), shown));
        }
        senders.spawn(send(sender, load.clone(), received, ahead));
    }
    let mut sent = 0;
    while let Some(result) = senders.join_next().await {
        sent += result?;
    }
    let mut delivered = 0;
    while let Some(result) = receivers.join_next().await {
        delivered += result?;
    }
    delivered /= load.subscribers as u64;
    Ok(watch.stop(delivered, sent - delivered))
}

/// Sends until the time is over; dropping the sender then ends the receivers.
async fn send(
    sender: broadcast::Sender<Bytes>,
    load: Load,
    received: Arc<AtomicU64>,
    ahead: u64,
) -> u64 {
    let until = Instant::now() + load.lasts;
    let burst = BURST.min(ahead);
    let mut sent = 0;
    while Instant::now() < until {
        if sent - received.load(Ordering::Relaxed) < ahead {
            for _ in 0..burst {
                // Fails only when there is no receiver, and those outlive their sender.
                let _ = sender.send(load.payload.clone());
                sent += 1;
            }
        }
        tokio::task::yield_now().await;
    }
    sent
}

async fn receive(mut receiver: broadcast::Receiver<Bytes>, count: Option<Arc<AtomicU64>>) -> u64 {
    let mut received = 0;
    loop {
        match receiver.recv().await {
            Ok(_) => received += 1,
            Err(broadcast::error::RecvError::Lagged(_)) => {}
            Err(broadcast::error::RecvError::Closed) => return received,
        }
        if let Some(count) = &count {
            count.store(received, Ordering::Relaxed);
        }
    }
}

pub(in crate::bench) struct Ends {
    sender: broadcast::Sender<Bytes>,
    receiver: broadcast::Receiver<Bytes>,
}

impl Pair for Ends {
    async fn send(&mut self, payload: &Bytes) -> anyhow::Result<Duration> {
        let started = Instant::now();
        self.sender.send(payload.clone())?;
        self.receiver.recv().await?;
        Ok(started.elapsed())
    }
}
