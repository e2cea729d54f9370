//! Remote frees: two threads push, one of them a chain, while the owner drains.
//!
//! Bounds: three blocks, two pushers, two drains beside them and one after them.
#![cfg(genesis_loom)]

use std::{ptr::NonNull, sync::Arc};

use genesis_mem_core::free_blocks::{FreeBlock, Link};
use genesis_mem_loom::{KEY, Slab, offset_bytes};
use loom::{
    sync::atomic::{
        AtomicU64,
        Ordering::{Acquire, Relaxed},
    },
    thread,
};

/// A remote list, sound or not.
trait List: Send + Sync + 'static {
    fn new() -> Self;
    fn push_chain(&self, slab: &Slab<3>, first: usize, last: NonNull<FreeBlock>, count: u32);
    fn drain(&self, slab: &Slab<3>) -> Vec<usize>;
}

/// The list that ships: the slab's own.
struct Shipped;

impl List for Shipped {
    fn new() -> Self {
        Self
    }

    fn push_chain(&self, slab: &Slab<3>, first: usize, last: NonNull<FreeBlock>, count: u32) {
        let first = Link::to(offset_bytes(first));
        // SAFETY: the model frees each block once.
        let parked = unsafe { slab.remote.push_chain(first, last, count, KEY) };
        assert!(!parked, "nobody parked the slab");
    }

    fn drain(&self, slab: &Slab<3>) -> Vec<usize> {
        slab.drain()
    }
}

/// The broken twin: its push publishes nothing.
struct Unordered(AtomicU64);

const END: u64 = Link::END.offset_bytes() as u64;

impl List for Unordered {
    fn new() -> Self {
        Self(AtomicU64::new(END))
    }

    fn push_chain(&self, _: &Slab<3>, first: usize, last: NonNull<FreeBlock>, _: u32) {
        let mut seen = self.0.load(Relaxed);
        loop {
            // SAFETY: the block is the caller's until the exchange succeeds.
            unsafe { last.as_ref().set_next(Link::to(seen as usize), KEY) };
            let first = offset_bytes(first) as u64;
            match self.0.compare_exchange_weak(seen, first, Relaxed, Relaxed) {
                Ok(_) => return,
                Err(now) => seen = now,
            }
        }
    }

    fn drain(&self, slab: &Slab<3>) -> Vec<usize> {
        slab.walk(Link::to(self.0.swap(END, Acquire) as usize))
    }
}

fn model<L: List>() {
    loom::model(|| {
        let shared = Arc::new((Slab::<3>::new(), L::new()));
        let single = thread::spawn({
            let shared = shared.clone();
            move || shared.1.push_chain(&shared.0, 0, shared.0.block(0), 1)
        });
        let chain = thread::spawn({
            let shared = shared.clone();
            move || {
                let (slab, list) = &*shared;
                // SAFETY: both blocks are this thread's to free.
                unsafe { slab.block(1).as_ref().set_next(Link::to(offset_bytes(2)), KEY) };
                list.push_chain(slab, 1, slab.block(2), 2);
            }
        });
        let (slab, list) = &*shared;
        // loom starts from the schedule where the pushers go first; from one where the owner finds
        // nothing it does not go on to all others, as it remembers one access a word only.
        thread::yield_now();
        let mut home = list.drain(slab);
        home.extend(list.drain(slab));
        single.join().unwrap();
        chain.join().unwrap();
        home.extend(list.drain(slab));
        let first = home.iter().position(|&index| index == 1).expect("the chain came home");
        assert_eq!(home.get(first + 1), Some(&2), "the chain stayed whole");
        home.sort_unstable();
        assert_eq!(home, [0, 1, 2], "every block comes home once");
    });
}

#[test]
fn every_block_comes_home_once() {
    model::<Shipped>();
}

#[test]
#[should_panic(expected = "Causality violation")]
fn a_relaxed_push_is_caught() {
    model::<Unordered>();
}
