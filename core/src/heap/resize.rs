//! Changing the size of small blocks: the fast paths.

use core::ptr::{self, NonNull};

use super::{Heap, bins::Bin};
use crate::{config::Config, descriptor::Descriptor, free_blocks::Located};

impl<C: Config> Heap<C> {
    /// Whether a small block of this heap is to stay where it is as one of `new_bytes`: then it has that
    /// size now. `old_bytes` is what the caller says that the block was allocated with.
    ///
    /// # Safety
    /// - Owner only. The caller holds `block`.
    #[inline(always)]
    pub unsafe fn resize_in_place(
        &self,
        block: NonNull<u8>,
        old_bytes: Option<usize>,
        align: usize,
        new_bytes: usize,
    ) -> bool {
        // SAFETY: forwarded.
        unsafe { self.own_block(block, old_bytes, align, new_bytes) }
            .is_some_and(|(_, bin, _)| self.keep_in_place(bin, old_bytes, new_bytes))
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
        // SAFETY: forwarded.
        let (slab, bin, old) = unsafe { self.own_block(block, old_bytes, align, new_bytes) }?;
        if self.keep_in_place(bin, old_bytes, new_bytes) {
            return Some(block);
        }
        let kept_bytes = old_bytes.unwrap_or(slab.block_bytes.get()).min(new_bytes);
        // SAFETY: I2: owner only; the blocks differ and hold that many bytes; the old one was checked above,
        // and the caller gives it up.
        unsafe {
            let new = Self::pop(self.tabled_bin(new_bytes), new_bytes)?;
            ptr::copy_nonoverlapping(block.as_ptr(), new.as_ptr(), kept_bytes);
            self.free_checked(slab, bin, old, old_bytes);
            self.reallocations.add(1);
            Some(new)
        }
    }

    /// Whether `new_bytes` are served by blocks of `bin`: then a block of it has that size now.
    #[inline(always)]
    fn keep_in_place(&self, bin: &Bin, old_bytes: Option<usize>, new_bytes: usize) -> bool {
        if !ptr::eq(self.tabled_bin(new_bytes), bin) {
            return false;
        }
        if let Some(old_bytes) = old_bytes {
            bin.requested_bytes.add(new_bytes.wrapping_sub(old_bytes) as u64);
        }
        self.reallocations.add(1);
        self.reallocations_in_place.add(1);
        true
    }

    /// The slab, the bin and the place of a block of this heap, in the first granule of its slab; `None`
    /// where it is elsewhere or looks wrong, or one of the sizes is not ordinary.
    ///
    /// # Safety
    /// - Owner only. The caller holds `block`.
    #[inline(always)]
    unsafe fn own_block(
        &self,
        block: NonNull<u8>,
        old_bytes: Option<usize>,
        align: usize,
        new_bytes: usize,
    ) -> Option<(&Descriptor, &Bin, Located)> {
        let sizes = [old_bytes.unwrap_or(0), new_bytes];
        if sizes.iter().any(|&bytes| !Self::is_ordinary(bytes, align)) {
            return None;
        }
        let slab = self.descriptor_of(block)?;
        let bin = match old_bytes {
            Some(bytes) => self.tabled_bin(bytes),
            None => self.own_bin(slab.tag())?,
        };
        let offset_bytes = block.addr().get() % C::GRANULE_BYTES;
        let block = block.cast();
        let is_right = slab.tag() == ptr::from_ref(bin).addr()
            // SAFETY: the tag says that the slab is this heap's, and starts where the granule does.
            && unsafe { slab.may_be_live(block, offset_bytes) };
        is_right.then_some((slab, bin, Located { block, offset_bytes }))
    }
}
