//! Large blocks: a span each.

use core::{ptr, ptr::NonNull};

use super::{Arena, Held};
use crate::{
    backend::{Backend, Capabilities},
    buddy::Span,
    config::Config,
    descriptor::{Descriptor, LargeList, tag},
    event::EventKind,
};

/// A block as the slow paths hand it out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fresh {
    /// Its first byte.
    pub(crate) block: NonNull<u8>,
    /// All of it reads as zero.
    pub(crate) zeroed: bool,
}

impl<C: Config> Arena<C> {
    /// How many granules hold `bytes`, or `None` beyond any region.
    pub(crate) fn granules_for(bytes: usize) -> Option<u32> {
        u32::try_from(bytes.max(1).div_ceil(C::GRANULE_BYTES)).ok()
    }

    /// What a large block of `bytes` bytes in `granules` granules amounts to.
    fn held(granules: u32, bytes: usize) -> Held {
        Held {
            allocated_bytes: u64::from(granules) * C::GRANULE_BYTES as u64,
            requested_bytes: bytes as u64,
        }
    }

    /// A block of `bytes` bytes at a multiple of `align`, in a span of its own, on `list`.
    pub(crate) fn alloc_large(
        &self,
        bytes: usize,
        align: usize,
        list: Option<&LargeList>,
    ) -> Option<Fresh> {
        let granules = Self::granules_for(bytes)?;
        let align_granules = u32::try_from(align.div_ceil(C::GRANULE_BYTES)).ok()?;
        if align > self.max_align() {
            return None;
        }
        let taken = self.take_span(granules, align_granules, Self::held(granules, bytes))?;
        self.note_touched(self.bytes_of(taken.span.range()));
        let block = self.address_of(taken.span.granule);
        debug_assert!(block.addr().get().is_multiple_of(align));
        let descriptor = self.descriptor(taken.span.granule);
        descriptor.granules.set(granules);
        descriptor.block_bytes.set(bytes);
        descriptor.set_booked_bytes(bytes);
        self.link_large(descriptor, list);
        // The tail's tags stay free: only a wrong pointer ever leads there, and the pool knows.
        descriptor.set_tag(tag::LARGE);
        let zeroed = taken.clean && C::Backend::CAPABILITIES.contains(Capabilities::ZEROED);
        Some(Fresh { block, zeroed })
    }

    /// Gives the span of a large block back that the caller has
    /// [retired](Descriptor::retire_large).
    pub(crate) fn put_large(&self, descriptor: &Descriptor) {
        self.unlink_large(descriptor);
        let span =
            Span { granule: self.granule_of(descriptor), granules: descriptor.granules.get() };
        self.put_span(span, Self::held(span.granules, descriptor.booked_bytes()));
    }

    /// Gives back the spans that heaps keep; false if there is none. Any thread.
    pub(super) fn put_kept(&self) -> bool {
        self.heaps_so_far().iter().filter(|heap| heap.put_kept(self)).count() > 0
    }

    /// The large block that a granule without a tag lies in, if any.
    pub(crate) fn large_around(&self, granule: u32) -> Option<&Descriptor> {
        let span = self.with_pool(|pool| pool.live_span_around(granule)).flatten()?;
        Some(self.descriptor(span.granule)).filter(|head| head.is_large())
    }

    /// Makes a large block `bytes` long where it is, if it is or can be.
    pub(crate) fn resize_large(&self, descriptor: &Descriptor, bytes: usize) -> bool {
        let Some(granules) = Self::granules_for(bytes) else { return false };
        let now = descriptor.granules.get();
        let granule = self.granule_of(descriptor);
        let change = Self::held(granules, bytes).minus(Self::held(now, descriptor.booked_bytes()));
        let resize = || {
            self.with_pool_holding(change, |pool| match granules {
                _ if granules == now => Some(()),
                _ if granules < now => pool.shrink(granule, granules).then_some(()),
                _ => pool.extend(granule, granules).map(|_| ()),
            })
            .is_some()
        };
        let resized = resize()
            || granules > now && self.open_behind(granule + now, granules - now) && resize();
        if resized && granules > now {
            self.note_touched(self.bytes_of(granule + now..granule + granules));
        }
        if resized {
            descriptor.granules.set(granules);
            descriptor.block_bytes.set(bytes);
            descriptor.set_booked_bytes(bytes);
        }
        if resized && granules < now {
            let tail = Span { granule: granule + granules, granules: now - granules };
            self.record(EventKind::SpanReturned, tail);
        }
        resized
    }

    /// Moves the pages of `from`, a large block, to `to`, a new one; false where that is not
    /// possible and the contents must be copied.
    ///
    /// # Safety
    /// - The caller owns both blocks; the first `pages_bytes` bytes of both are theirs.
    pub(crate) unsafe fn move_pages(
        &self,
        from: NonNull<u8>,
        to: NonNull<u8>,
        pages_bytes: usize,
    ) -> bool {
        if !C::Backend::CAPABILITIES.contains(Capabilities::REMAP) {
            return false;
        }
        let Some(region) = self.region() else { return false };
        let offset = |block: NonNull<u8>| block.addr().get() - region.base().addr().get();
        let from = offset(from)..offset(from) + pages_bytes;
        self.count_call();
        // SAFETY: both ranges are the caller's blocks, which differ.
        let moved = unsafe { self.backend.remap(&region, from.clone(), offset(to)) }.is_ok();
        if moved {
            let granules = from.start / C::GRANULE_BYTES..from.end / C::GRANULE_BYTES;
            self.note_untouched(granules.start as u32..granules.end as u32);
        }
        moved
    }

    fn link_large(&self, descriptor: &Descriptor, list: Option<&LargeList>) {
        let Some(list) = list else { return descriptor.set_list(ptr::null()) };
        let _guard = self.middle.lock();
        descriptor.set_list(list);
        descriptor.previous.set(ptr::null());
        let head = list.head.replace(descriptor);
        descriptor.next.set(head);
        // SAFETY: I3: descriptors are immortal; the lock guards the list.
        if let Some(head) = unsafe { head.as_ref() } {
            head.previous.set(descriptor);
        }
    }

    fn unlink_large(&self, descriptor: &Descriptor) {
        if descriptor.list().is_null() {
            return;
        }
        let _guard = self.middle.lock();
        let (previous, next) = (descriptor.previous.get(), descriptor.next.get());
        // SAFETY: I3: descriptors and heaps are immortal; the lock guards the list.
        unsafe {
            match previous.as_ref() {
                Some(previous) => previous.next.set(next),
                None => (*descriptor.list()).head.set(next),
            }
            if let Some(next) = next.as_ref() {
                next.previous.set(previous);
            }
        }
        descriptor.set_list(ptr::null());
    }
}
