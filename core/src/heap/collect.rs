//! Giving back what a heap holds: what nobody uses, or all of it.

use core::ptr;

use super::Heap;
use crate::{
    arena::Arena,
    config::Config,
    descriptor::{Descriptor, Place},
    free_blocks::FreeBlocks,
    size_class::HostClasses,
};

impl<C: Config> Heap<C> {
    /// Gives away what others wait for: their blocks, and the span that is kept. For an owner that ends.
    ///
    /// # Safety
    /// - Owner only.
    pub(crate) unsafe fn leave(&self) {
        let Some(arena) = self.arena() else { return };
        self.put_kept(arena);
        self.send_all(arena);
    }

    /// Gives back every slab without a live block, and settles what other threads freed.
    ///
    /// # Safety
    /// - Owner only.
    #[cfg_attr(target_os = "linux", unsafe(link_section = "genesis_mem_slow"))]
    pub unsafe fn collect(&self) {
        let Some(arena) = self.arena() else { return };
        self.put_kept(arena);
        self.send_all(arena);
        self.settle_returned(arena);
        for class in 0..HostClasses::COUNT {
            if let Some(current) = self.shelf(class).current() {
                self.collect_current(arena, current);
            }
            self.collect_open(arena, class);
        }
        for class in 0..HostClasses::COUNT {
            self.publish(arena, class, 0);
        }
    }

    /// Gives a current slab back if it is empty; what is free of one of several granules is offered.
    fn collect_current(&self, arena: &Arena<C>, current: &Descriptor) {
        let free = &self.bin(current.class()).free;
        current.gather(free);
        let free = free.count();
        if free == current.carved.get() {
            self.leave_current(current);
            self.release(arena, current);
        } else if free > 0 && self.offers(current) {
            self.leave_current(current);
            self.release_retained(current);
            self.open_and_offer(arena, current);
        }
    }

    /// Gives back what is empty of the open slabs of a class.
    fn collect_open(&self, arena: &Arena<C>, class: usize) {
        let shelf = self.shelf(class);
        let last = shelf.last_open();
        while let Some(slab) = shelf.pop(Place::Open) {
            if self.offers(slab) {
                shelf.push(Place::Open, slab);
                self.release_offered(arena, slab);
            } else {
                slab.gather(&slab.own);
                if slab.own.count() == slab.carved.get() {
                    self.release(arena, slab);
                } else {
                    shelf.push(Place::Open, slab);
                }
            }
            if ptr::eq(slab, last) {
                break;
            }
        }
    }

    /// Gives back every slab and every listed large block, live blocks and all.
    ///
    /// # Safety
    /// - Owner only, and the heap was to be dropped whole. Nobody uses a block of it any more, nor is
    ///   freeing one.
    pub(crate) unsafe fn release_all(&self) {
        let Some(arena) = self.arena() else { return };
        self.send_all(arena);
        self.settle_returned(arena);
        for class in 0..HostClasses::COUNT {
            let (bin, shelf) = (self.bin(class), self.shelf(class));
            let mut live = 0;
            let mut next = shelf.current();
            if let Some(current) = next {
                self.leave_current(current);
            }
            while let Some(slab) =
                next.take().or_else(|| shelf.pop(Place::Open)).or_else(|| shelf.pop(Place::Full))
            {
                live += u64::from(slab.count_live());
                if slab.place.get() == Place::Full {
                    let _was_parked = slab.remote.unpark();
                }
                let _dropped = slab.remote.drain();
                self.release(arena, slab);
            }
            bin.frees.add(live);
            // The holders' requests are gone with their blocks.
            bin.requested_bytes.set(0);
            self.publish(arena, class, 0);
        }
        self.release_large(arena);
    }
}
