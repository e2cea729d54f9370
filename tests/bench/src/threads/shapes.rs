//! What many threads do at once. No shape has a thread wait for another, but by letting it run.

use std::alloc::{GlobalAlloc, Layout};
use std::ptr;
use std::sync::Barrier;
use std::sync::atomic::{
    AtomicPtr, AtomicUsize,
    Ordering::{AcqRel, Acquire, Relaxed, Release},
};
use std::thread;

use super::watch::{Took, watch};
use crate::block::Block;
use crate::cases::{WorkingSet, up_to_1_kib};
use crate::random::Random;

/// What a shape has done.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Done {
    pub(super) operations: u64,
    /// What the program held at a time, bytes.
    pub(super) live_bytes: u64,
    pub(super) took: Took,
}

impl Done {
    fn plus(self, other: Self) -> Self {
        Self {
            operations: self.operations + other.operations,
            live_bytes: self.live_bytes + other.live_bytes,
            took: self.took.plus(other.took),
        }
    }
}

/// Does a fixed amount of work with that many threads.
pub(super) type Shape<A> = fn(&'static A, threads: usize) -> Done;

/// Runs `work` on that many threads at once, each with its number.
fn at_once(threads: usize, work: impl Fn(usize) -> Done + Sync) -> Done {
    let all_there = Barrier::new(threads);
    thread::scope(|scope| {
        let (work, all_there) = (&work, &all_there);
        let start = |number| {
            scope.spawn(move || {
                all_there.wait();
                work(number)
            })
        };
        let started: Vec<_> = (0..threads).map(start).collect();
        let done = started.into_iter().map(|thread| thread.join().expect("no thread panics"));
        done.fold(Done::default(), Done::plus)
    })
}

/// Each thread replaces blocks of 8 B to 1 KiB in a set of its own.
pub(super) fn local<A: GlobalAlloc + Sync>(alloc: &'static A, threads: usize) -> Done {
    const LIVE: usize = 1_000;
    let operations = 51_200_000 / threads as u64;
    at_once(threads, |number| {
        let (live_bytes, took) = watch(|| {
            let mut set = WorkingSet::new(alloc, LIVE, up_to_1_kib, number as u64);
            set.replace(operations);
            set.live_bytes()
        });
        Done { operations, live_bytes, took }
    })
}

/// How many blocks threads share.
const SLOTS: usize = 16_384;
/// The mean size of a block of 8 B to 1 KiB.
const MEAN_BYTES: u64 = 95;

/// Blocks that belong to nobody: any thread may put one in and take one out.
struct Slots<'a, A: GlobalAlloc> {
    alloc: &'a A,
    blocks: Vec<AtomicPtr<u8>>,
}

impl<'a, A: GlobalAlloc> Slots<'a, A> {
    fn new(alloc: &'a A, count: usize) -> Self {
        Self { alloc, blocks: (0..count).map(|_| AtomicPtr::new(ptr::null_mut())).collect() }
    }

    fn any(&self, random: &mut Random) -> &AtomicPtr<u8> {
        &self.blocks[random.below(self.blocks.len() as u32) as usize]
    }

    /// Frees what came out of a slot; returns whether that was a block.
    fn free(&self, block: *mut u8) -> bool {
        let layout = (!block.is_null()).then(|| Layout::from_size_align(bytes_of(block), 8));
        if let Some(Ok(layout)) = layout {
            // SAFETY: whoever took the block out of its slot is its only holder.
            unsafe { self.alloc.dealloc(block, layout) };
        }
        layout.is_some()
    }

    /// Frees what is left, and tells how much that was.
    fn clear(self) -> u64 {
        let blocks = self.blocks.iter().map(|slot| slot.swap(ptr::null_mut(), AcqRel));
        let held = |block: *mut u8| {
            let bytes = if block.is_null() { 0 } else { bytes_of(block) as u64 };
            self.free(block);
            bytes
        };
        blocks.map(held).sum()
    }
}

/// The size of a block, which is in its first word.
fn bytes_of(block: *mut u8) -> usize {
    // SAFETY: [`Block`] has written it before the block went into a slot.
    unsafe { block.cast::<u64>().read() as usize }
}

/// Each thread puts blocks of 8 B to 1 KiB into slots that all share, and frees what was there: most
/// often another thread's.
pub(super) fn all_to_all<A: GlobalAlloc + Sync>(alloc: &'static A, threads: usize) -> Done {
    let slots = Slots::new(alloc, SLOTS);
    let operations = 25_600_000 / threads as u64;
    let done = at_once(threads, |number| {
        let ((), took) = watch(|| {
            let mut random = Random::new(number as u64);
            for _ in 0..operations {
                let block = Block::take(alloc, up_to_1_kib(&mut random)).start();
                slots.free(slots.any(&mut random).swap(block, AcqRel));
            }
        });
        Done { operations, live_bytes: 0, took }
    });
    Done { live_bytes: slots.clear(), ..done }
}

/// Half of the threads put blocks into empty slots, the other half take them out and free them.
pub(super) fn hand_over<A: GlobalAlloc + Sync>(alloc: &'static A, threads: usize) -> Done {
    const PAIRS: u64 = 6_400_000;
    let slots = Slots::new(alloc, SLOTS);
    let (made, freed) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let open = |count: &AtomicUsize| count.load(Relaxed) < PAIRS as usize;
    let produce = |random: &mut Random| {
        while open(&made) {
            let slot = slots.any(random);
            if slot.load(Relaxed).is_null() {
                let block = Block::take(alloc, up_to_1_kib(random)).start();
                match slot.compare_exchange(ptr::null_mut(), block, Release, Relaxed) {
                    Ok(_) => _ = made.fetch_add(1, Relaxed),
                    Err(_) => _ = slots.free(block),
                }
            } else if random.below(64) == 0 {
                thread::yield_now();
            }
        }
    };
    let consume = |random: &mut Random| {
        while freed.load(Relaxed) < made.load(Relaxed) || open(&made) {
            let slot = slots.any(random);
            let found =
                !slot.load(Relaxed).is_null() && slots.free(slot.swap(ptr::null_mut(), Acquire));
            if found {
                freed.fetch_add(1, Relaxed);
            } else if random.below(64) == 0 {
                thread::yield_now();
            }
        }
    };
    let done = at_once(threads.max(2), |number| {
        let mut random = Random::new(number as u64);
        let ((), took) = watch(|| match number % 2 {
            0 => produce(&mut random),
            _ => consume(&mut random),
        });
        Done { took, ..Done::default() }
    });
    slots.clear();
    Done { operations: PAIRS, live_bytes: SLOTS as u64 * MEAN_BYTES, ..done }
}

/// That many threads each start a short one after another, which allocates 64 blocks, frees most
/// and leaves the rest to the one that started it.
pub(super) fn churn<A: GlobalAlloc + Sync>(alloc: &'static A, threads: usize) -> Done {
    const LEFT: usize = 16;
    let generations = (6_400 / threads).max(4);
    let short = move |seed: usize| {
        let mut random = Random::new(seed as u64);
        let mut blocks: Vec<Block> = (0..64).map(|_| Block::take(alloc, random.size(12))).collect();
        let live_bytes: u64 = blocks.iter().map(|block| block.bytes() as u64).sum();
        let left = blocks.split_off(blocks.len() - LEFT);
        free(alloc, blocks);
        (left, live_bytes)
    };
    at_once(threads, |number| {
        let (mut done, mut most_bytes) = (Done::default(), 0);
        for generation in 0..generations {
            let seed = number * generations + generation;
            let started = thread::spawn(move || watch(|| short(seed)));
            let ((left, live_bytes), took) = started.join().expect("no thread panics");
            free(alloc, left);
            most_bytes = live_bytes.max(most_bytes);
            done = done.plus(Done { operations: 1, live_bytes: 0, took });
        }
        Done { live_bytes: most_bytes, ..done }
    })
}

fn free<A: GlobalAlloc>(alloc: &A, blocks: Vec<Block>) {
    for block in blocks {
        // SAFETY: all blocks are this allocator's.
        unsafe { block.give(alloc) };
    }
}
