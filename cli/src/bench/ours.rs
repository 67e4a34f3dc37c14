//! The library's side: a publisher node and subscriber nodes.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use anyhow::{Context, bail};
use scaleout::{Backplane, Event, Start, Subscription, Topic};
use tokio::task::JoinSet;

use super::{
    Load,
    round::{Round, Watch},
};

/// The last message of a topic. It follows all the others in the one order, so who has it has seen
/// everything.
const FENCE: &str = "end of the round";
const CLOSE_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(5);

/// Many tasks publish to one topic.
pub(super) async fn throughput(url: &str, topic: &str, load: &Load) -> anyhow::Result<Round> {
    round(url, &[Topic::new(topic)?], load.publishers, load).await
}

/// One task for each of many topics, so that a frame never has more than one message to hold.
pub(super) async fn single(
    url: &str,
    prefix: &str,
    topics: usize,
    load: &Load,
) -> anyhow::Result<Round> {
    let topics = (0..topics)
        .map(|number| Topic::new(format!("{prefix}/{number}")))
        .collect::<scaleout::Result<Vec<_>>>()?;
    round(url, &topics, 1, load).await
}

async fn round(
    url: &str,
    topics: &[Topic],
    publishers: usize,
    load: &Load,
) -> anyhow::Result<Round> {
    let publisher = scaleout::connect(url).await?;
    let mut nodes = vec![publisher.clone()];
    let mut subscribers = JoinSet::new();
    for _ in 0..load.subscribers {
        let node = scaleout::connect(url).await?;
        for topic in topics {
            let subscription = node.subscribe(topic, Start::Latest).await?;
            subscribers.spawn(count_to_fence(subscription));
        }
        nodes.push(node);
    }

    let watch = Watch::start();
    let stop = Arc::new(AtomicBool::new(false));
    let mut tasks = JoinSet::new();
    for topic in topics {
        for _ in 0..publishers {
            tasks.spawn(publish(
                publisher.clone(),
                topic.clone(),
                load.clone(),
                stop.clone(),
            ));
        }
    }
    tokio::time::sleep(load.lasts).await;
    stop.store(true, Ordering::Relaxed);
    let mut published = 0;
    while let Some(result) = tasks.join_next().await {
        published += result??;
    }
    for topic in topics {
        publisher.publish(topic, FENCE).await?;
    }
    let (mut delivered, mut lost) = (0, 0);
    while let Some(result) = subscribers.join_next().await {
        let (got, gone) = result??;
        delivered += got;
        lost += gone;
    }
    let each = load.subscribers as u64;
    let round = watch.stop(delivered / each, lost / each);
    if delivered + lost != published * each {
        bail!(
            "{published} messages were published to {each} subscribers, but {delivered} were \
             delivered and {lost} reported as lost"
        );
    }
    for node in nodes {
        node.close(CLOSE_TIMEOUT).await?;
    }
    Ok(round)
}

async fn publish(
    node: Backplane,
    topic: Topic,
    load: Load,
    stop: Arc<AtomicBool>,
) -> scaleout::Result<u64> {
    let mut published = 0;
    while !stop.load(Ordering::Relaxed) {
        node.publish(&topic, load.payload.clone()).await?;
        published += 1;
    }
    Ok(published)
}

/// How many messages came before the fence, and how many are missing by the stream's own account.
async fn count_to_fence(mut subscription: Subscription) -> anyhow::Result<(u64, u64)> {
    let (mut delivered, mut lost) = (0, 0);
    loop {
        let event = subscription
            .next()
            .await
            .context("the subscription ended")?;
        match event {
            Event::Message(entry) if entry.payload() == FENCE.as_bytes() => break,
            Event::Message(_) => delivered += 1,
            Event::Gap(gap) => lost += gap.last.get() - gap.first.get() + 1,
            other => bail!("the round was disturbed: {other:?}"),
        }
    }
    Ok((delivered, lost))
}
