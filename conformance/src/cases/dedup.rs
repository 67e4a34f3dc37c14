//! F. Repetition: a frame that is appended twice is stored once.

use scaleout_core::{Arrival, Frame, PublisherId, StoredFrame};
use tokio::task::JoinSet;

use super::common::numbered;
use crate::{
    Bare, Case, Claim, Ctx, Failure,
    bare::frame,
    failure::{ensure, ensure_eq},
};

pub(super) const CASES: &[Case] = &[
    Case::new(
        "F10",
        "a frame appended twice is stored once, with one receipt",
        &[4, 9],
        |ctx| Box::pin(twice(ctx)),
    )
    .claimed(Claim::Dedup),
    Case::new(
        "F11",
        "the repetition is noticed on any node",
        &[4, 9],
        |ctx| Box::pin(on_any_node(ctx)),
    )
    .claimed(Claim::Dedup),
    Case::new(
        "F12",
        "of 32 repetitions at once one is stored",
        &[4, 9],
        |ctx| Box::pin(all_at_once(ctx)),
    )
    .claimed(Claim::Dedup),
    Case::new(
        "F13",
        "equal messages of different frames are all stored",
        &[5],
        |ctx| Box::pin(equal_messages(ctx)),
    )
    .claimed(Claim::Dedup),
    Case::new(
        "F14",
        "a repetition is noticed while others publish, and beside the publisher's other logs",
        &[4, 9],
        |ctx| Box::pin(beside_others(ctx)),
    )
    .claimed(Claim::Dedup),
    Case::new(
        "F15",
        "another frame under a known counter is taken for the repetition, and not stored",
        &[4],
        |ctx| Box::pin(another_under_the_same_counter(ctx)),
    )
    .claimed(Claim::Dedup),
    Case::new(
        "F16",
        "of frames appended together, those that were stored before are not stored again",
        &[4, 8, 9],
        |ctx| Box::pin(some_of_many(ctx)),
    )
    .claimed(Claim::Dedup),
];

/// All frames of the log, decoded.
async fn stored(bare: &Bare, log: &scaleout_core::LogName) -> Result<Vec<Frame>, Failure> {
    let frames: Vec<StoredFrame> = bare.read_all(log, 1_000).await?;
    frames
        .into_iter()
        .map(|frame| Frame::decode(frame.bytes).map_err(|e| Failure::new(e.to_string())))
        .collect()
}

async fn twice(ctx: Ctx) -> Result<(), Failure> {
    let bare = ctx.bare().await?;
    let topic = ctx.topic("t");
    let mut publisher = bare.publisher(&topic);
    let mut listener = bare.listen(publisher.log()).await?;
    for size in [1, 3] {
        let frame = publisher.next_frame(numbered(size));
        let first = bare.append(publisher.log(), &frame).await?;
        let second = bare.append(publisher.log(), &frame).await?;
        ensure_eq!(second, first, "receipt of the repetition");
    }
    let frames = stored(&bare, publisher.log()).await?;
    let counters: Vec<_> = frames.iter().map(Frame::counter).collect();
    ensure_eq!(counters, [1, 2], "counters of the frames stored");

    // Nor is it announced twice: the fence is the third arrival.
    let fence = publisher.next_frame(["fence"]);
    bare.append(publisher.log(), &fence).await?;
    let mut arrivals = 0;
    while let Arrival::Frame { frame, .. } = listener.arrival().await? {
        arrivals += 1;
        if frame.bytes == *fence.bytes() {
            ensure_eq!(arrivals, 3, "arrivals");
            break;
        }
    }
    Ok(())
}

async fn another_under_the_same_counter(ctx: Ctx) -> Result<(), Failure> {
    let bare = ctx.bare().await?;
    let topic = ctx.topic("t");
    let log = bare.log(&topic);
    let publisher = PublisherId::random();
    let one = frame(&log, &topic, publisher, 1, ["one", "two"]);
    let another = frame(&log, &topic, publisher, 1, ["three"]);
    let first = bare.append(&log, &one).await?;
    ensure_eq!(bare.append(&log, &another).await?, first, "receipt");
    let frames = bare.read_all(&log, 1_000).await?;
    ensure_eq!(frames.len(), 1, "frames stored");
    ensure_eq!(&frames[0].bytes, one.bytes(), "the frame stored");
    Ok(())
}

async fn on_any_node(ctx: Ctx) -> Result<(), Failure> {
    let (one, two) = (ctx.bare().await?, ctx.bare().await?);
    let topic = ctx.topic("t");
    let mut publisher = one.publisher(&topic);
    for round in 0..20 {
        let frame = publisher.next_frame(numbered(1 + round % 3));
        let first = one.append(publisher.log(), &frame).await?;
        ensure_eq!(
            two.append(publisher.log(), &frame).await?,
            first,
            "receipt on the other node"
        );
        ensure_eq!(
            one.append(publisher.log(), &frame).await?,
            first,
            "receipt of the third"
        );
    }
    ensure_eq!(
        stored(&one, publisher.log()).await?.len(),
        20,
        "frames stored"
    );
    Ok(())
}

async fn all_at_once(ctx: Ctx) -> Result<(), Failure> {
    let bares = [
        ctx.bare().await?,
        ctx.bare().await?,
        ctx.bare().await?,
        ctx.bare().await?,
    ];
    for _ in 0..20 {
        let topic = ctx.fresh_topic();
        let mut publisher = bares[0].publisher(&topic);
        let frame = publisher.next_frame(["x", "y"]);
        let mut running = JoinSet::new();
        for index in 0..32 {
            let (bare, log) = (bares[index % bares.len()].clone(), publisher.log().clone());
            let frame = frame.clone();
            running.spawn(async move { bare.append(&log, &frame).await });
        }
        let mut receipts = Vec::new();
        while let Some(ended) = running.join_next().await {
            receipts.push(ended??);
        }
        ensure_eq!(receipts, vec![receipts[0]; 32], "receipts");
        ensure_eq!(
            stored(&bares[0], publisher.log()).await?.len(),
            1,
            "frames stored"
        );
    }
    Ok(())
}

async fn equal_messages(ctx: Ctx) -> Result<(), Failure> {
    let bare = ctx.bare().await?;
    let topic = ctx.topic("t");
    let log = bare.log(&topic);
    // The same counter of another publisher, and another counter of the same publisher.
    let (one, two) = (PublisherId::random(), PublisherId::random());
    let mut receipts = Vec::new();
    for (publisher, counter) in [(one, 1), (two, 1), (one, 2), (two, 2)] {
        let frame = frame(&log, &topic, publisher, counter, ["same"]);
        receipts.push(bare.append(&log, &frame).await?);
    }
    ensure_eq!(stored(&bare, &log).await?.len(), 4, "frames stored");
    receipts.dedup();
    ensure_eq!(receipts.len(), 4, "different receipts");
    Ok(())
}

/// What is repeated is a frame, whole: it is what a publisher sends again. Backends that store what
/// waits in one go get known frames and new ones in it, of the same publishers.
async fn some_of_many(ctx: Ctx) -> Result<(), Failure> {
    const PUBLISHERS: usize = 16;
    let bare = ctx.bare().await?;
    for _ in 0..5 {
        let topic = ctx.fresh_topic();
        let log = bare.log(&topic);
        let mut known = Vec::new();
        let mut together = Vec::new();
        for number in 0..PUBLISHERS {
            let mut publisher = bare.publisher(&topic);
            let frame = publisher.next_frame(numbered(1 + number % 3));
            known.push(bare.append(&log, &frame).await?);
            // Messages of the known frame, in another one: that is no repetition.
            let overlapping = publisher.next_frame(numbered(2 + number % 3));
            together.push((frame, overlapping));
        }
        let known_again = together.iter().map(|(frame, _)| bare.append(&log, frame));
        let strangers = together.iter().map(|_| {
            let frame = bare.publisher(&topic).next_frame(numbered(2));
            let (bare, log) = (&bare, &log);
            async move { bare.append(log, &frame).await }
        });
        let (again, new) = tokio::try_join!(
            futures_util::future::try_join_all(known_again),
            futures_util::future::try_join_all(strangers)
        )?;
        ensure_eq!(again, known, "receipts of the frames that were known");
        for (_, overlapping) in &together {
            let appended = bare.append(&log, overlapping).await?;
            ensure!(
                !known.contains(&appended) && !new.contains(&appended),
                "{appended:?} is the receipt of another frame"
            );
        }
        let frames = stored(&bare, &log).await?;
        ensure_eq!(frames.len(), 3 * PUBLISHERS, "frames stored");
        let whole = frames.iter().filter(|frame| frame.counter() == 2);
        let sizes: usize = whole.map(|frame| frame.messages().len()).sum();
        let wanted: usize = (0..PUBLISHERS).map(|number| 2 + number % 3).sum();
        ensure_eq!(sizes, wanted, "messages of frames that hold known messages");
    }
    Ok(())
}

async fn beside_others(ctx: Ctx) -> Result<(), Failure> {
    let bare = ctx.bare().await?;
    let (topic, elsewhere) = (ctx.topic("t"), ctx.topic("elsewhere"));
    let id = PublisherId::random();
    let (log, other_log) = (bare.log(&topic), bare.log(&elsewhere));
    let mut others: Vec<_> = (0..100).map(|_| bare.publisher(&topic)).collect();
    let mut appended = 0;
    for counter in 1..=5 {
        let frame = frame(&log, &topic, id, counter, ["x"]);
        let first = bare.append(&log, &frame).await?;
        for other in &mut others {
            other.append(["other"]).await?;
        }
        ensure_eq!(
            bare.append(&log, &frame).await?,
            first,
            "receipt after 100 others"
        );
        appended += 1 + others.len();
        // One publisher id in two logs has a count in each.
        if log != other_log {
            let elsewhere = crate::frame(&other_log, &elsewhere, id, counter, ["x"]);
            bare.append(&other_log, &elsewhere).await?;
        }
    }
    let found = stored(&bare, &log).await?.len();
    ensure_eq!(found, appended, "frames stored");
    ensure!(
        log == other_log || stored(&bare, &other_log).await?.len() == 5,
        "the other log"
    );
    Ok(())
}
