//! Growth by `realloc`, and zeroed memory.

use std::alloc::GlobalAlloc;
use std::hint::black_box;

use crate::block::{Block, opaque};
use crate::meter::{Measured, Meter};

/// A `Vec<u64>` grows from empty by `push`. Operation: a vector of `LEN`.
pub(super) fn push<const LEN: u64>(_: &impl GlobalAlloc, vectors: u64) -> Measured {
    let batch = (10_000 / LEN).max(1);
    let mut meter = Meter::start();
    while meter.operations() < vectors {
        meter.batch(batch, || {
            for _ in 0..batch {
                let mut vector = Vec::new();
                // Not `collect`, which would reserve at once.
                for i in 0..LEN {
                    vector.push(i);
                }
                black_box(&vector);
            }
        });
    }
    meter.finish()
}

/// Allocate zeroed, write one word a page, free. Operation: a pair.
pub(super) fn zeroed<A: GlobalAlloc, const BYTES: usize>(alloc: &A, pairs: u64) -> Measured {
    const BATCH: u64 = 10;
    const PAGE_BYTES: usize = 4096;
    let mut meter = Meter::start();
    while meter.operations() < pairs {
        meter.batch(BATCH, || {
            for _ in 0..BATCH {
                let block = Block::take_zeroed(alloc, opaque(BYTES));
                for offset in (0..BYTES).step_by(PAGE_BYTES) {
                    // SAFETY: the offset is inside the block.
                    unsafe { block.start().add(offset).write_volatile(1) };
                }
                // SAFETY: the block is this allocator's.
                unsafe { block.give(alloc) };
            }
        });
    }
    meter.finish()
}
