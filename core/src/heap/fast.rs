//! The fast paths: meant to be inlined, without a lock, a call or an atomic read-modify-write.

use core::ptr::{self, NonNull};

use super::{
    Heap,
    bins::{Bin, PAIRS, Pair},
};
use crate::{
    config::Config,
    descriptor::Descriptor,
    free_blocks::{FreeBlock, Located},
};

impl<C: Config> Heap<C> {
    /// The bin of a layout that the table knows.
    #[inline(always)]
    fn tabled_bin(&self, bytes: usize) -> &Bin {
        // SAFETY: the index is below the table's length where `is_tabled`, and the table's entries
        // are the places of bins in the heap.
        unsafe {
            let start = *self.table.starts.get_unchecked(bytes.div_ceil(16)) as usize;
            &*ptr::from_ref(self).cast::<u8>().add(start).cast::<Bin>()
        }
    }

    /// The bin of a layout; `None` if it needs a span of its own.
    #[inline(always)]
    fn bin_for(&self, bytes: usize, align: usize) -> Option<&Bin> {
        if Self::is_tabled(bytes, align) {
            return Some(self.tabled_bin(bytes));
        }
        Some(self.bin(Self::class_of(bytes, align)?))
    }

    /// A block for `bytes` bytes at `align`, a power of two, if one is at hand; `None` says to take
    /// the slow path, [`alloc_slow`](Self::alloc_slow), on a heap that is one.
    ///
    /// # Safety
    /// - Owner only.
    #[inline(always)]
    pub unsafe fn alloc_fast(&self, bytes: usize, align: usize) -> Option<NonNull<u8>> {
        let bin = self.bin_for(bytes, align)?;
        // SAFETY: I3: descriptors are immortal.
        let slab = unsafe { &(*bin.current.get()).slab };
        let Located { block, .. } = slab.alloc()?;
        bin.allocations.add(1);
        bin.requested_bytes.add(bytes as u64);
        Some(block.cast())
    }

    /// As [`alloc_fast`](Self::alloc_fast) and then [`alloc_slow`](Self::alloc_slow), for a block
    /// that reads as zero. A block from fresh pages is not written.
    ///
    /// # Safety
    /// - Owner only, and the heap is one.
    #[inline]
    pub unsafe fn alloc_zeroed(&self, bytes: usize, align: usize) -> Option<NonNull<u8>> {
        // SAFETY: forwarded; a block at hand was used before, and holds `bytes` bytes.
        unsafe {
            match self.alloc_fast(bytes, align) {
                Some(block) => {
                    block.write_bytes(0, bytes);
                    Some(block)
                }
                None => self.alloc_slow(bytes, align, true),
            }
        }
    }

    /// Frees a block with the layout that it was allocated with, if it is one of this heap's and
    /// nothing about it is unusual. False says to take the slow path,
    /// [`free_slow`](Self::free_slow); nothing has changed then.
    ///
    /// # Safety
    /// - Owner only. The caller gives `block` up.
    #[inline(always)]
    pub unsafe fn free_fast(&self, block: NonNull<u8>, bytes: usize, align: usize) -> bool {
        if !Self::is_tabled(bytes, align) {
            return false;
        }
        let offset_bytes = block.addr().get().wrapping_sub(self.base.get());
        if offset_bytes >= self.opened_bytes.get() {
            return false;
        }
        // SAFETY: I3: descriptors exist for every open granule.
        let descriptor = unsafe { &*self.descriptors.get().add(offset_bytes / C::GRANULE_BYTES) };
        let bin = self.tabled_bin(bytes);
        if descriptor.tag() != ptr::from_ref(bin).addr() {
            return false;
        }
        // The slab is a single granule, and starts where that does.
        let offset_bytes = block.addr().get() % C::GRANULE_BYTES;
        // SAFETY: the tag says that the slab is this heap's, of that class.
        unsafe { self.free_local(descriptor, bin, block, offset_bytes, Some(bytes)) }
    }

    /// As [`free_fast`](Self::free_fast), which knows only this heap's slabs of one granule and
    /// ordinary alignments, for slabs of any length, alignment and owner.
    ///
    /// # Safety
    /// - As for [`free_fast`](Self::free_fast).
    #[inline]
    pub unsafe fn free_otherwise(&self, block: NonNull<u8>, bytes: usize, align: usize) -> bool {
        let Some(class) = Self::class_of(bytes, align) else { return false };
        let Some(descriptor) = self.head_descriptor(block) else { return false };
        let bin = self.bin(class);
        let tag = descriptor.tag();
        let offset_bytes = descriptor.offset_of(block);
        if tag == ptr::from_ref(bin).addr() {
            // SAFETY: the tag says that the slab is this heap's, of that class.
            return unsafe { self.free_local(descriptor, bin, block, offset_bytes, Some(bytes)) };
        }
        let Some(arena) = self.arena() else { return false };
        let block = block.cast::<FreeBlock>();
        if !Self::is_slab_of(tag, class)
            // SAFETY: the tag is that of a slab of that class, in whose span the block lies.
            || !unsafe { descriptor.may_be_live(block, offset_bytes) }
        {
            return false;
        }
        bin.frees.add(1);
        bin.requested_bytes.add((bytes as u64).wrapping_neg());
        // SAFETY: I2: checked above as far as it can be; the caller gives the block up.
        unsafe { self.free_remote(arena, descriptor, Located { block, offset_bytes }) };
        true
    }

    /// Frees a block with the layout that it was allocated with, on the fast path or the slow one.
    ///
    /// # Safety
    /// - Owner only, and the heap is one. The caller gives `block` up.
    #[inline]
    pub unsafe fn free_any(&self, block: NonNull<u8>, bytes: usize, align: usize) {
        // SAFETY: forwarded.
        unsafe {
            if !self.free_fast(block, bytes, align) && !self.free_otherwise(block, bytes, align) {
                self.free_slow(block, Some((bytes, align)));
            }
        }
    }

    /// As [`free_fast`](Self::free_fast) for a caller that doesn't know the layout.
    ///
    /// # Safety
    /// - Owner only. The caller gives `block` up.
    #[inline(always)]
    pub unsafe fn free_unsized_fast(&self, block: NonNull<u8>) -> bool {
        let Some(descriptor) = self.head_descriptor(block) else { return false };
        let Some(bin) = self.own_bin(descriptor.tag()) else { return false };
        // SAFETY: the tag says that the slab is this heap's.
        unsafe { self.free_local(descriptor, bin, block, descriptor.offset_of(block), None) }
    }

    /// The bin whose address a tag is, if it is one of this heap's.
    #[inline(always)]
    fn own_bin(&self, tag: usize) -> Option<&Bin> {
        let first = ptr::from_ref(self).addr() + Self::PAIRS_START;
        if tag.wrapping_sub(first) >= size_of::<[Pair; PAIRS]>() {
            return None;
        }
        // SAFETY: slabs' tags are addresses of bins.
        Some(unsafe { &*ptr::from_ref(self).cast::<u8>().with_addr(tag).cast::<Bin>() })
    }

    /// The head of the span that `block` lies in, if the heap knows that ground.
    #[inline(always)]
    fn head_descriptor(&self, block: NonNull<u8>) -> Option<&Descriptor> {
        let offset_bytes = block.addr().get().wrapping_sub(self.base.get());
        if offset_bytes >= self.opened_bytes.get() {
            return None;
        }
        // SAFETY: I3: descriptors exist for every open granule, and the head of a span is `lead`
        // granules back.
        unsafe {
            let descriptor = self.descriptors.get().add(offset_bytes / C::GRANULE_BYTES);
            Some(&*descriptor.sub((*descriptor).lead.get() as usize))
        }
    }

    /// # Safety
    /// - Owner only; `descriptor` is the head of a slab of this heap, of `bin`, and the offset lies
    ///   in its span.
    #[inline(always)]
    unsafe fn free_local(
        &self,
        descriptor: &Descriptor,
        bin: &Bin,
        block: NonNull<u8>,
        offset_bytes: usize,
        requested_bytes: Option<usize>,
    ) -> bool {
        let block = block.cast::<FreeBlock>();
        // SAFETY: forwarded.
        if !unsafe { descriptor.may_be_live(block, offset_bytes) } {
            return false;
        }
        bin.frees.add(1);
        if let Some(bytes) = requested_bytes {
            bin.requested_bytes.add((bytes as u64).wrapping_neg());
        }
        // SAFETY: I2: checked above as far as it can be; the caller gives the block up.
        if unsafe { descriptor.slab.free(Located { block, offset_bytes }) } {
            self.on_told(descriptor);
        }
        true
    }

    /// Changes the size of a small block of this heap, if both sizes are in the table and a block
    /// is at hand; `None` says to take the slow path, [`reallocate`](Self::reallocate), and nothing
    /// has changed. `old_bytes` is what the caller says that the block was allocated with.
    ///
    /// # Safety
    /// - Owner only. The caller holds `block`, and uses it no more after success.
    #[inline]
    pub unsafe fn reallocate_fast(
        &self,
        block: NonNull<u8>,
        old_bytes: Option<usize>,
        align: usize,
        new_bytes: usize,
    ) -> Option<NonNull<u8>> {
        if !Self::is_tabled(old_bytes.unwrap_or(0), align) || !Self::is_tabled(new_bytes, align) {
            return None;
        }
        let descriptor = self.head_descriptor(block)?;
        let bin = self.own_bin(descriptor.tag())?;
        let offset_bytes = descriptor.offset_of(block);
        let right_class = old_bytes.is_none_or(|bytes| ptr::eq(self.tabled_bin(bytes), bin));
        // SAFETY: the tag says that the slab is this heap's.
        if !right_class || !unsafe { descriptor.may_be_live(block.cast(), offset_bytes) } {
            return None;
        }
        if ptr::eq(self.tabled_bin(new_bytes), bin) {
            let change = new_bytes.wrapping_sub(old_bytes.unwrap_or(new_bytes));
            bin.requested_bytes.add(change as u64);
            self.reallocations.add(1);
            self.reallocations_in_place.add(1);
            return Some(block);
        }
        let kept_bytes = old_bytes.unwrap_or(descriptor.block_bytes.get()).min(new_bytes);
        // SAFETY: owner only; the blocks differ and hold that many bytes; the old one was checked.
        unsafe {
            let new = self.alloc_fast(new_bytes, align)?;
            ptr::copy_nonoverlapping(block.as_ptr(), new.as_ptr(), kept_bytes);
            self.free_local(descriptor, bin, block, offset_bytes, old_bytes);
            self.reallocations.add(1);
            Some(new)
        }
    }
}
