//! Encoding and decoding frames of 200-byte messages.
//!
//! `cargo bench -p scaleout --bench frame`

#![expect(clippy::unwrap_used, reason = "a bench that goes wrong may panic")]

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use scaleout::{EncodedFrame, Frame, FrameBuilder, Message, PublisherId};

fn encode(messages: &[Message], publisher: PublisherId) -> EncodedFrame {
    let mut frame = FrameBuilder::new();
    for message in messages {
        frame.push(None, message);
    }
    frame.finish(publisher, 1)
}

fn frame(c: &mut Criterion) {
    let publisher = PublisherId::random();
    for (name, decodes) in [("frame/encode", false), ("frame/decode", true)] {
        let mut group = c.benchmark_group(name);
        for len in [1, 64, 1_024] {
            let messages = vec![Message::new(vec![b'x'; 200]); len];
            let bytes = encode(&messages, publisher).bytes().clone();
            group.throughput(Throughput::Elements(len as u64));
            group.bench_function(BenchmarkId::from_parameter(len), |b| {
                if decodes {
                    b.iter(|| Frame::decode(black_box(bytes.clone())).unwrap());
                } else {
                    b.iter(|| encode(black_box(&messages), publisher));
                }
            });
        }
        group.finish();
    }
}

criterion_group!(benches, frame);
criterion_main!(benches);
