//! L. Unsubscribing: what is dropped is gone, here and at the broker.

use std::{
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Wake, Waker},
    time::Duration,
};

use scaleout_core::{LogName, Start};
use tokio::{
    runtime::Handle,
    task::JoinSet,
    time::{Instant, sleep},
};

use super::common::{check_same, numbered, publish_each, settle};
use crate::{
    Case, Claim, Ctx, Failure, Need, Tail,
    failure::{ensure, ensure_eq},
};

pub(super) const CASES: &[Case] = &[
    Case::new(
        "L01",
        "a dropped subscription ends at the broker",
        &[12],
        |ctx| Box::pin(ends_at_the_broker(ctx)),
    )
    .needs(&[Need::Subscriptions]),
    Case::new(
        "L02",
        "dropping one of two subscriptions leaves the other",
        &[12],
        |ctx| Box::pin(one_of_two(ctx)),
    ),
    Case::new(
        "L03",
        "a subscription lives on when every handle of its node is dropped",
        &[12],
        |ctx| Box::pin(outlives_the_handle(ctx)),
    ),
    Case::new(
        "L04",
        "a thousand subscriptions made and dropped leave nothing",
        &[12],
        |ctx| Box::pin(thousand_made_and_dropped(ctx)),
    ),
    Case::new(
        "L05",
        "what was dropped delivers nothing to what comes after it",
        &[6, 12],
        |ctx| Box::pin(no_ghosts(ctx)),
    )
    .needs(&[Need::Claim(Claim::History)]),
    Case::new(
        "L06",
        "subscribing, dropping and publishing at once goes well",
        &[5, 12],
        |ctx| Box::pin(churn(ctx)),
    ),
    Case::new(
        "L07",
        "a subscription can be dropped by what it wakes",
        &[12],
        |ctx| Box::pin(dropped_by_its_waker(ctx)),
    ),
    Case::new(
        "L08",
        "a node that did everything leaves no task behind",
        &[12, 14],
        |ctx| Box::pin(leaves_nothing(ctx)),
    ),
    Case::new(
        "L09",
        "a task that panics with a subscription harms nobody else",
        &[12],
        |ctx| Box::pin(panicking_reader(ctx)),
    ),
];

/// Waits until the broker counts so many subscriptions of the log.
async fn until_subscriptions(ctx: &Ctx, log: &LogName, wanted: usize) -> Result<(), Failure> {
    let admin = ctx.admin()?;
    let deadline = Instant::now() + ctx.limits().scaled(Duration::from_secs(10));
    loop {
        let found = admin.subscriptions(log).await?;
        if found == wanted {
            return Ok(());
        }
        ensure!(
            Instant::now() < deadline,
            "the broker counts {found} subscriptions of {log}, not {wanted}"
        );
        sleep(Duration::from_millis(2)).await;
    }
}

async fn ends_at_the_broker(ctx: Ctx) -> Result<(), Failure> {
    let topic = ctx.topic("t");
    let (node, other, bare) = (ctx.node().await?, ctx.node().await?, ctx.bare().await?);
    let log = node.log(&topic);
    ensure_eq!(
        ctx.admin()?.subscriptions(&log).await?,
        0,
        "subscriptions before"
    );

    let listener = bare.listen(&log).await?;
    ensure_eq!(
        ctx.admin()?.subscriptions(&log).await?,
        1,
        "subscriptions of a listener"
    );
    drop(listener);
    until_subscriptions(&ctx, &log, 0).await?;

    // One for each node, however many subscriptions it has.
    let tails = [
        node.subscribe(&topic, Start::Latest).await?,
        node.subscribe(&topic, Start::Latest).await?,
        other.subscribe(&topic, Start::Latest).await?,
    ];
    ensure_eq!(
        ctx.admin()?.subscriptions(&log).await?,
        2,
        "subscriptions of two nodes"
    );
    drop(tails);
    until_subscriptions(&ctx, &log, 0).await
}

async fn one_of_two(ctx: Ctx) -> Result<(), Failure> {
    let topic = ctx.topic("t");
    let (node, other) = (ctx.node().await?, ctx.node().await?);
    let one = other.subscribe(&topic, Start::Latest).await?;
    let mut two = other.subscribe(&topic, Start::Latest).await?;
    let payloads = numbered(20);
    let mut receipts = publish_each(&node, &topic, &payloads[..10]).await?;
    drop(one);
    receipts.extend(publish_each(&node, &topic, &payloads[10..]).await?);
    check_same(&two.take(20).await?, &receipts, &payloads)
}

async fn outlives_the_handle(ctx: Ctx) -> Result<(), Failure> {
    let topic = ctx.topic("t");
    let node = ctx.node().await?;
    let other = ctx.open().untracked().node().await?;
    let mut tail = other.subscribe(&topic, Start::Latest).await?;
    drop(other);
    let payloads = numbered(20);
    let receipts = publish_each(&node, &topic, &payloads).await?;
    check_same(&tail.take(20).await?, &receipts, &payloads)?;
    // With it goes the last of the node, and all its tasks: the runner looks.
    drop(tail);
    Ok(())
}

async fn thousand_made_and_dropped(ctx: Ctx) -> Result<(), Failure> {
    let other = ctx.node().await?;
    let tasks = || Handle::current().metrics().num_alive_tasks();
    // One is kept, and has been used, so that the connections and requests that subscriptions need are
    // there before counting.
    let (first, topic) = (ctx.fresh_topic(), ctx.topic("kept"));
    let mut kept = other.subscribe(&topic, Start::Latest).await?;
    ctx.node().await?.publish(&topic, "used").await?;
    kept.entry().await?;
    let before = tasks();
    let mut topics = Vec::new();
    for round in 0..1_000 {
        let topic = if round % 2 == 0 {
            ctx.fresh_topic()
        } else {
            first.clone()
        };
        drop(other.subscribe(&topic, Start::Latest).await?);
        topics.push(topic);
    }
    settle(&ctx, "tasks are left of a thousand subscriptions", || {
        tasks() <= before
    })
    .await?;
    if let Some(admin) = ctx.target().admin()
        && admin.offers(Need::Subscriptions)
    {
        for topic in topics.iter().step_by(50) {
            until_subscriptions(&ctx, &other.log(topic), 0).await?;
        }
    }
    Ok(())
}

async fn no_ghosts(ctx: Ctx) -> Result<(), Failure> {
    let topic = ctx.topic("t");
    let (node, other) = (ctx.node().await?, ctx.node().await?);
    let payloads = numbered(60);
    let (mut receipts, mut entries) = (Vec::new(), Vec::new());
    let mut start = Start::Latest;
    for chunk in payloads.chunks(6) {
        let mut tail = other.subscribe(&topic, start).await?;
        receipts.extend(publish_each(&node, &topic, chunk).await?);
        // Half is read, half lies ready when it is dropped.
        let unread = receipts.len() - entries.len();
        entries.extend(tail.take(unread / 2).await?);
        start = Start::After(tail.cursor());
    }
    let mut tail = other.subscribe(&topic, start).await?;
    entries.extend(tail.take(receipts.len() - entries.len()).await?);
    check_same(&entries, &receipts, &payloads)
}

async fn churn(ctx: Ctx) -> Result<(), Failure> {
    let topic = ctx.topic("t");
    let (node, other) = (ctx.node().await?, ctx.node().await?);
    let mut steady = other.subscribe(&topic, Start::Latest).await?;
    let mut churning = JoinSet::new();
    for _ in 0..4 {
        let (other, topic) = (other.clone(), topic.clone());
        churning.spawn(async move {
            for _ in 0..100 {
                let mut tail = other.subscribe(&topic, Start::Latest).await?;
                let one = tail.entry().await?;
                let two = tail.entry().await?;
                ensure!(two.sequence() > one.sequence(), "{two:?} after {one:?}");
            }
            Ok::<_, Failure>(())
        });
    }
    let (mut receipts, mut payloads) = (Vec::new(), Vec::new());
    while !churning.is_empty() {
        let payload = bytes::Bytes::from(format!("{}", payloads.len()));
        receipts.push(node.publish(&topic, payload.clone()).await?);
        payloads.push(payload);
        while let Some(ended) = churning.try_join_next() {
            ended??;
        }
    }
    check_same(&steady.take(receipts.len()).await?, &receipts, &payloads)
}

/// Drops a subscription when it has something: from within the call that delivers.
struct Dropper(Mutex<Option<Tail>>);

impl Wake for Dropper {
    fn wake(self: Arc<Self>) {
        drop(self.0.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}

async fn dropped_by_its_waker(ctx: Ctx) -> Result<(), Failure> {
    let topic = ctx.topic("t");
    let (node, other) = (ctx.node().await?, ctx.node().await?);
    let mut kept = other.subscribe(&topic, Start::Latest).await?;
    for _ in 0..20 {
        let mut tail = other.subscribe(&topic, Start::Latest).await?;
        let dropper = Arc::new(Dropper(Mutex::new(None)));
        let waker = Waker::from(dropper.clone());
        let early = tail.next().as_mut().poll(&mut Context::from_waker(&waker));
        ensure!(early.is_pending(), "{early:?} before there was anything");
        *dropper.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(tail);
        let receipt = node.publish(&topic, "m").await?;
        ensure_eq!(
            kept.entry().await?.position(),
            receipt.cursor().position(),
            "what the other subscription gets"
        );
    }
    Ok(())
}

async fn leaves_nothing(ctx: Ctx) -> Result<(), Failure> {
    let (node, other) = (ctx.node().await?, ctx.node().await?);
    let mut tails = Vec::new();
    for _ in 0..20 {
        let topic = ctx.fresh_topic();
        let mut tail = other.subscribe(&topic, Start::Latest).await?;
        node.publish_batch(&topic, numbered(10)).await?;
        tail.take(5).await?;
        tails.push(tail);
    }
    for node in [node, other] {
        node.close(Duration::from_secs(5)).await??;
    }
    let tasks = || Handle::current().metrics().num_alive_tasks();
    // This task is the one that is left, also while the subscriptions are still held.
    settle(&ctx, "tasks are left after the nodes were closed", || {
        tasks() <= 1
    })
    .await
}

async fn panicking_reader(ctx: Ctx) -> Result<(), Failure> {
    let topic = ctx.topic("t");
    let (node, other) = (ctx.node().await?, ctx.node().await?);
    let mut steady = other.subscribe(&topic, Start::Latest).await?;
    let mut doomed = other.subscribe(&topic, Start::Latest).await?;
    let reading = tokio::spawn(async move {
        let _entry = doomed.entry().await;
        // Without the hook: this panic is meant, and would only look like a failure.
        std::panic::resume_unwind(Box::new("on purpose"));
    });
    let payloads = numbered(20);
    let receipts = publish_each(&node, &topic, &payloads).await?;
    ensure!(
        reading.await.is_err_and(|error| error.is_panic()),
        "the reader did not panic"
    );
    check_same(&steady.take(20).await?, &receipts, &payloads)
}
