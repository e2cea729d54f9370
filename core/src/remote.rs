//! Frees by somebody else than the owner: a list that many push to and one drains.
//!
//! The list is one word: a [`Chain`], whose links the owner can take over as they are, and a flag that says that the owner has *parked* the slab,
//! which is full, and no longer looks at it. The push that finds the flag clears it and, alone,
//! must tell the owner. While a slab is parked its owner neither drains nor frees it.

use core::ptr::NonNull;

use crate::{
    free_blocks::{FreeBlock, Key, Link},
    sync::atomic::{
        AtomicU64,
        Ordering::{AcqRel, Relaxed, Release},
    },
};

const PARKED: u64 = 1 << 63;

/// A chain of free blocks in one word: where the first lies, and how many there are. No blocks are
/// zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(transparent)]
pub struct Chain(u64);

impl Chain {
    /// No blocks.
    pub const EMPTY: Self = Self(0);
    const COUNT_BITS: u32 = 16;

    /// `count` blocks from `first` on, and `rest` behind them.
    const fn join(first: Link, count: u32, rest: Self) -> Self {
        let sum = rest.count().saturating_add(count);
        let count = if sum > u16::MAX as u32 { u16::MAX as u32 } else { sum };
        Self(((first.offset_bytes() as u64) << Self::COUNT_BITS) | count as u64)
    }

    /// How many blocks, up to 65,535: no slab has as many.
    pub const fn count(self) -> u32 {
        self.0 as u16 as u32
    }

    /// Whether there are none.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The link to the first block.
    pub const fn first(self) -> Link {
        if self.is_empty() { Link::END } else { Link::to((self.0 >> Self::COUNT_BITS) as usize) }
    }
}

/// Many pushers, one drainer.
#[derive(Debug)]
#[repr(transparent)]
pub struct RemoteList {
    word: AtomicU64,
}

impl RemoteList {
    /// Empty, not parked.
    #[cfg(not(genesis_loom))]
    pub const fn new() -> Self {
        Self { word: AtomicU64::new(0) }
    }

    /// Empty, not parked.
    #[cfg(genesis_loom)]
    pub fn new() -> Self {
        Self { word: AtomicU64::new(0) }
    }

    /// Pushes `block`, which lies `offset_bytes` into its slab. Any thread.
    ///
    /// True: the slab was parked, and the caller, alone, must hand it back to its owner.
    ///
    /// # Safety
    /// - The caller owns `block` and gives it up; `offset_bytes` and `key` are those of its slab.
    pub unsafe fn push(&self, block: NonNull<FreeBlock>, offset_bytes: usize, key: Key) -> bool {
        // SAFETY: forwarded: a chain of one.
        unsafe { self.push_chain(Link::to(offset_bytes), block, 1, key) }
    }

    /// Pushes a chain of `count` blocks from `first` to `last`. Any thread; otherwise as
    /// [`push`](Self::push).
    ///
    /// # Safety
    /// - The caller owns the chain and gives it up; its links are written by `key`, that of its slab.
    pub unsafe fn push_chain(
        &self,
        first: Link,
        last: NonNull<FreeBlock>,
        count: u32,
        key: Key,
    ) -> bool {
        let mut seen = self.word.load(Relaxed);
        loop {
            let rest = Chain(seen & !PARKED);
            // SAFETY: I1: until the exchange succeeds the block is the caller's.
            unsafe { last.as_ref().set_next(rest.first(), key) };
            let chain = Chain::join(first, count, rest).0;
            // Release pairs with the Acquire in `drain`: the owner sees the links. Acquire pairs
            // with the Release in `park`: whoever clears the flag comes after everything that the
            // owner, and the one who handed the slab back last time, did to it.
            match self.word.compare_exchange_weak(seen, chain, AcqRel, Relaxed) {
                Ok(_) => return seen & PARKED != 0,
                Err(now) => seen = now,
            }
        }
    }

    /// Takes the whole chain. Owner only, or the purger where the owner has offered the blocks; and
    /// the slab is not parked.
    pub fn drain(&self) -> Chain {
        if self.word.load(Relaxed) == 0 {
            return Chain::EMPTY;
        }
        // Acquire pairs with the Release in `push`. Release pairs with the Acquire there: an owner
        // whose block the purger has missed sees that its offer is over.
        Chain(self.word.swap(0, AcqRel))
    }

    /// How many blocks wait. Owner only; may grow at any moment.
    pub fn count(&self) -> u32 {
        Chain(self.word.load(Relaxed) & !PARKED).count()
    }

    /// Parks the slab. Owner only. False: a block came home first, so drain again.
    pub fn park(&self) -> bool {
        // Release pairs with the Acquire in `push`.
        self.word.compare_exchange(0, PARKED, Release, Relaxed).is_ok()
    }

    /// Takes the slab back. Owner only. False: a remote free was first, and its thread is handing
    /// the slab back.
    pub fn unpark(&self) -> bool {
        self.word.compare_exchange(PARKED, 0, Relaxed, Relaxed).is_ok()
    }
}

impl Default for RemoteList {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(all(test, not(genesis_loom)))]
mod tests {
    use super::*;

    #[test]
    fn the_first_push_to_a_parked_list_says_so_once() {
        let blocks: [FreeBlock; 3] = core::array::from_fn(|_| FreeBlock::new());
        let block = |index: usize| NonNull::from(&blocks[index]);
        let (list, key) = (RemoteList::new(), Key::new(0, 7));
        assert!(list.park() && list.count() == 0);
        // SAFETY: the blocks are the test's, 8 bytes apart, each pushed once.
        unsafe {
            assert!(list.push(block(0), 0, key));
            assert!(!list.push(block(1), 8, key));
        }
        assert!(!list.park() && !list.unpark());
        let chain = list.drain();
        assert_eq!((chain.count(), chain.first()), (2, Link::to(8)));
        // SAFETY: the chain was drained, so it is the test's.
        unsafe {
            assert_eq!(blocks[1].next(key), Link::to(0));
            assert_eq!(blocks[0].next(key), Link::END);
        }
        assert!(list.drain().is_empty() && list.park() && list.unpark());
    }
}
