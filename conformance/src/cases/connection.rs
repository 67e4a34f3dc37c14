//! I. A connection that is lost, slow, half-open or nonsense: the subscription continues where it
//! stood.

use std::time::Duration;

use scaleout_core::{ErrorKind, Start, State};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use super::{
    common::{check_accounted, check_same, numbered, publish_each, publish_until_trimmed},
    proxied::{self, LIVENESS, quick, until_interrupted, until_reconnected},
};
use crate::{
    Case, Claim, Ctx, Failure, Need, Node,
    failure::{ensure, ensure_eq},
    proxy::{Direction, Proxy},
};

/// What these cases need: a proxy, and history to continue from.
const NEEDS: &[Need] = &[Need::Proxy, Need::Claim(Claim::History)];

pub(super) const CASES: &[Case] = &[
    Case::new(
        "D07",
        "after an idle time longer than liveness messages still arrive",
        &[11],
        |ctx| Box::pin(idle(ctx)),
    )
    .proxied()
    .needs(NEEDS),
    Case::new(
        "I01",
        "a connection reset while idle loses nothing",
        &[4, 5, 11],
        |ctx| Box::pin(reset_while_idle(ctx)),
    )
    .proxied()
    .needs(NEEDS),
    Case::new(
        "I02",
        "a connection cut anywhere in a frame loses nothing and doubles nothing",
        &[4, 5, 9],
        |ctx| Box::pin(cut_anywhere(ctx)),
    )
    .proxied()
    .needs(NEEDS),
    Case::new(
        "I03",
        "a half-open connection is noticed within liveness",
        &[5, 11],
        |ctx| Box::pin(black_hole(ctx, &Direction::BOTH)),
    )
    .proxied()
    .needs(NEEDS),
    Case::new("I04", "a slow connection is only slow", &[4, 5], |ctx| {
        Box::pin(slow(ctx))
    })
    .proxied()
    .needs(NEEDS),
    Case::new(
        "I05",
        "segments of one byte make no difference",
        &[4, 5],
        |ctx| Box::pin(one_byte_segments(ctx)),
    )
    .proxied()
    .needs(NEEDS),
    Case::new(
        "I06",
        "a connection dead in one direction is noticed as well",
        &[5, 11],
        |ctx| Box::pin(one_way_black_holes(ctx)),
    )
    .proxied()
    .needs(NEEDS),
    Case::new(
        "I13",
        "an outage longer than the retention ends with a gap",
        &[5, 6],
        |ctx| Box::pin(outage_beyond_retention(ctx)),
    )
    .proxied()
    .needs(&[
        Need::Proxy,
        Need::Claim(Claim::History),
        Need::Claim(Claim::Dense),
        Need::RetentionFrames,
    ]),
    Case::new(
        "I15",
        "nonsense from the other side is an error, not an end",
        &[5, 11],
        |ctx| Box::pin(nonsense(ctx)),
    )
    .proxied()
    .needs(NEEDS),
];

/// Publishes so many messages on `publisher` and takes them, and nothing else, from the subscription.
async fn exchange(
    publisher: &Node,
    topic: &scaleout_core::Topic,
    tail: &mut crate::Tail,
    count: usize,
) -> Result<(), Failure> {
    let payloads = numbered(count);
    let receipts = publish_each(publisher, topic, &payloads).await?;
    check_same(&tail.take(count).await?, &receipts, &payloads)
}

async fn idle(ctx: Ctx) -> Result<(), Failure> {
    let topic = ctx.topic("t");
    let direct = ctx.node().await?;
    let (proxy, node) = proxied::node(&ctx).await?;
    let mut tail = node.subscribe(&topic, Start::Latest).await?;
    exchange(&direct, &topic, &mut tail, 3).await?;
    let connects = proxy.connects();
    // The time is what this case is about; nothing is concluded from its end.
    tokio::time::sleep(3 * LIVENESS).await;
    exchange(&direct, &topic, &mut tail, 3).await?;
    ensure_eq!(
        node.plane().health().reconnects,
        0,
        "reconnects of a healthy connection"
    );
    ensure_eq!(proxy.connects(), connects, "connections");
    Ok(())
}

async fn reset_while_idle(ctx: Ctx) -> Result<(), Failure> {
    let topic = ctx.topic("t");
    let direct = ctx.node().await?;
    let (proxy, node) = proxied::node(&ctx).await?;
    let mut tail = node.subscribe(&topic, Start::Latest).await?;
    for round in 1..=5 {
        exchange(&direct, &topic, &mut tail, 3).await?;
        let connects = proxy.connects();
        proxy.reset();
        // These may find it gone, on its way back, or back.
        exchange(&direct, &topic, &mut tail, 3).await?;
        until_reconnected(&ctx, &node, round).await?;
        ensure!(proxy.connects() > connects, "there was no new connection");
        exchange(&node, &topic, &mut tail, 3).await?;
    }
    Ok(())
}

async fn cut_anywhere(ctx: Ctx) -> Result<(), Failure> {
    let topic = ctx.topic("t");
    let proxy = proxied::proxy(&ctx).await?;
    let quick = quick(ctx.open()).set("backoff_max", "50ms");
    let node = quick.clone().via(proxy.addr()).node().await?;
    let direct = quick.node().await?;
    let mut near = node.subscribe(&topic, Start::Latest).await?;
    let mut far = direct.subscribe(&topic, Start::Latest).await?;

    // Both publish and subscribe through the proxy: every cut hits a request, a reply or a delivery.
    let mut number = 0_u32;
    for way in Direction::BOTH {
        let before = proxy.passed(way);
        node.publish(&topic, "measure").await?;
        near.entry().await?;
        far.entry().await?;
        let size = proxy.passed(way) - before;
        ensure!(size > 0, "a publish sent nothing {way:?}");
        for bytes in (0..=size).step_by(usize::try_from(size / 40 + 1).unwrap_or(1)) {
            let cuts = proxy.cuts();
            proxy.cut_after(bytes, way);
            for publisher in [&node, &direct] {
                number += 1;
                let payload = format!("{number}");
                let receipt = publisher.publish(&topic, payload.clone()).await?;
                for tail in [&mut near, &mut far] {
                    let entry = tail.entry().await?;
                    ensure!(
                        entry.payload() == payload.as_bytes(),
                        "{:?} in place of {payload}, cut after {bytes} {way:?}",
                        entry.payload()
                    );
                    ensure_eq!(
                        entry.position(),
                        receipt.cursor().position(),
                        "message {number}"
                    );
                }
            }
            proxy.heal();
            ensure!(
                proxy.cuts() > cuts || bytes > 0,
                "nothing was cut after {bytes} {way:?}"
            );
        }
    }
    let fence = direct.fence(&topic).await?;
    for tail in [&mut near, &mut far] {
        ensure_eq!(
            tail.until(fence).await?.len(),
            0,
            "messages that came twice"
        );
    }
    ensure!(
        proxy.cuts() > 40,
        "only {} connections were cut",
        proxy.cuts()
    );
    Ok(())
}

/// The connection dies without a word while nothing happens, and messages are published meanwhile.
async fn black_hole(ctx: Ctx, ways: &[Direction]) -> Result<(), Failure> {
    let topic = ctx.topic("t");
    let direct = ctx.node().await?;
    let (proxy, node) = proxied::node(&ctx).await?;
    let mut tail = node.subscribe(&topic, Start::Latest).await?;
    exchange(&direct, &topic, &mut tail, 3).await?;

    for way in ways {
        proxy.blackhole(*way);
    }
    // No traffic: the node must look for itself. Twice the time leaves room for a busy machine.
    let noticed = until_interrupted(&ctx, &node);
    ctx.limits()
        .within_time(2 * LIVENESS, "the loss to be noticed in time", noticed)
        .await??;
    let payloads = numbered(20);
    let receipts = publish_each(&direct, &topic, &payloads).await?;
    proxy.heal();
    check_same(&tail.take(20).await?, &receipts, &payloads)?;
    exchange(&node, &topic, &mut tail, 3).await
}

async fn one_way_black_holes(ctx: Ctx) -> Result<(), Failure> {
    for way in Direction::BOTH {
        black_hole(ctx.clone(), &[way])
            .await
            .map_err(|failure| failure.context(format!("{way:?}")))?;
    }
    Ok(())
}

async fn slow(ctx: Ctx) -> Result<(), Failure> {
    let topic = ctx.topic("t");
    let proxy = proxied::proxy(&ctx).await?;
    let node = ctx.open().via(proxy.addr()).node().await?;
    let mut tail = node.subscribe(&topic, Start::Latest).await?;
    // Each way: a round trip takes about twice as long, and is no dead connection.
    proxy.delay(Duration::from_millis(180), Duration::from_millis(40));
    let connects = proxy.connects();
    let payloads = numbered(100);
    let publishes = payloads
        .iter()
        .map(|payload| node.publish(&topic, payload.clone()));
    let receipts = futures_util::future::try_join_all(publishes).await?;
    check_same(&tail.take(100).await?, &receipts, &payloads)?;
    for _ in 0..5 {
        exchange(&node, &topic, &mut tail, 1).await?;
    }
    ensure_eq!(proxy.connects(), connects, "connections");
    Ok(())
}

async fn one_byte_segments(ctx: Ctx) -> Result<(), Failure> {
    let topic = ctx.topic("t");
    let (proxy, node) = proxied::node(&ctx).await?;
    proxy.slice();
    let mut tail = node.subscribe(&topic, Start::Latest).await?;
    let mut rng = ctx.rng();
    for size in [0, 1, 100, 5_000] {
        let payload = rng.bytes(size);
        node.publish(&topic, payload.clone()).await?;
        ensure!(
            tail.entry().await?.payload() == &payload,
            "a message of {size} bytes changed"
        );
    }
    ensure_eq!(
        node.read_all(&topic, 100).await?.len(),
        4,
        "messages in the log"
    );
    ensure_eq!(node.plane().health().reconnects, 0, "reconnects");
    Ok(())
}

async fn outage_beyond_retention(ctx: Ctx) -> Result<(), Failure> {
    let topic = ctx.topic("t");
    let direct = ctx.open().retention(10).node().await?;
    let proxy = proxied::proxy(&ctx).await?;
    let open = quick(ctx.open()).retention(10).set("window_frames", 4);
    let node = open.via(proxy.addr()).node().await?;
    let mut tail = node.subscribe(&topic, Start::Latest).await?;
    let receipts = publish_each(&direct, &topic, &numbered(3)).await?;
    check_same(&tail.take(3).await?, &receipts, &numbered(3))?;

    proxy.refuse_new();
    proxy.reset();
    until_interrupted(&ctx, &node).await?;
    let head = publish_until_trimmed(&direct, &topic, receipts[2].sequence().plus(10)).await?;
    proxy.heal();
    let fence = direct.fence(&topic).await?;
    let events = tail.events_until(fence).await?;
    let gaps = check_accounted(
        &ctx,
        &events,
        receipts[2].sequence(),
        fence.position().sequence,
    )?;
    ensure!(
        !gaps.is_empty(),
        "nothing was reported as lost, floor {}",
        head.floor
    );
    ensure_eq!(
        gaps[0].0,
        receipts[2].sequence().next(),
        "beginning of the gap"
    );
    let lost_after_floor = gaps
        .iter()
        .any(|(_, last)| *last > head.cursor.position().sequence);
    ensure!(
        !lost_after_floor,
        "{gaps:?} goes beyond what could be trimmed"
    );
    Ok(())
}

async fn nonsense(ctx: Ctx) -> Result<(), Failure> {
    // On a connection that worked.
    let topic = ctx.topic("t");
    let direct = ctx.node().await?;
    let (proxy, node) = proxied::node(&ctx).await?;
    let mut tail = node.subscribe(&topic, Start::Latest).await?;
    exchange(&direct, &topic, &mut tail, 3).await?;
    proxy.garble();
    let payloads = numbered(5);
    let receipts = publish_each(&direct, &topic, &payloads).await?;
    until_interrupted(&ctx, &node).await?;
    proxy.heal();
    check_same(&tail.take(5).await?, &receipts, &payloads)?;
    exchange(&node, &topic, &mut tail, 3).await?;

    // From something that never was a broker.
    let answers: [&[u8]; 6] = [
        b"",
        b"\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
        b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n",
        b"+\r\n+\r\n+\r\n+\r\n+\r\n+\r\n+\r\n+\r\n",
        b"*1000000000\r\n$1000000000\r\n",
        b"\xff\xfe\xfd\xfc\r\n\r\n",
    ];
    for answer in answers {
        let liar = Liar::start(answer).await?;
        let opened = quick(ctx.open()).via(liar.proxy.addr()).try_node().await?;
        let Err(error) = opened else {
            return Err(Failure::new(format!("{answer:?} was taken for a broker")));
        };
        let typed = [
            ErrorKind::Unavailable,
            ErrorKind::Timeout,
            ErrorKind::Broker,
            ErrorKind::Incompatible,
            ErrorKind::Auth,
        ];
        ensure!(typed.contains(&error.kind()), "{answer:?} gives {error:?}");
    }

    // A node that keeps trying must not try without pause.
    let liar = Liar::start(b"?").await?;
    let lazy = quick(ctx.open())
        .set("backoff_min", "100ms")
        .via(liar.proxy.addr())
        .lazy_node()?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    ensure_eq!(
        lazy.plane().health().state,
        State::Connecting,
        "state without a broker"
    );
    let connects = liar.proxy.connects();
    ensure!(
        (1..=100).contains(&connects),
        "{connects} connections in a second"
    );
    Ok(())
}

/// Answers every connection with the same bytes, whatever it is asked.
struct Liar {
    proxy: Proxy,
    serving: tokio::task::JoinHandle<()>,
}

impl Liar {
    async fn start(answer: &'static [u8]) -> Result<Self, Failure> {
        let failed = |error| Failure::new(format!("no listener: {error}"));
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.map_err(failed)?;
        let addr = listener.local_addr().map_err(failed)?;
        let serving = tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut asked = [0; 1024];
                let _ = stream.read(&mut asked).await;
                let _ = stream.write_all(answer).await;
            }
        });
        // The proxy counts.
        let proxy = proxied::start(addr.to_string()).await?;
        Ok(Self { proxy, serving })
    }
}

impl Drop for Liar {
    fn drop(&mut self) {
        self.serving.abort();
    }
}
