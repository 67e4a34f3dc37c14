//! What an idle topic costs a node.

use anyhow::Context;
use futures_util::{StreamExt, TryStreamExt, stream};
use scaleout::{Start, Topic};

const TOPICS: usize = 10_000;
const CONCURRENT: usize = 64;
const CLOSE_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(10);

/// Growth of the process' resident memory per topic when one node subscribes to 10,000 topics that
/// nobody publishes to, everything included: the broker's client, and with `memory:` the broker.
///
/// `None` where the system does not tell (it is read from Linux' `/proc`).
pub(super) async fn bytes_per_idle_topic(url: &str, name: &str) -> anyhow::Result<Option<u64>> {
    let node = scaleout::connect(url).await?;
    // What the first subscriptions need once (connections, scripts, tables) is not a topic's.
    let mut kept = subscribe(&node, name, 0..TOPICS / 20).await?;
    let Some(before) = resident_bytes() else {
        return Ok(None);
    };
    kept.extend(subscribe(&node, name, TOPICS / 20..TOPICS + TOPICS / 20).await?);
    let after = resident_bytes().context("/proc was readable a moment ago")?;
    drop(kept);
    node.close(CLOSE_TIMEOUT).await?;
    Ok(Some(after.saturating_sub(before) / TOPICS as u64))
}

async fn subscribe(
    node: &scaleout::Backplane,
    name: &str,
    numbers: std::ops::Range<usize>,
) -> anyhow::Result<Vec<scaleout::Subscription>> {
    let subscriptions = stream::iter(numbers)
        .map(|number| async move {
            let topic = Topic::new(format!("{name}/idle/{number}"))?;
            node.subscribe(topic, Start::Latest).await
        })
        .buffer_unordered(CONCURRENT)
        .try_collect()
        .await?;
    Ok(subscriptions)
}

/// The process' resident memory. `smaps_rollup` counts pages; `statm` is off by what every thread
/// has not yet reported.
fn resident_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/smaps_rollup").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("Rss:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1_024)
}
