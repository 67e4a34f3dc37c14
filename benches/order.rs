//! The ordering machine alone, frames of one message on one core.
//!
//! `cargo bench -p scaleout --bench order`

use std::{hint::black_box, sync::Arc, time::Duration};

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use scaleout::{
    Capabilities, Epoch, FrameBuilder, Message, Position, PublisherId, Sequence, StoredFrame,
    order::{Order, Placed, Rules},
};
use tokio::time::Instant;

const FRAMES: u64 = 10_000;

fn frames() -> Vec<Placed> {
    let publisher = PublisherId::random();
    let message = Message::new(vec![b'x'; 200]);
    (1..=FRAMES)
        .map(|number| {
            let mut frame = FrameBuilder::new();
            frame.push(None, &message);
            Placed::decode(StoredFrame {
                first: Sequence::new(number),
                len: 1,
                bytes: frame.finish(publisher, number).bytes().clone(),
            })
        })
        .collect()
}

fn order(c: &mut Criterion) {
    let mut group = c.benchmark_group("order");
    group.throughput(Throughput::Elements(FRAMES));
    let epoch = Epoch::random();
    let frames = frames();
    for (name, dedup) in [
        ("the broker deduplicates", true),
        ("counters are watched", false),
    ] {
        let mut capabilities = Capabilities::new("bench", 1 << 20);
        capabilities.history = true;
        capabilities.dedup = dedup;
        let rules = Arc::new(Rules::new(&capabilities, Duration::from_secs(5)));
        group.bench_function(name, |b| {
            b.iter_batched(
                || (frames.clone(), Vec::with_capacity(frames.len())),
                |(frames, mut out)| {
                    let start = Position::new(epoch, Sequence::ZERO);
                    let mut order = Order::at_head(rules.clone(), start);
                    let now = Instant::now();
                    for placed in frames {
                        order.live(epoch, placed, now, &mut out);
                    }
                    black_box(out)
                },
                BatchSize::LargeInput,
            );
        });
    }
    group.finish();
}

criterion_group!(benches, order);
criterion_main!(benches);
