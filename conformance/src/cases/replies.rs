//! F. The broker did it, and its answer was lost.

use scaleout_core::{ErrorKind, Outcome, Start};

use super::proxied::{self, quick};
use crate::{
    Bare, BarePublisher, Case, Claim, Ctx, Failure, Need,
    failure::{ensure, ensure_eq},
    proxy::{Direction, Proxy},
};

const NEEDS: &[Need] = &[Need::Proxy, Need::Claim(Claim::History)];

pub(super) const CASES: &[Case] = &[
    Case::new(
        "F18",
        "a publish whose answer was lost is unknown, or told truly; it is never stored twice",
        &[4, 9],
        |ctx| Box::pin(answer_lost(ctx)),
    )
    .proxied()
    .needs(NEEDS),
    Case::new(
        "F19",
        "repeated, it is stored once and has its first receipt",
        &[4, 9],
        |ctx| Box::pin(repeated(ctx)),
    )
    .claimed(Claim::Dedup)
    .proxied()
    .needs(NEEDS),
];

/// Nobody else may be disturbed by a cut, so nobody listens on the connection that is cut.
async fn bare(ctx: &Ctx) -> Result<(Proxy, Bare), Failure> {
    let proxy = proxied::proxy(ctx).await?;
    let bare = quick(ctx.open()).via(proxy.addr()).bare().await?;
    Ok((proxy, bare))
}

/// Opens what the last cut closed, and appends a frame, so that nothing but the answer is left to come
/// when the next frame is appended.
async fn settle(bare: &Bare, publisher: &mut BarePublisher) -> Result<(), Failure> {
    // A connection that died since is reported, once.
    if bare.probe().await?.is_err() {
        bare.probe().await??;
    }
    publisher.append(["between"]).await?;
    Ok(())
}

async fn answer_lost(ctx: Ctx) -> Result<(), Failure> {
    // The backend by itself: it must not try again, so the outcome is unknown.
    let topic = ctx.topic("bare");
    let direct = ctx.bare().await?;
    let (proxy, bare) = bare(&ctx).await?;
    let mut publisher = bare.publisher(&topic);
    publisher.append(["first"]).await?;
    let (mut stored, mut unknown) = (1, 0);
    for bytes in 0..20 {
        settle(&bare, &mut publisher).await?;
        stored += 1;
        let frame = publisher.next_frame([format!("m{bytes}")]);
        let cuts = proxy.cuts();
        proxy.cut_after(bytes, Direction::FromBroker);
        let appended = bare.try_append(publisher.log(), &frame).await?;
        proxy.heal();
        let cut = proxy.cuts() > cuts;
        let found = direct.read_all(publisher.log(), 1_000).await?.len() - stored;
        match appended {
            Ok(_) => ensure_eq!(found, 1, "copies of what was acknowledged"),
            Err(error) => {
                ensure!(cut, "the answer was not lost, and is {error:?}");
                ensure!(
                    matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Timeout),
                    "{error:?}"
                );
                let most = usize::from(error.outcome() == Outcome::Unknown);
                ensure!(
                    found <= most,
                    "stored {found} times, cut after {bytes}: {error:?}"
                );
                unknown += most;
            }
        }
        stored += found;
    }
    // A short answer is through before most of the cuts.
    ensure!(unknown > 0, "no answer was lost");

    // The node above it tries again, and knows in the end.
    let topic = ctx.topic("node");
    let direct = ctx.node().await?;
    let mut tail = direct.subscribe(&topic, Start::Latest).await?;
    let node = quick(ctx.open())
        .set("backoff_max", "50ms")
        .via(proxy.addr())
        .node()
        .await?;
    for bytes in 0..20 {
        let payload = format!("m{bytes}");
        let cuts = proxy.cuts();
        proxy.cut_after(bytes, Direction::FromBroker);
        let receipt = node.publish(&topic, payload.clone()).await?;
        proxy.heal();
        ensure!(proxy.cuts() > cuts || bytes > 0, "the answer was not lost");
        let entry = tail.entry().await?;
        ensure!(
            entry.payload() == payload.as_bytes(),
            "{:?} in place of {payload}",
            entry.payload()
        );
        ensure_eq!(
            entry.position(),
            receipt.cursor().position(),
            "position of {payload}"
        );
    }
    let fence = direct.fence(&topic).await?;
    ensure_eq!(
        tail.until(fence).await?.len(),
        0,
        "messages that came twice"
    );
    if ctx.dense() {
        ensure_eq!(
            fence.position().sequence.get(),
            21,
            "sequence after twenty messages"
        );
    }
    Ok(())
}

async fn repeated(ctx: Ctx) -> Result<(), Failure> {
    let topic = ctx.topic("t");
    let direct = ctx.bare().await?;
    let (proxy, bare) = bare(&ctx).await?;
    let mut publisher = bare.publisher(&topic);
    publisher.append(["first"]).await?;
    let mut answers_lost = 0;
    for round in 2..22_usize {
        let frame = publisher.next_frame([format!("m{round}")]);
        let cuts = proxy.cuts();
        proxy.cut_after(0, Direction::FromBroker);
        let lost = bare.try_append(publisher.log(), &frame).await?;
        ensure!(proxy.cuts() > cuts, "no connection was cut");
        // Of a backend's connections, another one may have been cut, while it asked for a sign of life.
        answers_lost += usize::from(lost.is_err());
        let first = bare.append(publisher.log(), &frame).await?;
        let again = direct.append(publisher.log(), &frame).await?;
        ensure_eq!(again, first, "receipt of the second repetition");
        let frames = direct.read_all(publisher.log(), 1_000).await?;
        ensure_eq!(frames.len(), round, "frames in the log");
        if let Some(position) = first.first {
            let last = frames.last().map(|frame| frame.first);
            ensure_eq!(
                last,
                Some(position.sequence),
                "place of the frame, and its receipt"
            );
        }
    }
    ensure!(answers_lost >= 10, "{answers_lost} answers of 20 were lost");
    Ok(())
}
