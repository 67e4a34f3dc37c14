//! Nodes behind fault proxies, and options that make them notice and recover fast.

use std::time::Duration;

use scaleout_core::{Backplane, Health, State};

use crate::{Ctx, Failure, Node, Open, proxy::Proxy};

/// Within what time a node with [`quick`] options notices a dead connection.
pub(super) const LIVENESS: Duration = Duration::from_secs(1);
/// How long reconnecting may take once the way is free: the longest back-off of [`quick`] options,
/// with much room for a busy machine.
pub(super) const RECOVERY: Duration = Duration::from_secs(20);

/// Options of a node that notices within [`LIVENESS`] and does not wait long before it tries again. A
/// request may take a second, and longer where all takes longer: to connect is many requests to some
/// brokers.
pub(super) fn quick(open: Open) -> Open {
    let request_timeout = open.limits().scaled(Duration::from_secs(1));
    open.set("liveness", "1s")
        .set(
            "request_timeout",
            format!("{}ms", request_timeout.as_millis()),
        )
        .set("backoff_min", "20ms")
        .set("backoff_max", "200ms")
}

/// A proxy in front of the target's broker.
pub(super) async fn proxy(ctx: &Ctx) -> Result<Proxy, Failure> {
    let addr = ctx.target().addr();
    let addr = addr.ok_or_else(|| Failure::new("the broker is not reached over TCP"))?;
    start(addr).await
}

/// A proxy in front of an address.
pub(super) async fn start(addr: String) -> Result<Proxy, Failure> {
    Proxy::start(addr)
        .await
        .map_err(|error| Failure::new(format!("no proxy: {error}")))
}

/// A node with [`quick`] options behind a proxy of its own.
pub(super) async fn node(ctx: &Ctx) -> Result<(Proxy, Node), Failure> {
    let proxy = proxy(ctx).await?;
    let node = quick(ctx.open()).via(proxy.addr()).node().await?;
    Ok((proxy, node))
}

/// Waits until the node's health is as wanted.
pub(super) async fn until(
    ctx: &Ctx,
    plane: &Backplane,
    what: &str,
    wanted: impl Fn(&Health) -> bool,
) -> Result<Health, Failure> {
    let mut watch = plane.watch_health();
    let health = ctx
        .limits()
        .within_time(RECOVERY, what, watch.wait_for(|h| wanted(h)))
        .await?;
    health
        .map(|health| health.clone())
        .map_err(|_| Failure::new("the node's health is gone"))
}

/// Waits until the node has noticed that its connection is lost.
pub(super) async fn until_interrupted(ctx: &Ctx, node: &Node) -> Result<Health, Failure> {
    until(ctx, node.plane(), "the loss to be noticed", |h| {
        h.state == State::Interrupted
    })
    .await
}

/// Waits until the node is connected for at least the `reconnects`th time again.
pub(super) async fn until_reconnected(
    ctx: &Ctx,
    node: &Node,
    reconnects: u64,
) -> Result<Health, Failure> {
    let back = |h: &Health| h.state == State::Connected && h.reconnects >= reconnects;
    until(ctx, node.plane(), "the connection to be regained", back).await
}
