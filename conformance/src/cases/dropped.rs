//! N. Calls that are given up half way: the next one gets its own answer.

use std::{
    future::Future,
    pin::pin,
    task::{Context, Poll, Waker},
};

use scaleout_core::{Backend, Sequence};

use super::proxied;
use crate::{
    Bare, Case, Claim, Ctx, Failure, Need,
    failure::{ensure, ensure_eq},
};

/// How many polls a call may get before it is dropped.
const POLLS: usize = 12;

pub(super) const CASES: &[Case] = &[
    Case::new(
        "N02",
        "after an append given up half way the next gets its own answer",
        &[12],
        |ctx| Box::pin(appends(ctx)),
    )
    .proxied()
    .needs(&[Need::Claim(Claim::History), Need::Claim(Claim::Receipts)]),
    Case::new(
        "N03",
        "after a read or a listen given up half way the next gets its own",
        &[12],
        |ctx| Box::pin(reads_and_listens(ctx)),
    )
    .proxied()
    .needs(&[Need::Claim(Claim::History), Need::Claim(Claim::Receipts)]),
    Case::new(
        "N05",
        "a subscription given up half way is none at the broker",
        &[12],
        |ctx| Box::pin(no_orphans(ctx)),
    )
    .proxied()
    .needs(&[Need::Claim(Claim::History), Need::Subscriptions]),
    Case::new(
        "N06",
        "a batch given up half way is stored as a whole or not at all",
        &[8, 12],
        |ctx| Box::pin(batches(ctx)),
    )
    .proxied()
    .needs(&[Need::Claim(Claim::History)]),
    Case::new(
        "N07",
        "a call given up half way holds nothing that others wait for",
        &[12],
        |ctx| Box::pin(holds_nothing(ctx)),
    )
    .proxied()
    .needs(&[Need::Claim(Claim::History), Need::Claim(Claim::Receipts)]),
];

/// Polls a future so many times, each time after something may have happened, and drops it. Returns
/// its output if it ended before.
async fn give_up<F: Future>(future: F, polls: usize) -> Option<F::Output> {
    let mut future = pin!(future);
    for poll in 0..polls {
        // Woken or not: a future must bear to be polled at any time.
        if let Poll::Ready(output) = future
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()))
        {
            return Some(output);
        }
        // From yielding once to waiting longer than a round trip takes: where the call stands when
        // it is dropped differs from poll to poll.
        if poll % 3 == 2 {
            tokio::time::sleep(std::time::Duration::from_micros(200)).await;
        } else {
            tokio::task::yield_now().await;
        }
    }
    None
}

/// A backend whose answers take their time where there is a proxy to slow them down.
async fn slow_bare(ctx: &Ctx) -> Result<(Option<crate::proxy::Proxy>, Bare), Failure> {
    if ctx.target().addr().is_none() {
        return Ok((None, ctx.bare().await?));
    }
    let proxy = proxied::proxy(ctx).await?;
    let bare = ctx.open().via(proxy.addr()).bare().await?;
    let millis = std::time::Duration::from_millis;
    proxy.delay(millis(0), millis(1));
    Ok((Some(proxy), bare))
}

async fn appends(ctx: Ctx) -> Result<(), Failure> {
    let topic = ctx.topic("t");
    let direct = ctx.bare().await?;
    let (_proxy, bare) = slow_bare(&ctx).await?;
    let mut publisher = bare.publisher(&topic);
    let log = publisher.log().clone();
    let (mut given_up, mut number) = (0, 0_u32);
    for polls in (0..POLLS).cycle().take(5 * POLLS) {
        number += 1;
        let dropped = publisher.next_frame([format!("dropped {number}")]);
        let ended = give_up(bare.backend().append(&log, &dropped), polls).await;
        given_up += usize::from(ended.is_none());

        let payload = format!("answered {number}");
        let appended = publisher.append([payload.clone()]).await?;
        let position = appended.first.ok_or_else(|| Failure::new("no position"))?;
        // What stands at the position of the answer is what was appended, and not its neighbour.
        let page = direct.read(&log, Some(previous(position)), 1).await?;
        let found = page.frames.first().map(|frame| frame.bytes.clone());
        let carries = found
            .as_deref()
            .is_some_and(|bytes| ends_with(bytes, &payload));
        ensure!(
            carries,
            "{payload} is not at {position:?}, {polls} polls before: {found:?}"
        );
    }
    ensure!(given_up >= 5, "only {given_up} appends were given up");
    let frames = direct.read_all(&log, 1_000).await?;
    for number in 1..=number {
        let count = |what: &str| {
            let payload = format!("{what} {number}");
            frames
                .iter()
                .filter(|frame| ends_with(&frame.bytes, &payload))
                .count()
        };
        ensure!(
            count("dropped") <= 1,
            "dropped {number} is stored {} times",
            count("dropped")
        );
        ensure_eq!(count("answered"), 1, "copies of answered {number}");
    }
    Ok(())
}

fn previous(position: scaleout_core::Position) -> scaleout_core::Position {
    scaleout_core::Position::new(position.epoch, position.sequence.previous())
}

/// The payload of a frame's last message stands at its end.
fn ends_with(frame: &[u8], payload: &str) -> bool {
    let marked = [
        &[u8::try_from(payload.len()).unwrap_or(0)],
        payload.as_bytes(),
    ]
    .concat();
    frame.ends_with(&marked)
}

async fn reads_and_listens(ctx: Ctx) -> Result<(), Failure> {
    let direct = ctx.bare().await?;
    let (_proxy, bare) = slow_bare(&ctx).await?;
    let topics = ["one", "two"].map(|name| ctx.topic(name));
    let logs = [bare.log(&topics[0]), bare.log(&topics[1])];
    let mut publishers = [direct.publisher(&topics[0]), direct.publisher(&topics[1])];
    let mut epochs = Vec::new();
    // The logs are told apart by their lengths.
    for (index, publisher) in publishers.iter_mut().enumerate() {
        for _ in 0..=index {
            publisher.append(["m"]).await?;
        }
        epochs.push(direct.read(&logs[index], None, 0).await?.epoch);
    }
    let mut given_up = 0;
    for polls in (0..POLLS).cycle().take(5 * POLLS) {
        let dropped = give_up(bare.backend().read(&logs[0], None, 10), polls).await;
        given_up += usize::from(dropped.is_none());
        let page = bare.read(&logs[1], None, 10).await?;
        ensure_eq!(page.epoch, epochs[1], "epoch of the second log");
        ensure_eq!(page.frames.len(), 2, "frames of the second log");

        let dropped = give_up(bare.backend().listen(&logs[0], None), polls).await;
        given_up += usize::from(dropped.is_none());
        let mut listener = bare.listen(&logs[0]).await?;
        let appended = publishers[0].append(["live"]).await?;
        let found = listener.frame().await?;
        if let (Some((epoch, frame)), Some(position)) = (found, appended.first) {
            ensure_eq!(
                (epoch, frame.first),
                (position.epoch, position.sequence),
                "first arrival"
            );
        }
        ensure!(listener.arrived()?.is_none(), "a frame arrived twice");
    }
    ensure!(given_up >= 5, "only {given_up} calls were given up");
    Ok(())
}

async fn no_orphans(ctx: Ctx) -> Result<(), Failure> {
    let (_proxy, bare) = slow_bare(&ctx).await?;
    for polls in 0..POLLS {
        let topic = ctx.fresh_topic();
        let log = bare.log(&topic);
        drop(give_up(bare.backend().listen(&log, None), polls).await);
        // A round trip later the broker has seen whatever was sent.
        bare.read(&log, None, 0).await?;
        let gone = async {
            while ctx.admin()?.subscriptions(&log).await? > 0 {
                tokio::task::yield_now().await;
            }
            Ok::<_, Failure>(())
        };
        let what = format!("the subscription given up after {polls} polls to end");
        ctx.limits().within(&what, gone).await??;
    }
    Ok(())
}

async fn batches(ctx: Ctx) -> Result<(), Failure> {
    const BATCH: usize = 50;
    let topic = ctx.topic("t");
    let node = ctx.node().await?;
    let direct = ctx.node().await?;
    for (round, polls) in (0..POLLS).cycle().take(5 * POLLS).enumerate() {
        let batch = (0..BATCH).map(|index| format!("{round}/{index}"));
        drop(give_up(node.plane().publish_batch(&topic, batch), polls).await);
    }
    let fence = node.fence(&topic).await?;
    let mut seen = Vec::new();
    for entry in direct.read_all(&topic, 1_000).await? {
        if entry.position() == fence.position() {
            break;
        }
        seen.push(String::from_utf8_lossy(entry.payload()).into_owned());
    }
    for batch in seen.chunks(BATCH) {
        let round = batch[0].split('/').next().unwrap_or_default();
        let whole = (0..BATCH).map(|index| format!("{round}/{index}"));
        ensure!(
            whole.eq(batch.iter().cloned()),
            "part of a batch, or a mixture: {batch:?}"
        );
    }
    let distinct: std::collections::HashSet<_> = seen.iter().collect();
    ensure_eq!(distinct.len(), seen.len(), "distinct messages");
    Ok(())
}

async fn holds_nothing(ctx: Ctx) -> Result<(), Failure> {
    let topic = ctx.topic("t");
    let direct = ctx.bare().await?;
    let (_proxy, bare) = slow_bare(&ctx).await?;
    let mut here = bare.publisher(&topic);
    let mut there = direct.publisher(&topic);
    let log = here.log().clone();
    for polls in 0..POLLS {
        let frame = here.next_frame(["dropped"]);
        drop(give_up(bare.backend().append(&log, &frame), polls).await);
        // Another node writes to the same log, and this one does everything else.
        there.append(["there"]).await?;
        drop(give_up(bare.backend().read(&log, None, 10), polls).await);
        here.append(["here"]).await?;
        drop(give_up(bare.backend().listen(&log, None), polls).await);
        let mut listener = bare.listen(&log).await?;
        there.append(["live"]).await?;
        listener.arrival().await?;
        let page = bare.read(&log, None, 0).await?;
        ensure!(page.head > Sequence::ZERO, "the log has no head");
        drop(give_up(bare.backend().probe(), polls).await);
        bare.probe().await??;
    }
    Ok(())
}
