//! Slabs of several granules while they are open: what is free of them is [offered](crate::offer) to
//! the purger.

use super::Heap;
use crate::{
    arena::Arena,
    backend::{Backend, Capabilities},
    config::{Config, FaultKind},
    descriptor::{Descriptor, Place},
    free_blocks::FreeBlocks,
};

impl<C: Config> Heap<C> {
    /// Whether the free blocks of a slab are offered while it is open. Those of a heap that is dropped
    /// whole are not: nobody could wait for the purger then.
    pub(super) fn offers(&self, slab: &Descriptor) -> bool {
        C::Backend::CAPABILITIES.contains(Capabilities::PURGE)
            && slab.granules.get() > 1
            && !self.is_dropped_whole()
    }

    /// Puts a slab in the list of open ones that offer their free blocks, or gives it back if it is
    /// empty.
    pub(super) fn open_and_offer(&self, arena: &Arena<C>, slab: &Descriptor) {
        slab.place.set(Place::Open);
        self.shelf(slab.class()).push(Place::Open, slab);
        self.offer(arena, slab);
    }

    /// Offers what was freed of an open slab, and has the next free tell of itself; gives the slab
    /// back if it is empty.
    pub(super) fn offer(&self, arena: &Arena<C>, slab: &Descriptor) {
        while let Some(located) = slab.own.pop() {
            // SAFETY: I2: the block was in the owner's set. An open slab is not parked.
            unsafe { slab.remote.push(located.block, located.offset_bytes, slab.own.key()) };
        }
        if !self.release_offered(arena, slab) {
            slab.tell_after(1);
            arena.offer(slab);
        }
    }

    /// Gives an open slab that offers its blocks back, if it is empty.
    pub(super) fn release_offered(&self, arena: &Arena<C>, slab: &Descriptor) -> bool {
        let is_empty = || slab.remote.count() == slab.carved.get();
        if !is_empty() {
            return false;
        }
        let purged = arena.withdraw(slab);
        // Until now the purger may have taken blocks out.
        if !is_empty() {
            arena.offer(slab);
            return false;
        }
        let _all = slab.remote.drain();
        arena.note_purged_blocks(slab, purged);
        self.shelf(slab.class()).remove(Place::Open, slab);
        self.release(arena, slab);
        true
    }

    /// Reports that a free block was written to.
    #[cold]
    pub(crate) fn report_overwritten(slab: &Descriptor, offset_bytes: usize) {
        Self::report(FaultKind::UseAfterFree, slab, offset_bytes);
    }
}
