//! G. Order: one for everybody, which agrees with time.

use std::collections::HashSet;

use scaleout_core::{Entry, Sequence, Start};
use tokio::task::JoinSet;

use super::{
    common::{check_follow, numbered, publish_each},
    workload::Workload,
};
use crate::{
    Case, Claim, Ctx, Failure, Need,
    failure::{ensure, ensure_eq},
};

pub(super) const CASES: &[Case] = &[
    Case::new(
        "G01",
        "sixteen publishers on one node each keep their order",
        &[2, 3],
        |ctx| Box::pin(sixteen_publishers(ctx)),
    ),
    Case::new(
        "G02",
        "publishes in flight from one task keep the order of the calls",
        &[3],
        |ctx| Box::pin(in_flight(ctx)),
    ),
    Case::new(
        "G03",
        "eight subscriptions see the same sequence",
        &[1, 4],
        |ctx| Box::pin(eight_subscribers(ctx)),
    ),
    Case::new(
        "G04",
        "two nodes that both publish and subscribe see one sequence",
        &[1, 4],
        |ctx| Box::pin(two_nodes(ctx)),
    ),
    Case::new(
        "G05",
        "five nodes of five publishers: live, history and a fresh node agree",
        &[1, 2, 3, 4, 5],
        |ctx| Box::pin(five_nodes(ctx)),
    ),
    Case::new(
        "G06",
        "a publish that returned comes before one that began then",
        &[3],
        |ctx| Box::pin(real_time(ctx)),
    ),
    Case::new(
        "G07",
        "what was published on one node is read on another",
        &[2],
        |ctx| Box::pin(read_on_another(ctx)),
    )
    .claimed(Claim::Linearizable)
    .needs(&[Need::Claim(Claim::History)]),
    Case::new("G08", "a node reads what it published", &[2], |ctx| {
        Box::pin(read_your_writes(ctx))
    })
    .needs(&[Need::Claim(Claim::History)]),
    Case::new(
        "G09",
        "to one who asks again and again the head never goes back, whoever is asked",
        &[2],
        |ctx| Box::pin(head_by_turns(ctx)),
    )
    .claimed(Claim::Linearizable)
    .needs(&[Need::Claim(Claim::History)]),
    Case::new(
        "G10",
        "the head is never behind what was delivered",
        &[2],
        |ctx| Box::pin(head_covers_delivery(ctx)),
    )
    .needs(&[Need::Claim(Claim::History)]),
    Case::new(
        "G11",
        "an answer comes after what it answers, for everybody",
        &[1, 3],
        |ctx| Box::pin(causality(ctx)),
    ),
    Case::new(
        "G12",
        "no publisher starves beside a busy one",
        &[10],
        |ctx| Box::pin(no_starvation(ctx)),
    )
    .should(),
];

async fn sixteen_publishers(ctx: Ctx) -> Result<(), Failure> {
    let mut load = Workload::new(&ctx, 1).await?;
    load.subscribe(0, Start::Latest).await?;
    load.publish(16, 60);
    load.finish().await
}

async fn in_flight(ctx: Ctx) -> Result<(), Failure> {
    const N: usize = 500;
    let topic = ctx.topic("t");
    let (node, other) = (ctx.node().await?, ctx.node().await?);
    let mut tail = other.subscribe(&topic, Start::Latest).await?;
    // Polled in order by one task, none awaited before the next is called.
    let publishes = numbered(N)
        .into_iter()
        .map(|payload| node.publish(&topic, payload));
    let receipts = futures_util::future::join_all(publishes).await;
    let receipts = receipts.into_iter().collect::<Result<Vec<_>, _>>()?;
    check_follow(&ctx, receipts.iter().map(|receipt| receipt.sequence()))?;
    super::common::check_same(&tail.take(N).await?, &receipts, &numbered(N))
}

async fn eight_subscribers(ctx: Ctx) -> Result<(), Failure> {
    let mut load = Workload::new(&ctx, 2).await?;
    for index in 0..8 {
        load.subscribe(index % 2, Start::Latest).await?;
    }
    load.publish(2, 150);
    load.finish().await
}

async fn two_nodes(ctx: Ctx) -> Result<(), Failure> {
    let mut load = Workload::new(&ctx, 2).await?;
    load.subscribe(0, Start::Latest).await?;
    load.subscribe(1, Start::Latest).await?;
    load.publish(4, 150);
    load.finish().await
}

async fn five_nodes(ctx: Ctx) -> Result<(), Failure> {
    let mut load = Workload::new(&ctx, 5).await?;
    for node in 0..5 {
        load.subscribe(node, Start::Latest).await?;
    }
    load.publish(5, 60);
    if ctx.capabilities().history {
        for node in 0..5 {
            load.subscribe(node, Start::Earliest).await?;
        }
    }
    load.finish().await
}

async fn real_time(ctx: Ctx) -> Result<(), Failure> {
    let topic = ctx.topic("t");
    let nodes = [ctx.node().await?, ctx.node().await?, ctx.node().await?];
    let mut sequences = Vec::new();
    for round in 0..300 {
        let receipt = nodes[round % nodes.len()].publish(&topic, "x").await?;
        sequences.push(receipt.sequence());
    }
    check_follow(&ctx, sequences)
}

async fn read_on_another(ctx: Ctx) -> Result<(), Failure> {
    let topic = ctx.topic("t");
    let (node, other, bare) = (ctx.node().await?, ctx.node().await?, ctx.bare().await?);
    let log = bare.log(&topic);
    let mut before = other.head(&topic).await?.cursor;
    for _ in 0..100 {
        let receipt = node.publish(&topic, "x").await?;
        let head = other.head(&topic).await?.cursor.position();
        ensure!(
            head.sequence >= receipt.sequence(),
            "head {} is old",
            head.sequence
        );
        let read = other.read(&topic, Some(&before), 10).await?;
        ensure_eq!(read.len(), 1, "messages read");
        let page = bare.read(&log, None, 0).await?;
        ensure!(
            page.head >= receipt.sequence(),
            "head {} of a bare read is old",
            page.head
        );
        before = receipt.cursor().clone();
    }
    Ok(())
}

async fn read_your_writes(ctx: Ctx) -> Result<(), Failure> {
    let topic = ctx.topic("t");
    let node = ctx.node().await?;
    for count in 1..=50 {
        let receipt = node.publish(&topic, "x").await?;
        let head = node.head(&topic).await?.cursor;
        ensure_eq!(head.position(), receipt.cursor().position(), "head");
        ensure_eq!(
            node.read_all(&topic, 1_000).await?.len(),
            count,
            "messages read"
        );
    }
    Ok(())
}

async fn head_by_turns(ctx: Ctx) -> Result<(), Failure> {
    let topic = ctx.topic("t");
    let nodes = [ctx.node().await?, ctx.node().await?, ctx.node().await?];
    let publisher = ctx.node().await?;
    let payloads = numbered(200);
    let mut newest = nodes[0].head(&topic).await?.cursor.position();
    let mut ask = async |times: usize| {
        for node in nodes.iter().cycle().take(times) {
            let head = node.head(&topic).await?.cursor.position();
            ensure_eq!(head.epoch, newest.epoch, "epoch of the head");
            ensure!(
                head.sequence >= newest.sequence,
                "the head goes back from {} to {}",
                newest.sequence,
                head.sequence
            );
            newest = head;
        }
        Ok::<_, Failure>(())
    };
    let publishing = publish_each(&publisher, &topic, &payloads);
    tokio::try_join!(publishing, ask(300))?;
    // And once nobody publishes any more.
    ask(50).await
}

async fn head_covers_delivery(ctx: Ctx) -> Result<(), Failure> {
    let topic = ctx.topic("t");
    let (node, other) = (ctx.node().await?, ctx.node().await?);
    let mut tail = other.subscribe(&topic, Start::Latest).await?;
    let publishing = {
        let topic = topic.clone();
        tokio::spawn(async move { publish_each(&node, &topic, &numbered(200)).await })
    };
    for _ in 0..200 {
        let entry = tail.entry().await?;
        let head = other.head(&topic).await?.cursor.position();
        ensure!(
            head.sequence >= entry.sequence(),
            "{} was delivered, and the head is {}",
            entry.sequence(),
            head.sequence
        );
    }
    publishing.await?.map(drop)
}

async fn causality(ctx: Ctx) -> Result<(), Failure> {
    const ROUNDS: usize = 100;
    let topic = ctx.topic("t");
    let (asking, answering, watching) = (ctx.node().await?, ctx.node().await?, ctx.node().await?);
    let mut heard = answering.subscribe(&topic, Start::Latest).await?;
    let mut watch = watching.subscribe(&topic, Start::Latest).await?;
    for round in 0..ROUNDS {
        // The one that asks may not have been told that it is stored when the other answers.
        let question = format!("ask {round}");
        let ask = asking.publish(&topic, question.clone());
        let answer = async {
            while heard.entry().await?.payload() != &question {}
            answering.publish(&topic, format!("answer {round}")).await
        };
        tokio::try_join!(ask, answer)?;
    }
    let mut asked = HashSet::new();
    for entry in watch.take(2 * ROUNDS).await? {
        let text = text(&entry);
        match text.strip_prefix("answer ") {
            Some(round) => ensure!(asked.contains(round), "{text:?} before its question"),
            None => drop(asked.insert(text.trim_start_matches("ask ").to_owned())),
        }
    }
    Ok(())
}

fn text(entry: &Entry) -> String {
    String::from_utf8_lossy(entry.payload()).into_owned()
}

async fn no_starvation(ctx: Ctx) -> Result<(), Failure> {
    let topic = ctx.topic("t");
    let (busy, quiet) = (ctx.node().await?, ctx.node().await?);
    let mut running = JoinSet::new();
    for _ in 0..64 {
        let (busy, topic) = (busy.clone(), topic.clone());
        running.spawn(async move {
            loop {
                busy.publish(&topic, "busy").await?;
            }
            #[expect(unreachable_code, reason = "names the error type")]
            Ok::<(), Failure>(())
        });
    }
    let mut sequences: Vec<Sequence> = Vec::new();
    for _ in 0..50 {
        sequences.push(quiet.publish(&topic, "quiet").await?.sequence());
    }
    running.shutdown().await;
    ensure_eq!(sequences.len(), 50, "publishes of the quiet node");
    Ok(())
}
