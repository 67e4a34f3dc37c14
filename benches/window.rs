//! One subscription reading what is in the window, over memory.
//!
//! `cargo bench -p scaleout --bench window`

#![expect(clippy::unwrap_used, reason = "a bench that goes wrong may panic")]

use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use futures_util::FutureExt;
use scaleout::{Event, Message, Start};

const MESSAGES: usize = 1_024;

fn window(c: &mut Criterion) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut group = c.benchmark_group("window");
    group.throughput(Throughput::Elements(MESSAGES as u64));
    group.bench_function("read", |b| {
        b.to_async(&runtime).iter_custom(async |rounds| {
            let node = scaleout::connect("memory:").await.unwrap();
            let mut reader = node.subscribe("bench", Start::Latest).await.unwrap();
            // Stands at the end once everything is in the window, for the reader to take.
            let mut witness = node.subscribe("bench", Start::Latest).await.unwrap();
            let batch = vec![Message::new(vec![b'x'; 200]); MESSAGES];
            let mut took = Duration::ZERO;
            for _ in 0..rounds {
                node.publish_batch("bench", batch.clone()).await.unwrap();
                for _ in 0..MESSAGES {
                    assert!(matches!(witness.next().await, Some(Event::Message(_))));
                }
                let started = Instant::now();
                for _ in 0..MESSAGES {
                    assert!(matches!(
                        reader.next().now_or_never(),
                        Some(Some(Event::Message(_)))
                    ));
                }
                took += started.elapsed();
            }
            took
        });
    });
    group.finish();
}

criterion_group!(benches, window);
criterion_main!(benches);
