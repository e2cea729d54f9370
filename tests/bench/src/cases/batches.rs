//! Allocate many blocks of one size, then free them all.

use std::alloc::GlobalAlloc;

use crate::block::{Block, opaque};
use crate::meter::{Measured, Meter};

/// 1000 blocks of 64 B, freed last first, as scopes and stacks do. Operation: a pair.
pub(super) fn last_first<A: GlobalAlloc>(alloc: &A, pairs: u64) -> Measured {
    repeat(alloc, pairs, 1_000, 64, Order::LastFirst)
}

/// 1000 blocks of 64 B, freed first first, as queues do. Operation: a pair.
pub(super) fn first_first<A: GlobalAlloc>(alloc: &A, pairs: u64) -> Measured {
    repeat(alloc, pairs, 1_000, 64, Order::FirstFirst)
}

/// 100,000 blocks of 64 B, freed first first: more than a thread's cache holds. Operation: a pair.
pub(super) fn many<A: GlobalAlloc>(alloc: &A, pairs: u64) -> Measured {
    repeat(alloc, pairs, 100_000, 64, Order::FirstFirst)
}

/// 1000 blocks of 1 KiB, freed first first. Operation: a pair.
pub(super) fn kibibytes<A: GlobalAlloc>(alloc: &A, pairs: u64) -> Measured {
    repeat(alloc, pairs, 1_000, 1 << 10, Order::FirstFirst)
}

#[derive(Clone, Copy)]
enum Order {
    FirstFirst,
    LastFirst,
}

#[inline(always)]
fn repeat<A: GlobalAlloc>(
    alloc: &A,
    pairs: u64,
    count: usize,
    bytes: usize,
    order: Order,
) -> Measured {
    let give = |block: Block| {
        // SAFETY: all blocks are this allocator's.
        unsafe { block.give(alloc) };
    };
    let mut blocks: Vec<Block> = Vec::with_capacity(count);
    // In a program something stays. Were nothing left above a batch, glibc would give the top of
    // its heap back to the system every time, and be ten times slower than programs see it.
    blocks.extend((0..count).map(|_| Block::take(alloc, opaque(bytes))));
    let stays = Block::take(alloc, opaque(bytes));
    blocks.drain(..).for_each(give);

    let mut meter = Meter::start();
    while meter.operations() < pairs {
        meter.batch(count as u64, || {
            blocks.extend((0..count).map(|_| Block::take(alloc, opaque(bytes))));
            match order {
                Order::FirstFirst => blocks.drain(..).for_each(give),
                Order::LastFirst => blocks.drain(..).rev().for_each(give),
            }
        });
    }
    give(stays);
    meter.finish()
}
