//! Frees by callers that don't know the size, as those of C are.

use core::ptr::NonNull;

use super::Heap;
use crate::{config::Config, descriptor::tag};

impl<C: Config> Heap<C> {
    /// As [`free_fast`](Self::free_fast) for a caller that doesn't know the layout. `block` may be null,
    /// which is not freed.
    ///
    /// Blocks beyond the first granule of their slab are not found here: most slabs have no other, and to
    /// look for the head of a span is to wait for its descriptor twice.
    ///
    /// # Safety
    /// - Owner only. The caller gives `block` up.
    #[inline(always)]
    pub unsafe fn free_unsized_fast(&self, block: *mut u8) -> bool {
        let Some(slab) = self.descriptor_at(block.addr()) else { return false };
        let Some(bin) = self.own_bin(slab.tag()) else { return false };
        // The slab starts where this granule does.
        let offset_bytes = block.addr() % C::GRANULE_BYTES;
        // SAFETY: the tag says that the slab is this heap's; no such ground is at zero.
        unsafe { self.free_local(slab, bin, NonNull::new_unchecked(block), offset_bytes, None) }
    }

    /// Frees what [`free_unsized_fast`](Self::free_unsized_fast) has not freed, if it is of any slab.
    ///
    /// # Safety
    /// - Owner only. The caller gives `block` up.
    #[inline]
    pub unsafe fn free_unsized_otherwise(&self, block: NonNull<u8>) -> bool {
        let Some((arena, slab)) = self.arena().zip(self.head_descriptor(block)) else {
            return false;
        };
        let (tag, offset_bytes) = (slab.tag(), slab.offset_of(block));
        if let Some(bin) = self.own_bin(tag) {
            // SAFETY: the tag says that the slab is this heap's; the caller gives the block up.
            return unsafe { self.free_local(slab, bin, block, offset_bytes, None) };
        }
        if tag <= tag::LAST {
            return false;
        }
        // SAFETY: the tag is that of a slab, in whose span the block lies; the caller gives it up.
        unsafe {
            // A slab's tag is the address of its bin, and heaps are as long as they are aligned.
            let bin = self.bin_at((tag % align_of::<Self>()) as u16);
            self.free_if_foreign(arena, slab, bin, block, offset_bytes, 0)
        }
    }

    /// How many bytes the live block at `block` has, if it is of a slab and nothing about it is unusual;
    /// `None` says to ask [`usable_bytes`](Self::usable_bytes).
    ///
    /// # Safety
    /// - Owner only. The caller holds `block`.
    #[inline]
    pub unsafe fn usable_bytes_fast(&self, block: NonNull<u8>) -> Option<usize> {
        let slab = self.head_descriptor(block).filter(|slab| slab.tag() > tag::LAST)?;
        // SAFETY: the tag is that of a slab, in whose span the block lies.
        let is_live = unsafe { slab.may_be_live(block.cast(), slab.offset_of(block)) };
        is_live.then(|| slab.block_bytes.get())
    }
}
