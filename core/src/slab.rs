//! One span of one size class: take a block, give a block, and say when the owner must look.

use core::cell::Cell;

use crate::free_blocks::FreeBlocks;

/// A slab over either kind of free set; owner only.
///
/// `free.len() + live == capacity`, where `live` is what the holders have. Instead of counting
/// `live`, the slab compares the length of its free set with one number, `notify_at`: the owner
/// sets it to the capacity to hear of the last block's return, and to one to hear of the first.
#[derive(Debug)]
#[repr(C)]
pub struct Slab<F> {
    pub(crate) free: F,
    notify_at: Cell<u32>,
    capacity: Cell<u32>,
}

/// Never: the free set of a slab is always shorter.
pub const NEVER: u32 = u32::MAX;

impl<F> Slab<F> {
    /// A slab of `capacity` blocks with the free set `free`, which notifies of nothing yet.
    pub const fn new(free: F, capacity: u32) -> Self {
        Self { free, notify_at: Cell::new(NEVER), capacity: Cell::new(capacity) }
    }

    /// How many blocks the slab has, free or live.
    pub fn capacity(&self) -> u32 {
        self.capacity.get()
    }

    /// Changes how many blocks the slab has.
    pub(crate) fn set_capacity(&self, capacity: u32) {
        self.capacity.set(capacity);
    }

    /// Has [`free`](Self::free) say so when the free set reaches `free_blocks`; [`NEVER`] for not.
    pub fn notify_at(&self, free_blocks: u32) {
        self.notify_at.set(free_blocks);
    }
}

impl<F: FreeBlocks> Slab<F> {
    /// Takes a block.
    #[inline(always)]
    pub fn alloc(&self) -> Option<F::Block> {
        self.free.pop()
    }

    /// Gives a block back. True: the free set has reached the length set by
    /// [`notify_at`](Self::notify_at).
    ///
    /// # Safety
    /// - `block` is a live block of this slab.
    #[inline(always)]
    pub unsafe fn free(&self, block: F::Block) -> bool {
        // SAFETY: forwarded: a live block is in no set.
        unsafe { self.free.push(block) == self.notify_at.get() }
    }

    /// Whether no block is live.
    pub fn is_empty(&self) -> bool {
        self.free.len() == self.capacity()
    }
}

#[cfg(all(test, not(genesis_loom)))]
mod tests {
    use super::*;
    use crate::free_blocks::Bits;

    #[test]
    fn the_owner_hears_of_the_first_and_of_the_last_free() {
        let mut words = [0; Bits::words(100)];
        let slab = Slab::new(Bits::all_free(&mut words, 100), 100);
        let blocks: Vec<_> = core::iter::from_fn(|| slab.alloc()).collect();
        assert_eq!(blocks.len(), 100);
        slab.notify_at(1);
        for (count, &block) in blocks.iter().enumerate() {
            // SAFETY: taken above, given back once.
            let notified = unsafe { slab.free(block) };
            assert_eq!(notified, count == 0 || count == 99);
            slab.notify_at(100);
        }
        assert!(slab.is_empty());
    }
}
