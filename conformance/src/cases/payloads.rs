//! C. Payloads and headers: any bytes, any size that is allowed.

use bytes::Bytes;
use scaleout_core::{Entry, ErrorKind, Message, Outcome, Start, Topic};
use tokio::task::JoinSet;

use super::common::{check_follow, check_same, publish_each};
use crate::{
    Case, Ctx, Failure,
    failure::{ensure, ensure_eq},
};

pub(super) const CASES: &[Case] = &[
    Case::new("C01", "an empty payload is a message", &[5], |ctx| {
        Box::pin(empty(ctx))
    }),
    Case::new("C02", "any bytes arrive as they were", &[5], |ctx| {
        Box::pin(any_bytes(ctx))
    }),
    Case::new(
        "C03",
        "payloads of every size up to the declared one arrive",
        &[5],
        |ctx| Box::pin(any_size(ctx)),
    ),
    Case::new(
        "C04",
        "a payload over the declared size is refused, and the connection lives on",
        &[9],
        |ctx| Box::pin(too_large(ctx)),
    ),
    Case::new(
        "C05",
        "large and small payloads at once stay whole and in order",
        &[1, 3],
        |ctx| Box::pin(large_among_small(ctx)),
    ),
    Case::new("C06", "headers arrive as they were", &[5], |ctx| {
        Box::pin(headers(ctx))
    }),
];

/// Publishes on one node, and finds the same on another, live and in history.
async fn round_trip(ctx: &Ctx, payloads: &[Bytes]) -> Result<(), Failure> {
    let topic = ctx.topic("t");
    let (node, other) = (ctx.node().await?, ctx.node().await?);
    let mut tail = other.subscribe(&topic, Start::Latest).await?;
    let receipts = publish_each(&node, &topic, payloads).await?;
    check_same(&tail.take(payloads.len()).await?, &receipts, payloads)?;
    if ctx.capabilities().history {
        check_same(&other.read_all(&topic, 100).await?, &receipts, payloads)?;
    }
    Ok(())
}

async fn empty(ctx: Ctx) -> Result<(), Failure> {
    round_trip(&ctx, &[Bytes::new(), Bytes::from("x"), Bytes::new()]).await
}

async fn any_bytes(ctx: Ctx) -> Result<(), Failure> {
    let all: Vec<u8> = (0..=255).collect();
    let mut payloads: Vec<Bytes> = vec![
        all.clone().into(),
        all.into_iter().rev().collect(),
        Bytes::from_static(b"\0"),
        Bytes::from_static(b"\0\0\0\0"),
        Bytes::from_static(b"\xff\xfe\xfd"),
        Bytes::from_static(b"\xc3\x28 \xa0\xa1 \xed\xa0\x80"),
        Bytes::from_static(b"\r\n\r\n\n\r"),
        // What brokers' own protocols look like.
        Bytes::from_static(b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\nb\r\n"),
        Bytes::from_static(b"-ERR no\r\n+OK\r\n$-1\r\n"),
        Bytes::from_static(b"'; DROP TABLE frames; --"),
        Bytes::from_static(b"\\x00\\\\E'\\'$$"),
        Bytes::from_static(b"AMQP\x00\x01\x00\x00\xce"),
        Bytes::from_static(b"{\"a\":1}\x1e\x1f\x1d"),
        Bytes::from_static(b"%s%n\x1b[31m"),
    ];
    payloads.extend((0..=255_u8).map(|byte| vec![byte].into()));
    let mut rng = ctx.rng();
    payloads.extend((0..20).map(|_| Bytes::from(rng.bytes(500))));
    round_trip(&ctx, &payloads).await
}

async fn any_size(ctx: Ctx) -> Result<(), Failure> {
    let max = ctx.node().await?.plane().max_payload_bytes();
    let sizes = [
        1,
        127,
        128,
        7_999,
        8_000,
        8_001,
        65_535,
        65_536,
        (1 << 20) - 1,
        1 << 20,
        max,
    ];
    let mut rng = ctx.rng();
    let payloads: Vec<Bytes> = sizes
        .into_iter()
        .filter(|size| *size <= max)
        .map(|size| rng.bytes(size).into())
        .collect();
    round_trip(&ctx, &payloads).await
}

async fn too_large(ctx: Ctx) -> Result<(), Failure> {
    // What fits on any topic is just too much for no more than the one with the longest name.
    let topic = ctx.topic("t".repeat(Topic::MAX_BYTES));
    let (node, other) = (ctx.node().await?, ctx.node().await?);
    let mut tail = other.subscribe(&topic, Start::Latest).await?;
    let max = node.plane().max_payload_bytes();
    let before = node.publish(&topic, "before").await?;
    let error = node.try_publish(&topic, vec![0; max + 1]).await?.err();
    let kind = error.map(|error| (error.kind(), error.outcome()));
    ensure_eq!(
        kind,
        Some((ErrorKind::TooLarge, Outcome::NotStored)),
        "error"
    );
    let after = node.publish(&topic, "after").await?;
    let delivered: Vec<_> = tail.take(2).await?.iter().map(Entry::position).collect();
    ensure_eq!(
        delivered,
        [before.cursor().position(), after.cursor().position()],
        "what was delivered"
    );
    ensure_eq!(node.plane().health().reconnects, 0, "connections lost");
    Ok(())
}

async fn large_among_small(ctx: Ctx) -> Result<(), Failure> {
    const LARGE: usize = 64;
    const SMALL: usize = 200;
    let topic = ctx.topic("t");
    let (node, other) = (ctx.node().await?, ctx.open());
    // What does not fit into the window comes from history.
    let other = match ctx.capabilities().history {
        true => other.node().await?,
        false => other.set("window_bytes", 64 << 20).node().await?,
    };
    let mut tail = other.subscribe(&topic, Start::Latest).await?;
    let size = node.plane().max_payload_bytes().min(256 << 10);
    let mut running = JoinSet::new();
    for number in 0..LARGE {
        let (node, topic) = (node.clone(), topic.clone());
        running.spawn(async move {
            node.publish(&topic, large(number, size)).await?;
            Ok::<_, Failure>(())
        });
    }
    for number in 0..SMALL {
        node.publish(&topic, format!("small {number}")).await?;
    }
    while let Some(ended) = running.join_next().await {
        ended??;
    }
    let (mut small, mut seen) = (0, vec![false; LARGE]);
    let entries = tail.take(LARGE + SMALL).await?;
    for entry in &entries {
        let payload = entry.payload();
        if payload.len() < size {
            ensure!(
                payload == &format!("small {small}"),
                "small {small} is {payload:?}"
            );
            small += 1;
            continue;
        }
        let number = usize::from(payload[0]);
        ensure!(
            payload == &large(number, size),
            "a large payload is not what it was"
        );
        ensure!(
            !std::mem::replace(&mut seen[number], true),
            "large {number} came twice"
        );
    }
    check_follow(&ctx, entries.iter().map(Entry::sequence))
}

#[expect(clippy::cast_possible_truncation, reason = "fewer than 256")]
fn large(number: usize, size: usize) -> Bytes {
    let mut payload = crate::Rng::new(number as u64).bytes(size);
    payload[0] = number as u8;
    payload.into()
}

async fn headers(ctx: Ctx) -> Result<(), Failure> {
    let topic = ctx.topic("t");
    let (node, other) = (ctx.node().await?, ctx.node().await?);
    let mut tail = other.subscribe(&topic, Start::Latest).await?;
    let mut message = Message::new("payload")
        .with_header("", "no name")
        .with_header("empty", "")
        .with_header("twice", "1")
        .with_header("twice", "2");
    for odd in super::names::ODD {
        message = message.with_header(*odd, *odd);
    }
    node.publish(&topic, message.clone()).await?;
    let entry = tail.entry().await?;
    ensure!(
        entry.message() == &message,
        "headers came as {:?}",
        entry.message()
    );
    ensure_eq!(entry.header("empty"), Some(""), "an empty value");
    ensure_eq!(entry.header("absent"), None, "an absent one");
    Ok(())
}
