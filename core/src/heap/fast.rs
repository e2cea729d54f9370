//! The fast paths: meant to be inlined, without a lock, a call or an atomic read-modify-write.

use core::{
    hint::assert_unchecked,
    ptr::{self, NonNull},
};

use super::{
    Heap,
    bins::{
        BIN_STARTS, Bin, CLASSES_START, ForClasses, LARGER_STARTS, LARGER_STEP_BYTES, TABLE_BYTES,
    },
};
use crate::{
    arena::Arena,
    config::Config,
    descriptor::{Descriptor, tag},
    event::EventSink,
    free_blocks::{FreeBlock, FreeBlocks, Located},
    size_class::HostClasses,
};

impl<C: Config> Heap<C> {
    /// The bin of a layout that [is ordinary](Self::is_ordinary).
    #[inline(always)]
    pub(super) fn tabled_bin(&self, bytes: usize) -> &Bin {
        // SAFETY: the size is that of a layout that `is_ordinary`, and the table's entries are the
        // places of bins in the heap.
        unsafe {
            assert_unchecked(bytes <= TABLE_BYTES);
            self.bin_at(*BIN_STARTS.get_unchecked(bytes.div_ceil(16)))
        }
    }

    /// # Safety
    /// - There is a bin so many bytes into the heap.
    #[inline(always)]
    pub(super) unsafe fn bin_at(&self, start: u16) -> &Bin {
        // SAFETY: forwarded.
        unsafe { &*ptr::from_ref(self).cast::<u8>().add(start as usize).cast::<Bin>() }
    }

    /// The bin of a layout that is beyond that table, but ordinary otherwise, and needs no span of its
    /// own; `None` for every other.
    #[inline(always)]
    fn larger_bin(&self, bytes: usize, align: usize) -> Option<&Bin> {
        // Where the largest is a power of two it is a block's size, so it bounds blocks, too.
        if !const { Self::MAX_SLAB_BLOCK_BYTES.is_power_of_two() }
            || bytes <= TABLE_BYTES
            || bytes > Self::MAX_SLAB_BLOCK_BYTES
            || align > HostClasses::QUANTUM_BYTES
        {
            return None;
        }
        let steps = bytes.div_ceil(LARGER_STEP_BYTES);
        // SAFETY: as in `tabled_bin`.
        Some(unsafe { self.bin_at(*LARGER_STARTS.get_unchecked(steps)) })
    }

    /// The bin of a layout; `None` if it needs a span of its own.
    #[inline(always)]
    fn bin_for(&self, bytes: usize, align: usize) -> Option<&Bin> {
        if Self::is_ordinary(bytes, align) {
            return Some(self.tabled_bin(bytes));
        }
        self.larger_bin(bytes, align).or_else(|| Some(self.bin(Self::class_of(bytes, align)?)))
    }

    /// A block for `bytes` bytes at `align`, a power of two, if one of an ordinary size is at hand;
    /// `None` says to look [otherwise](Self::alloc_otherwise), and then to take the slow path,
    /// [`alloc_slow`](Self::alloc_slow), on a heap that is one.
    ///
    /// # Safety
    /// - Owner only.
    #[inline(always)]
    pub unsafe fn alloc_fast(&self, bytes: usize, align: usize) -> Option<NonNull<u8>> {
        if !Self::is_ordinary(bytes, align) {
            return None;
        }
        Self::pop(self.tabled_bin(bytes), bytes)
    }

    /// As [`alloc_fast`](Self::alloc_fast), for sizes beyond 8 KiB.
    ///
    /// # Safety
    /// - Owner only.
    #[inline(always)]
    pub unsafe fn alloc_larger(&self, bytes: usize, align: usize) -> Option<NonNull<u8>> {
        Self::pop(self.larger_bin(bytes, align)?, bytes)
    }

    /// The same for all that slabs serve.
    ///
    /// # Safety
    /// - Owner only.
    #[inline]
    pub unsafe fn alloc_otherwise(&self, bytes: usize, align: usize) -> Option<NonNull<u8>> {
        Self::pop(self.bin_for(bytes, align)?, bytes)
    }

    #[inline(always)]
    pub(super) fn pop(bin: &Bin, bytes: usize) -> Option<NonNull<u8>> {
        if C::Sink::SAMPLES && bin.countdown.is_over() {
            return None;
        }
        let Located { block, .. } = bin.free.pop()?;
        bin.countdown.count();
        bin.requested_bytes.add(bytes as u64);
        Some(block.cast())
    }

    /// A block, on the fast path or a slow one; `None` where memory has run out or the layout is
    /// beyond all bounds.
    ///
    /// # Safety
    /// - Owner only, and the heap is one.
    #[inline]
    pub unsafe fn alloc_any(&self, bytes: usize, align: usize) -> Option<NonNull<u8>> {
        // SAFETY: forwarded.
        unsafe {
            self.alloc_fast(bytes, align)
                .or_else(|| self.alloc_otherwise(bytes, align))
                .or_else(|| self.alloc_slow(bytes, align, false))
        }
    }

    /// As [`alloc_any`](Self::alloc_any), for a block that reads as zero. One from fresh pages is
    /// not written.
    ///
    /// # Safety
    /// - Owner only, and the heap is one.
    #[inline]
    pub unsafe fn alloc_zeroed(&self, bytes: usize, align: usize) -> Option<NonNull<u8>> {
        // SAFETY: forwarded; a block at hand was used before, and holds `bytes` bytes.
        unsafe {
            let at_hand = self.alloc_fast(bytes, align);
            match at_hand.or_else(|| self.alloc_otherwise(bytes, align)) {
                Some(block) => {
                    block.write_bytes(0, bytes);
                    Some(block)
                }
                None => self.alloc_slow(bytes, align, true),
            }
        }
    }

    /// Frees a block with the size that it was allocated with, which asked for no more than the ordinary
    /// alignment, if it is found at once: in the slab that this heap allocates such blocks from.
    ///
    /// False: nothing has changed. What is to be tried next are [`free_own`](Self::free_own),
    /// [`free_foreign`](Self::free_foreign) and [`free_slow`](Self::free_slow), in that order, if the layout
    /// [is ordinary](Self::is_ordinary).
    ///
    /// # Safety
    /// - Owner only. The caller gives `block` up.
    #[inline(always)]
    pub unsafe fn free_fast(&self, block: NonNull<u8>, bytes: usize) -> bool {
        if bytes > self.first_look_bytes.get() {
            return false;
        }
        let bin = self.tabled_bin(bytes);
        let Some(located) = bin.locate(block) else { return false };
        // The slab is a single granule, which may become empty without a word while it is current.
        // SAFETY: I2: checked above as far as it can be; the caller gives the block up.
        unsafe { bin.free.push(located) };
        bin.frees.add(1);
        bin.requested_bytes.add((bytes as u64).wrapping_neg());
        true
    }

    /// Frees what [`free_fast`](Self::free_fast) has not found, if it is of any slab of this heap.
    ///
    /// # Safety
    /// - Owner only. The layout [is ordinary](Self::is_ordinary). The caller gives `block` up.
    #[inline(always)]
    pub unsafe fn free_own(&self, block: NonNull<u8>, bytes: usize) -> bool {
        let bin = self.tabled_bin(bytes);
        let Some(slab) = self.descriptor_of(block) else { return false };
        if slab.tag() != ptr::from_ref(bin).addr() {
            return false;
        }
        // The slab starts where its granule does.
        let offset_bytes = block.addr().get() % C::GRANULE_BYTES;
        // SAFETY: the tag says that the slab is this heap's, of that class; the caller gives the block up.
        unsafe { self.free_local(slab, bin, block, offset_bytes, Some(bytes)) }
    }

    /// Frees what [`free_own`](Self::free_own) has not freed either, if it is of another heap's slab.
    ///
    /// # Safety
    /// - As for [`free_own`](Self::free_own).
    #[inline(always)]
    pub unsafe fn free_foreign(&self, block: NonNull<u8>, bytes: usize) -> bool {
        let bin = self.tabled_bin(bytes);
        let Some((arena, slab)) = self.arena().zip(self.descriptor_of(block)) else {
            return false;
        };
        let offset_bytes = block.addr().get() % C::GRANULE_BYTES;
        // SAFETY: the caller gives the block up.
        slab.tag() != ptr::from_ref(bin).addr()
            && unsafe { self.free_if_foreign(arena, slab, bin, block, offset_bytes, bytes) }
    }

    /// # Safety
    /// - Owner only; `slab` is what describes the span that the block lies in at that offset, and is
    ///   not of this heap's `bin`. The caller gives `block` up.
    #[inline(always)]
    pub(super) unsafe fn free_if_foreign(
        &self,
        arena: &Arena<C>,
        slab: &Descriptor,
        bin: &Bin,
        block: NonNull<u8>,
        offset_bytes: usize,
        bytes: usize,
    ) -> bool {
        let block = block.cast::<FreeBlock>();
        // Heaps are as long as they are aligned, so the bins of a class have the lower bits in common. The
        // descriptor says the class, too, but on the line that other threads write to.
        let is_of_class =
            (slab.tag() ^ ptr::from_ref(bin).addr()).is_multiple_of(align_of::<Self>());
        if slab.tag() <= tag::LAST
            || !is_of_class
            // SAFETY: the tag is that of a slab of that class, in whose span the block lies.
            || !unsafe { slab.may_be_live(block, offset_bytes) }
        {
            return false;
        }
        bin.frees.add(1);
        bin.requested_bytes.add((bytes as u64).wrapping_neg());
        // SAFETY: I2: checked above as far as it can be; the caller gives the block up.
        unsafe { self.free_remote(arena, slab, Located { block, offset_bytes }) };
        true
    }

    /// As [`free_fast`](Self::free_fast), for sizes beyond 8 KiB.
    ///
    /// # Safety
    /// - Owner only. The caller gives `block` up.
    #[inline(always)]
    pub unsafe fn free_larger(&self, block: NonNull<u8>, bytes: usize, align: usize) -> bool {
        let Some(bin) = self.larger_bin(bytes, align) else { return false };
        if !self.looks_first() {
            return false;
        }
        let Some(located) = bin.locate_larger(block) else { return false };
        // SAFETY: I2: checked above as far as it can be; the caller gives the block up.
        unsafe { bin.free.push(located) };
        bin.frees.add(1);
        bin.requested_bytes.add((bytes as u64).wrapping_neg());
        true
    }

    /// As [`free_own`](Self::free_own), for slabs of any length, alignment and owner.
    ///
    /// # Safety
    /// - Owner only. The caller gives `block` up.
    #[inline]
    pub unsafe fn free_otherwise(&self, block: NonNull<u8>, bytes: usize, align: usize) -> bool {
        let Some(bin) = self.bin_for(bytes, align) else { return false };
        let Some(slab) = self.head_descriptor(block) else { return false };
        let tag = slab.tag();
        let offset_bytes = slab.offset_of(block);
        if tag == ptr::from_ref(bin).addr() {
            // SAFETY: the tag says that the slab is this heap's, of that class.
            return unsafe { self.free_local(slab, bin, block, offset_bytes, Some(bytes)) };
        }
        let Some(arena) = self.arena() else { return false };
        // SAFETY: forwarded.
        unsafe { self.free_if_foreign(arena, slab, bin, block, offset_bytes, bytes) }
    }

    /// Frees a block with the layout that it was allocated with, on the fast path or the slow one.
    ///
    /// # Safety
    /// - Owner only, and the heap is one. The caller gives `block` up.
    #[inline]
    pub unsafe fn free_any(&self, block: NonNull<u8>, bytes: usize, align: usize) {
        // SAFETY: forwarded.
        unsafe {
            if Self::is_ordinary(bytes, align)
                && (self.free_fast(block, bytes) || self.free_own(block, bytes))
            {
                return;
            }
            if !self.free_larger(block, bytes, align) && !self.free_otherwise(block, bytes, align) {
                self.free_slow(block, Some((bytes, align)));
            }
        }
    }

    /// The bin whose address a tag is, if it is one of this heap's.
    #[inline(always)]
    pub(super) fn own_bin(&self, tag: usize) -> Option<&Bin> {
        // Tags are addresses of bins, or low. Heaps lie apart, with their bins at their ends.
        let heap = ptr::from_ref(self);
        if tag.wrapping_sub(heap.addr()) >= CLASSES_START + size_of::<ForClasses>() {
            return None;
        }
        // SAFETY: slabs' tags are addresses of bins.
        Some(unsafe { &*heap.cast::<u8>().with_addr(tag).cast::<Bin>() })
    }

    /// The descriptor of the granule that `block` lies in, if the heap knows that ground.
    #[inline(always)]
    pub(super) fn descriptor_of(&self, block: NonNull<u8>) -> Option<&Descriptor> {
        self.descriptor_at(block.addr().get())
    }

    /// The descriptor of the granule that an address lies in, if the heap knows that ground.
    #[inline(always)]
    pub(super) fn descriptor_at(&self, address: usize) -> Option<&Descriptor> {
        let offset_bytes = address.wrapping_sub(self.base.get());
        if offset_bytes >= self.opened_bytes.get() {
            return None;
        }
        let descriptors = self.descriptors.get();
        // SAFETY: I3: descriptors exist for every open granule.
        unsafe {
            assert_unchecked(!descriptors.is_null());
            Some(&*descriptors.add(offset_bytes / C::GRANULE_BYTES))
        }
    }

    /// The head of the span that `block` lies in, if the heap knows that ground.
    #[inline(always)]
    pub(super) fn head_descriptor(&self, block: NonNull<u8>) -> Option<&Descriptor> {
        let descriptor = self.descriptor_of(block)?;
        if descriptor.tag() != tag::TAIL {
            return Some(descriptor);
        }
        // SAFETY: I3: a tail says how far back the head is.
        Some(unsafe { &*ptr::from_ref(descriptor).sub(descriptor.granules.get() as usize) })
    }

    /// # Safety
    /// - Owner only; `descriptor` is the head of a slab of this heap, of `bin`, and the offset lies
    ///   in its span.
    #[inline(always)]
    pub(super) unsafe fn free_local(
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
        // SAFETY: I2: checked above as far as it can be; the caller gives the block up.
        unsafe {
            self.free_checked(descriptor, bin, Located { block, offset_bytes }, requested_bytes)
        };
        true
    }

    /// The same for a block that does not look free.
    ///
    /// # Safety
    /// - Owner only; the slab is this heap's, of `bin`, and `block` a live block of it that the caller gives
    ///   up.
    #[inline(always)]
    pub(super) unsafe fn free_checked(
        &self,
        slab: &Descriptor,
        bin: &Bin,
        block: Located,
        requested_bytes: Option<usize>,
    ) {
        bin.frees.add(1);
        if let Some(bytes) = requested_bytes {
            bin.requested_bytes.add((bytes as u64).wrapping_neg());
        }
        // SAFETY: I2: forwarded.
        unsafe { self.put(slab, block) };
    }

    /// Puts a block into the free set of its slab, and looks after the slab if it is time.
    ///
    /// # Safety
    /// - Owner only; the slab is this heap's, and `block` a live block of it that the caller gives up.
    #[inline(always)]
    pub(super) unsafe fn put(&self, slab: &Descriptor, block: Located) {
        // SAFETY: I2: forwarded: a live block is in no set.
        unsafe { slab.home().push(block) };
        if slab.count_free() {
            self.on_told(slab);
        }
    }
}
