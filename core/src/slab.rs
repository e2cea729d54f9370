//! One span of one size class: take a block, give a block, and say when the owner must look.

use core::cell::Cell;

use crate::free_blocks::FreeBlocks;

/// A slab over either kind of free set; owner only.
///
/// `free.count() + live == capacity`, where `live` is what the holders have. The slab does not
/// count `live`: allocations would have to, too. It counts down frees from a number that the owner
/// set when `live` was known, and tells the owner when none is left: of the last block's return, or
/// of the first.
#[derive(Debug)]
#[repr(C)]
pub struct Slab<F> {
    pub(crate) free: F,
    frees_left: Cell<u32>,
    capacity: Cell<u32>,
}

/// Longer than anybody waits; should it run out all the same, the owner sets it again.
pub const NEVER: u32 = u32::MAX;

impl<F> Slab<F> {
    /// A slab of `capacity` blocks with the free set `free`, which tells the owner nothing yet.
    pub const fn new(free: F, capacity: u32) -> Self {
        Self { free, frees_left: Cell::new(NEVER), capacity: Cell::new(capacity) }
    }

    /// How many blocks the slab has, free or live.
    pub fn capacity(&self) -> u32 {
        self.capacity.get()
    }

    /// Has the `frees`-th [`free`](Self::free) from now say so; [`NEVER`] for none.
    pub fn tell_after(&self, frees: u32) {
        self.frees_left.set(frees);
    }

    /// How many frees are left until the owner is told.
    pub fn frees_left(&self) -> u32 {
        self.frees_left.get()
    }
}

impl<F: FreeBlocks> Slab<F> {
    /// Takes a block.
    #[inline(always)]
    pub fn alloc(&self) -> Option<F::Block> {
        self.free.pop()
    }

    /// Gives a block back. True: the owner is to look; see [`tell_after`](Self::tell_after).
    ///
    /// # Safety
    /// - `block` is a live block of this slab.
    #[inline(always)]
    pub unsafe fn free(&self, block: F::Block) -> bool {
        // SAFETY: I2: forwarded: a live block is in no set.
        unsafe { self.free.push(block) };
        let frees_left = self.frees_left.get().wrapping_sub(1);
        self.frees_left.set(frees_left);
        frees_left == 0
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
        slab.tell_after(1);
        for (count, &block) in blocks.iter().enumerate() {
            // SAFETY: taken above, given back once.
            let told = unsafe { slab.free(block) };
            assert_eq!(told, count == 0 || count == 99);
            if count == 0 {
                slab.tell_after(99);
            }
        }
        assert_eq!(slab.free.count(), slab.capacity());
    }
}
