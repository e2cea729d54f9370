//! Threads by the thousand, one after another and at the same time.

use std::thread;

use super::memory::Memory;
use crate::random::Random;

/// Thousands of short threads, each of which allocates a hundred blocks, frees most, and leaves
/// the rest to the main thread.
pub(super) fn churn(divide: usize) -> usize {
    const BLOCKS: usize = 100;
    let threads = 6_000 / divide;
    let mut left = Vec::new();
    let mut freed = 0;
    for seed in 0..threads {
        let work = move || {
            let mut random = Random::new(seed as u64);
            let mut blocks: Vec<Memory> =
                (0..BLOCKS).map(|_| Memory::new(random.size(12))).collect();
            blocks.split_off(BLOCKS - 10)
        };
        left.push(thread::spawn(work).join().expect("no thread panics"));
        if left.len() > 50 {
            freed += left.drain(..25).map(|blocks| blocks.len()).sum::<usize>();
        }
    }
    freed + left.len()
}

/// Many threads at once on few processors, each with a small working set of its own.
pub(super) fn many<const THREADS: usize>(divide: usize) -> usize {
    const LIVE: usize = 200;
    let replacements = 19_200_000 / THREADS / divide;
    thread::scope(|scope| {
        for seed in 0..THREADS {
            scope.spawn(move || {
                let mut random = Random::new(seed as u64);
                let mut blocks: Vec<Memory> =
                    (0..LIVE).map(|_| Memory::new(random.size(10))).collect();
                for _ in 0..replacements {
                    let place = random.below(LIVE as u32) as usize;
                    blocks[place] = Memory::new(random.size(10));
                }
            });
        }
    });
    THREADS * replacements
}
