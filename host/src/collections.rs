//! Collections on the allocators: `allocator-api2`'s trait, in the version that is new and in the
//! one that `hashbrown` speaks.

use core::{
    alloc::Layout,
    ptr::{self, NonNull},
};

use crate::{Genesis, Heap, PageLock, Pinned};

/// What both versions of the trait come down to.
pub(crate) trait Blocks {
    /// A block for `layout`, which has a size; zeroed where asked.
    fn take(&self, layout: Layout, zeroed: bool) -> Option<NonNull<u8>>;

    /// # Safety
    /// - `block` is a live block of this allocator, allocated with `layout`.
    unsafe fn give(&self, block: NonNull<u8>, layout: Layout);

    /// # Safety
    /// - As for [`give`](Self::give). After `None` the block is as it was.
    unsafe fn resize(
        &self,
        block: NonNull<u8>,
        old: Layout,
        new: Layout,
        zeroed: bool,
    ) -> Option<NonNull<u8>>;
}

/// Allocates, copies and frees: for what cannot be resized where it is.
///
/// # Safety
/// - As for [`Blocks::resize`].
pub(crate) unsafe fn resize_by_copy(
    blocks: &impl Blocks,
    block: NonNull<u8>,
    old: Layout,
    new: Layout,
    zeroed: bool,
) -> Option<NonNull<u8>> {
    let moved = blocks.take(new, zeroed)?;
    // SAFETY: the blocks differ, and both hold the smaller size.
    unsafe {
        ptr::copy_nonoverlapping(block.as_ptr(), moved.as_ptr(), old.size().min(new.size()));
        blocks.give(block, old);
    }
    Some(moved)
}

impl Blocks for Genesis {
    fn take(&self, layout: Layout, zeroed: bool) -> Option<NonNull<u8>> {
        use core::alloc::GlobalAlloc;
        // SAFETY: the layout has a size.
        NonNull::new(unsafe { if zeroed { self.alloc_zeroed(layout) } else { self.alloc(layout) } })
    }

    unsafe fn give(&self, block: NonNull<u8>, layout: Layout) {
        // SAFETY: forwarded.
        unsafe { core::alloc::GlobalAlloc::dealloc(self, block.as_ptr(), layout) }
    }

    unsafe fn resize(
        &self,
        block: NonNull<u8>,
        old: Layout,
        new: Layout,
        zeroed: bool,
    ) -> Option<NonNull<u8>> {
        if old.align() != new.align() || zeroed {
            // SAFETY: forwarded.
            return unsafe { resize_by_copy(self, block, old, new, zeroed) };
        }
        // SAFETY: forwarded.
        NonNull::new(unsafe {
            core::alloc::GlobalAlloc::realloc(self, block.as_ptr(), old, new.size())
        })
    }
}

/// A block of no bytes, aligned.
fn nothing(layout: Layout) -> NonNull<[u8]> {
    let address =
        core::num::NonZeroUsize::new(layout.align()).unwrap_or(core::num::NonZeroUsize::MIN);
    NonNull::slice_from_raw_parts(NonNull::without_provenance(address), 0)
}

macro_rules! implement {
    ($($api:ident)::+, [$($generics:tt)*], $allocator:ty) => {
        // SAFETY: blocks stay where they are until they are freed, wherever the allocator moves.
        unsafe impl<$($generics)*> $($api)::+::Allocator for $allocator {
            #[inline]
            fn allocate(&self, layout: Layout) -> Result<NonNull<[u8]>, $($api)::+::AllocError> {
                if layout.size() == 0 {
                    return Ok(nothing(layout));
                }
                let block = self.take(layout, false).ok_or($($api)::+::AllocError)?;
                Ok(NonNull::slice_from_raw_parts(block, layout.size()))
            }

            #[inline]
            fn allocate_zeroed(
                &self,
                layout: Layout,
            ) -> Result<NonNull<[u8]>, $($api)::+::AllocError> {
                if layout.size() == 0 {
                    return Ok(nothing(layout));
                }
                let block = self.take(layout, true).ok_or($($api)::+::AllocError)?;
                Ok(NonNull::slice_from_raw_parts(block, layout.size()))
            }

            #[inline]
            unsafe fn deallocate(&self, block: NonNull<u8>, layout: Layout) {
                if layout.size() > 0 {
                    // SAFETY: forwarded.
                    unsafe { self.give(block, layout) };
                }
            }

            unsafe fn grow(
                &self,
                block: NonNull<u8>,
                old: Layout,
                new: Layout,
            ) -> Result<NonNull<[u8]>, $($api)::+::AllocError> {
                // SAFETY: forwarded.
                let block = unsafe { change(self, block, old, new, false) };
                block.ok_or($($api)::+::AllocError)
            }

            unsafe fn grow_zeroed(
                &self,
                block: NonNull<u8>,
                old: Layout,
                new: Layout,
            ) -> Result<NonNull<[u8]>, $($api)::+::AllocError> {
                // SAFETY: forwarded.
                let block = unsafe { change(self, block, old, new, true) };
                block.ok_or($($api)::+::AllocError)
            }

            unsafe fn shrink(
                &self,
                block: NonNull<u8>,
                old: Layout,
                new: Layout,
            ) -> Result<NonNull<[u8]>, $($api)::+::AllocError> {
                // SAFETY: forwarded.
                let block = unsafe { change(self, block, old, new, false) };
                block.ok_or($($api)::+::AllocError)
            }
        }
    };
}

/// `grow`, `grow_zeroed` and `shrink` in one; sizes may be zero.
///
/// # Safety
/// - As for [`Blocks::resize`], but that a block of no bytes was never allocated.
unsafe fn change(
    blocks: &impl Blocks,
    block: NonNull<u8>,
    old: Layout,
    new: Layout,
    zeroed: bool,
) -> Option<NonNull<[u8]>> {
    let changed = match (old.size(), new.size()) {
        (_, 0) => {
            if old.size() > 0 {
                // SAFETY: forwarded.
                unsafe { blocks.give(block, old) };
            }
            return Some(nothing(new));
        }
        (0, _) => blocks.take(new, zeroed)?,
        // SAFETY: forwarded.
        _ => unsafe { blocks.resize(block, old, new, zeroed)? },
    };
    Some(NonNull::slice_from_raw_parts(changed, new.size()))
}

implement!(allocator_api2::alloc, [], Genesis);
implement!(allocator_api2_02::alloc, [], Genesis);
implement!(allocator_api2::alloc, [], Heap);
implement!(allocator_api2_02::alloc, [], Heap);
implement!(allocator_api2::alloc, [L: PageLock], Pinned<L>);
implement!(allocator_api2_02::alloc, [L: PageLock], Pinned<L>);
