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
    fmt, mem,
    ptr::{self, NonNull},
};

use crate::{
    arena::{Arena, Held},
    config::Config,
    descriptor::{Descriptor, LargeList, NO_SLAB},
    free_blocks::{FreeBlock, Located},
    heap_pool::Pooled,
    remote::RemoteList,
    size_class::HostClasses,
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
    published: Cell<Held>,
}

impl Shelf {
    const fn new() -> Self {
        Self {
            open: Cell::new(ptr::null()),
            full: Cell::new(ptr::null()),
            published: Cell::new(Held { allocated_bytes: 0, requested_bytes: 0 }),
        }
    }
}

/// The front end of one owner: a thread, or whoever holds the lock around it.
///
/// Every slab of the heap is in one place: current, or on its shelf's `open` or `full` list. A
/// block is in one place too: with its holder, in its slab's free set, or in its remote list.
#[repr(C, align(8192))]
pub struct Heap<C: Config> {
    arena: Cell<*const Arena<C>>,
    link: Cell<Option<NonNull<Self>>>,
    misses: Counter,
    remote_frees: Counter,
    reallocations: Counter,
    reallocations_in_place: Counter,
    large_allocations: Counter,
    large_frees: Counter,
    // What the fast paths read, in the second half of 128 bytes as the bins are: see `Pair`.
    base: Cell<usize>,
    descriptors: Cell<*const Descriptor>,
    /// How far this heap knows the arena to be open; zero in a heap that stands for none.
    opened_bytes: Cell<usize>,
    retained_bytes: Cell<usize>,
    large_list: LargeList,
    /// Taken by whoever uses the heap where several may; a thread's own heap never is.
    pub(crate) shared: Lock<(), C::Relax>,
    /// Whether large blocks are put on the list: a heap that is dropped whole.
    lists_large: Cell<bool>,
    table: Table,
    pairs: [Pair; PAIRS],
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

/// By sixteenths of a size, rounded up: where in the heap its bin is, bytes from the heap. The
/// entries of the smallest sizes keep to the second half of 128 bytes, too: see [`Pair`].
#[derive(Debug)]
#[repr(C, align(128))]
struct Table {
    apart: [u8; 64],
    starts: [u16; TABLE_BYTES / 16 + 1],
}

/// Bins and shelves of two classes. A descriptor's owner writes to the first half of every 128 bytes
/// of a page; a load from the same place in another page would wait for that write (the processor
/// compares the low twelve bits of addresses first), so the bins keep to the second half.
#[derive(Debug)]
#[repr(C, align(128))]
struct Pair {
    shelves: [Shelf; 2],
    bins: [Bin; 2],
}

const PAIRS: usize = HostClasses::COUNT / 2;
const _: () = assert!(HostClasses::COUNT.is_multiple_of(2));
const _: () = assert!(mem::offset_of!(Pair, bins) == 64 && size_of::<Pair>() == 128);

impl Pair {
    const fn new() -> Self {
        Self { shelves: [Shelf::new(), Shelf::new()], bins: [Bin::new(), Bin::new()] }
    }
}

/// The sizes that the table of bins serves: those of slabs that are one granule of 64 KiB.
const TABLE_BYTES: usize = 8192;
/// Heaps are aligned to this, and their bins lie within: a bin's address leads to its heap.
const HEAP_ALIGN: usize = 8192;

impl<C: Config> Heap<C> {
    /// The largest block that a slab serves, bytes: a slab holds at least eight, and a small
    /// region should not spend itself on one slab.
    const MAX_SLAB_BLOCK_BYTES: usize = {
        let four_granules = 4 * C::GRANULE_BYTES;
        if four_granules < HostClasses::MAX_BYTES { four_granules } else { HostClasses::MAX_BYTES }
    };
    /// The largest block whose slabs are a single granule, bytes.
    const MAX_SINGLE_BYTES: usize = C::GRANULE_BYTES / 8;

    /// The largest size that the table serves, bytes.
    const TABLED_BYTES: usize =
        if Self::MAX_SINGLE_BYTES < TABLE_BYTES { Self::MAX_SINGLE_BYTES } else { TABLE_BYTES };
    const PAIRS_START: usize = mem::offset_of!(Self, pairs);
    const TABLE: [u16; TABLE_BYTES / 16 + 1] = {
        assert!(align_of::<Self>() == HEAP_ALIGN && mem::offset_of!(Self, base) == 64);
        assert!(Self::PAIRS_START + size_of::<[Pair; PAIRS]>() <= HEAP_ALIGN);
        let mut table = [0; TABLE_BYTES / 16 + 1];
        let mut quanta = 0;
        while quanta < table.len() {
            if let Some(class) = HostClasses::of(quanta * 16) {
                table[quanta] = Self::bin_start(class.index()) as u16;
            }
            quanta += 1;
        }
        table
    };

    /// Where in the heap the bin of a class is, bytes.
    const fn bin_start(class: usize) -> usize {
        Self::PAIRS_START
            + class / 2 * size_of::<Pair>()
            + mem::offset_of!(Pair, bins)
            + class % 2 * size_of::<Bin>()
    }

    /// The class whose bin is that far into a heap, bytes.
    const fn class_at(bin_start: usize) -> usize {
        let start = bin_start - Self::PAIRS_START;
        start / size_of::<Pair>() * 2 + start / size_of::<Bin>() % 2
    }

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
            retained_bytes: Cell::new(0),
            large_list: LargeList { head: Cell::new(ptr::null()) },
            shared: Lock::new(()),
            lists_large: Cell::new(false),
            table: Table { apart: [0; 64], starts: Self::TABLE },
            pairs: [const { Pair::new() }; PAIRS],
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

    /// The class that serves a layout; `None` if it needs a span of its own.
    #[inline]
    fn class_of(bytes: usize, align: usize) -> Option<usize> {
        if align > C::GRANULE_BYTES {
            return None;
        }
        let class = HostClasses::of_aligned(bytes, align)?;
        (HostClasses::block_bytes(class) <= Self::MAX_SLAB_BLOCK_BYTES).then_some(class.index())
    }

    /// Whether the table knows the bin of a layout, whose slabs are single granules then.
    #[inline(always)]
    fn is_tabled(bytes: usize, align: usize) -> bool {
        align <= HostClasses::QUANTUM_BYTES && bytes <= Self::TABLED_BYTES
    }

    /// The bin of a layout that the table knows.
    #[inline(always)]
    fn tabled_bin(&self, bytes: usize) -> &Bin {
        // SAFETY: the index is below the table's length where `is_tabled`, and the table's entries
        // are the places of bins in the heap.
        unsafe {
            let start = *self.table.starts.get_unchecked(bytes.div_ceil(16)) as usize;
            &*ptr::from_ref(self).cast::<u8>().add(start).cast::<Bin>()
        }
    }

    /// The bin of a layout; `None` if it needs a span of its own.
    #[inline(always)]
    fn bin_for(&self, bytes: usize, align: usize) -> Option<&Bin> {
        if Self::is_tabled(bytes, align) {
            return Some(self.tabled_bin(bytes));
        }
        Some(self.bin(Self::class_of(bytes, align)?))
    }

    #[inline(always)]
    fn bin(&self, class: usize) -> &Bin {
        debug_assert!(class < HostClasses::COUNT);
        // SAFETY: classes come from `class_of` or from a descriptor, both below the count.
        unsafe { self.pairs.get_unchecked(class / 2).bins.get_unchecked(class % 2) }
    }

    fn shelf(&self, class: usize) -> &Shelf {
        &self.pairs[class / 2].shelves[class % 2]
    }

    /// A block for `bytes` bytes at `align`, a power of two, if one is at hand; `None` says to take
    /// the slow path, [`alloc_slow`](Self::alloc_slow), on a heap that is one.
    ///
    /// # Safety
    /// - Owner only.
    #[inline(always)]
    pub unsafe fn alloc_fast(&self, bytes: usize, align: usize) -> Option<NonNull<u8>> {
        let bin = self.bin_for(bytes, align)?;
        // SAFETY: I3: descriptors are immortal.
        let slab = unsafe { &(*bin.current.get()).slab };
        let Located { block, .. } = slab.alloc()?;
        bin.allocations.add(1);
        bin.requested_bytes.add(bytes as u64);
        Some(block.cast())
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
        if !Self::is_tabled(bytes, align) {
            return false;
        }
        let offset_bytes = block.addr().get().wrapping_sub(self.base.get());
        if offset_bytes >= self.opened_bytes.get() {
            return false;
        }
        // SAFETY: I3: descriptors exist for every open granule.
        let descriptor = unsafe { &*self.descriptors.get().add(offset_bytes / C::GRANULE_BYTES) };
        let bin = self.tabled_bin(bytes);
        if descriptor.tag() != ptr::from_ref(bin).addr() {
            return false;
        }
        // The slab is a single granule, and starts where that does.
        let offset_bytes = block.addr().get() % C::GRANULE_BYTES;
        // SAFETY: the tag says that the slab is this heap's, of that class.
        unsafe { self.free_local(descriptor, bin, block, offset_bytes, bytes) }
    }

    /// As [`free_fast`](Self::free_fast), which knows only slabs of one granule and ordinary
    /// alignments, for those of several granules and for all alignments.
    ///
    /// # Safety
    /// - As for [`free_fast`](Self::free_fast).
    #[inline]
    pub unsafe fn free_untabled(&self, block: NonNull<u8>, bytes: usize, align: usize) -> bool {
        let Some(class) = Self::class_of(bytes, align) else { return false };
        let Some(descriptor) = self.head_descriptor(block) else { return false };
        let bin = self.bin(class);
        if descriptor.tag() != ptr::from_ref(bin).addr() {
            return false;
        }
        // SAFETY: the tag says that the slab is this heap's, of that class.
        unsafe { self.free_local(descriptor, bin, block, descriptor.offset_of(block), bytes) }
    }

    /// Frees a block with the layout that it was allocated with, on the fast path or the slow one.
    ///
    /// # Safety
    /// - Owner only, and the heap is one. The caller gives `block` up.
    #[inline]
    pub unsafe fn free_any(&self, block: NonNull<u8>, bytes: usize, align: usize) {
        // SAFETY: forwarded.
        unsafe {
            if !self.free_fast(block, bytes, align) && !self.free_untabled(block, bytes, align) {
                self.free_slow(block, Some((bytes, align)));
            }
        }
    }

    /// As [`free_fast`](Self::free_fast) for a caller that doesn't know the layout.
    ///
    /// # Safety
    /// - Owner only. The caller gives `block` up.
    #[inline(always)]
    pub unsafe fn free_unsized_fast(&self, block: NonNull<u8>) -> bool {
        let Some(descriptor) = self.head_descriptor(block) else { return false };
        let tag = descriptor.tag();
        let first = ptr::from_ref(self).addr() + Self::PAIRS_START;
        if tag.wrapping_sub(first) >= size_of::<[Pair; PAIRS]>() {
            return false;
        }
        // SAFETY: the tag is the address of one of this heap's bins.
        let bin = unsafe { &*ptr::from_ref(self).cast::<u8>().with_addr(tag).cast::<Bin>() };
        // SAFETY: the tag says that the slab is this heap's.
        unsafe { self.free_local(descriptor, bin, block, descriptor.offset_of(block), 0) }
    }

    /// The head of the span that `block` lies in, if the heap knows that ground.
    #[inline(always)]
    fn head_descriptor(&self, block: NonNull<u8>) -> Option<&Descriptor> {
        let offset_bytes = block.addr().get().wrapping_sub(self.base.get());
        if offset_bytes >= self.opened_bytes.get() {
            return None;
        }
        // SAFETY: I3: descriptors exist for every open granule, and the head of a span is `lead`
        // granules back.
        unsafe {
            let descriptor = self.descriptors.get().add(offset_bytes / C::GRANULE_BYTES);
            Some(&*descriptor.sub((*descriptor).lead.get() as usize))
        }
    }

    /// # Safety
    /// - Owner only; `descriptor` is the head of a slab of this heap, of `bin`, and the offset lies
    ///   in its span.
    #[inline(always)]
    unsafe fn free_local(
        &self,
        descriptor: &Descriptor,
        bin: &Bin,
        block: NonNull<u8>,
        offset_bytes: usize,
        requested_bytes: usize,
    ) -> bool {
        let block = block.cast::<FreeBlock>();
        // SAFETY: forwarded.
        if !unsafe { descriptor.may_be_live(block, offset_bytes) } {
            return false;
        }
        bin.frees.add(1);
        bin.requested_bytes.add((requested_bytes as u64).wrapping_neg());
        // SAFETY: I2: checked above as far as it can be; the caller gives the block up.
        if unsafe { descriptor.slab.free(Located { block, offset_bytes }) } {
            self.on_told(descriptor);
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
        for (class, row) in s.classes[..HostClasses::COUNT].iter_mut().enumerate() {
            let bin = self.bin(class);
            row.allocations = row.allocations.wrapping_add(bin.allocations.get());
            row.frees = row.frees.wrapping_add(bin.frees.get());
            row.requested_bytes = row.requested_bytes.wrapping_add(bin.requested_bytes.get());
        }
        let large = &mut s.large;
        large.allocations += self.large_allocations.get();
        large.frees += self.large_frees.get();
        s.cache_misses += self.misses.get();
        s.remote_frees += self.remote_frees.get();
        s.reallocations += self.reallocations.get();
        s.reallocations_in_place += self.reallocations_in_place.get();
    }
}

/// Which heap owns a slab, and its class.
fn split_tag<C: Config>(tag: usize) -> (*const Heap<C>, usize) {
    let heap = tag & !(HEAP_ALIGN - 1);
    let class = Heap::<C>::class_at(tag - heap);
    (ptr::with_exposed_provenance(heap), class)
}
