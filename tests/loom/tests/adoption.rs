//! Thread exit: a heap with a parked slab is orphaned and adopted while a remote free arrives.
//!
//! Bounds: one heap, one slab of one block; an old owner, a new one and a remote thread. The new
//! owner looks once beside the others and once after them.
#![cfg(genesis_loom)]

use std::{cell::Cell, ptr::NonNull, sync::Arc};

use genesis_mem_core::{
    heap_pool::{HeapPool, Pooled},
    remote::RemoteList,
    sync::UnsafeCell,
};
use genesis_mem_loom::Slab;
use loom::{
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread,
};

struct Heap {
    link: Cell<Option<NonNull<Self>>>,
    /// Plain data of the owner.
    used_blocks: UnsafeCell<u32>,
    slab: Slab<1>,
    returned: RemoteList,
}

// SAFETY: the link always is the same cell, the pool's alone.
unsafe impl Pooled for Heap {
    fn link(&self) -> &Cell<Option<NonNull<Self>>> {
        &self.link
    }
}

// SAFETY: the link is the pool's; loom reports every unordered access to the rest.
unsafe impl Sync for Heap {}
// SAFETY: as above.
unsafe impl Send for Heap {}

impl Heap {
    /// What the new owner does at any moment.
    fn collect(&self, home: &mut Vec<usize>) {
        let before = 1 - home.len() as u32;
        if self.slab.take_back(&self.returned) {
            home.extend(self.slab.drain());
        }
        // SAFETY: the new owner's, as the model claims and loom checks.
        self.used_blocks.with_mut(|used| unsafe {
            assert_eq!(*used, before, "the new owner goes on from what the old one left");
            *used = 1 - home.len() as u32;
        });
    }
}

/// How a heap goes from hand to hand.
trait Handover: Send + Sync + 'static {
    fn new() -> Self;
    fn orphan(&self, heap: &Heap);
    fn adopts(&self, heap: &Heap) -> bool;
}

struct Pool(HeapPool<Heap>);

impl Handover for Pool {
    fn new() -> Self {
        Self(HeapPool::new())
    }

    fn orphan(&self, heap: &Heap) {
        // SAFETY: the heap is its owner's, which leaves it, and outlives the model's threads.
        unsafe { self.0.orphan(NonNull::from(heap)) };
    }

    fn adopts(&self, heap: &Heap) -> bool {
        let adopted = self.0.adopt();
        assert!(adopted.is_none_or(|adopted| adopted == NonNull::from(heap)));
        adopted.is_some()
    }
}

/// The broken twin: a flag that orders nothing.
struct Flag(AtomicBool);

impl Handover for Flag {
    fn new() -> Self {
        Self(AtomicBool::new(false))
    }

    fn orphan(&self, _: &Heap) {
        self.0.store(true, Relaxed);
    }

    fn adopts(&self, _: &Heap) -> bool {
        self.0.compare_exchange(true, false, Relaxed, Relaxed).is_ok()
    }
}

fn model<P: Handover>() {
    loom::model(|| {
        let heap = Heap {
            link: Cell::new(None),
            used_blocks: UnsafeCell::new(0),
            slab: Slab::new(),
            returned: RemoteList::new(),
        };
        let shared = Arc::new((heap, P::new()));
        assert!(shared.0.slab.remote.park(), "nothing was freed yet");
        let old = thread::spawn({
            let shared = shared.clone();
            move || {
                let (heap, pool) = &*shared;
                // SAFETY: the old owner's, as the model claims and loom checks.
                heap.used_blocks.with_mut(|used| unsafe { *used = 1 });
                pool.orphan(heap);
            }
        });
        let remote = thread::spawn({
            let shared = shared.clone();
            move || {
                let (heap, _) = &*shared;
                assert!(heap.slab.push(0), "the only free finds the flag");
                heap.slab.hand_back(&heap.returned);
            }
        });
        let (heap, pool) = &*shared;
        let mut home = Vec::new();
        let adopted = pool.adopts(heap);
        if adopted {
            heap.collect(&mut home);
        }
        old.join().unwrap();
        remote.join().unwrap();
        assert!(adopted != pool.adopts(heap), "a heap is adopted once");
        heap.collect(&mut home);
        assert_eq!(home, [0], "the block comes home, to one owner or the next");
    });
}

#[test]
fn an_orphan_keeps_what_it_had() {
    model::<Pool>();
}

#[test]
#[should_panic(expected = "Causality violation")]
fn a_relaxed_handover_is_caught() {
    model::<Flag>();
}
