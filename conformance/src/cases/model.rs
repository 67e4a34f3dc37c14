//! G13. Random operations on two nodes, compared step by step with a list in memory.

use std::time::{Duration, Instant};

use scaleout_core::{Cursor, Entry, Event, Position, Sequence, Start};

use crate::{
    Case, Claim, Ctx, Failure, Need, Node, Rng, Tail,
    failure::{ensure, ensure_eq},
    node::expect_entry,
};

pub(super) const CASES: &[Case] = &[Case::new(
    "G13",
    "random operations on two nodes do what a list in memory does",
    &[1, 2, 4, 5, 6, 8],
    |ctx| Box::pin(random_operations(ctx)),
)
.needs(&[Need::Claim(Claim::History), Need::Claim(Claim::Dense)])];

/// How long a failure may be made smaller.
const SHRINKING: Duration = Duration::from_secs(20);

/// One step. Places and subscriptions are picked modulo how many there are, so that a list of
/// operations stays meaningful when some are taken out.
#[derive(Clone, Copy, Debug)]
enum Op {
    Publish {
        node: usize,
    },
    Batch {
        node: usize,
        messages: usize,
    },
    Head {
        node: usize,
    },
    Read {
        node: usize,
        after: usize,
        limit: usize,
    },
    Latest {
        node: usize,
    },
    Earliest {
        node: usize,
    },
    After {
        node: usize,
        place: usize,
    },
    Drain {
        tail: usize,
    },
    Drop {
        tail: usize,
    },
}

impl Op {
    fn random(rng: &mut Rng) -> Self {
        let node = rng.below(2);
        match rng.below(14) {
            0..=3 => Self::Publish { node },
            4 | 5 => Self::Batch {
                node,
                messages: rng.below(6),
            },
            6 => Self::Head { node },
            7 => Self::Read {
                node,
                after: rng.below(1_000),
                limit: 1 + rng.below(8),
            },
            8 => Self::Latest { node },
            9 => Self::Earliest { node },
            10 => Self::After {
                node,
                place: rng.below(1_000),
            },
            11 | 12 => Self::Drain {
                tail: rng.below(1_000),
            },
            _ => Self::Drop {
                tail: rng.below(1_000),
            },
        }
    }
}

async fn random_operations(ctx: Ctx) -> Result<(), Failure> {
    let nodes = [ctx.node().await?, ctx.node().await?];
    let mut rng = ctx.rng();
    for _ in 0..25 {
        let ops: Vec<_> = (0..60).map(|_| Op::random(&mut rng)).collect();
        if let Err(failure) = replay(&ctx, &nodes, &ops).await {
            let ops = shrink(&ctx, &nodes, ops).await;
            return Err(failure.context(format!("{ops:?}")));
        }
    }
    Ok(())
}

/// Takes out operations as long as the rest still fails.
async fn shrink(ctx: &Ctx, nodes: &[Node; 2], mut ops: Vec<Op>) -> Vec<Op> {
    let started = Instant::now();
    let mut chunk = ops.len() / 2;
    while chunk > 0 {
        let mut at = 0;
        while at < ops.len() {
            if started.elapsed() > SHRINKING {
                return ops;
            }
            let mut fewer = ops.clone();
            fewer.drain(at..(at + chunk).min(ops.len()));
            if replay(ctx, nodes, &fewer).await.is_err() {
                ops = fewer;
            } else {
                at += chunk;
            }
        }
        chunk /= 2;
    }
    ops
}

/// What the log holds by now, and who reads it.
struct Model {
    payloads: Vec<String>,
    /// Each subscription, and how many messages lie before its place.
    tails: Vec<(Tail, usize)>,
}

/// Does the operations on a log of their own.
async fn replay(ctx: &Ctx, nodes: &[Node; 2], ops: &[Op]) -> Result<(), Failure> {
    let topic = ctx.fresh_topic();
    let head = nodes[0].head(&topic).await?.cursor;
    let epoch = head.position().epoch;
    let at = |index: usize| Position::new(epoch, Sequence::new(index as u64));
    let cursor = |index| Cursor::new(topic.clone(), at(index));
    let mut model = Model {
        payloads: Vec::new(),
        tails: Vec::new(),
    };
    for (step, op) in ops.iter().enumerate() {
        let len = model.payloads.len();
        match *op {
            Op::Publish { node } => {
                let payload = format!("{step}");
                let receipt = nodes[node].publish(&topic, payload.clone()).await?;
                ensure_eq!(
                    receipt.cursor().position(),
                    at(len + 1),
                    "receipt of step {step}"
                );
                model.payloads.push(payload);
            }
            Op::Batch { node, messages } => {
                let payloads: Vec<_> = (0..messages).map(|n| format!("{step}/{n}")).collect();
                let receipts = nodes[node].publish_batch(&topic, payloads.clone()).await?;
                let found: Vec<_> = receipts.iter().map(|r| r.cursor().position()).collect();
                let wanted: Vec<_> = (1..=messages).map(|n| at(len + n)).collect();
                ensure_eq!(found, wanted, "receipts of step {step}");
                model.payloads.extend(payloads);
            }
            Op::Head { node } => {
                let head = nodes[node].head(&topic).await?.cursor.position();
                ensure_eq!(head, at(len), "head at step {step}");
            }
            Op::Read { node, after, limit } => {
                let after = after % (len + 1);
                let events = nodes[node]
                    .read(&topic, Some(&cursor(after)), limit)
                    .await?;
                ensure!(
                    events.len() <= limit.max(1),
                    "{} events of {limit}",
                    events.len()
                );
                ensure!(
                    after == len || !events.is_empty(),
                    "nothing read at step {step}"
                );
                model.check(step, after, events)?;
            }
            Op::Latest { node } => {
                let tail = nodes[node].subscribe(&topic, Start::Latest).await?;
                model.tails.push((tail, len));
            }
            Op::Earliest { node } => {
                let tail = nodes[node].subscribe(&topic, Start::Earliest).await?;
                model.tails.push((tail, 0));
            }
            Op::After { node, place } => {
                let place = place % (len + 1);
                let tail = nodes[node]
                    .subscribe(&topic, Start::After(cursor(place)))
                    .await?;
                model.tails.push((tail, place));
            }
            Op::Drain { tail } => model.drain(step, tail).await?,
            Op::Drop { tail } if !model.tails.is_empty() => {
                drop(model.tails.swap_remove(tail % model.tails.len()));
            }
            Op::Drop { .. } => {}
        }
    }
    model.payloads.push("fence".to_owned());
    nodes[0].publish(&topic, "fence").await?;
    for tail in 0..model.tails.len() {
        model.drain(ops.len(), tail).await?;
    }
    Ok(())
}

impl Model {
    /// Takes all that a subscription must have by now, which fails if anything else comes first.
    async fn drain(&mut self, step: usize, tail: usize) -> Result<(), Failure> {
        if self.tails.is_empty() {
            return Ok(());
        }
        let index = tail % self.tails.len();
        let (tail, before) = &mut self.tails[index];
        let start = std::mem::replace(before, self.payloads.len());
        let entries = tail.take(self.payloads.len() - start).await?;
        self.check(
            step,
            start,
            entries.into_iter().map(Event::Message).collect(),
        )
    }

    fn check(&self, step: usize, before: usize, events: Vec<Event>) -> Result<(), Failure> {
        for (index, event) in events.into_iter().enumerate() {
            let entry: Entry = expect_entry(event)?;
            let wanted = self.payloads.get(before + index);
            ensure_eq!(
                entry.sequence().get(),
                (before + index + 1) as u64,
                "sequence at step {step}"
            );
            ensure!(
                wanted.is_some_and(|wanted| entry.payload() == wanted),
                "step {step} found {entry:?} where {wanted:?} stands"
            );
        }
        Ok(())
    }
}
