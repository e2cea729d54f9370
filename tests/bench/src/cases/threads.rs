//! Blocks freed by another thread, threads side by side, and threads that come and go.

use std::alloc::GlobalAlloc;
use std::sync::mpsc::sync_channel;
use std::thread;

use super::working_set::{WorkingSet, up_to_1_kib};
use crate::block::{Block, opaque};
use crate::meter::{Measured, Meter};
use crate::random::Random;

/// Blocks handed over at a time: enough that the hand-over itself costs little.
const PARCEL: usize = 1_000;
/// Parcels on their way: bounds the live blocks.
const PARCELS: usize = 8;

/// One thread allocates 64 B, another frees. Operation: a pair.
pub(super) fn producer_64b<A: GlobalAlloc + Sync>(alloc: &A, pairs: u64) -> Measured {
    hand_over(alloc, pairs, || opaque(64))
}

/// One thread allocates 8 B to 4 KiB, another frees. Operation: a pair.
pub(super) fn producer_mixed<A: GlobalAlloc + Sync>(alloc: &A, pairs: u64) -> Measured {
    let mut random = Random::new(1);
    hand_over(alloc, pairs, move || random.size(12))
}

fn hand_over<A: GlobalAlloc + Sync>(
    alloc: &A,
    pairs: u64,
    mut bytes: impl FnMut() -> usize + Send,
) -> Measured {
    let parcels = pairs.div_ceil(PARCEL as u64);
    let (send_full, full) = sync_channel::<Vec<Block>>(PARCELS);
    let (send_empty, empty) = sync_channel::<Vec<Block>>(PARCELS);
    for _ in 0..PARCELS {
        send_empty.send(Vec::with_capacity(PARCEL)).expect("there is room for every parcel");
    }
    let mut meter = Meter::start();
    thread::scope(|scope| {
        scope.spawn(move || {
            for mut parcel in empty.into_iter().take(parcels as usize) {
                parcel.extend((0..PARCEL).map(|_| Block::take(alloc, bytes())));
                send_full.send(parcel).expect("the consumer takes every parcel");
            }
        });
        for mut parcel in full {
            for block in parcel.drain(..) {
                // SAFETY: all blocks are this allocator's.
                unsafe { block.give(alloc) };
            }
            // The producer needs no more parcels once it has filled its last.
            let _ = send_empty.send(parcel);
        }
    });
    meter.count(parcels * PARCEL as u64);
    meter.finish()
}

/// Two threads, each with its own ten thousand live blocks of up to 1 KiB. Operation: a pair.
pub(super) fn two_local<A: GlobalAlloc + Sync>(alloc: &A, pairs: u64) -> Measured {
    const LIVE: usize = 10_000;
    let each = pairs / 2;
    let mut meter = Meter::start();
    thread::scope(|scope| {
        for seed in 1..=2 {
            scope.spawn(move || WorkingSet::new(alloc, LIVE, up_to_1_kib, seed).replace(each));
        }
    });
    meter.count(2 * (each + LIVE as u64));
    meter.finish()
}

/// A thread starts, allocates 64 blocks of 16 B to 1 KiB, frees them and ends. Operation: a thread.
pub(super) fn spawn<A: GlobalAlloc + Sync>(alloc: &A, threads: u64) -> Measured {
    let mut meter = Meter::start();
    while meter.operations() < threads {
        meter
            .batch(1, || thread::scope(|scope| scope.spawn(|| sixty_four(alloc)).join()))
            .expect("the thread does not panic");
    }
    meter.finish()
}

fn sixty_four<A: GlobalAlloc>(alloc: &A) {
    let blocks: [Block; 64] = std::array::from_fn(|i| Block::take(alloc, opaque(16 * (i + 1))));
    for block in blocks {
        // SAFETY: all blocks are this allocator's.
        unsafe { block.give(alloc) };
    }
}
