//! The front end: what one owner allocates from, without a lock and without an atomic
//! read-modify-write.
//!
//! A heap has a bin for each size class, and a bin a current slab. The fast paths here are meant to
//! be inlined; whatever they don't settle goes to [`slow`] and [`free`].

mod free;
mod large;
mod slow;

use core::{
    cell::Cell,
    fmt,
    ptr::{self, NonNull},
};

use crate::{
    arena::Arena,
    config::Config,
    descriptor::{Descriptor, LargeList, NO_SLAB, tag},
    free_blocks::FreeBlock,
    heap_pool::Pooled,
    remote::RemoteList,
    size_class::{HostClasses, SizeClass},
    stats::{Counter, Snapshot},
    sync::Lock,
};

/// What the fast paths touch of a size class: half a cache line.
#[derive(Debug)]
#[repr(C)]
struct Bin {
    /// Where blocks come from; [`NO_SLAB`] if there is none.
    current: Cell<*const Descriptor>,
    allocations: Counter,
    frees: Counter,
    /// Bytes asked for, less those that came back: wraps, and only the sum over heaps counts.
    requested_bytes: Counter,
}

impl Bin {
    const fn new() -> Self {
        Self {
            current: Cell::new(&raw const NO_SLAB),
            allocations: Counter::new(),
            frees: Counter::new(),
            requested_bytes: Counter::new(),
        }
    }
}

/// What the slow paths touch of a size class.
#[derive(Debug)]
struct Shelf {
    /// Slabs with free blocks, apart from the current one.
    open: Cell<*const Descriptor>,
    /// Full slabs, parked.
    full: Cell<*const Descriptor>,
    /// What the arena has been told of this bin.
    published_bytes: Cell<u64>,
    published_requested_bytes: Cell<u64>,
}

impl Shelf {
    const fn new() -> Self {
        Self {
            open: Cell::new(ptr::null()),
            full: Cell::new(ptr::null()),
            published_bytes: Cell::new(0),
            published_requested_bytes: Cell::new(0),
        }
    }
}

/// The front end of one owner: a thread, or whoever holds the lock around it.
///
/// Every slab of the heap is in one place: current, or on its shelf's `open` or `full` list. A
/// block is in one place too: with its holder, in its slab's free set, or in its remote list.
#[repr(C, align(128))]
pub struct Heap<C: Config> {
    // What the fast paths read.
    base: Cell<usize>,
    descriptors: Cell<*const Descriptor>,
    /// How far this heap knows the arena to be open; zero in a heap that stands for none.
    opened_bytes: Cell<usize>,
    arena: Cell<*const Arena<C>>,
    link: Cell<Option<NonNull<Self>>>,
    misses: Counter,
    remote_frees: Counter,
    reallocations: Counter,
    reallocations_in_place: Counter,
    large_allocations: Counter,
    large_frees: Counter,
    large_bytes: Counter,
    large_requested_bytes: Counter,
    retained_bytes: Cell<usize>,
    large_list: LargeList,
    /// Taken by whoever uses the heap where several may; a thread's own heap never is.
    pub(crate) shared: Lock<(), C::Relax>,
    /// Whether large blocks are put on the list: a heap that is dropped whole.
    lists_large: Cell<bool>,
    bins: [Bin; HostClasses::COUNT],
    shelves: [Shelf; HostClasses::COUNT],
    /// Slabs that remote frees handed back; on a line of its own, since other threads write it.
    returned: Apart<RemoteList>,
}

#[derive(Debug)]
#[repr(align(128))]
struct Apart<T>(T);

const _: () = assert!(size_of::<Bin>() == 32);

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

/// Classes that a table serves, by rounded-up quanta: up to 8 KiB.
const TABLE_BYTES: usize = 8192;
static TABLE: [u8; TABLE_BYTES / 16 + 1] = {
    let mut table = [0; TABLE_BYTES / 16 + 1];
    let mut quanta = 0;
    while quanta < table.len() {
        if let Some(class) = HostClasses::of(quanta * 16) {
            table[quanta] = class.index() as u8;
        }
        quanta += 1;
    }
    table
};

impl<C: Config> Heap<C> {
    /// The largest block that a slab serves, bytes: a slab holds at least eight, and a small
    /// region should not spend itself on one slab.
    const MAX_SLAB_BLOCK_BYTES: usize = {
        let four_granules = 4 * C::GRANULE_BYTES;
        if four_granules < HostClasses::MAX_BYTES { four_granules } else { HostClasses::MAX_BYTES }
    };
    /// The largest block whose slabs are a single granule, bytes.
    const MAX_SINGLE_BYTES: usize = C::GRANULE_BYTES / 8;

    /// The largest block that [`TABLE`] knows and a slab serves, bytes.
    const TABLED_BYTES: usize = if Self::MAX_SLAB_BLOCK_BYTES < TABLE_BYTES {
        Self::MAX_SLAB_BLOCK_BYTES
    } else {
        TABLE_BYTES
    };

    /// A heap that stands for none: every allocation and every free takes the slow path. For a
    /// thread-local pointer to start from, so that the fast paths need no test for it.
    pub const fn none() -> Self {
        Self {
            base: Cell::new(0),
            descriptors: Cell::new(ptr::null()),
            opened_bytes: Cell::new(0),
            arena: Cell::new(ptr::null()),
            link: Cell::new(None),
            misses: Counter::new(),
            remote_frees: Counter::new(),
            reallocations: Counter::new(),
            reallocations_in_place: Counter::new(),
            large_allocations: Counter::new(),
            large_frees: Counter::new(),
            large_bytes: Counter::new(),
            large_requested_bytes: Counter::new(),
            retained_bytes: Cell::new(0),
            large_list: LargeList { head: Cell::new(ptr::null()) },
            shared: Lock::new(()),
            lists_large: Cell::new(false),
            bins: [const { Bin::new() }; HostClasses::COUNT],
            shelves: [const { Shelf::new() }; HostClasses::COUNT],
            returned: Apart(RemoteList::new()),
        }
    }

    /// A heap of `arena`, which must outlive it.
    pub(crate) fn new(arena: &Arena<C>) -> Self {
        let heap = Self::none();
        let (base, descriptors) = arena.base_and_descriptors();
        heap.base.set(base);
        heap.descriptors.set(descriptors);
        heap.arena.set(arena);
        heap
    }

    /// The class that serves a layout, and its size; `None` if it needs a span of its own.
    #[inline(always)]
    fn class_of(bytes: usize, align: usize) -> Option<usize> {
        if align <= HostClasses::QUANTUM_BYTES {
            if bytes <= Self::TABLED_BYTES {
                return Some(TABLE[bytes.div_ceil(16)] as usize);
            }
            if bytes > Self::MAX_SLAB_BLOCK_BYTES {
                return None;
            }
            return HostClasses::of(bytes).map(SizeClass::index);
        }
        if align > C::GRANULE_BYTES {
            return None;
        }
        let class = HostClasses::of_aligned(bytes, align)?;
        (HostClasses::block_bytes(class) <= Self::MAX_SLAB_BLOCK_BYTES).then_some(class.index())
    }

    #[inline(always)]
    fn bin(&self, class: usize) -> &Bin {
        debug_assert!(class < HostClasses::COUNT);
        // SAFETY: classes come from `class_of` or from a descriptor, both below the count.
        unsafe { self.bins.get_unchecked(class) }
    }

    /// A block for `bytes` bytes at `align`, a power of two, if one is at hand; `None` says to take
    /// the slow path, [`alloc_slow`](Self::alloc_slow), on a heap that is one.
    ///
    /// # Safety
    /// - Owner only.
    #[inline(always)]
    pub unsafe fn alloc_fast(&self, bytes: usize, align: usize) -> Option<NonNull<u8>> {
        let bin = self.bin(Self::class_of(bytes, align)?);
        // SAFETY: I3: descriptors are immortal.
        let slab = unsafe { &(*bin.current.get()).slab };
        let offset_bytes = slab.alloc()?;
        bin.allocations.add(1);
        bin.requested_bytes.add(bytes as u64);
        // SAFETY: I2: the block left the free set, so it is the caller's.
        Some(unsafe { slab.free.block(offset_bytes) }.cast())
    }

    /// As [`alloc_fast`](Self::alloc_fast) and then [`alloc_slow`](Self::alloc_slow), for a block
    /// that reads as zero. A block from fresh pages is not written.
    ///
    /// # Safety
    /// - Owner only, and the heap is one.
    #[inline]
    pub unsafe fn alloc_zeroed(&self, bytes: usize, align: usize) -> Option<NonNull<u8>> {
        // SAFETY: forwarded; a block at hand was used before, and holds `bytes` bytes.
        unsafe {
            match self.alloc_fast(bytes, align) {
                Some(block) => {
                    block.write_bytes(0, bytes);
                    Some(block)
                }
                None => self.alloc_slow(bytes, align, true),
            }
        }
    }

    /// Frees a block with the layout that it was allocated with, if it is one of this heap's and
    /// nothing about it is unusual. False says to take the slow path,
    /// [`free_slow`](Self::free_slow); nothing has changed then.
    ///
    /// # Safety
    /// - Owner only. The caller gives `block` up.
    #[inline(always)]
    pub unsafe fn free_fast(&self, block: NonNull<u8>, bytes: usize, align: usize) -> bool {
        let Some(class) = Self::class_of(bytes, align) else { return false };
        let Some(mut descriptor) = self.own_descriptor(block) else { return false };
        if bytes > Self::MAX_SINGLE_BYTES || align > Self::MAX_SINGLE_BYTES {
            // SAFETY: I3: the head of the span is that many descriptors back.
            descriptor = unsafe { &*ptr::from_ref(descriptor).sub(descriptor.lead.get() as usize) };
        }
        if descriptor.tag() != ptr::from_ref(self).addr() + class {
            return false;
        }
        // SAFETY: the tag says that the slab is this heap's, of that class.
        let freed = unsafe { self.free_local(descriptor, block, class) };
        if freed {
            self.bin(class).requested_bytes.add((bytes as u64).wrapping_neg());
        }
        freed
    }

    /// As [`free_fast`](Self::free_fast) for a caller that doesn't know the layout.
    ///
    /// # Safety
    /// - Owner only. The caller gives `block` up.
    #[inline(always)]
    pub unsafe fn free_unsized_fast(&self, block: NonNull<u8>) -> bool {
        let Some(descriptor) = self.own_descriptor(block) else { return false };
        // SAFETY: I3: the head of the span is that many descriptors back.
        let descriptor = unsafe { &*ptr::from_ref(descriptor).sub(descriptor.lead.get() as usize) };
        let class = descriptor.tag().wrapping_sub(ptr::from_ref(self).addr());
        if class >= HostClasses::COUNT {
            return false;
        }
        // SAFETY: the tag says that the slab is this heap's.
        unsafe { self.free_local(descriptor, block, class) }
    }

    #[inline(always)]
    fn own_descriptor(&self, block: NonNull<u8>) -> Option<&Descriptor> {
        let offset_bytes = block.addr().get().wrapping_sub(self.base.get());
        if offset_bytes >= self.opened_bytes.get() {
            return None;
        }
        // SAFETY: I3: descriptors exist for every open granule.
        Some(unsafe { &*self.descriptors.get().add(offset_bytes / C::GRANULE_BYTES) })
    }

    /// # Safety
    /// - Owner only; `descriptor` is the head of a slab of this heap, of `class`.
    #[inline(always)]
    unsafe fn free_local(&self, descriptor: &Descriptor, block: NonNull<u8>, class: usize) -> bool {
        let offset_bytes = descriptor.offset_of(block);
        // SAFETY: the block lies in the slab's span.
        if unsafe { descriptor.check_live(offset_bytes) }.is_err() {
            return false;
        }
        self.bin(class).frees.add(1);
        // SAFETY: I2: checked above as far as it can be; the caller gives the block up.
        if unsafe { descriptor.slab.free(offset_bytes) } {
            self.on_notify(descriptor);
        }
        true
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
        for (bin, row) in self.bins.iter().zip(&mut s.classes) {
            row.allocations = row.allocations.wrapping_add(bin.allocations.get());
            row.frees = row.frees.wrapping_add(bin.frees.get());
            row.requested_bytes = row.requested_bytes.wrapping_add(bin.requested_bytes.get());
        }
        let large = &mut s.large;
        large.allocations += self.large_allocations.get();
        large.frees += self.large_frees.get();
        large.allocated_bytes = large.allocated_bytes.wrapping_add(self.large_bytes.get());
        large.requested_bytes =
            large.requested_bytes.wrapping_add(self.large_requested_bytes.get());
        s.cache_misses += self.misses.get();
        s.remote_frees += self.remote_frees.get();
        s.reallocations += self.reallocations.get();
        s.reallocations_in_place += self.reallocations_in_place.get();
    }
}

/// The chain of returned slabs names descriptors by their offset from the first.
fn returned_block(
    descriptor: &Descriptor,
    first: *const Descriptor,
) -> (NonNull<FreeBlock>, usize) {
    let offset_bytes = ptr::from_ref(descriptor).addr() - first.addr();
    (NonNull::from(&descriptor.returned), offset_bytes)
}

/// Which heap owns a slab, and its class.
fn split_tag<C: Config>(tag: usize) -> (*const Heap<C>, usize) {
    let class = tag % tag::HEAP_ALIGN;
    (ptr::with_exposed_provenance(tag - class), class)
}
