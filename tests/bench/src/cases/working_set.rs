//! A set of live blocks of random sizes, in which one after another is replaced.

use std::alloc::GlobalAlloc;

use crate::block::Block;
use crate::meter::{Measured, Meter};
use crate::random::Random;

const BATCH: u64 = 1_000;

/// 64 B to 1 MiB with a heavy tail, ten thousand live. Operation: a pair.
pub(super) fn mixed_10k<A: GlobalAlloc>(alloc: &A, pairs: u64) -> Measured {
    measure(alloc, pairs, 10_000, Random::heavy_tailed_size)
}

/// 8 B to 1 KiB, ten thousand live. Operation: a pair.
pub(super) fn small_10k<A: GlobalAlloc>(alloc: &A, pairs: u64) -> Measured {
    measure(alloc, pairs, 10_000, up_to_1_kib)
}

/// 8 B to 1 KiB, a million live: far more than the processor caches. Operation: a pair.
pub(super) fn small_1m<A: GlobalAlloc>(alloc: &A, pairs: u64) -> Measured {
    measure(alloc, pairs, 1_000_000, up_to_1_kib)
}

/// 8 B to 1 KiB, small sizes common.
pub(crate) fn up_to_1_kib(random: &mut Random) -> usize {
    random.size(10)
}

/// The set is filled and emptied on the clock: each block counts once, where it is freed.
fn measure<A: GlobalAlloc>(
    alloc: &A,
    pairs: u64,
    live: usize,
    size: impl Fn(&mut Random) -> usize,
) -> Measured {
    let mut meter = Meter::start();
    let mut set = WorkingSet::new(alloc, live, size, 1);
    while meter.operations() + (live as u64) < pairs {
        meter.batch(BATCH, || set.replace(BATCH));
    }
    drop(set);
    meter.count(live as u64);
    meter.finish()
}

/// Live blocks of random sizes.
pub(crate) struct WorkingSet<'a, A: GlobalAlloc, S> {
    alloc: &'a A,
    size: S,
    random: Random,
    blocks: Vec<Block>,
}

impl<'a, A: GlobalAlloc, S: Fn(&mut Random) -> usize> WorkingSet<'a, A, S> {
    /// Allocates `live` blocks, each as large as `size` says.
    pub(crate) fn new(alloc: &'a A, live: usize, size: S, seed: u64) -> Self {
        let mut random = Random::new(seed);
        let mut blocks = Vec::with_capacity(live);
        blocks.extend((0..live).map(|_| Block::take(alloc, size(&mut random))));
        Self { alloc, size, random, blocks }
    }

    /// How much is live, bytes.
    pub(crate) fn live_bytes(&self) -> u64 {
        self.blocks.iter().map(|block| block.bytes() as u64).sum()
    }

    /// Frees `count` random blocks, and allocates another for each.
    #[inline]
    pub(crate) fn replace(&mut self, count: u64) {
        for _ in 0..count {
            let place = self.random.below(self.blocks.len() as u32) as usize;
            let new = Block::take(self.alloc, (self.size)(&mut self.random));
            let old = std::mem::replace(&mut self.blocks[place], new);
            // SAFETY: all blocks are this allocator's.
            unsafe { old.give(self.alloc) };
        }
    }
}

impl<A: GlobalAlloc, S> Drop for WorkingSet<'_, A, S> {
    fn drop(&mut self) {
        for block in self.blocks.drain(..) {
            // SAFETY: all blocks are this allocator's.
            unsafe { block.give(self.alloc) };
        }
    }
}
