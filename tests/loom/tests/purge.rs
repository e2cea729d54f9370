//! Purging: blocks that an open slab offers are taken out by the purger, while their owner withdraws
//! the offer, allocates, parks the slab, and another thread frees.
//!
//! Bounds: one block offered, one freed by another thread; the purger claims once; the owner takes two
//! steps beside them.
#![cfg(genesis_loom)]

use std::sync::Arc;

use genesis_mem_core::{
    free_blocks::Link,
    offer::{Claim, Offer},
    remote::RemoteList,
};
use genesis_mem_loom::{KEY, Slab, offset_bytes};
use loom::{sync::Mutex, thread};

/// A slab with its offer, and the lock of the queue.
struct Shared {
    slab: Slab<2>,
    returned: RemoteList,
    offer: Offer,
    queue: Mutex<()>,
}

impl Shared {
    fn new() -> Self {
        Self {
            slab: Slab::new(),
            returned: RemoteList::new(),
            offer: Offer::new(),
            queue: Mutex::new(()),
        }
    }
}

// SAFETY: the model shares the offer on purpose: what is not atomic in it belongs to the lock.
unsafe impl Sync for Shared {}
// SAFETY: as above.
unsafe impl Send for Shared {}

/// What the purger does with a slab that it finds in the queue.
fn purge(shared: &Shared) {
    let claimed = {
        let _guard = shared.queue.lock().unwrap();
        match shared.offer.claim(0, 0) {
            Claim::Purge => shared.slab.remote.drain(),
            _ => return,
        }
    };
    let blocks = shared.slab.walk(claimed.first());
    assert!(!blocks.is_empty(), "an offer is of something");
    let _guard = shared.queue.lock().unwrap();
    let _noted = shared.offer.note_purged(blocks.iter().map(|index| 1 << index).sum());
    let last = shared.slab.block(blocks[blocks.len() - 1]);
    let first = Link::to(offset_bytes(blocks[0]));
    // SAFETY: the purger drained the chain, as the model claims and loom checks.
    if unsafe { shared.slab.remote.push_chain(first, last, blocks.len() as u32, KEY) } {
        shared.slab.hand_back(&shared.returned);
    }
}

fn withdraw(shared: &Shared) {
    if !shared.offer.withdraw() {
        let _guard = shared.queue.lock().unwrap();
        shared.offer.end();
    }
}

#[derive(Default)]
struct Owner {
    home: Vec<usize>,
    is_parked: bool,
}

impl Owner {
    fn step(&mut self, shared: &Shared) {
        if self.is_parked {
            self.is_parked = !shared.slab.take_back(&shared.returned);
        } else {
            for index in shared.slab.drain() {
                // Handed out: its holder writes to it.
                // SAFETY: the owner drained it, as the model claims and loom checks.
                unsafe { shared.slab.block(index).as_ref().wipe() };
                self.home.push(index);
            }
            if self.home.len() < 2 {
                self.is_parked = shared.slab.remote.park();
            }
        }
    }
}

/// `withdraws`: whether the owner withdraws the offer before it allocates; the broken twin does not.
fn model(withdraws: bool) {
    loom::model(move || {
        let shared = Arc::new(Shared::new());
        assert!(!shared.slab.push(0) && !shared.offer.make() && shared.offer.enqueue(0));
        let purger = thread::spawn({
            let shared = shared.clone();
            move || purge(&shared)
        });
        let other = thread::spawn({
            let shared = shared.clone();
            move || {
                if shared.slab.push(1) {
                    shared.slab.hand_back(&shared.returned);
                }
            }
        });
        let mut owner = Owner::default();
        if withdraws {
            withdraw(&shared);
        }
        owner.step(&shared);
        owner.step(&shared);
        purger.join().unwrap();
        other.join().unwrap();
        // At most: drained, or taken back and drained.
        for _ in 0..3 {
            if owner.home.len() < 2 {
                owner.step(&shared);
            }
        }
        owner.home.sort_unstable();
        assert_eq!(owner.home, [0, 1], "every block comes home once");
        assert!(!withdraws || shared.offer.purged() == 0, "a slab in use is purged nowhere");
    });
}

#[test]
fn the_purger_gives_back_what_it_takes() {
    model(true);
}

#[test]
#[should_panic(expected = "index out of bounds")]
fn an_owner_that_withdraws_nothing_is_caught() {
    model(false);
}

/// The owner frees a block beside the purger: it is purged now, or offered anew. `offers_last`: whether
/// it offers what is in the list already; the broken twin does not.
fn missing(offers_last: bool) {
    loom::model(move || {
        let shared = Arc::new(Shared::new());
        assert!(!shared.slab.push(0) && shared.offer.enqueue(0));
        let purger = thread::spawn({
            let shared = shared.clone();
            move || purge(&shared)
        });
        let offer = || {
            if !shared.offer.make() {
                let _guard = shared.queue.lock().unwrap();
                shared.offer.enqueue(0);
            }
        };
        if offers_last {
            assert!(!shared.slab.push(1));
            offer();
        } else {
            offer();
            assert!(!shared.slab.push(1));
        }
        purger.join().unwrap();
        let again = shared.offer.claim(0, 0) == Claim::Purge;
        assert!(again || shared.offer.purged() == 0b11, "block 1 was missed");
    });
}

#[test]
fn no_block_is_missed() {
    missing(true);
}

#[test]
#[should_panic(expected = "block 1 was missed")]
fn an_offer_made_too_early_is_caught() {
    missing(false);
}
