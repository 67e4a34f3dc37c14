//! How a log of many frames behaves: appends at its end, reads from old places, trimming under load.
//!
//! `cargo run --release -p scaleout-postgres --example long_log -- postgres://postgres@127.0.0.1/test 10000000`

use std::{
    env,
    error::Error,
    time::{Duration, Instant},
};

use scaleout_core::{
    AnyBackend, Backend, FrameBuilder, LogName, Message, Namespace, Partitioning, Position,
    PublisherId, Sequence, Topic,
};
use tokio_postgres::NoTls;

/// How long each rate is measured.
const LASTS: Duration = Duration::from_secs(5);
/// Frames without a node between them, as a node would have stored them.
const FILL: &str = "WITH l AS (
    UPDATE scaleout.log SET head = head + $2, frames = frames + $2
    WHERE name = $1 RETURNING id, head - $2 AS head, frames - $2 AS frames
)
INSERT INTO scaleout.frame (log, first, len, number, stored_at, bytes)
SELECT l.id, l.head + n, 1, l.frames + n, now(), $3 FROM l, generate_series(1, $2) AS n";
const STEP: i64 = 1_000_000;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let url = arguments.next().ok_or("which database?")?;
    let frames: i64 = arguments.next().map_or(Ok(10_000_000), |n| n.parse())?;
    let topic = Topic::new("long_log")?;
    let log = LogName::of_topic(&Namespace::default(), &topic, Partitioning::PerTopic);
    let keep_all = open(&url, "retention_frames=1000000000")?;
    let (client, driver) = tokio_postgres::connect(&url, NoTls).await?;
    tokio::spawn(driver);

    keep_all.probe().await?;
    let name = log.key().into_bytes();
    let delete = "DELETE FROM scaleout.log WHERE name = $1";
    client.execute(delete, &[&name]).await?;
    println!(
        "empty:   {:.0} appends/s, one after the other",
        rate(&keep_all, &log).await?
    );

    let bytes = frame(PublisherId::random(), 1).bytes().to_vec();
    for _ in 0..frames / STEP {
        client.execute(FILL, &[&name, &STEP, &bytes]).await?;
    }
    println!("filled:  {:.0} appends/s", rate(&keep_all, &log).await?);

    let page = keep_all.read(&log, None, 0).await?;
    let mut slowest = Duration::ZERO;
    let places = 1_000;
    let started = Instant::now();
    for place in 0..places {
        let after = Sequence::new(page.head.get() / places * place);
        let asked = Instant::now();
        let read = keep_all
            .read(&log, Some(Position::new(page.epoch, after)), 100)
            .await?;
        slowest = slowest.max(asked.elapsed());
        if read.frames.first().map(|frame| frame.first) != Some(after.next()) {
            return Err(format!("read {read:?} after {after}").into());
        }
    }
    let mean = started.elapsed() / u32::try_from(places)?;
    println!("read:    {mean:?} for 100 messages after an old cursor, {slowest:?} at most");

    let trimming = open(&url, "retention_frames=10000")?;
    let floor = trimming.read(&log, None, 0).await?.floor.get();
    let started = Instant::now();
    let trimmed = rate(&trimming, &log).await?;
    let gone = trimming.read(&log, None, 0).await?.floor.get() - floor;
    println!(
        "trimmed: {:.0} frames/s, beside {trimmed:.0} appends/s",
        gone as f64 / started.elapsed().as_secs_f64()
    );
    client.execute(delete, &[&name]).await?;
    Ok(())
}

fn open(url: &str, option: &str) -> scaleout_core::Result<AnyBackend> {
    Ok(scaleout_postgres::connector(&format!("{url}?{option}"))?.backend)
}

/// How many frames of one message are appended in a second, each after the other's answer.
async fn rate(backend: &AnyBackend, log: &LogName) -> scaleout_core::Result<f64> {
    let publisher = PublisherId::random();
    let started = Instant::now();
    let mut appended = 0;
    while started.elapsed() < LASTS {
        appended += 1;
        backend.append(log, &frame(publisher, appended)).await?;
    }
    Ok(appended as f64 / started.elapsed().as_secs_f64())
}

fn frame(publisher: PublisherId, counter: u64) -> scaleout_core::EncodedFrame {
    let mut builder = FrameBuilder::new();
    builder.push(None, &Message::new(vec![b'x'; 200]));
    builder.finish(publisher, counter)
}
