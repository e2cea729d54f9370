//! Fragmentation, as exact ratios; a float only where a person reads it.
#![forbid(unsafe_code)]

/// An exact share: `part` of `whole`, in whatever unit both have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ratio {
    /// The share.
    pub part: u64,
    /// What it is a share of.
    pub whole: u64,
}

impl Ratio {
    /// `part` of `whole`; a part above its whole is cut to it, since counters that are read one
    /// after the other may disagree for a moment.
    pub const fn new(part: u64, whole: u64) -> Self {
        Self { part: if part < whole { part } else { whole }, whole }
    }

    /// The share as a number from 0 to 1; an empty whole counts as 0.
    pub const fn as_f64(self) -> f64 {
        if self.whole == 0 { 0.0 } else { self.part as f64 / self.whole as f64 }
    }
}

/// Bytes allocated but not asked for, over bytes allocated.
pub const fn internal(requested_bytes: u64, allocated_bytes: u64) -> Ratio {
    Ratio::new(allocated_bytes.saturating_sub(requested_bytes), allocated_bytes)
}

/// Free bytes outside the largest free block, over free bytes.
pub const fn external(free_bytes: u64, largest_free_bytes: u64) -> Ratio {
    Ratio::new(free_bytes.saturating_sub(largest_free_bytes), free_bytes)
}

/// Bytes reserved but not allocated, over bytes reserved.
pub const fn reserved(allocated_bytes: u64, reserved_bytes: u64) -> Ratio {
    Ratio::new(reserved_bytes.saturating_sub(allocated_bytes), reserved_bytes)
}

/// The unusable free space index of `order`: free granules in blocks too small for a request of
/// `1 << order` granules, over free granules (Gorman and Whitcroft, "The What, The Why and the
/// Where To of Anti-Fragmentation", 2006).
pub fn unusable(free_blocks_by_order: &[u32], order: usize) -> Ratio {
    let granules = |(order, &blocks): (usize, &u32)| u64::from(blocks) << order;
    let free = free_blocks_by_order.iter().enumerate();
    Ratio::new(free.clone().take(order).map(granules).sum(), free.map(granules).sum())
}

#[cfg(all(test, not(genesis_loom)))]
mod tests {
    use super::*;

    #[test]
    fn known_patterns_give_known_ratios() {
        assert_eq!(internal(75, 100), Ratio { part: 25, whole: 100 });
        assert_eq!(external(100, 40), Ratio { part: 60, whole: 100 });
        assert_eq!(reserved(30, 120), Ratio { part: 90, whole: 120 });
        assert_eq!(reserved(30, 120).as_f64(), 0.75);
        assert_eq!(Ratio::default().as_f64(), 0.0);
        // Eight single granules, no pair, one block of four.
        let by_order = [8, 0, 1];
        assert_eq!(unusable(&by_order, 0), Ratio { part: 0, whole: 12 });
        assert_eq!(unusable(&by_order, 1), Ratio { part: 8, whole: 12 });
        assert_eq!(unusable(&by_order, 3), Ratio { part: 12, whole: 12 });
    }

    #[test]
    fn a_torn_read_is_cut_to_the_whole() {
        assert_eq!(internal(120, 100), Ratio { part: 0, whole: 100 });
        assert_eq!(external(10, 40).part, 0);
    }
}
