//! From one publish to its delivery to every subscription of the topic on a node, over memory.
//!
//! `cargo bench -p scaleout --bench fan_out`

#![expect(clippy::unwrap_used, reason = "a bench that goes wrong may panic")]

use std::time::Instant;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use futures_util::future::join_all;
use scaleout::{Event, Start};

fn fan_out(c: &mut Criterion) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut group = c.benchmark_group("fan_out");
    for subscriptions in [1_usize, 10, 100, 1_000] {
        group.throughput(Throughput::Elements(subscriptions as u64));
        group.bench_function(BenchmarkId::from_parameter(subscriptions), |b| {
            b.to_async(&runtime).iter_custom(async |rounds| {
                let node = scaleout::connect("memory:").await.unwrap();
                let subscribe = (0..subscriptions).map(|_| node.subscribe("bench", Start::Latest));
                let mut readers: Vec<_> = join_all(subscribe).await;
                let started = Instant::now();
                for _ in 0..rounds {
                    node.publish("bench", "tick").await.unwrap();
                    for reader in &mut readers {
                        let event = reader.as_mut().unwrap().next().await;
                        assert!(matches!(event, Some(Event::Message(_))));
                    }
                }
                started.elapsed()
            });
        });
    }
    group.finish();
}

criterion_group!(benches, fan_out);
criterion_main!(benches);
