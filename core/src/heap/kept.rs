//! The large block that an owner freed last, kept for its next request of the same length: a buffer
//! that is allocated and freed over and over takes no lock.
//!
//! One word says which span is kept, so that whoever takes it out has it alone: its owner for a
//! request, or any thread that gives free memory back or has run out of it.
#![forbid(unsafe_code)]

use super::Heap;
use crate::{
    arena::{Arena, Fresh},
    buddy::Span,
    config::Config,
    descriptor::{Descriptor, tag},
    event::EventKind,
    sync::atomic::{
        AtomicU64,
        Ordering::{AcqRel, Relaxed},
    },
};

/// The longest span that is kept, bytes.
const KEPT_BYTES: usize = 4 << 20;

/// Room for the span that a heap keeps.
#[derive(Debug)]
pub(super) struct Kept(AtomicU64);

impl Kept {
    const GRANULES_SHIFT: u32 = 24;
    const UNUSED_SHIFT: u32 = 40;

    pub(super) const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// A span, and how many of its bytes the arena's sums take for asked for: less than a granule
    /// is missing.
    fn word(span: Span, span_bytes: usize, booked_bytes: usize) -> u64 {
        u64::from(span.granule)
            | u64::from(span.granules) << Self::GRANULES_SHIFT
            | ((span_bytes - booked_bytes) as u64) << Self::UNUSED_SHIFT
    }

    const fn span(word: u64) -> Option<Span> {
        let granules = (word >> Self::GRANULES_SHIFT) as u32 & 0xffff;
        let granule = word as u32 & ((1 << Self::GRANULES_SHIFT) - 1);
        if word == 0 { None } else { Some(Span { granule, granules }) }
    }
}

impl<C: Config> Heap<C> {
    /// Keeps a large block that its owner has retired, if it is short enough, and no list has it.
    pub(super) fn keep_or_put(&self, arena: &Arena<C>, descriptor: &Descriptor) {
        let granules = descriptor.granules.get();
        let span_bytes = granules as usize * C::GRANULE_BYTES;
        if span_bytes > KEPT_BYTES || granules > 0xffff || self.is_dropped_whole() {
            return arena.put_large(descriptor);
        }
        if !descriptor.list().is_null() {
            return arena.put_large(descriptor);
        }
        let span = Span { granule: arena.granule_of(descriptor), granules };
        let word = Kept::word(span, span_bytes, descriptor.booked_bytes());
        // Acquire and Release pair with those of whoever takes the span out.
        if let Some(before) = Kept::span(self.kept.0.swap(word, AcqRel)) {
            arena.put_large(arena.descriptor(before.granule));
        }
        arena.record(EventKind::SpanReturned, span);
    }

    /// The kept span, as a large block of `bytes` bytes at `align`, if it is as long as that needs.
    pub(super) fn take_kept(&self, arena: &Arena<C>, bytes: usize, align: usize) -> Option<Fresh> {
        let word = self.kept.0.load(Relaxed);
        let granules = Arena::<C>::granules_for(bytes)?;
        let span = Kept::span(word).filter(|span| span.granules == granules)?;
        if align > C::GRANULE_BYTES {
            return None;
        }
        self.kept.0.compare_exchange(word, 0, AcqRel, Relaxed).ok()?;
        let descriptor = arena.descriptor(span.granule);
        descriptor.block_bytes.set(bytes);
        let change = (bytes as u64).wrapping_sub(descriptor.booked_bytes() as u64);
        self.large_requested_bytes.add(change);
        descriptor.set_tag(tag::LARGE);
        self.large_allocations.add(1);
        arena.record(EventKind::SpanTaken, span);
        Some(Fresh { block: arena.address_of(span.granule), zeroed: false })
    }

    /// Gives the kept span back; false if there is none. Any thread.
    pub(crate) fn put_kept(&self, arena: &Arena<C>) -> bool {
        if self.kept.0.load(Relaxed) == 0 {
            return false;
        }
        let span = Kept::span(self.kept.0.swap(0, AcqRel));
        span.map(|span| arena.put_large(arena.descriptor(span.granule))).is_some()
    }

    /// Granules of the kept span, and how many bytes of it the arena's sums take for asked for. Any
    /// thread.
    pub(crate) fn kept(&self) -> (u32, u64) {
        let word = self.kept.0.load(Relaxed);
        let granules = Kept::span(word).map_or(0, |span| span.granules);
        let span_bytes = u64::from(granules) * C::GRANULE_BYTES as u64;
        (granules, span_bytes - (word >> Kept::UNUSED_SHIFT))
    }
}
