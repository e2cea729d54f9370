//! Frees that are unusual: of another owner's block, of a large one, or wrong.

use core::{num::NonZeroUsize, ptr, ptr::NonNull};

use super::{Heap, owner_of};
use crate::{
    arena::Arena,
    config::{Config, Fault, FaultKind},
    descriptor::{Descriptor, Misfit, tag},
    event::EventSink,
    size_class::HostClasses,
};

/// What a pointer turned out to be.
pub(super) enum Found<'a, C: Config> {
    /// A block of a slab: the slab, its heap and class, and the block's offset.
    Small { slab: &'a Descriptor, heap: *const Heap<C>, class: usize, offset_bytes: usize },
    /// A large block.
    Large(&'a Descriptor),
}

impl<C: Config> Heap<C> {
    /// As [`free_fast`](Self::free_fast), for every block and every wrong pointer; a wrong one is
    /// reported by [`Config::fault`] and changes nothing. `layout` is what the caller says of the
    /// block, size and alignment, if it says anything.
    ///
    /// # Safety
    /// - Owner only, and the heap is one. The caller gives `block` up.
    #[cold]
    #[inline(never)]
    #[cfg_attr(target_os = "linux", unsafe(link_section = "genesis_mem_slow"))]
    pub unsafe fn free_slow(&self, block: NonNull<u8>, layout: Option<(usize, usize)>) {
        let Some(arena) = self.arena() else { return };
        self.opened_bytes.set(arena.opened_bytes());
        let found = Self::find(arena, block).and_then(|found| {
            found.check_layout(block, layout)?;
            Ok(found)
        });
        let requested_bytes = layout.map_or(0, |(bytes, _)| bytes as u64);
        match found {
            Err(fault) => C::fault(&fault),
            Ok(Found::Large(descriptor)) => {
                self.free_large(arena, block, descriptor);
            }
            Ok(Found::Small { slab, .. }) if C::Sink::SAMPLES && slab.is_sampled() => {
                // SAFETY: forwarded.
                unsafe { Self::free_sampled(arena, block, layout) };
            }
            Ok(Found::Small { slab, heap, class, offset_bytes }) => {
                let bin = self.bin(class);
                bin.frees.add(1);
                bin.requested_bytes.add(requested_bytes.wrapping_neg());
                if ptr::eq(heap, self) {
                    // SAFETY: I2: the block was checked; the caller gives it up.
                    unsafe { self.put(slab, slab.own.locate(offset_bytes)) };
                    return;
                }
                // SAFETY: I2: the block was checked; the caller gives it up.
                unsafe { self.free_remote(arena, slab, slab.own.locate(offset_bytes)) };
            }
        }
    }

    /// How many bytes the live block at `block` has; reports a wrong pointer and returns `None`.
    ///
    /// # Safety
    /// - Owner only, and the heap is one. The caller holds `block`.
    pub unsafe fn usable_bytes(&self, block: NonNull<u8>) -> Option<usize> {
        let arena = self.arena()?;
        match Self::find(arena, block) {
            Ok(Found::Small { slab, .. }) => Some(slab.block_bytes.get()),
            Ok(Found::Large(descriptor)) => {
                Some(descriptor.granules.get() as usize * C::GRANULE_BYTES)
            }
            Err(fault) => {
                C::fault(&fault);
                None
            }
        }
    }

    /// What `block` is, or what is wrong with it.
    #[cfg_attr(target_os = "linux", unsafe(link_section = "genesis_mem_slow"))]
    pub(super) fn find(arena: &Arena<C>, block: NonNull<u8>) -> Result<Found<'_, C>, Fault> {
        let address = block.addr().get();
        let fault = |kind, block_bytes| Err(Fault::new(kind, address, block_bytes));
        let Some(mut descriptor) = arena.descriptor_of(address) else {
            return fault(FaultKind::Foreign, 0);
        };
        if descriptor.tag() == tag::TAIL {
            let granule = arena.granule_of(descriptor);
            descriptor = arena.descriptor(granule - descriptor.granules.get());
        }
        match descriptor.tag() {
            tag::FREE => match arena.large_around(arena.granule_of(descriptor)) {
                Some(large) => fault(FaultKind::Interior, large.block_bytes.get()),
                None => fault(FaultKind::DoubleFree, 0),
            },
            tag::TAIL => fault(FaultKind::Foreign, 0),
            tag::LARGE | tag::SAMPLED_LARGE => {
                let start = arena.address_of(arena.granule_of(descriptor));
                if start != block {
                    return fault(FaultKind::Interior, descriptor.block_bytes.get());
                }
                Ok(Found::Large(descriptor))
            }
            tag => {
                let (heap, class) = owner_of(arena, descriptor, tag);
                let offset_bytes = descriptor.offset_of(block);
                let block_bytes = descriptor.block_bytes.get();
                // SAFETY: the tag is a slab's, and the address lies in its span.
                match unsafe { descriptor.check_live(offset_bytes) } {
                    Err(Misfit::Interior) => fault(FaultKind::Interior, block_bytes),
                    Err(Misfit::NeverAllocated) => fault(FaultKind::Foreign, block_bytes),
                    Err(Misfit::Free) => fault(FaultKind::DoubleFree, block_bytes),
                    Ok(()) => Ok(Found::Small { slab: descriptor, heap, class, offset_bytes }),
                }
            }
        }
    }
}

impl<C: Config> Found<'_, C> {
    /// Whether the block is one that `layout` would have got.
    #[cfg_attr(target_os = "linux", unsafe(link_section = "genesis_mem_slow"))]
    pub(super) fn check_layout(
        &self,
        block: NonNull<u8>,
        layout: Option<(usize, usize)>,
    ) -> Result<(), Fault> {
        let Some((bytes, align)) = layout else { return Ok(()) };
        let expected = Heap::<C>::class_of(bytes, align);
        let (fits, block_bytes) = match self {
            Self::Small { slab, class, .. } => (expected == Some(*class), slab.block_bytes.get()),
            Self::Large(descriptor) => {
                let granules = Arena::<C>::granules_for(bytes);
                let fits = expected.is_none() && granules == Some(descriptor.granules.get());
                (fits, descriptor.block_bytes.get())
            }
        };
        if fits && block.addr().get().is_multiple_of(align.min(HostClasses::QUANTUM_BYTES)) {
            return Ok(());
        }
        let mut fault = Fault::new(FaultKind::WrongLayout, block.addr().get(), block_bytes);
        fault.given_bytes = NonZeroUsize::new(bytes);
        Err(fault)
    }
}
