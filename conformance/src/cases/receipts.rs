//! A. Sequences and receipts.

use scaleout_core::Sequence;

use crate::{Case, Ctx, Failure, failure::ensure_eq};

pub(super) const CASES: &[Case] = &[Case::new(
    "A01",
    "the first publish on a fresh log is answered with the first sequence",
    &[2],
    |ctx| Box::pin(first_publish(ctx)),
)];

async fn first_publish(ctx: Ctx) -> Result<(), Failure> {
    let node = ctx.node().await?;
    let receipt = node.publish(&ctx.topic("t"), "hello").await?;
    if ctx.dense() {
        ensure_eq!(receipt.sequence(), Sequence::FIRST, "first receipt");
    }
    Ok(())
}
