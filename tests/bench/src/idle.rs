//! What a process keeps that was busy once and is idle now.

use std::alloc::GlobalAlloc;
use std::sync::{Barrier, mpsc};
use std::thread;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::block::Block;
use crate::meter;
use crate::random::Random;

const IDLE: Duration = Duration::from_secs(5);
const MIB: usize = 1 << 20;

/// Resident memory of the process that no file backs, KiB.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Idle {
    /// Before the first block, and before the first thread.
    pub start_kib: u64,
    /// At the most.
    pub peak_kib: u64,
    /// Right after the last block was freed.
    pub freed_kib: u64,
    /// Five seconds later, in which the process did nothing.
    pub idle_kib: u64,
}

/// Allocates and frees everything; keeps its threads until `wait`, which it calls once all is free,
/// comes back.
pub type Shape<A> = fn(&'static A, wait: &mut dyn FnMut());

/// All shapes by name.
#[must_use]
pub fn shapes<A: GlobalAlloc + Sync>() -> [(&'static str, Shape<A>); 6] {
    [
        ("small blocks", |alloc, wait| main_thread(alloc, small, wait)),
        ("medium blocks", |alloc, wait| main_thread(alloc, medium, wait)),
        ("large blocks", |alloc, wait| main_thread(alloc, large, wait)),
        ("two threads, ended", two_threads),
        ("64 threads, alive", many_alive),
        ("256 threads, ended, freed by another", many_ended),
    ]
}

/// Measures one shape.
pub fn measure<A: GlobalAlloc>(alloc: &'static A, shape: Shape<A>) -> Idle {
    let start_kib = meter::anonymous_kib();
    let (mut freed_kib, mut idle_kib) = (0, 0);
    shape(alloc, &mut || {
        freed_kib = meter::anonymous_kib();
        thread::sleep(IDLE);
        idle_kib = meter::anonymous_kib();
    });
    let peak_kib = start_kib + meter::grown_kib(start_kib);
    Idle { start_kib, peak_kib, freed_kib, idle_kib }
}

fn small(random: &mut Random) -> usize {
    random.size(10)
}

fn medium(random: &mut Random) -> usize {
    (8 << 10) + (random.below(248) as usize) * 1024
}

fn large(random: &mut Random) -> usize {
    MIB + random.below(7 << 20) as usize
}

/// Allocates `bytes` in all and touches every page.
fn fill<A: GlobalAlloc>(
    alloc: &A,
    bytes: usize,
    seed: u64,
    size: fn(&mut Random) -> usize,
) -> Vec<Block> {
    let mut random = Random::new(seed);
    let (mut blocks, mut total_bytes) = (Vec::new(), 0);
    while total_bytes < bytes {
        let size = size(&mut random);
        let block = Block::take(alloc, size);
        for offset in (0..size).step_by(4096) {
            // SAFETY: the offset is inside the block.
            unsafe { block.start().add(offset).write_volatile(1) };
        }
        blocks.push(block);
        total_bytes += size;
    }
    blocks
}

fn free<A: GlobalAlloc>(alloc: &A, blocks: Vec<Block>) {
    for block in blocks {
        // SAFETY: all blocks are this allocator's.
        unsafe { block.give(alloc) };
    }
}

/// 256 MiB on the main thread.
fn main_thread<A: GlobalAlloc>(alloc: &A, size: fn(&mut Random) -> usize, wait: &mut dyn FnMut()) {
    free(alloc, fill(alloc, 256 * MIB, 1, size));
    wait();
}

/// Two threads with 128 MiB each in blocks of 64 B to 1 MiB, which end.
fn two_threads<A: GlobalAlloc + Sync>(alloc: &A, wait: &mut dyn FnMut()) {
    thread::scope(|scope| {
        for seed in 1..=2 {
            scope.spawn(move || {
                free(alloc, fill(alloc, 128 * MIB, seed, Random::heavy_tailed_size));
            });
        }
    });
    wait();
}

/// The same with 64 threads and 4 MiB each, which stay.
fn many_alive<A: GlobalAlloc + Sync>(alloc: &A, wait: &mut dyn FnMut()) {
    const THREADS: usize = 64;
    let (all_free, over) = (Barrier::new(THREADS + 1), Barrier::new(THREADS + 1));
    thread::scope(|scope| {
        for seed in 0..THREADS {
            let (all_free, over) = (&all_free, &over);
            scope.spawn(move || {
                free(alloc, fill(alloc, 4 * MIB, seed as u64, Random::heavy_tailed_size));
                all_free.wait();
                over.wait();
            });
        }
        all_free.wait();
        wait();
        over.wait();
    });
}

/// 256 threads that allocate 1 MiB each and end; the main thread frees it all.
fn many_ended<A: GlobalAlloc + Sync>(alloc: &A, wait: &mut dyn FnMut()) {
    let (send, receive) = mpsc::channel();
    thread::scope(|scope| {
        for seed in 0..256 {
            let send = send.clone();
            scope.spawn(move || send.send(fill(alloc, MIB, seed, Random::heavy_tailed_size)));
        }
    });
    drop(send);
    receive.into_iter().for_each(|blocks| free(alloc, blocks));
    wait();
}

#[cfg(test)]
mod tests {
    use std::alloc::System;

    use super::{measure, shapes};

    static SYSTEM: System = System;

    #[test]
    fn a_process_is_larger_at_its_peak() {
        let (_, shape) = shapes()[0];
        let idle = measure(&SYSTEM, shape);
        assert!(idle.peak_kib > idle.start_kib + (200 << 10), "{idle:?}");
        assert!(idle.idle_kib > 0 && idle.freed_kib > 0, "{idle:?}");
    }
}
