//! What a time per operation does not show: memory kept by an idle process, and scaling.

use std::alloc::GlobalAlloc;
use std::fs;
use std::thread;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::block::Block;
use crate::cases::{WorkingSet, up_to_1_kib};
use crate::meter::{self, Measured, Meter};
use crate::random::Random;

/// Resident memory of a process that was busy once and is idle now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Idle {
    /// Before the first block.
    pub start_kib: u64,
    /// At the most.
    pub peak_kib: u64,
    /// Right after the last block was freed.
    pub freed_kib: u64,
    /// Five seconds later, in which the process did nothing.
    pub idle_kib: u64,
}

/// Two threads allocate 128 MiB each in blocks of 64 B to 1 MiB, free them all and end; then the
/// process waits.
pub fn idle<A: GlobalAlloc + Sync>(alloc: &'static A) -> Idle {
    let start_kib = resident_kib();
    thread::scope(|scope| {
        for seed in 1..=2 {
            scope.spawn(move || {
                let mut random = Random::new(seed);
                let mut blocks = Vec::new();
                let mut bytes = 0;
                while bytes < 128 << 20 {
                    let size = random.heavy_tailed_size();
                    blocks.push(take_whole(alloc, size));
                    bytes += size;
                }
                for block in blocks {
                    // SAFETY: all blocks are this allocator's.
                    unsafe { block.give(alloc) };
                }
            });
        }
    });
    let freed_kib = resident_kib();
    thread::sleep(Duration::from_secs(5));
    let idle_kib = resident_kib();
    let peak_kib = meter::peak_kib("self").expect("/proc/self/status tells VmHWM on Linux");
    Idle { start_kib, peak_kib, freed_kib, idle_kib }
}

/// A block of which every page is in use.
fn take_whole<A: GlobalAlloc>(alloc: &A, bytes: usize) -> Block {
    let block = Block::take(alloc, bytes);
    for offset in (0..bytes).step_by(4096) {
        // SAFETY: the offset is inside the block.
        unsafe { block.start().add(offset).write_volatile(1) };
    }
    block
}

fn resident_kib() -> u64 {
    let rollup = fs::read_to_string("/proc/self/smaps_rollup").unwrap_or_default();
    let line = rollup.lines().find_map(|line| line.strip_prefix("Rss:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok());
    kib.expect("/proc/self/smaps_rollup tells Rss on Linux")
}

/// How much more two threads do than one in the same time, each on blocks of its own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Scaling {
    /// By the clock on the wall, which other processes on the machine disturb.
    pub elapsed: f64,
    /// By processor time, which does not see threads that wait for one another asleep.
    pub cpu: f64,
}

/// Measures scaling; each number is made of the best of five attempts, since a disturbance can only
/// slow them down.
pub fn scaling<A: GlobalAlloc + Sync>(alloc: &'static A) -> Scaling {
    let attempts = |threads| -> Vec<_> { (0..5).map(|_| replace(alloc, threads)).collect() };
    let (one, two) = (attempts(1), attempts(2));
    let ratio = |cost: fn(&Measured) -> f64| {
        let best = |of: &[Measured]| of.iter().map(cost).fold(f64::INFINITY, f64::min);
        best(&one) / best(&two)
    };
    // Elapsed time shrinks as threads share the work; processor time at best stays.
    Scaling { elapsed: ratio(|it| it.wall_ns_per_op), cpu: 2.0 * ratio(|it| it.cpu_ns_per_op) }
}

fn replace<A: GlobalAlloc + Sync>(alloc: &'static A, threads: u64) -> Measured {
    const LIVE: usize = 10_000;
    const REPLACEMENTS: u64 = 10_000_000;
    let mut meter = Meter::start();
    thread::scope(|scope| {
        for seed in 0..threads {
            scope.spawn(move || {
                WorkingSet::new(alloc, LIVE, up_to_1_kib, seed).replace(REPLACEMENTS);
            });
        }
    });
    meter.count(threads * REPLACEMENTS);
    meter.finish()
}
