//! Frees by callers that don't know the size, as those of C are.

use core::ptr::NonNull;

use super::Heap;
use crate::{config::Config, descriptor::tag};

impl<C: Config> Heap<C> {
    /// As [`free_fast`](Self::free_fast) for a caller that doesn't know the layout.
    ///
    /// # Safety
    /// - Owner only. The caller gives `block` up.
    #[inline(always)]
    pub unsafe fn free_unsized_fast(&self, block: NonNull<u8>) -> bool {
        // Only the first granule of a span has the tag of a bin.
        let Some(descriptor) = self.descriptor_of(block) else { return false };
        let Some(bin) = self.own_bin(descriptor.tag()) else { return false };
        let offset_bytes = block.addr().get() % C::GRANULE_BYTES;
        // SAFETY: the tag says that the slab is this heap's.
        unsafe { self.free_local(descriptor, bin, block, offset_bytes, None) }
    }

    /// Frees what [`free_unsized_fast`](Self::free_unsized_fast) has not freed, if it is of a slab.
    ///
    /// # Safety
    /// - Owner only. The caller gives `block` up.
    #[inline]
    pub unsafe fn free_unsized_otherwise(&self, block: NonNull<u8>) -> bool {
        let Some((arena, slab)) = self.arena().zip(self.head_descriptor(block)) else {
            return false;
        };
        let offset_bytes = slab.offset_of(block);
        if let Some(bin) = self.own_bin(slab.tag()) {
            // SAFETY: the tag says that the slab is this heap's.
            return unsafe { self.free_local(slab, bin, block, offset_bytes, None) };
        }
        if slab.tag() <= tag::LAST {
            return false;
        }
        // SAFETY: the tag is that of a slab, in whose span the block lies; the caller gives it up.
        unsafe { self.free_if_foreign(arena, slab, self.bin(slab.class()), block, offset_bytes, 0) }
    }
}
