//! [`Dice`]: what is done now and then, is done by chance.

use std::sync::atomic::{AtomicU64, Ordering};

use scaleout_core::Epoch;

/// Chance, cheap and without a lock: SplitMix64 over a counter.
#[derive(Debug)]
pub(crate) struct Dice(AtomicU64);

impl Dice {
    #[expect(clippy::cast_possible_truncation, reason = "any 64 bits are a seed")]
    pub(crate) fn new() -> Self {
        Self(AtomicU64::new(Epoch::random().get() as u64))
    }

    /// A number in `0.0..1.0`.
    pub(crate) fn roll(&self) -> f64 {
        let mut z = self.0.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        #[expect(clippy::cast_precision_loss, reason = "53 bits fit")]
        let fraction = (z >> 11) as f64 / (1_u64 << 53) as f64;
        fraction
    }
}
