//! Large blocks as a heap sees them, and reallocation.

use core::ptr::{self, NonNull};

use super::{Heap, free::Found};
use crate::{
    arena::{Arena, Fresh},
    config::{Config, Fault, FaultKind},
    descriptor::{Descriptor, tag},
    event::EventSink,
    size_class::{HostClasses, SizeClass},
};

/// From here on, moving pages beats copying bytes to where there are none yet.
const REMAP_BYTES: usize = 256 * 1024;
/// From here on also where there may be some: they would go, and the old addresses need new ones when they
/// are used next.
const REMAP_OVER_PAGES_BYTES: usize = 4 << 20;

impl<C: Config> Heap<C> {
    #[cfg_attr(target_os = "linux", unsafe(link_section = "genesis_mem_slow"))]
    pub(super) fn alloc_large(
        &self,
        arena: &Arena<C>,
        bytes: usize,
        align: usize,
    ) -> Option<Fresh> {
        // No object is larger.
        if bytes > isize::MAX as usize - C::GRANULE_BYTES {
            return None;
        }
        if let Some(fresh) = self.take_kept(arena, bytes, align) {
            return Some(fresh);
        }
        let list = self.dropped_whole.get().then_some(&self.large_list);
        let fresh = arena.alloc_large(bytes, align, list)?;
        self.misses.add(1);
        self.large_allocations.add(1);
        Some(fresh)
    }

    /// A large block for a layout that no slab serves, if one as long is kept.
    ///
    /// # Safety
    /// - Owner only.
    #[inline]
    pub unsafe fn alloc_kept(&self, bytes: usize, align: usize) -> Option<NonNull<u8>> {
        let arena = self.arena()?;
        if Self::class_of(bytes, align).is_some() || arena.sampling() != 0 {
            return None;
        }
        self.take_kept(arena, bytes, align).map(|fresh| fresh.block)
    }

    /// Frees a large block with the layout that it was allocated with, if nothing about it is
    /// unusual. False says to take the slow path, [`free_slow`](Self::free_slow); nothing has changed
    /// then.
    ///
    /// # Safety
    /// - Owner only. The caller gives `block` up.
    #[inline]
    pub unsafe fn free_large_fast(&self, block: NonNull<u8>, bytes: usize, align: usize) -> bool {
        let Some((arena, descriptor)) = self.arena().zip(self.descriptor_of(block)) else {
            return false;
        };
        let fits = descriptor.tag() == tag::LARGE
            && block.addr().get().is_multiple_of(C::GRANULE_BYTES)
            && Arena::<C>::granules_for(bytes) == Some(descriptor.granules.get())
            && Self::class_of(bytes, align).is_none();
        if fits {
            self.free_large(arena, block, descriptor);
        }
        fits
    }

    /// Frees a large block.
    #[cfg_attr(target_os = "linux", unsafe(link_section = "genesis_mem_slow"))]
    pub(super) fn free_large(&self, arena: &Arena<C>, block: NonNull<u8>, descriptor: &Descriptor) {
        let span_bytes = descriptor.granules.get() as usize * C::GRANULE_BYTES;
        let address = block.addr().get();
        let Some(was_sampled) = descriptor.retire_large() else {
            return C::fault(&Fault::new(FaultKind::DoubleFree, address, span_bytes));
        };
        if C::Sink::SAMPLES && was_sampled {
            arena.sink().sample_freed(address);
        }
        self.large_frees.add(1);
        self.note_unbooked(descriptor);
        self.keep_or_put(arena, descriptor);
    }

    /// What the holder of a large block asked for is, from now on, what the arena's sums say.
    fn note_unbooked(&self, descriptor: &Descriptor) {
        let (booked, asked) =
            (descriptor.booked_bytes() as u64, descriptor.block_bytes.get() as u64);
        self.large_requested_bytes.add(booked.wrapping_sub(asked));
    }

    /// Whether this heap will be dropped whole: then its large blocks are put on a list, and frees
    /// by others don't wait. Owner only, while the heap is empty.
    pub(crate) fn set_dropped_whole(&self, dropped_whole: bool) {
        self.dropped_whole.set(dropped_whole);
        // Of its blocks, or of those of the next owner, others are sampled.
        self.forget_sampling();
    }

    pub(super) fn is_dropped_whole(&self) -> bool {
        self.dropped_whole.get()
    }

    /// Gives the listed large blocks back.
    pub(super) fn release_large(&self, arena: &Arena<C>) {
        // SAFETY: I3: descriptors are immortal; nobody else frees a block of this heap now.
        while let Some(descriptor) = unsafe { self.large_list.head.get().as_ref() } {
            let block = arena.address_of(arena.granule_of(descriptor));
            self.free_large(arena, block, descriptor);
        }
    }

    /// Changes the size of a block: in place where its class or span allows, by moving pages where
    /// it is large, else by copying. `None`: no memory, or a wrong pointer, which was reported; the
    /// block is as it was. `old_bytes` is what the caller says the block was allocated with; a
    /// caller that doesn't know gives `None`.
    ///
    /// # Safety
    /// - Owner only, and the heap is one. The caller holds `block`, and uses it no more after
    ///   success.
    #[cfg_attr(target_os = "linux", unsafe(link_section = "genesis_mem_slow"))]
    pub unsafe fn reallocate(
        &self,
        block: NonNull<u8>,
        old_bytes: Option<usize>,
        align: usize,
        new_bytes: usize,
    ) -> Option<NonNull<u8>> {
        let arena = self.arena()?;
        self.opened_bytes.set(arena.opened_bytes());
        self.reallocations.add(1);
        let found = Self::find(arena, block).and_then(|found| {
            found.check_layout(block, old_bytes.map(|bytes| (bytes, align)))?;
            Ok(found)
        });
        let found = match found {
            Ok(found) => found,
            Err(fault) => {
                C::fault(&fault);
                return None;
            }
        };
        let new_class = Self::class_of(new_bytes, align);
        let held_bytes = match found {
            Found::Small { class, slab, .. } => {
                if new_class == Some(class) {
                    let change = new_bytes.wrapping_sub(old_bytes.unwrap_or(new_bytes));
                    self.bin(class).requested_bytes.add(change as u64);
                    self.reallocations_in_place.add(1);
                    if C::Sink::SAMPLES && slab.is_sampled() {
                        arena.sink().sample_resized(block.addr().get(), new_bytes);
                    }
                    return Some(block);
                }
                slab.block_bytes.get()
            }
            Found::Large(descriptor) => {
                if new_class.is_none() && self.resize_large(arena, descriptor, new_bytes) {
                    self.reallocations_in_place.add(1);
                    self.sample_resized_large(arena, block, descriptor);
                    return Some(block);
                }
                descriptor.granules.get() as usize * C::GRANULE_BYTES
            }
        };
        // SAFETY: forwarded.
        unsafe { self.move_block(arena, &found, block, old_bytes, align, new_bytes, held_bytes) }
    }

    fn resize_large(&self, arena: &Arena<C>, descriptor: &Descriptor, new_bytes: usize) -> bool {
        // The kept span may be what is in the way.
        self.put_kept(arena);
        let unbooked =
            (descriptor.booked_bytes() as u64).wrapping_sub(descriptor.block_bytes.get() as u64);
        let resized = arena.resize_large(descriptor, new_bytes);
        if resized {
            self.large_requested_bytes.add(unbooked);
        }
        resized
    }

    /// # Safety
    /// - As for [`reallocate`](Self::reallocate); `found` is what `block` is.
    #[expect(clippy::too_many_arguments, reason = "the two halves of `reallocate`")]
    unsafe fn move_block(
        &self,
        arena: &Arena<C>,
        found: &Found<'_, C>,
        block: NonNull<u8>,
        old_bytes: Option<usize>,
        align: usize,
        new_bytes: usize,
        held_bytes: usize,
    ) -> Option<NonNull<u8>> {
        let large = matches!(found, Found::Large(_)) && Self::class_of(new_bytes, align).is_none();
        let (new, remap_bytes) = if large {
            let fresh = self.alloc_fresh(arena, new_bytes, align)?;
            (fresh.block, if fresh.zeroed { REMAP_BYTES } else { REMAP_OVER_PAGES_BYTES })
        } else {
            // SAFETY: forwarded: owner only.
            (unsafe { self.alloc_any(new_bytes, align) }?, usize::MAX)
        };
        let kept_bytes = old_bytes.unwrap_or(held_bytes).min(held_bytes).min(new_bytes);
        // Whole pages of two spans: the tail of the last one is in both, and nobody's.
        let pages_bytes = kept_bytes.next_multiple_of(arena.page_bytes());
        // SAFETY: both blocks are the caller's, differ, and hold that many bytes or pages.
        unsafe {
            let moved = kept_bytes >= remap_bytes && arena.move_pages(block, new, pages_bytes);
            if !moved {
                ptr::copy_nonoverlapping(block.as_ptr(), new.as_ptr(), kept_bytes);
            }
            self.free_slow(block, old_bytes.map(|bytes| (bytes, align)));
        }
        Some(new)
    }

    /// The bytes that a block for this layout would hold: what a caller may use of it.
    pub fn block_bytes_for(bytes: usize, align: usize) -> usize {
        match Self::class_of(bytes, align).and_then(SizeClass::from_index) {
            Some(class) => HostClasses::block_bytes(class),
            None => bytes.next_multiple_of(C::GRANULE_BYTES),
        }
    }
}
