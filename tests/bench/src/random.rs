//! Random numbers and block sizes: the same sequence for every allocator.

/// A xorshift* generator: a few instructions a number, so that it hides no allocator's cost.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// A generator whose sequence depends on `seed` alone.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// The next 32 random bits.
    #[inline]
    pub fn bits(&mut self) -> u32 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 32) as u32
    }

    /// A number below `limit`.
    #[inline]
    pub fn below(&mut self, limit: u32) -> u32 {
        ((u64::from(self.bits()) * u64::from(limit)) >> 32) as u32
    }

    /// A block size of 8 bytes to 2^`max_log2`: small sizes are common and large ones rare.
    ///
    /// First a power of two is drawn, each as likely as the next, then a multiple of 8 up to it, as
    /// sizes of types mostly are. Without a branch: the processor could not foresee it, and what that
    /// costs would depend on how the compiler treats the loop around it.
    #[inline]
    pub fn size(&mut self, max_log2: u32) -> usize {
        let bits = self.bits();
        let log2 = ((bits & 0xFFFF) * (max_log2 + 1)) >> 16;
        let limit = 1_u32 << log2;
        (((bits >> 16) & (limit - 1)) | 7) as usize + 1
    }

    /// A block size of 64 bytes to 1 MiB with a heavy tail: twice the size, half as likely.
    ///
    /// Half of the blocks are below 128 bytes, and each doubling holds as many bytes as the next.
    #[inline]
    pub fn heavy_tailed_size(&mut self) -> usize {
        let part = u64::from(self.bits()) + 1;
        ((64 << 32) / part).min(1 << 20) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_stay_in_range_and_reach_both_ends() {
        let mut random = Random::new(1);
        let sizes: Vec<usize> = (0..100_000).map(|_| random.size(10)).collect();
        assert_eq!(sizes.iter().min(), Some(&8));
        assert_eq!(sizes.iter().max(), Some(&1024));
        let mean_bytes = sizes.iter().sum::<usize>() / sizes.len();
        assert!((90..105).contains(&mean_bytes), "mean {mean_bytes}");
    }

    #[test]
    fn heavy_tailed_sizes_double_half_as_often() {
        let mut random = Random::new(3);
        let sizes: Vec<usize> = (0..200_000).map(|_| random.heavy_tailed_size()).collect();
        assert_eq!(sizes.iter().min(), Some(&64));
        assert_eq!(sizes.iter().max(), Some(&(1 << 20)));
        for limit in [128, 256, 512, 1024] {
            let share = sizes.iter().filter(|&&bytes| bytes >= limit).count() as f64 / 200_000.0;
            let expected = 64.0 / limit as f64;
            assert!((share / expected - 1.0).abs() < 0.05, "{share} at {limit}");
        }
    }

    #[test]
    fn below_covers_its_range_evenly() {
        let mut random = Random::new(2);
        let mut seen = [0_u32; 10];
        for _ in 0..100_000 {
            seen[random.below(10) as usize] += 1;
        }
        assert!(seen.iter().all(|&count| (9_500..10_500).contains(&count)), "{seen:?}");
    }
}
