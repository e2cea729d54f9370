//! Which allocations are sampled, and how many each sample stands for.
//!
//! A sample is taken each `T` bytes on average, anywhere: a Poisson process over the bytes. An
//! allocation of `Z` bytes is hit with the probability `P = 1 - e^(-Z/T)`, whatever others are, so it
//! stands for `1/P`; and how many are missed before the next is hit is distributed geometrically.
#![forbid(unsafe_code)]

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Bytes between two samples on average; zero while nothing is to be sampled, and one for every
/// allocation.
static INTERVAL_BYTES: AtomicU64 = AtomicU64::new(OFF);

/// No sampling.
pub(super) const OFF: u64 = 0;
/// Every allocation is sampled.
pub(super) const FULL: u64 = 1;

/// How much is allocated of a size class before a heap looks whether sampling was switched on, bytes,
/// and at least how many blocks.
const LOOK_BYTES: usize = 1 << 20;
const LOOK_BLOCKS: usize = 256;

/// The interval that was set last, other than none.
static LAST_INTERVAL_BYTES: AtomicU64 = AtomicU64::new(OFF);

pub(super) fn set_interval_bytes(bytes: u64) {
    INTERVAL_BYTES.store(bytes, Relaxed);
    if bytes != OFF {
        LAST_INTERVAL_BYTES.store(bytes, Relaxed);
    }
}

/// The interval that was set last, other than none.
pub(super) fn last_interval_bytes() -> u64 {
    LAST_INTERVAL_BYTES.load(Relaxed)
}

fn interval_bytes() -> u64 {
    INTERVAL_BYTES.load(Relaxed)
}

/// How many allocations of `block_bytes` bytes are not sampled before the next that is.
pub(super) fn draw(block_bytes: usize, random: u64) -> u64 {
    match interval_bytes() {
        OFF => (LOOK_BYTES / block_bytes.max(1)).max(LOOK_BLOCKS) as u64,
        FULL => 0,
        interval_bytes => {
            // In (0, 1], by steps of 2^-53.
            let uniform = ((random >> 11) + 1) as f64 * f64::EPSILON / 2.0;
            // The whole part of what is distributed exponentially. Conversion saturates.
            (-libm::log(uniform) * interval_bytes as f64 / block_bytes as f64) as u64
        }
    }
}

/// How many allocations of `block_bytes` bytes each sample of them stands for.
pub(super) fn weight(block_bytes: usize) -> f32 {
    match interval_bytes() {
        OFF | FULL => 1.0,
        interval_bytes => {
            let missed = -(block_bytes as f64) / interval_bytes as f64;
            (-1.0 / libm::expm1(missed)) as f32
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mean_of_many_draws_is_what_a_sample_stands_for() {
        set_interval_bytes(4096);
        let mut random = 1_u64;
        for block_bytes in [16, 500, 4096, 50_000] {
            let mut sum = 0;
            for _ in 0..200_000 {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                sum += draw(block_bytes, random) + 1;
            }
            let mean = sum as f64 / 200_000.0;
            let weight = f64::from(weight(block_bytes));
            assert!((mean / weight - 1.0).abs() < 0.01, "{block_bytes}: {mean} and {weight}");
        }
        set_interval_bytes(FULL);
        assert_eq!((draw(16, u64::MAX), weight(16)), (0, 1.0));
        set_interval_bytes(OFF);
        assert_eq!((draw(16, 0), draw(1 << 18, 0)), (65_536, 256));
    }
}
