//! False sharing: small blocks of several threads in one cache line.

use std::thread;

use super::memory::Memory;

const THREADS: usize = 2;
const BLOCK_BYTES: usize = 8;
const ROUNDS: usize = 8_000;
const WRITES: usize = 10_000;

/// The main thread allocates neighbouring blocks and gives one to each thread, which frees it and
/// goes on with its own: an allocator that reuses the given block leaves threads in one line.
pub(super) fn scratch(divide: usize) -> usize {
    let given: Vec<Memory> = (0..THREADS).map(|_| Memory::new(BLOCK_BYTES)).collect();
    thread::scope(|scope| {
        let threads: Vec<_> = given
            .into_iter()
            .map(|block| {
                scope.spawn(move || {
                    drop(block);
                    write_repeatedly(ROUNDS / divide)
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().expect("no thread panics")).sum()
    })
}

/// Each thread allocates its own: an allocator that cuts one line for several threads slows them.
pub(super) fn thrash(divide: usize) -> usize {
    thread::scope(|scope| {
        let start = |_| scope.spawn(move || write_repeatedly(ROUNDS / divide));
        let threads: Vec<_> = (0..THREADS).map(start).collect();
        threads.into_iter().map(|thread| thread.join().expect("no thread panics")).sum()
    })
}

fn write_repeatedly(rounds: usize) -> usize {
    for _ in 0..rounds {
        let mut block = Memory::new(BLOCK_BYTES);
        for i in 0..WRITES {
            let place = i % (BLOCK_BYTES - 1);
            let value = block.read(place).wrapping_add(1);
            block.write(place, value);
        }
    }
    rounds * WRITES
}
