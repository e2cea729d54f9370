//! The front end: what one owner allocates from, without a lock and without an atomic
//! read-modify-write.
//!
//! A heap has a bin for each size class, and a bin a current slab. The fast paths are meant to
//! be inlined; whatever they don't settle goes to the slow ones.

mod bins;
mod collect;
mod countdown;
mod fast;
mod first_look;
mod free;
mod kept;
mod large;
mod offer;
mod outbox;
mod resize;
mod sampled;
mod slow;
mod without_size;

use core::{
    cell::Cell,
    fmt, mem,
    ptr::{self, NonNull},
};

use self::{
    bins::{Bin, CLASSES_START, ForClass, ForClasses, Shelf, TABLE_BYTES, bin_start},
    first_look::FirstLook,
    kept::Kept,
    outbox::Outbox,
};
use crate::{
    arena::Arena,
    config::Config,
    descriptor::{Descriptor, LargeList, tag},
    event::EventSink,
    heap_pool::Pooled,
    remote::RemoteList,
    size_class::HostClasses,
    stats::{Counter, Snapshot},
    sync::Lock,
};

/// The front end of one owner: a thread, or whoever holds the lock around it.
///
/// Every slab of the heap is in one place: current, or on its shelf's `open` or `full` list. A
/// block is in one place too: with its holder, in its slab's free set, or in its remote list.
#[repr(C, align(16384))]
pub struct Heap<C: Config> {
    arena: Cell<*const Arena<C>>,
    link: Cell<Option<NonNull<Self>>>,
    misses: Counter,
    remote_frees: Counter,
    reallocations: Counter,
    reallocations_in_place: Counter,
    large_allocations: Counter,
    large_frees: Counter,
    /// What holders of large blocks asked for beyond what the arena's sums take them to have: wraps,
    /// and only the sum over heaps counts.
    large_requested_bytes: Counter,
    base: Cell<usize>,
    descriptors: Cell<*const Descriptor>,
    /// How far this heap knows the arena to be open; zero in a heap that stands for none.
    opened_bytes: Cell<usize>,
    /// Blocks of up to so many bytes are looked for in their class's current slab first, bytes.
    first_look_bytes: Cell<usize>,
    retained_bytes: Cell<usize>,
    large_list: LargeList,
    /// Taken by whoever uses the heap where several may; a thread's own heap never is.
    pub(crate) shared: Lock<(), C::Relax>,
    /// Whether the heap is for dropping whole; then its large blocks are on the list.
    dropped_whole: Cell<bool>,
    /// Whether its last owner has left it without giving back what is empty.
    pub(crate) is_unswept: Cell<bool>,
    /// Whether this is the arena's heap of sampled blocks.
    holds_samples: Cell<bool>,
    /// The sampling that the bins' countdowns are for.
    sampling: Cell<u32>,
    first_look: FirstLook,
    kept: Kept,
    outbox: Outbox,
    classes: ForClasses,
    /// Slabs that remote frees handed back; on a line of its own, since other threads write it.
    returned: Apart<RemoteList>,
}

#[derive(Debug)]
#[repr(align(128))]
struct Apart<T>(T);

// SAFETY: I1: what is not atomic belongs to the owner; other threads read counters and push to
// `returned`.
unsafe impl<C: Config> Sync for Heap<C> {}

// SAFETY: the link is used by the pool alone.
unsafe impl<C: Config> Pooled for Heap<C> {
    fn link(&self) -> &Cell<Option<NonNull<Self>>> {
        &self.link
    }
}

impl<C: Config> fmt::Debug for Heap<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Heap").field("arena", &self.arena).finish_non_exhaustive()
    }
}

impl<C: Config> Heap<C> {
    /// The largest block that a slab serves, bytes: a slab holds at least eight, and a small
    /// region should not spend itself on one slab.
    const MAX_SLAB_BLOCK_BYTES: usize = if C::MAX_SLAB_BLOCK_BYTES < HostClasses::MAX_BYTES {
        C::MAX_SLAB_BLOCK_BYTES
    } else {
        HostClasses::MAX_BYTES
    };
    /// The largest block whose slabs are a single granule, bytes.
    const MAX_SINGLE_BYTES: usize = C::GRANULE_BYTES / 8;

    /// The largest size that the table serves, bytes.
    const TABLED_BYTES: usize = {
        let served = if Self::MAX_SINGLE_BYTES < Self::MAX_SLAB_BLOCK_BYTES {
            Self::MAX_SINGLE_BYTES
        } else {
            Self::MAX_SLAB_BLOCK_BYTES
        };
        if served < TABLE_BYTES { served } else { TABLE_BYTES }
    };

    /// A heap that stands for none: every allocation and every free takes the slow path. For a
    /// thread-local pointer to start from, so that the fast paths need no test for it.
    ///
    /// It is all zeroes: memory that nobody has touched yet is such a heap.
    pub const fn none() -> Self {
        const {
            assert!(mem::offset_of!(Self, classes) == CLASSES_START);
            // The lower bits of a bin's address tell its class.
            assert!(size_of::<Self>() == align_of::<Self>());
        };
        Self {
            base: Cell::new(0),
            descriptors: Cell::new(ptr::null()),
            opened_bytes: Cell::new(0),
            first_look_bytes: Cell::new(0),
            arena: Cell::new(ptr::null()),
            link: Cell::new(None),
            misses: Counter::new(),
            remote_frees: Counter::new(),
            reallocations: Counter::new(),
            reallocations_in_place: Counter::new(),
            large_allocations: Counter::new(),
            large_frees: Counter::new(),
            large_requested_bytes: Counter::new(),
            retained_bytes: Cell::new(0),
            large_list: LargeList { head: Cell::new(ptr::null()) },
            shared: Lock::new(()),
            first_look: FirstLook::new(),
            kept: Kept::new(),
            dropped_whole: Cell::new(false),
            classes: ForClasses([const { ForClass::new() }; HostClasses::COUNT]),
            is_unswept: Cell::new(false),
            holds_samples: Cell::new(false),
            sampling: Cell::new(0),
            outbox: Outbox::new(),
            returned: Apart(RemoteList::new()),
        }
    }

    /// Makes a heap that stands [for none](Self::none) one of `arena`, which must outlive it.
    pub(crate) fn belong_to(&self, arena: &Arena<C>) {
        let (base, descriptors) = arena.base_and_descriptors();
        self.base.set(base);
        self.descriptors.set(descriptors);
        self.look_first(true);
        self.arena.set(arena);
    }

    /// The class that serves a layout; `None` if it needs a span of its own.
    #[inline]
    fn class_of(bytes: usize, align: usize) -> Option<usize> {
        if align > C::GRANULE_BYTES {
            return None;
        }
        let class = HostClasses::of_aligned(bytes, align)?;
        (HostClasses::block_bytes(class) <= Self::MAX_SLAB_BLOCK_BYTES).then_some(class.index())
    }

    /// Whether a layout is of an ordinary size, up to 8 KiB, and alignment: then the table knows its
    /// bin, whose slabs are single granules.
    #[inline(always)]
    pub fn is_ordinary(bytes: usize, align: usize) -> bool {
        align <= HostClasses::QUANTUM_BYTES && bytes <= Self::TABLED_BYTES
    }

    #[inline(always)]
    fn bin(&self, class: usize) -> &Bin {
        debug_assert!(class < HostClasses::COUNT);
        // SAFETY: classes come from `class_of` or from a descriptor, both below the count.
        unsafe { &self.classes.0.get_unchecked(class).bin }
    }

    fn shelf(&self, class: usize) -> &Shelf {
        &self.classes.0[class].shelf
    }

    /// The arena that the heap draws from.
    #[inline]
    fn arena(&self) -> Option<&Arena<C>> {
        // SAFETY: an arena outlives its heaps.
        unsafe { self.arena.get().as_ref() }
    }

    /// Whether this heap stands for none.
    pub fn is_none(&self) -> bool {
        self.arena.get().is_null()
    }

    /// Adds this heap's counters to a snapshot.
    pub(crate) fn add_to(&self, s: &mut Snapshot) {
        for (class, row) in s.classes[..HostClasses::COUNT].iter_mut().enumerate() {
            let bin = self.bin(class);
            row.allocations = row.allocations.wrapping_add(self.allocations(class));
            row.frees = row.frees.wrapping_add(bin.frees.get());
            row.requested_bytes = row.requested_bytes.wrapping_add(bin.requested_bytes.get());
        }
        let large = &mut s.large;
        large.allocations += self.large_allocations.get();
        large.frees += self.large_frees.get();
        let (kept_granules, kept_bytes) = self.kept();
        let beyond = self.large_requested_bytes.get().wrapping_sub(kept_bytes);
        large.requested_bytes = large.requested_bytes.wrapping_add(beyond);
        let kept_span_bytes = u64::from(kept_granules) * C::GRANULE_BYTES as u64;
        large.allocated_bytes = large.allocated_bytes.saturating_sub(kept_span_bytes);
        s.cached_bytes.current += kept_span_bytes;
        s.cache_misses += self.misses.get();
        s.remote_frees += self.remote_frees.get();
        s.reallocations += self.reallocations.get();
        s.reallocations_in_place += self.reallocations_in_place.get();
    }
}

/// Which heap owns a slab with this tag, and its class.
fn owner_of<C: Config>(arena: &Arena<C>, slab: &Descriptor, tag: usize) -> (*const Heap<C>, usize) {
    let class = slab.class();
    if C::Sink::SAMPLES && tag == tag::SAMPLED {
        return (arena.sample_heap(), class);
    }
    // The tag is the address of the heap's bin for the class.
    (ptr::with_exposed_provenance(tag.wrapping_sub(bin_start(class))), class)
}
