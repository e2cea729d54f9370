//! What a slab in use says of its free blocks: whether the purger may take them out for a while.
//!
//! A slab of several granules that waits on its owner's shelf *offers* its free blocks: they are all
//! in its remote list, from where the purger takes them as if it had allocated them, and where it
//! puts them back as anybody frees a block. The owner *withdraws* the offer before it allocates from
//! the slab or gives it up. As long as nothing of the slab was purged, that is one exchange.
#![forbid(unsafe_code)]

use core::cell::Cell;

use crate::sync::atomic::{
    AtomicU8,
    Ordering::{AcqRel, Relaxed},
};

/// Nothing is offered, and the slab is not in the queue.
const NONE: u8 = 0;
/// Offered, in the queue.
const QUEUED: u8 = 1;
/// Withdrawn, and still in the queue.
const WITHDRAWN: u8 = 2;
/// Offered again while it was still in the queue: to be purged when it has waited anew.
const AGAIN: u8 = 3;
/// Offered, and out of the queue: its blocks were purged, or are being.
const DONE: u8 = 4;
/// As `DONE`, and in the queue again with what was freed since.
const PARTLY: u8 = 5;

/// The part of a descriptor that is about offers; zeroes are none.
///
/// Steps from `DONE` and `PARTLY`, and those of the purger, are made under the lock of the queue.
#[derive(Debug)]
#[repr(C)]
pub struct Offer {
    state: AtomicU8,
    /// When the slab came into the queue, in ticks of the pool.
    since: Cell<u8>,
    /// Which blocks, by their index, have no pages but the first: none unless `DONE` or `PARTLY`.
    purged: Cell<u16>,
    /// The granule of the next in the queue, plus one.
    next: Cell<u32>,
}

/// What the purger is to do with the first slab of the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// Take it out: its blocks are the purger's to drain, under the same lock.
    Purge,
    /// Put it at the end.
    Requeue,
    /// Take it out: nothing is offered any more.
    Drop,
    /// Nothing: it is not due, nor is what follows it.
    Wait,
}

impl Offer {
    /// None.
    #[cfg(not(genesis_loom))]
    pub const fn new() -> Self {
        Self {
            state: AtomicU8::new(NONE),
            since: Cell::new(0),
            purged: Cell::new(0),
            next: Cell::new(0),
        }
    }

    /// None.
    #[cfg(genesis_loom)]
    pub fn new() -> Self {
        Self {
            state: AtomicU8::new(NONE),
            since: Cell::new(0),
            purged: Cell::new(0),
            next: Cell::new(0),
        }
    }

    fn step(&self, from: u8, to: u8) -> bool {
        self.state.compare_exchange(from, to, AcqRel, Relaxed).is_ok()
    }

    /// Offers what is in the remote list. Owner only. False: call
    /// [`enqueue`](Self::enqueue) under the lock.
    pub fn make(&self) -> bool {
        match self.state.load(Relaxed) {
            QUEUED | AGAIN | PARTLY => true,
            WITHDRAWN => self.step(WITHDRAWN, AGAIN),
            _ => false,
        }
    }

    /// Offers what is in the remote list as of `now`. Owner only, under the lock. True: put the slab
    /// at the end of the queue.
    pub fn enqueue(&self, now: u8) -> bool {
        let state = match self.state.load(Relaxed) {
            NONE => QUEUED,
            DONE => PARTLY,
            _ => return !self.make(),
        };
        self.since.set(now);
        self.state.store(state, Relaxed);
        true
    }

    /// Ends the offer, if there is one: from now on nobody takes blocks out of the slab. Owner only.
    /// False: call [`end`](Self::end) under the lock.
    pub fn withdraw(&self) -> bool {
        match self.state.load(Relaxed) {
            NONE | WITHDRAWN => true,
            state @ (QUEUED | AGAIN) => self.step(state, WITHDRAWN) || self.step(QUEUED, WITHDRAWN),
            _ => false,
        }
    }

    /// The same under the lock; returns which blocks were without pages. Owner only.
    pub fn end(&self) -> u16 {
        match self.state.load(Relaxed) {
            DONE => self.state.store(NONE, Relaxed),
            PARTLY => self.state.store(WITHDRAWN, Relaxed),
            _ => _ = self.withdraw(),
        }
        self.purged.take()
    }

    /// Claims the slab, the first of the queue. The purger, under the lock.
    pub fn claim(&self, now: u8, age_ticks: u8) -> Claim {
        loop {
            let state = self.state.load(Relaxed);
            let (next, claim) = match state {
                AGAIN => (QUEUED, Claim::Requeue),
                QUEUED | PARTLY if now.wrapping_sub(self.since.get()) < age_ticks => {
                    return Claim::Wait;
                }
                QUEUED | PARTLY => (DONE, Claim::Purge),
                _ => (NONE, Claim::Drop),
            };
            // Fails where the owner was first.
            if self.step(state, next) {
                self.since.set(now);
                return claim;
            }
        }
    }

    /// Which blocks are without pages, as far as that is known. The purger, which has claimed the
    /// slab, or anybody under the lock.
    pub fn purged(&self) -> u16 {
        self.purged.get()
    }

    /// Notes that blocks, which the purger still has, are without pages; false if the offer is over.
    /// Under the lock.
    pub fn note_purged(&self, blocks: u16) -> bool {
        let stands = matches!(self.state.load(Relaxed), DONE | PARTLY);
        if stands {
            self.purged.set(self.purged.get() | blocks);
        }
        stands
    }
}

impl Default for Offer {
    fn default() -> Self {
        Self::new()
    }
}

/// Slabs with free blocks that may be purged, by their granules, oldest offer first; and what was
/// purged of them.
#[derive(Debug)]
pub struct Queue {
    /// The granules of the first and the last, plus one.
    first: u32,
    last: u32,
    /// Bytes of free blocks, in slabs whose offer stands, whose pages were given back.
    pub purged_bytes: u64,
}

impl Queue {
    /// No slabs.
    pub const fn new() -> Self {
        Self { first: 0, last: 0, purged_bytes: 0 }
    }

    /// The granule of the first.
    pub fn first(&self) -> Option<u32> {
        self.first.checked_sub(1)
    }

    /// Takes out the first, whose offer this is.
    pub fn pop(&mut self, first: &Offer) {
        self.first = first.next.take();
        if self.first == 0 {
            self.last = 0;
        }
    }

    /// Puts `granule`, whose offer `offer` is, at the end; `offer_of` finds that of the last.
    pub fn push<'a>(
        &mut self,
        granule: u32,
        offer: &Offer,
        offer_of: impl FnOnce(u32) -> &'a Offer,
    ) {
        offer.next.set(0);
        match self.last.checked_sub(1) {
            Some(last) => offer_of(last).next.set(granule + 1),
            None => self.first = granule + 1,
        }
        self.last = granule + 1;
    }
}

impl Default for Queue {
    fn default() -> Self {
        Self::new()
    }
}
