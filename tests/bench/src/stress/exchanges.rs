//! Blocks that one thread allocates and another frees.

use std::sync::Mutex;
use std::sync::mpsc::sync_channel;
use std::thread;

use super::memory::Memory;
use crate::random::Random;

/// A server: threads replace random blocks of 8 to 1000 bytes, end, and leave their blocks to a
/// successor, which frees what it did not allocate (after Larson and Krishnan).
pub(super) fn larson(divide: usize) -> usize {
    const THREADS: usize = 4;
    const LIVE: usize = 1_000;
    const SUCCESSORS: usize = 20;
    let replacements = 250_000 / divide;
    let size = |random: &mut Random| 8 + random.below(993) as usize;
    thread::scope(|scope| {
        let lines: Vec<_> = (0..THREADS)
            .map(|line| {
                scope.spawn(move || {
                    let mut random = Random::new(line as u64);
                    let mut blocks: Vec<Memory> =
                        (0..LIVE).map(|_| Memory::new(size(&mut random))).collect();
                    for _ in 0..SUCCESSORS {
                        let work = move || {
                            for _ in 0..replacements {
                                let place = random.below(LIVE as u32) as usize;
                                blocks[place] = Memory::new(size(&mut random));
                            }
                            (random, blocks)
                        };
                        (random, blocks) = thread::spawn(work).join().expect("no thread panics");
                    }
                    blocks.iter().map(Memory::bytes).sum::<usize>()
                })
            })
            .collect();
        lines.into_iter().map(|line| line.join().expect("no thread panics")).sum()
    })
}

/// Generations of threads allocate blocks of up to some KiB, keep some for long, and swap others
/// through a table that all share (after mimalloc's stress test).
pub(super) fn mstress(divide: usize) -> usize {
    const THREADS: usize = 4;
    const GENERATIONS: usize = 10;
    let allocations = 150_000 / divide;
    let table: Vec<Mutex<Option<Memory>>> = (0..1_000).map(|_| Mutex::new(None)).collect();
    for generation in 0..GENERATIONS {
        thread::scope(|scope| {
            for thread in 0..THREADS {
                let table = &table;
                scope.spawn(move || {
                    let mut random = Random::new((generation * THREADS + thread) as u64);
                    let (mut kept, mut short) = (Vec::new(), Vec::new());
                    for _ in 0..allocations {
                        let block = Memory::new(random.size(12));
                        match random.below(10) {
                            0 => kept.push(block),
                            1..=5 => short.push(block),
                            _ => {
                                let place = random.below(table.len() as u32) as usize;
                                *table[place].lock().expect("no thread panics") = Some(block);
                            }
                        }
                        if short.len() > 100 {
                            short.swap_remove(random.below(100) as usize);
                        }
                    }
                });
            }
        });
    }
    GENERATIONS * THREADS * allocations
}

/// Two threads allocate, two others free everything (after xmalloc-test by Lever and Boreham).
pub(super) fn xmalloc(divide: usize) -> usize {
    const PAIRS: usize = 2;
    const PARCEL: usize = 120;
    let parcels = 30_000 / divide;
    thread::scope(|scope| {
        let consumers: Vec<_> = (0..PAIRS)
            .map(|pair| {
                let (send, receive) = sync_channel::<Vec<Memory>>(16);
                scope.spawn(move || {
                    let mut random = Random::new(pair as u64);
                    for _ in 0..parcels {
                        let block = || Memory::new(1 + random.below(512) as usize);
                        let parcel = std::iter::repeat_with(block).take(PARCEL).collect();
                        send.send(parcel).expect("the consumer takes every parcel");
                    }
                });
                scope.spawn(move || receive.into_iter().map(|parcel| parcel.len()).sum::<usize>())
            })
            .collect();
        consumers.into_iter().map(|consumer| consumer.join().expect("no thread panics")).sum()
    })
}
