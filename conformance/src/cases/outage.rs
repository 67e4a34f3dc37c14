//! I. While the broker cannot be reached: what publishes say, how a node tries again, what it shows.

use std::time::{Duration, Instant};

use scaleout_core::{ErrorKind, Outcome, Start, State};

use super::{
    common::{check_same, numbered, publish_each},
    load::Load,
    proxied::{self, LIVENESS, quick, until, until_interrupted, until_reconnected},
};
use crate::{
    Case, Claim, Ctx, Failure, Need,
    failure::{ensure, ensure_eq},
    proxy::Proxy,
};

const NEEDS: &[Need] = &[Need::Proxy, Need::Claim(Claim::History)];

pub(super) const CASES: &[Case] = &[
    Case::new(
        "I07",
        "a publish without connection ends in time, and is not acknowledged unless it is there",
        &[9],
        |ctx| Box::pin(publish_while_disconnected(ctx)),
    )
    .proxied()
    .needs(NEEDS),
    Case::new(
        "I08",
        "fifty lost connections under load lose nothing",
        &[1, 3, 4, 5, 9],
        |ctx| Box::pin(fifty_flaps(ctx)),
    )
    .proxied()
    .needs(NEEDS),
    Case::new(
        "I09",
        "a node waits longer from try to try, and not like clockwork",
        &[11],
        |ctx| Box::pin(back_off(ctx)),
    )
    .proxied()
    .needs(&[Need::Proxy]),
    Case::new("I10", "a node's states come in order", &[11], |ctx| {
        Box::pin(states(ctx))
    })
    .proxied()
    .needs(&[Need::Proxy]),
    Case::new(
        "I11",
        "without a broker, connecting fails in time, or waits for it, as asked",
        &[11],
        |ctx| Box::pin(connect_without_broker(ctx)),
    )
    .proxied()
    .needs(NEEDS),
    Case::new(
        "I12",
        "of several addresses a node finds the one that answers, again and again",
        &[4, 5, 11],
        |ctx| Box::pin(another_address(ctx)),
    )
    .proxied()
    .needs(&[
        Need::Proxy,
        Need::Claim(Claim::History),
        Need::SeveralAddresses,
    ]),
    Case::new(
        "I14",
        "after reconnecting each log is subscribed to once",
        &[11, 12],
        |ctx| Box::pin(subscribed_once(ctx)),
    )
    .proxied()
    .needs(&[
        Need::Proxy,
        Need::Claim(Claim::History),
        Need::Subscriptions,
    ]),
    Case::new(
        "M02",
        "closing with a dead connection returns by the deadline",
        &[14],
        |ctx| Box::pin(close_in_black_hole(ctx)),
    )
    .proxied()
    .needs(&[Need::Proxy]),
];

async fn publish_while_disconnected(ctx: Ctx) -> Result<(), Failure> {
    let topic = ctx.topic("load");
    let direct = ctx.node().await?;
    let proxy = proxied::proxy(&ctx).await?;
    let open = quick(ctx.open()).set("publish_timeout", "1s");
    let node = open.via(proxy.addr()).node().await?;
    let mut load = Load::new(&ctx);
    load.subscribe(0, &direct, Start::Latest).await?;
    let mut publisher = load.recorder().publisher(1, topic.clone());
    let mut ended = 0;

    for fault in ["refused", "black hole"] {
        for healthy in [true, false] {
            if healthy {
                proxy.heal();
                let back = |h: &scaleout_core::Health| h.state == State::Connected;
                until(&ctx, node.plane(), "the connection to be regained", back).await?;
            } else if fault == "refused" {
                proxy.refuse_new();
                proxy.reset();
            } else {
                proxy.blackhole_both();
            }
            load.recorder().fault(fault);
            for _ in 0..3 {
                let (ticket, payload) = publisher.invoke(50);
                let began = Instant::now();
                let result = node.try_publish(&topic, payload).await?;
                let took = began.elapsed();
                ensure!(
                    took < ctx.limits().scaled(Duration::from_secs(3)),
                    "a publish took {took:?} with a timeout of 1 s"
                );
                match &result {
                    Ok(_) => ended += 1,
                    Err(error) => ensure!(
                        !healthy
                            && matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Timeout),
                        "{fault}, connected: {healthy}: {error:?}"
                    ),
                }
                // What was said of it is judged by the checker.
                ticket.end(&result);
            }
        }
    }
    proxy.heal();
    let plan = load.plan().with_publishes(6).with_entries(6).with_faults(4);
    load.finish(&direct, plan).await?;
    ensure!(ended >= 6, "only {ended} publishes succeeded");
    Ok(())
}

async fn fifty_flaps(ctx: Ctx) -> Result<(), Failure> {
    let direct = ctx.node().await?;
    let mut load = Load::new(&ctx);
    load.subscribe(0, &direct, Start::Latest).await?;
    let mut proxies = Vec::new();
    for number in 1..=2 {
        let (proxy, node) = proxied::node(&ctx).await?;
        load.subscribe(number, &node, Start::Latest).await?;
        for _ in 0..2 {
            load.publish(number, &node, Duration::from_millis(1));
        }
        proxies.push((proxy, node));
    }
    for flap in 0..50 {
        // Something must get through between two faults, or there is nothing to lose.
        load.progress(5).await?;
        let (proxy, _) = &proxies[flap % 2];
        load.recorder().fault("reset");
        proxy.reset();
    }
    load.progress(5).await?;
    let plan = load
        .plan()
        .with_publishes(255)
        .with_entries(3 * 255)
        .with_faults(50);
    load.finish(&direct, plan).await?;
    for (proxy, node) in &proxies {
        let reconnects = node.plane().health().reconnects;
        ensure!(
            reconnects >= 5,
            "only {reconnects} reconnects, {} connects",
            proxy.connects()
        );
    }
    Ok(())
}

async fn back_off(ctx: Ctx) -> Result<(), Failure> {
    let proxy = proxied::proxy(&ctx).await?;
    let open = ctx
        .open()
        .set("backoff_min", "50ms")
        .set("backoff_max", "400ms");
    let node = open.via(proxy.addr()).node().await?;
    let _tail = node.subscribe(&ctx.topic("t"), Start::Latest).await?;
    let before = proxy.connects();
    proxy.refuse_new();
    proxy.reset();
    // How often it tries in this time is what this case is about.
    tokio::time::sleep(Duration::from_secs(4)).await;
    ensure_eq!(node.plane().health().state, State::Interrupted, "state");

    // A try may open several connections; they follow each other without a wait.
    let times = proxy.connect_times();
    let new = &times[usize::try_from(before)
        .unwrap_or(usize::MAX)
        .min(times.len())..];
    let waits: Vec<Duration> = new
        .windows(2)
        .map(|pair| pair[1].saturating_duration_since(pair[0]))
        .filter(|wait| *wait >= Duration::from_millis(20))
        .collect();
    // The last waits are between 200 and 400 ms: 10 to 20 of them, after a few shorter ones.
    ensure!(
        (5..=30).contains(&waits.len()),
        "{} waits in 4 s: {waits:?}",
        waits.len()
    );
    let settled = &waits[waits.len() / 2..];
    let shortest = settled.iter().min().copied().unwrap_or_default();
    let longest = settled.iter().max().copied().unwrap_or_default();
    ensure!(shortest >= Duration::from_millis(195), "waits of {waits:?}");
    ensure!(
        longest - shortest >= Duration::from_millis(5),
        "waits like clockwork: {waits:?}"
    );
    proxy.heal();
    until_reconnected(&ctx, &node, 1).await?;
    Ok(())
}

async fn states(ctx: Ctx) -> Result<(), Failure> {
    let proxy = proxied::proxy(&ctx).await?;
    proxy.refuse_new();
    let node = quick(ctx.open()).via(proxy.addr()).lazy_node()?;
    let plane = node.plane();
    ensure_eq!(
        plane.health().state,
        State::Connecting,
        "state of a new node"
    );
    let why = |h: &scaleout_core::Health| h.last_error.is_some();
    until(&ctx, plane, "the reason to be shown", why).await?;
    proxy.heal();
    let connected = until_reconnected(&ctx, &node, 1).await?;
    ensure_eq!(connected.last_error, None, "error of a healthy node");
    for round in 2..=4 {
        proxy.refuse_new();
        proxy.reset();
        let interrupted = until_interrupted(&ctx, &node).await?;
        ensure!(interrupted.last_error.is_some(), "no reason is shown");
        ensure!(interrupted.since >= connected.since, "since goes back");
        proxy.heal();
        let health = until_reconnected(&ctx, &node, round).await?;
        ensure_eq!(health.reconnects, round, "reconnects");
    }
    node.close(Duration::from_secs(5)).await??;
    ensure_eq!(
        plane.health().state,
        State::Closed,
        "state of a closed node"
    );
    Ok(())
}

async fn connect_without_broker(ctx: Ctx) -> Result<(), Failure> {
    let proxy = proxied::proxy(&ctx).await?;
    for fault in ["refused", "black hole"] {
        if fault == "refused" {
            proxy.refuse_new();
        } else {
            proxy.heal();
            proxy.blackhole_both();
        }
        let began = Instant::now();
        let opened = quick(ctx.open()).via(proxy.addr()).try_node().await?;
        let error = opened
            .err()
            .ok_or_else(|| Failure::new(format!("{fault}, and connected")))?;
        ensure!(
            matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Timeout),
            "{fault}: {error:?}"
        );
        ensure!(
            began.elapsed() < ctx.limits().scaled(Duration::from_secs(3)),
            "{fault}: connecting took {:?}",
            began.elapsed()
        );
    }

    // One that was asked to wait takes publishes and subscriptions, and begins when the broker does.
    let topic = ctx.topic("t");
    let lazy = quick(ctx.open()).via(proxy.addr()).lazy_node()?;
    let subscribing = lazy.subscribe(&topic, Start::Earliest);
    let payloads = numbered(1);
    let publishing = publish_each(&lazy, &topic, &payloads);
    let healing = async {
        until(&ctx, lazy.plane(), "a failed try", |h| {
            h.last_error.is_some()
        })
        .await?;
        proxy.heal();
        Ok(())
    };
    let (tail, receipts, ()) = tokio::try_join!(subscribing, publishing, healing)?;
    let mut tail = tail;
    check_same(&tail.take(1).await?, &receipts, &payloads)
}

async fn another_address(ctx: Ctx) -> Result<(), Failure> {
    let topic = ctx.topic("t");
    let direct = ctx.node().await?;
    let proxies = [proxied::proxy(&ctx).await?, proxied::proxy(&ctx).await?];
    let addrs = proxies.each_ref().map(Proxy::addr);
    let node = quick(ctx.open()).via_any(&addrs).node().await?;
    let mut tail = node.subscribe(&topic, Start::Latest).await?;
    // A node begins where it likes, but it cannot be where it is refused.
    for round in 0..4 {
        let (refused, open) = (&proxies[round % 2], &proxies[(round + 1) % 2]);
        open.heal();
        refused.refuse_new();
        refused.reset();
        let missed = publish_each(&direct, &topic, &numbered(5)).await?;
        check_same(&tail.take(5).await?, &missed, &numbered(5))?;
        let back = |h: &scaleout_core::Health| h.state == State::Connected;
        until(&ctx, node.plane(), "the connection to be regained", back).await?;
        let own = publish_each(&node, &topic, &numbered(5)).await?;
        check_same(&tail.take(5).await?, &own, &numbered(5))?;
        ensure_eq!(
            refused.connections(),
            0,
            "connections by the address that refuses"
        );
        ensure!(open.connections() > 0, "no connection by the other address");
    }
    Ok(())
}

async fn subscribed_once(ctx: Ctx) -> Result<(), Failure> {
    let direct = ctx.node().await?;
    let (proxy, node) = proxied::node(&ctx).await?;
    let mut tails = Vec::new();
    for number in 0..10 {
        let topic = ctx.topic(format!("t{number}"));
        let tail = node.subscribe(&topic, Start::Latest).await?;
        tails.push((topic, tail));
    }
    for round in 1..=5 {
        proxy.reset();
        until_reconnected(&ctx, &node, round).await?;
        // What arrives shows that each log is listened to again. A connection that is lost before
        // anybody used it is replaced unnoticed, and would not count.
        for (topic, tail) in &mut tails {
            let fence = direct.fence(topic).await?;
            ensure_eq!(tail.until(fence).await?.len(), 0, "messages of nobody");
        }
    }
    for (topic, _tail) in &mut tails {
        let log = node.log(topic);
        // The broker may need a moment to see that the old connections are gone.
        let settled = async {
            loop {
                let subscriptions = ctx.admin()?.subscriptions(&log).await?;
                if subscriptions == 1 {
                    return Ok::<_, Failure>(());
                }
                ensure!(subscriptions > 0, "{log} is not subscribed to");
                tokio::task::yield_now().await;
            }
        };
        ctx.limits()
            .within("one subscription at the broker", settled)
            .await??;
    }
    Ok(())
}

async fn close_in_black_hole(ctx: Ctx) -> Result<(), Failure> {
    let topic = ctx.topic("t");
    let (proxy, node) = proxied::node(&ctx).await?;
    let mut tail = node.subscribe(&topic, Start::Latest).await?;
    node.publish(&topic, "before").await?;
    tail.entry().await?;
    proxy.blackhole_both();
    let publishing = tokio::spawn({
        let (plane, topic) = (node.plane().clone(), topic.clone());
        async move { plane.publish(&topic, "held").await }
    });
    // It has begun once the proxy could not pass something on; that it has is not needed here.
    tokio::task::yield_now().await;
    let began = Instant::now();
    let closed = node.close(LIVENESS).await?;
    let took = began.elapsed();
    ensure!(
        took < ctx.limits().scaled(2 * LIVENESS),
        "closing took {took:?} of {LIVENESS:?}"
    );
    let published = publishing.await?;
    match (&published, &closed) {
        (Err(error), _) if error.outcome() == Outcome::NotStored && closed.is_ok() => {
            ensure_eq!(error.kind(), ErrorKind::Closed, "why it was not stored");
        }
        (Err(_), Err(error)) => ensure_eq!(error.kind(), ErrorKind::Timeout, "closing"),
        _ => {
            return Err(Failure::new(format!(
                "publish {published:?}, close {closed:?}"
            )));
        }
    }
    let event = ctx
        .limits()
        .within("the end of the subscription", tail.next())
        .await?;
    ensure!(
        matches!(event, Some(scaleout_core::Event::Closed(None))),
        "the subscription ends with {event:?}"
    );
    Ok(())
}
