//! Allocate one block, write its first word, free it: the shortest path there is.

use std::alloc::GlobalAlloc;

use crate::block::{Block, opaque as hide};
use crate::meter::{Measured, Meter};

const BATCH: u64 = 1_000;

/// Pairs of one size that the compiler does not know. Operation: a pair.
pub(super) fn opaque<A: GlobalAlloc, const BYTES: usize>(alloc: &A, pairs: u64) -> Measured {
    batches(pairs, || {
        let block = Block::take(alloc, hide(BYTES));
        // SAFETY: the block is this allocator's, with the size it was taken with.
        unsafe { block.give_as(alloc, hide(BYTES)) };
    })
}

/// Pairs of one size that the compiler may fold. Operation: a pair.
pub(super) fn constant<A: GlobalAlloc, const BYTES: usize>(alloc: &A, pairs: u64) -> Measured {
    batches(pairs, || {
        let block = Block::take(alloc, BYTES);
        // SAFETY: the block is this allocator's, with the size it was taken with.
        unsafe { block.give_as(alloc, BYTES) };
    })
}

#[inline(always)]
fn batches(pairs: u64, pair: impl Fn()) -> Measured {
    let mut meter = Meter::start();
    while meter.operations() < pairs {
        meter.batch(BATCH, || (0..BATCH).for_each(|_| pair()));
    }
    meter.finish()
}
