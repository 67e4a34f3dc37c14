//! Randomness: identities that must never meet, and jitter that may be cheap.

/// 128 random bits from the operating system.
#[expect(
    clippy::expect_used,
    reason = "a system without randomness cannot run any of this"
)]
pub(crate) fn u128() -> u128 {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).expect("the operating system has randomness");
    u128::from_le_bytes(bytes)
}

/// A number in `0.0..1.0`, for jitter.
pub(crate) fn unit() -> f64 {
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        reason = "53 bits fit"
    )]
    let fraction = ((u128() as u64) >> 11) as f64 / (1_u64 << 53) as f64;
    fraction
}
