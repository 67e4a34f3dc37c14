//! D. The live tail: what is published after a subscription resolved arrives, once.

use scaleout_core::{Arrival, Frame, Partitioning, Position, Start, StoredFrame};
use tokio::task::JoinSet;

use super::{
    common::{check_follow, check_same, numbered, publish_each},
    workload::Workload,
};
use crate::{
    Bare, Case, Claim, Ctx, Failure, Need, Node, ResultExt,
    failure::{ensure, ensure_eq},
};

pub(super) const CASES: &[Case] = &[
    Case::new(
        "D01",
        "what is published as soon as a subscription resolved is delivered, 500 times",
        &[5],
        |ctx| Box::pin(no_race(ctx)),
    ),
    Case::new(
        "D02",
        "a subscription from now on gets nothing earlier",
        &[6],
        |ctx| Box::pin(nothing_earlier(ctx)),
    ),
    Case::new(
        "D03",
        "a subscription made while others publish begins just after its reported place",
        &[2, 5],
        |ctx| Box::pin(reported_start(ctx)),
    ),
    Case::new(
        "D04",
        "five subscriptions on one node get everything once",
        &[4, 5],
        |ctx| Box::pin(many_on_one_node(ctx)),
    ),
    Case::new(
        "D05",
        "from history to live there is no hole and no repeat, 500 times",
        &[4, 5],
        |ctx| Box::pin(no_seam(ctx)),
    )
    .needs(&[Need::Claim(Claim::History)]),
    Case::new(
        "D06",
        "a log may be subscribed to before anybody published to it",
        &[5],
        |ctx| Box::pin(before_it_exists(ctx)),
    ),
    Case::new(
        "D08",
        "a thousand logs on one node do not mix",
        &[13],
        |ctx| Box::pin(thousand_logs(ctx)),
    ),
    Case::new(
        "D09",
        "two subscriptions to one log do not share a place",
        &[4, 6],
        |ctx| Box::pin(independent(ctx)),
    ),
    Case::new(
        "D10",
        "a publisher's own node gets its message, once",
        &[4, 5],
        |ctx| Box::pin(own_messages(ctx)),
    ),
    Case::new(
        "D11",
        "a message never waits for the next one",
        &[5],
        |ctx| Box::pin(no_wait_for_the_next(ctx)),
    ),
];

async fn no_race(ctx: Ctx) -> Result<(), Failure> {
    let bare = ctx.bare().await?;
    for _ in 0..100 {
        let topic = ctx.fresh_topic();
        let mut listener = bare.listen(&bare.log(&topic)).await?;
        let mut publisher = bare.publisher(&topic);
        let frame = publisher.next_frame(["x"]);
        bare.append(publisher.log(), &frame).await?;
        if let Some((_, found)) = listener.frame().await.doing("bare backend")? {
            ensure!(
                found.bytes == *frame.bytes(),
                "the first arrival is another frame"
            );
        }
    }
    let (node, other) = (ctx.node().await?, ctx.node().await?);
    for round in 0..500 {
        let topic = ctx.fresh_topic();
        let mut tail = other.subscribe(&topic, Start::Latest).await?;
        let receipt = node.publish(&topic, "x").await?;
        let entry = tail.entry().await.doing(format_args!("round {round}"))?;
        ensure_eq!(
            entry.position(),
            receipt.cursor().position(),
            "first message"
        );
    }
    Ok(())
}

async fn nothing_earlier(ctx: Ctx) -> Result<(), Failure> {
    let (node, other) = (ctx.node().await?, ctx.node().await?);
    for _ in 0..50 {
        let topic = ctx.fresh_topic();
        publish_each(&node, &topic, &numbered(5)).await?;
        // Once on a node that hears of the log for the first time, and once on the publisher's.
        let mut tails = Vec::new();
        for place in [&other, &node] {
            tails.push(place.subscribe(&topic, Start::Latest).await?);
        }
        let fence = node.fence(&topic).await?;
        for mut tail in tails {
            let early = tail.until(fence).await?;
            ensure!(
                early.is_empty(),
                "published before, delivered nevertheless: {early:?}"
            );
        }
    }
    Ok(())
}

async fn reported_start(ctx: Ctx) -> Result<(), Failure> {
    let mut load = Workload::new(&ctx, 2).await?;
    load.publish(3, 300);
    for round in 0..20 {
        load.subscribe(round % 2, Start::Latest).await?;
    }
    load.finish().await
}

async fn many_on_one_node(ctx: Ctx) -> Result<(), Failure> {
    let topic = ctx.topic("t");
    let (node, other) = (ctx.node().await?, ctx.node().await?);
    let mut tails = Vec::new();
    for _ in 0..5 {
        tails.push(other.subscribe(&topic, Start::Latest).await?);
    }
    let payloads = numbered(100);
    let receipts = publish_each(&node, &topic, &payloads).await?;
    let fence = node.fence(&topic).await?;
    for (index, tail) in tails.iter_mut().enumerate() {
        let entries = tail.until(fence).await?;
        check_same(&entries, &receipts, &payloads).doing(format_args!("subscription {index}"))?;
    }
    Ok(())
}

async fn no_seam(ctx: Ctx) -> Result<(), Failure> {
    let (bare, appender) = (ctx.bare().await?, ctx.bare().await?);
    for _ in 0..100 {
        bare_seam(&ctx, &bare, &appender)
            .await
            .doing("bare backend")?;
    }
    let (node, other) = (ctx.node().await?, ctx.node().await?);
    let mut running = JoinSet::new();
    for _ in 0..10 {
        let (ctx, node, other) = (ctx.clone(), node.clone(), other.clone());
        running.spawn(async move {
            for _ in 0..50 {
                seam(&ctx, &node, &other).await?;
            }
            Ok::<_, Failure>(())
        });
    }
    while let Some(ended) = running.join_next().await {
        ended??;
    }
    Ok(())
}

/// Listens, then reads, while frames are appended: what was read and what arrives must overlap or
/// touch, never leave a hole.
async fn bare_seam(ctx: &Ctx, bare: &Bare, appender: &Bare) -> Result<(), Failure> {
    let topic = ctx.fresh_topic();
    let mut publisher = appender.publisher(&topic);
    let log = publisher.log().clone();
    // A log that several topics share has frames of earlier rounds.
    let page = bare.read(&log, None, 0).await?;
    let before = Some(Position::new(page.epoch, page.head));
    publisher.append(["m"]).await?;
    let id = publisher.id();
    let ours = |frame: &StoredFrame| {
        Frame::decode(frame.bytes.clone()).is_ok_and(|frame| frame.publisher() == id)
    };
    let appending = tokio::spawn(async move {
        for _ in 0..8 {
            publisher.append(["m"]).await?;
        }
        publisher.append(["m"]).await
    });
    let mut listener = bare.listen(&log).await?;
    let mut read: Vec<_> = bare
        .read_on(&log, before, 3)
        .await?
        .iter()
        .filter(|frame| ours(frame))
        .map(|frame| frame.first)
        .collect();
    appending.await??;
    let end = bare.read(&log, None, 0).await?.head;
    while read.last() != Some(&end) {
        let Arrival::Frame { frame, .. } = listener.arrival().await? else {
            // The broker only wakes: what it woke for must be there to read.
            read = bare
                .read_on(&log, before, 3)
                .await?
                .iter()
                .filter(|frame| ours(frame))
                .map(|frame| frame.first)
                .collect();
            continue;
        };
        if read.last().is_none_or(|last| frame.first > *last) {
            read.push(frame.first);
        }
    }
    ensure_eq!(read.len(), 10, "frames read or arrived");
    check_follow(ctx, read)
}

async fn seam(ctx: &Ctx, node: &Node, other: &Node) -> Result<(), Failure> {
    let topic = ctx.fresh_topic();
    // Where topics share a log, its oldest message is of an earlier round, and far away.
    let start = match ctx.capabilities().partitioning {
        Partitioning::PerTopic => Start::Earliest,
        Partitioning::Shared(_) => Start::After(node.head(&topic).await?.cursor),
    };
    let payloads = numbered(12);
    let (early, late) = payloads.split_at(3);
    let mut receipts = publish_each(node, &topic, early).await?;
    let publishing = {
        let (node, topic, late) = (node.clone(), topic.clone(), late.to_vec());
        tokio::spawn(async move { publish_each(&node, &topic, &late).await })
    };
    let mut tail = other.subscribe(&topic, start).await?;
    let entries = tail.take(payloads.len()).await?;
    receipts.extend(publishing.await??);
    check_same(&entries, &receipts, &payloads)
}

async fn before_it_exists(ctx: Ctx) -> Result<(), Failure> {
    let topic = ctx.topic("t");
    let other = ctx.node().await?;
    let mut tails = vec![other.subscribe(&topic, Start::Latest).await?];
    if ctx.capabilities().history {
        tails.push(other.subscribe(&topic, Start::Earliest).await?);
    }
    let payloads = numbered(3);
    let receipts = publish_each(&ctx.node().await?, &topic, &payloads).await?;
    for tail in &mut tails {
        check_same(&tail.take(3).await?, &receipts, &payloads)?;
    }
    Ok(())
}

async fn thousand_logs(ctx: Ctx) -> Result<(), Failure> {
    let (node, other) = (ctx.node().await?, ctx.node().await?);
    let mut tails = Vec::new();
    for number in 0..1_000 {
        let topic = ctx.topic(format!("log/{number}"));
        tails.push((other.subscribe(&topic, Start::Latest).await?, topic));
    }
    let mut running = JoinSet::new();
    for (_, topic) in &tails {
        let (node, topic) = (node.clone(), topic.clone());
        running.spawn(async move { node.publish(&topic, topic.to_string()).await });
    }
    while let Some(ended) = running.join_next().await {
        ended??;
    }
    for (tail, topic) in &mut tails {
        let fence = node.fence(topic).await?;
        let entries = tail.until(fence).await?;
        let only = entries.len() == 1 && entries[0].payload() == topic.as_str();
        ensure!(only, "{topic:?} hears {entries:?}");
    }
    Ok(())
}

async fn independent(ctx: Ctx) -> Result<(), Failure> {
    let topic = ctx.topic("t");
    let (node, other) = (ctx.node().await?, ctx.node().await?);
    let mut one = other.subscribe(&topic, Start::Latest).await?;
    let mut two = other.subscribe(&topic, Start::Latest).await?;
    let payloads = numbered(20);
    let receipts = publish_each(&node, &topic, &payloads).await?;
    // One reads ahead; two is where it was; a third begins later; one goes away.
    check_same(&one.take(15).await?, &receipts[..15], &payloads)?;
    check_same(&two.take(5).await?, &receipts[..5], &payloads)?;
    let mut seen = None;
    if !ctx.capabilities().history {
        // Nobody can tell a node how far the log is, so a subscription begins after what this node has
        // received. What it publishes comes back after that.
        seen = Some(other.fence(&topic).await?);
    }
    let mut three = other.subscribe(&topic, Start::Latest).await?;
    drop(one);
    let fence = node.fence(&topic).await?;
    let rest = two.until(seen.unwrap_or(fence)).await?;
    check_same(&rest, &receipts[5..], &payloads[5..])?;
    ensure!(
        three.until(fence).await?.is_empty(),
        "the third got what came before it"
    );
    Ok(())
}

async fn own_messages(ctx: Ctx) -> Result<(), Failure> {
    let topic = ctx.topic("t");
    let node = ctx.node().await?;
    let mut tail = node.subscribe(&topic, Start::Latest).await?;
    let payloads = numbered(50);
    let receipts = publish_each(&node, &topic, &payloads).await?;
    let fence = node.fence(&topic).await?;
    check_same(&tail.until(fence).await?, &receipts, &payloads)
}

async fn no_wait_for_the_next(ctx: Ctx) -> Result<(), Failure> {
    let topic = ctx.topic("t");
    let (node, other) = (ctx.node().await?, ctx.node().await?);
    let mut tail = other.subscribe(&topic, Start::Latest).await?;
    // Nothing is published until the last message arrived: one that waited would wait for ever.
    for payload in numbered(200) {
        let receipt = node.publish(&topic, payload).await?;
        let entry = tail.entry().await?;
        ensure_eq!(entry.position(), receipt.cursor().position(), "the message");
    }
    Ok(())
}
