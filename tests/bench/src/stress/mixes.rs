//! Mixed sizes and lifetimes.

use std::sync::mpsc::sync_channel;
use std::thread;

use super::memory::Memory;
use crate::random::Random;

/// Batches of neighbouring sizes from 1 to 1000 bytes: some freed at once last first, most kept
/// for a while and freed first first (after sh6bench).
pub(super) fn sh6(divide: usize) -> usize {
    thread::scope(|scope| {
        let start = |_| scope.spawn(move || sh6_thread(200 / divide));
        let threads: Vec<_> = (0..2).map(start).collect();
        threads.into_iter().map(|thread| thread.join().expect("no thread panics")).sum()
    })
}

fn sh6_thread(rounds: usize) -> usize {
    const KEPT: usize = 20_000;
    let mut allocated = 0;
    for _ in 0..rounds {
        let mut kept: Vec<Memory> = Vec::with_capacity(KEPT);
        for bytes in (1..=1_000).rev() {
            let count = (1_000 / bytes).clamp(20, 200);
            let mut batch: Vec<Memory> = (0..count).map(|_| Memory::new(bytes)).collect();
            allocated += count;
            while batch.len() > count / 2 {
                batch.pop();
            }
            kept.append(&mut batch);
            if kept.len() > KEPT {
                kept.drain(..KEPT / 2);
            }
        }
    }
    allocated
}

/// The same kind of batches, but half of each goes to the other thread to be freed (after
/// sh8bench).
pub(super) fn sh8(divide: usize) -> usize {
    let rounds = 200 / divide;
    let (to_second, from_first) = sync_channel(64);
    let (to_first, from_second) = sync_channel(64);
    thread::scope(|scope| {
        let work = move |send: std::sync::mpsc::SyncSender<Vec<Memory>>,
                         receive: std::sync::mpsc::Receiver<Vec<Memory>>| {
            let mut allocated = 0;
            for round in 0..rounds {
                for bytes in 1..=1_000 {
                    let count = (2_000 / bytes).clamp(20, 200);
                    let mut mine: Vec<Memory> = (0..count).map(|_| Memory::new(bytes)).collect();
                    let other = mine.split_off(count / 2);
                    allocated += count;
                    // The other thread may have ended; then its half ends here.
                    let _ = send.send(other);
                    if (round + bytes) % 2 == 0 {
                        mine.reverse();
                    }
                    drop(mine);
                    drop(receive.try_recv());
                }
            }
            drop(send);
            receive.into_iter().for_each(drop);
            allocated
        };
        let first = scope.spawn(move || work(to_second, from_second));
        let second = scope.spawn(move || work(to_first, from_first));
        [first, second].into_iter().map(|it| it.join().expect("no thread panics")).sum()
    })
}

/// A large table of slots, of which few are used often and most seldom; a chosen slot is filled if
/// empty and else emptied (after alloc-test by OLogN).
pub(super) fn alloc_test(divide: usize) -> usize {
    const SLOTS: u32 = 1 << 18;
    let mut random = Random::new(1);
    let mut slots: Vec<Option<Memory>> = (0..SLOTS).map(|_| None).collect();
    let mut allocated = 0;
    for _ in 0..6_000_000 / divide {
        // The product of two draws: a quarter of the slots gets more than half of the choices.
        let place = (u64::from(random.below(SLOTS)) * u64::from(random.below(SLOTS))) >> 18;
        let slot = &mut slots[place as usize];
        if slot.take().is_none() {
            *slot = Some(Memory::new(random.size(10)));
            allocated += 1;
        }
    }
    allocated
}

/// A few large blocks, one after another replaced (after malloc-large by Leijen).
pub(super) fn large(divide: usize) -> usize {
    const LIVE: usize = 20;
    const MIB: u32 = 1 << 20;
    let mut random = Random::new(1);
    let mut size = || (5 * MIB + random.below(20 * MIB)) as usize;
    let mut blocks: Vec<Memory> = (0..LIVE).map(|_| Memory::new(size())).collect();
    let rounds = 4_000 / divide;
    for round in 0..rounds {
        let mut block = Memory::new(size());
        for offset in (0..block.bytes() - 1).step_by(64 << 10) {
            block.write(offset, round as u8);
        }
        blocks[round % LIVE] = block;
    }
    rounds
}
