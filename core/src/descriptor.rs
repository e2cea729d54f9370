//! What the allocator knows of a span: out of band, one descriptor a granule, found from an
//! address by arithmetic.
//!
//! The first line of a descriptor is what its owner's fast paths touch, the second what remote
//! frees and slow paths do. Descriptors are immortal, and valid as zeroes: a span nobody uses.

use core::{
    cell::Cell,
    ptr::{self, NonNull},
};

use crate::{
    free_blocks::{FreeBlock, FreeBlocks, Link, Linked, Located},
    offer::Offer,
    remote::{Chain, RemoteList},
    size_class::{HostClasses, SizeClass},
    slab::NEVER,
    sync::atomic::{AtomicUsize, Ordering},
};

#[cfg(test)]
mod tests;

/// Who holds a span. A slab's tag is the address of its bin: one comparison checks the heap and the
/// class of a block that comes back.
pub(crate) mod tag {
    /// In nobody's use.
    pub(crate) const FREE: usize = 0;
    /// A later granule of a slab; its descriptor says how far back the head is.
    pub(crate) const TAIL: usize = 1;
    /// One large block.
    pub(crate) const LARGE: usize = 2;
    /// One large block that is sampled.
    pub(crate) const SAMPLED_LARGE: usize = 3;
    /// A slab of sampled blocks, which is the arena's own heap's.
    pub(crate) const SAMPLED: usize = 4;
    /// No slab with a bin for a tag has this tag or a lower one.
    pub(crate) const LAST: usize = SAMPLED;
}

/// Where the owner keeps a slab.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Allocations come from it.
    Current,
    /// It has free blocks and waits its turn.
    Open,
    /// It is full and parked: some frees here, or the first elsewhere, bring it back.
    Full,
}

/// A span's descriptor.
///
/// For a slab: blocks are carved from the front, `carved <= capacity`, and
/// `free.count() + remote.count() + live == carved`, where blocks that the purger has taken out count as
/// live. A slab is carved whole before another takes its place.
#[derive(Debug)]
#[repr(C, align(128))]
pub(crate) struct Descriptor {
    tag: AtomicUsize,
    /// `ceil(2^64 / block_bytes)`; of a large block, what the arena's sums take its holder to have
    /// asked for, bytes.
    inverse: Cell<u64>,
    /// Where the free set is: in the bin where the slab is current, or in `own`. Of a large block, the
    /// list that it is in, if any.
    home: Cell<*const Linked>,
    /// The free set while the slab is not current. Where blocks lie and what links are mixed with is
    /// always there, for other threads.
    pub(crate) own: Linked,
    /// Frees until the owner is told; see [`Slab`](crate::slab::Slab), which counts the same way.
    frees_left: Cell<u32>,
    /// The upper half of a free block's first word.
    mark: Cell<u32>,

    /// Frees by other threads.
    pub(crate) remote: RemoteList,
    /// Links a slab that a remote free hands back to its heap.
    pub(crate) returned: FreeBlock,
    /// Neighbours in a list of the owner's.
    pub(crate) next: Cell<*const Descriptor>,
    pub(crate) previous: Cell<*const Descriptor>,
    /// Bytes of a block; of a large one, what its holder asked for.
    pub(crate) block_bytes: Cell<usize>,
    pub(crate) carved: Cell<u32>,
    /// Of a slab of several granules that may stay empty: how many blocks it counts against its
    /// heap's allowance.
    pub(crate) retained_blocks: Cell<u8>,
    pub(crate) class: Cell<u8>,
    pub(crate) place: Cell<Place>,
    /// Uncarved blocks read as zero.
    pub(crate) zeroed: Cell<bool>,
    /// How many blocks the slab has, free or live.
    pub(crate) capacity: Cell<u32>,
    /// Length of the span; of a [tail](tag::TAIL), how far back the head is. Granules.
    pub(crate) granules: Cell<u32>,
    /// Whether the purger may take the free blocks of the slab.
    pub(crate) offer: Offer,
}

/// The large blocks of a heap that is dropped whole; guarded by the arena's pool lock.
#[derive(Debug)]
pub(crate) struct LargeList {
    pub(crate) head: Cell<*const Descriptor>,
}

// SAFETY: one owner: what is not atomic belongs to the span's owner, or is written before the
// first block is handed out and only read from then on.
unsafe impl Sync for Descriptor {}

/// What is wrong with a pointer that came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Misfit {
    /// It lies inside a block.
    Interior,
    /// Its block was never handed out.
    NeverAllocated,
    /// Its block is free.
    Free,
}

impl Descriptor {
    #[cfg(test)]
    const fn new() -> Self {
        Self {
            tag: AtomicUsize::new(tag::FREE),
            own: Linked::new(),
            frees_left: Cell::new(NEVER),
            mark: Cell::new(0),
            inverse: Cell::new(0),
            home: Cell::new(ptr::null()),
            remote: RemoteList::new(),
            returned: FreeBlock::new(),
            next: Cell::new(ptr::null()),
            previous: Cell::new(ptr::null()),
            block_bytes: Cell::new(0),
            carved: Cell::new(0),
            retained_blocks: Cell::new(0),
            class: Cell::new(0),
            place: Cell::new(Place::Current),
            zeroed: Cell::new(false),
            capacity: Cell::new(0),
            granules: Cell::new(0),
            offer: Offer::new(),
        }
    }

    /// Who holds the span. It does not change while a block of the span is live, so whoever holds
    /// one needs no atomic read, which the compiler could not fold into a comparison.
    #[inline(always)]
    pub(crate) fn tag(&self) -> usize {
        // SAFETY: see above: what wrote the tag came before the block was handed out.
        unsafe { *self.tag.as_ptr() }
    }

    /// Who holds the span at this moment, for who holds nothing of it.
    pub(crate) fn tag_now(&self) -> usize {
        // Acquire pairs with the Release in `set_tag`: what the descriptor says came before.
        self.tag.load(Ordering::Acquire)
    }

    /// Says who holds the span.
    pub(crate) fn set_tag(&self, tag: usize) {
        // Release pairs with whatever hands the span's blocks to another thread.
        self.tag.store(tag, Ordering::Release);
    }

    /// What the arena's sums take the holder of a large block to have asked for, bytes.
    pub(crate) fn booked_bytes(&self) -> usize {
        self.inverse.get() as usize
    }

    /// Says so, together with the sums.
    pub(crate) fn set_booked_bytes(&self, bytes: usize) {
        self.inverse.set(bytes as u64);
    }

    /// The list of large blocks that a large block is in, or null.
    pub(crate) fn list(&self) -> *const LargeList {
        self.home.get().cast()
    }

    /// Says which that is.
    pub(crate) fn set_list(&self, list: *const LargeList) {
        self.home.set(list.cast());
    }

    /// Takes a large block out of use, and says whether it was sampled; `None` if somebody else has
    /// just done so.
    pub(crate) fn retire_large(&self) -> Option<bool> {
        let retire = |from| {
            self.tag.compare_exchange(from, tag::FREE, Ordering::AcqRel, Ordering::Relaxed).is_ok()
        };
        if retire(tag::LARGE) { Some(false) } else { retire(tag::SAMPLED_LARGE).then_some(true) }
    }

    /// Whether this is the head of a large block.
    pub(crate) fn is_large(&self) -> bool {
        matches!(self.tag(), tag::LARGE | tag::SAMPLED_LARGE)
    }

    /// Whether the block, or all blocks of the slab, are sampled.
    pub(crate) fn is_sampled(&self) -> bool {
        matches!(self.tag(), tag::SAMPLED | tag::SAMPLED_LARGE)
    }

    /// Makes this the head of a slab of `class` in the span at `base`.
    pub(crate) fn start_slab(
        &self,
        base: NonNull<u8>,
        span_bytes: usize,
        class: SizeClass,
        secret: u64,
        zeroed: bool,
    ) {
        let block_bytes = HostClasses::block_bytes(class);
        self.own.reset(base, secret);
        self.mark.set(self.own.key().mark());
        self.home.set(&self.own);
        self.capacity.set((span_bytes / block_bytes) as u32);
        self.tell_after(NEVER);
        self.inverse.set(u64::MAX / block_bytes as u64 + 1);
        self.next.set(ptr::null());
        self.previous.set(ptr::null());
        self.block_bytes.set(block_bytes);
        self.carved.set(0);
        self.class.set(class.index() as u8);
        self.place.set(Place::Current);
        self.zeroed.set(zeroed);
        self.retained_blocks.set(0);
    }

    /// The free set of the slab. Owner only.
    #[inline(always)]
    pub(crate) fn home(&self) -> &Linked {
        // SAFETY: I3: the descriptor is a slab's, and the bins of its heap are immortal as it is.
        unsafe { &*self.home.get() }
    }

    /// Moves the free set to `bin`, for as long as the slab is current there. Owner only.
    pub(crate) fn lend_to(&self, bin: &Linked) {
        bin.take_over(&self.own);
        self.home.set(bin);
    }

    /// Moves the free set back from `bin`. Owner only.
    pub(crate) fn take_home(&self, bin: &Linked) {
        self.own.take_over(bin);
        bin.take_over(&Linked::new());
        self.home.set(&self.own);
    }

    /// Has the `frees`-th free from now tell the owner; [`NEVER`] for none.
    pub(crate) fn tell_after(&self, frees: u32) {
        self.frees_left.set(frees);
    }

    /// How many frees are left until the owner is told.
    pub(crate) fn frees_left(&self) -> u32 {
        self.frees_left.get()
    }

    /// Counts a free. True: the owner is to look.
    #[inline(always)]
    pub(crate) fn count_free(&self) -> bool {
        let frees_left = self.frees_left.get().wrapping_sub(1);
        self.frees_left.set(frees_left);
        frees_left == 0
    }

    /// The class of the slab.
    pub(crate) fn class(&self) -> usize {
        self.class.get() as usize
    }

    /// Whether `offset_bytes` is a multiple of the block size, by one multiplication (Lemire,
    /// Kaser and Kurz, "Faster remainder by direct computation", 2019: exact for 32-bit operands).
    #[inline(always)]
    fn is_start(&self, offset_bytes: usize) -> bool {
        let inverse = self.inverse.get();
        (offset_bytes as u64).wrapping_mul(inverse) < inverse
    }

    /// Checks that `offset_bytes` is the start of a block that does not look free. What was not
    /// carved yet passes: the link to it leads beyond the bound, which the next allocation that
    /// follows it finds, before the block could be handed out twice.
    ///
    /// # Safety
    /// - The descriptor is a slab's, and the block lies in its span at that offset.
    #[inline(always)]
    pub(crate) unsafe fn may_be_live(
        &self,
        block: NonNull<FreeBlock>,
        offset_bytes: usize,
    ) -> bool {
        // SAFETY: spans in use are committed.
        self.is_start(offset_bytes) && !unsafe { block.as_ref().looks_free(self.mark.get()) }
    }

    /// The same for slow paths, which say what is wrong.
    ///
    /// # Safety
    /// - The descriptor is a slab's, and the offset lies in its span.
    pub(crate) unsafe fn check_live(&self, offset_bytes: usize) -> Result<(), Misfit> {
        if offset_bytes >= self.own.bound_bytes() {
            return Err(Misfit::NeverAllocated);
        }
        if !self.is_start(offset_bytes) {
            return Err(Misfit::Interior);
        }
        let block = self.own.locate(offset_bytes).block;
        // SAFETY: the offset is that of a carved block.
        if unsafe { block.as_ref().looks_free(self.mark.get()) && self.is_free(offset_bytes) } {
            return Err(Misfit::Free);
        }
        Ok(())
    }

    /// Whether a block that looks free is free: the chain behind it must lead from block to block
    /// to its end. Data that passes by chance would have to match word after word.
    ///
    /// # Safety
    /// - The offset is that of a carved block of the slab.
    #[cold]
    unsafe fn is_free(&self, offset_bytes: usize) -> bool {
        let free = &self.own;
        let mut link = Link::to(offset_bytes);
        for _ in 0..=self.carved.get() {
            if link == Link::END {
                return true;
            }
            if !free.leads(link) || !self.is_start(link.offset_bytes()) {
                return false;
            }
            // SAFETY: the link leads to a carved block.
            link = unsafe { free.locate(link.offset_bytes()).block.as_ref().next(free.key()) };
        }
        false
    }

    /// How far into the slab a block lies, bytes.
    #[inline(always)]
    pub(crate) fn offset_of(&self, block: NonNull<u8>) -> usize {
        block.as_ptr().addr().wrapping_sub(self.own.base().addr())
    }

    /// Carves new blocks, to the end of a page, or of the first `touched_bytes` of the slab, whose pages are
    /// backed anyhow; returns the first and adds the rest to `free`, where the slab is current.
    /// `None`: the slab is carved whole. Owner only.
    pub(crate) fn carve(
        &self,
        free: &Linked,
        page_bytes: usize,
        touched_bytes: usize,
    ) -> Option<usize> {
        let carved = self.carved.get();
        let block_bytes = self.block_bytes.get();
        let left = self.capacity.get() - carved;
        if left == 0 {
            return None;
        }
        let start_bytes = carved as usize * block_bytes;
        let page_end_bytes = (start_bytes + block_bytes).next_multiple_of(page_bytes);
        let end_bytes = page_end_bytes.max(touched_bytes);
        let fitting = ((end_bytes - start_bytes) / block_bytes) as u32;
        let count = fitting.min(left);
        self.carved.set(carved + count);
        let bound_bytes = start_bytes + count as usize * block_bytes;
        // Also where other threads look.
        self.own.set_bound_bytes(bound_bytes);
        free.set_bound_bytes(bound_bytes);
        for index in (1..count as usize).rev() {
            // SAFETY: I2: new blocks are in no set and in nobody's hands.
            unsafe { free.push(free.locate(start_bytes + index * block_bytes)) };
        }
        Some(start_bytes)
    }

    /// Calls `each` with the blocks of a chain out of the remote list, in order. False: the last of
    /// them was overwritten, and what followed it is lost.
    ///
    /// # Safety
    /// - The caller owns the chain.
    pub(crate) unsafe fn walk(&self, chain: Chain, mut each: impl FnMut(Located)) -> bool {
        let blocks_bytes = self.capacity.get() as usize * self.block_bytes.get();
        let mut link = chain.first();
        for _ in 0..chain.count() {
            if link.offset_bytes() >= blocks_bytes || !self.is_start(link.offset_bytes()) {
                return false;
            }
            let located = self.own.locate(link.offset_bytes());
            each(located);
            // SAFETY: forwarded; the link leads to a block of the slab.
            link = unsafe { located.block.as_ref().next(self.own.key()) };
        }
        link == Link::END
    }

    /// Moves what other threads freed into `free`: the bin where the slab is current, or its own set.
    /// Owner only, slab not parked.
    pub(crate) fn gather(&self, free: &Linked) {
        let chain = self.remote.drain();
        if free.head() == Link::END {
            return free.set_head(chain.first());
        }
        let mut link = chain.first();
        while link != Link::END {
            let located = free.locate(link.offset_bytes());
            // SAFETY: I2: the drained chain is the owner's, and its blocks are in no other set.
            unsafe {
                let next = located.block.as_ref().next(free.key());
                if next != Link::END && !free.leads(next) {
                    // Overwritten after the free: left for the allocation that follows it to find.
                    free.set_head(link);
                    break;
                }
                free.push(located);
                link = next;
            }
        }
    }

    /// How many blocks are live; those that wait in the remote list are not. Owner only, slab not
    /// current.
    pub(crate) fn count_live(&self) -> u32 {
        self.carved.get() - self.own.count() - self.remote.count()
    }
}
