//! Sampled blocks: which allocations they are, where they lie, and how they come back.
//!
//! Those of slabs lie in a heap of their own, whose slabs have a tag that no fast path knows. So a
//! free finds out on the slow path, and frees of other blocks have nothing to find out.

use core::ptr::NonNull;

use super::{Heap, free::Found};
use crate::{
    arena::{Arena, Fresh},
    config::{Config, Fault},
    descriptor::{Descriptor, tag},
    event::{EventSink, Sample},
    size_class::{HostClasses, SizeClass},
};

/// No sampling has this number.
const UNKNOWN: u32 = u32::MAX;
/// A countdown that never ends.
const ENDLESS: i64 = i64::MAX / 2;

fn block_bytes(class: usize) -> usize {
    SizeClass::from_index(class).map_or(0, HostClasses::block_bytes)
}

impl<C: Config> Heap<C> {
    /// How many blocks of a class were allocated here. Any thread.
    pub(super) fn allocations(&self, class: usize) -> u64 {
        self.shelf(class).granted.allocations(&self.bin(class).countdown)
    }

    /// Whether an allocation on the slow path is to be sampled; `None` is the class of large blocks.
    #[inline]
    pub(super) fn is_sample(&self, arena: &Arena<C>, class: Option<usize>, bytes: usize) -> bool {
        if !C::Sink::SAMPLES {
            return false;
        }
        let sampling = arena.sampling();
        match class {
            Some(class) => self.is_small_sample(arena, class, sampling),
            None => sampling != 0 && self.is_large_sample(arena, bytes),
        }
    }

    fn is_small_sample(&self, arena: &Arena<C>, class: usize, sampling: u32) -> bool {
        self.draw_if_switched(arena, sampling);
        if self.bin(class).countdown.left() > 0 {
            return false;
        }
        self.draw(arena, class);
        sampling != 0 && !self.is_dropped_whole()
    }

    fn is_large_sample(&self, arena: &Arena<C>, bytes: usize) -> bool {
        let span_bytes = bytes.saturating_add(C::GRANULE_BYTES - 1) / C::GRANULE_BYTES;
        !self.is_dropped_whole()
            && arena.sink().draw(span_bytes * C::GRANULE_BYTES, arena.slab_secret()) == 0
    }

    /// Draws how many allocations of a class pass until one is due.
    #[cold]
    #[cfg_attr(target_os = "linux", unsafe(link_section = "genesis_mem_slow"))]
    fn draw(&self, arena: &Arena<C>, class: usize) {
        let skipped = match self.is_dropped_whole() {
            // Whose blocks would outlive it.
            true => ENDLESS,
            false => arena.sink().draw(block_bytes(class), arena.slab_secret()).min(1 << 32) as i64,
        };
        self.shelf(class).granted.set(&self.bin(class).countdown, skipped);
    }

    /// A block that is sampled; `None` where there is no memory for it.
    #[cold]
    pub(super) fn take_sample(
        &self,
        arena: &Arena<C>,
        class: Option<usize>,
        bytes: usize,
        align: usize,
    ) -> Option<Fresh> {
        let (fresh, block_bytes, is_hit) = match class {
            Some(class) => {
                let is_hit = {
                    let free = &self.bin(class).free;
                    free.leads(free.head())
                };
                let fresh = arena.with_samples(|samples| samples.find_small(arena, class, bytes));
                let Some(fresh) = fresh.flatten() else {
                    arena.sink().sample_missed(bytes);
                    return None;
                };
                (fresh, block_bytes(class), is_hit)
            }
            None => {
                let misses = self.misses.get();
                let fresh = self.alloc_large(arena, bytes, align)?;
                let descriptor = arena.descriptor_of(fresh.block.addr().get())?;
                descriptor.set_tag(tag::SAMPLED_LARGE);
                let span_bytes = descriptor.granules.get() as usize * C::GRANULE_BYTES;
                (fresh, span_bytes, self.misses.get() == misses)
            }
        };
        let address = fresh.block.addr().get();
        arena.sink().sample_taken(&Sample { address, bytes, block_bytes, is_hit });
        Some(fresh)
    }

    /// Whether this, which is empty, is the arena's heap of samples, in which nothing is ever due.
    pub(crate) fn set_holds_samples(&self, holds_samples: bool) {
        self.holds_samples.set(holds_samples);
        self.forget_sampling();
        let left = if holds_samples { ENDLESS } else { 0 };
        for class in 0..HostClasses::COUNT {
            self.shelf(class).granted.set(&self.bin(class).countdown, left);
        }
    }

    /// Has the heap see at once that sampling was switched, which it does on its next slow path else.
    ///
    /// # Safety
    /// - Owner only.
    pub unsafe fn take_note_of_sampling(&self) {
        if let Some(arena) = self.arena() {
            self.draw_if_switched(arena, arena.sampling());
        }
    }

    fn draw_if_switched(&self, arena: &Arena<C>, sampling: u32) {
        if self.sampling.replace(sampling) != sampling {
            (0..HostClasses::COUNT).for_each(|class| self.draw(arena, class));
        }
    }

    /// Has the next slow path draw for all classes.
    pub(super) fn forget_sampling(&self) {
        self.sampling.set(UNKNOWN);
    }

    /// Frees a sampled block of a slab.
    ///
    /// # Safety
    /// - The caller gives `block` up.
    #[cold]
    pub(super) unsafe fn free_sampled(
        arena: &Arena<C>,
        block: NonNull<u8>,
        layout: Option<(usize, usize)>,
    ) {
        let free = |samples: &Self| -> Result<(), Fault> {
            // Once more, now that nobody else can free it meanwhile.
            let found = Self::find(arena, block)?;
            found.check_layout(block, layout)?;
            let Found::Small { slab, class, offset_bytes, .. } = found else { return Ok(()) };
            arena.sink().sample_freed(block.addr().get());
            let bin = samples.bin(class);
            bin.frees.add(1);
            let requested_bytes = layout.map_or(0, |(bytes, _)| bytes as u64);
            bin.requested_bytes.add(requested_bytes.wrapping_neg());
            // SAFETY: I1: the lock makes this thread the owner. I2: the block was checked; the caller
            // gives it up.
            unsafe { samples.put(slab, slab.own.locate(offset_bytes)) };
            Ok(())
        };
        if let Some(Err(fault)) = arena.with_samples(free) {
            C::fault(&fault);
        }
    }

    /// A large block has changed its length where it is: the chance that it is sampled has changed,
    /// so it is drawn again.
    #[inline]
    pub(super) fn sample_resized_large(
        &self,
        arena: &Arena<C>,
        block: NonNull<u8>,
        descriptor: &Descriptor,
    ) {
        if C::Sink::SAMPLES && (descriptor.is_sampled() || arena.sampling() != 0) {
            self.sample_large_anew(arena, block.addr().get(), descriptor);
        }
    }

    #[cold]
    fn sample_large_anew(&self, arena: &Arena<C>, address: usize, descriptor: &Descriptor) {
        if descriptor.is_sampled() {
            arena.sink().sample_freed(address);
        }
        let bytes = descriptor.block_bytes.get();
        let is_sample = self.is_sample(arena, None, bytes);
        descriptor.set_tag(if is_sample { tag::SAMPLED_LARGE } else { tag::LARGE });
        if is_sample {
            let block_bytes = descriptor.granules.get() as usize * C::GRANULE_BYTES;
            arena.sink().sample_taken(&Sample { address, bytes, block_bytes, is_hit: true });
        }
    }
}
