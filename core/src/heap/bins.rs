//! What a heap has for each size class, and where in the heap it lies.

use core::{
    cell::Cell,
    mem,
    ptr::{self, NonNull},
};

use super::countdown::{Countdown, Granted};
use crate::{
    arena::Held,
    descriptor::{Descriptor, Place},
    free_blocks::{Linked, Located},
    size_class::HostClasses,
    stats::Counter,
};

/// What the fast paths touch of a size class: a cache line, and besides only the block itself.
#[derive(Debug)]
#[repr(C, align(64))]
pub(super) struct Bin {
    /// `ceil(2^32 / block_bytes)`, where blocks beyond the table count in KiB. Zero while no free may find
    /// its block here: there is no slab, or one that must count frees.
    inverse: Cell<u32>,
    /// The upper half of a free block's first word.
    mark: Cell<u32>,
    /// The free set of the current slab, lent by its descriptor; empty, and of no memory, if there
    /// is none.
    pub(super) free: Linked,
    /// Allocations until one is due.
    pub(super) countdown: Countdown,
    pub(super) frees: Counter,
    /// Bytes asked for, less those that came back: wraps, and only the sum over heaps counts.
    pub(super) requested_bytes: Counter,
}

const _: () = assert!(size_of::<Bin>() == 64);

/// All that a heap has for a size class.
///
/// The processor compares the low twelve bits of addresses first: a load from where, in its page, an
/// earlier store is under way waits for that store, though it is to another page. Allocations wait
/// for bins, and frees write to descriptors, which are 128 bytes apart, on the first line of each.
/// So the bins are on the second lines.
#[derive(Debug)]
#[repr(C, align(128))]
pub(super) struct ForClass {
    pub(super) shelf: Shelf,
    pub(super) bin: Bin,
}

const _: () = assert!(size_of::<ForClass>() == 128 && mem::offset_of!(ForClass, bin) == 64);

impl ForClass {
    pub(super) const fn new() -> Self {
        Self { shelf: Shelf::new(), bin: Bin::new() }
    }
}

/// All classes of a heap. Not from the start of a page: there many blocks in use start, and first words
/// of blocks are written.
#[derive(Debug)]
#[repr(align(2048))]
pub(super) struct ForClasses(pub(super) [ForClass; HostClasses::COUNT]);

impl Bin {
    pub(super) const fn new() -> Self {
        Self {
            free: Linked::new(),
            inverse: Cell::new(0),
            mark: Cell::new(0),
            countdown: Countdown::new(),
            frees: Counter::new(),
            requested_bytes: Counter::new(),
        }
    }

    /// The current slab has blocks of this size, and may become empty without a word.
    pub(super) fn find_frees(&self, block_bytes: usize) {
        let unit_bytes = if block_bytes > TABLE_BYTES { LARGER_STEP_BYTES } else { 1 };
        self.inverse.set(u32::MAX / (block_bytes / unit_bytes) as u32 + 1);
        self.mark.set(self.free.key().mark());
    }

    /// The current slab must hear of every free.
    pub(super) fn count_frees(&self) {
        self.inverse.set(0);
    }

    /// The block of the current slab, of one granule, that starts at `block`, if one does and does not look
    /// free.
    ///
    /// One multiplication tells whether one does (Lemire, Kaser and Kurz, "Faster remainder by
    /// direct computation", 2019): exact for offsets of 19 bits and blocks of 13.
    #[inline(always)]
    pub(super) fn locate(&self, block: NonNull<u8>) -> Option<Located> {
        let offset_bytes = block.addr().get().wrapping_sub(self.free.base().addr());
        let inverse = self.inverse.get();
        if offset_bytes >= self.free.bound_bytes()
            || (offset_bytes as u32).wrapping_mul(inverse) >= inverse
        {
            return None;
        }
        self.unless_free(Located { block: block.cast(), offset_bytes })
    }

    /// The same for blocks beyond the table, of slabs of any length.
    #[inline(always)]
    pub(super) fn locate_larger(&self, block: NonNull<u8>) -> Option<Located> {
        let offset_bytes = block.addr().get().wrapping_sub(self.free.base().addr());
        let steps = (offset_bytes / LARGER_STEP_BYTES) as u32;
        let inverse = self.inverse.get();
        if offset_bytes >= self.free.bound_bytes()
            || !offset_bytes.is_multiple_of(LARGER_STEP_BYTES)
            || steps.wrapping_mul(inverse) >= inverse
        {
            return None;
        }
        self.unless_free(Located { block: block.cast(), offset_bytes })
    }

    #[inline(always)]
    fn unless_free(&self, located: Located) -> Option<Located> {
        // SAFETY: the block lies in the current slab, below what is carved.
        let looks_free = unsafe { located.block.as_ref().looks_free(self.mark.get()) };
        (!looks_free).then_some(located)
    }
}

/// What the slow paths touch of a size class.
#[derive(Debug)]
pub(super) struct Shelf {
    /// The slab that the bin's blocks come from; null if there is none.
    pub(super) current: Cell<*const Descriptor>,
    /// Slabs with free blocks, apart from the current one.
    pub(super) open: Cell<*const Descriptor>,
    /// Full slabs, parked.
    pub(super) full: Cell<*const Descriptor>,
    /// What the arena has been told of this bin.
    pub(super) published: Cell<Held>,
    /// Allocations by the bin.
    pub(super) granted: Granted,
}

impl Shelf {
    pub(super) const fn new() -> Self {
        Self {
            current: Cell::new(ptr::null()),
            open: Cell::new(ptr::null()),
            full: Cell::new(ptr::null()),
            published: Cell::new(Held { allocated_bytes: 0, requested_bytes: 0 }),
            granted: Granted::new(),
        }
    }

    pub(super) fn current<'a>(&self) -> Option<&'a Descriptor> {
        // SAFETY: I3: descriptors are immortal.
        unsafe { self.current.get().as_ref() }
    }
}

/// The lists are circular: the head's predecessor is the last.
impl Shelf {
    pub(super) fn list(&self, place: Place) -> &Cell<*const Descriptor> {
        if place == Place::Open { &self.open } else { &self.full }
    }

    /// Puts a slab at the end: what was opened first is used first, and has most free blocks.
    pub(super) fn push(&self, place: Place, slab: &Descriptor) {
        let list = self.list(place);
        // SAFETY: I3: descriptors are immortal; I1: the list is the owner's.
        let Some(head) = (unsafe { list.get().as_ref() }) else {
            slab.previous.set(slab);
            slab.next.set(slab);
            return list.set(slab);
        };
        let last = head.previous.replace(slab);
        slab.previous.set(last);
        slab.next.set(head);
        // SAFETY: as above.
        unsafe { &*last }.next.set(slab);
    }

    pub(super) fn remove(&self, place: Place, slab: &Descriptor) {
        let list = self.list(place);
        let (previous, next) = (slab.previous.get(), slab.next.get());
        if ptr::eq(next, slab) {
            return list.set(ptr::null());
        }
        // SAFETY: I3: descriptors are immortal; I1: the list is the owner's.
        unsafe {
            (*previous).next.set(next);
            (*next).previous.set(previous);
        }
        if ptr::eq(list.get(), slab) {
            list.set(next);
        }
    }

    pub(super) fn pop<'a>(&self, place: Place) -> Option<&'a Descriptor> {
        // SAFETY: I3: descriptors are immortal.
        let slab = unsafe { self.list(place).get().as_ref() }?;
        self.remove(place, slab);
        Some(slab)
    }

    pub(super) fn last_open(&self) -> *const Descriptor {
        // SAFETY: I3: descriptors are immortal.
        unsafe { self.open.get().as_ref() }.map_or(ptr::null(), |head| head.previous.get())
    }
}

/// The sizes that the table of bins serves: those of slabs that are one granule of 64 KiB.
pub(super) const TABLE_BYTES: usize = 8192;

/// What the sizes of larger blocks are multiples of, bytes.
pub(super) const LARGER_STEP_BYTES: usize = TABLE_BYTES / 8;

/// How far into a heap the classes are, bytes.
pub(super) const CLASSES_START: usize = 2048;

/// How far into a heap the bin of a class is, bytes.
pub(super) const fn bin_start(class: usize) -> usize {
    CLASSES_START + class * size_of::<ForClass>() + mem::offset_of!(ForClass, bin)
}

/// By sixteenths of a size, rounded up: how far into a heap its bin is, bytes. Where the compiler
/// knows the size, it knows the entry.
pub(super) static BIN_STARTS: [u16; TABLE_BYTES / 16 + 1] = bin_starts(16);

/// The same for sizes beyond that table, by their KiB.
pub(super) static LARGER_STARTS: [u16; HostClasses::MAX_BYTES / LARGER_STEP_BYTES + 1] =
    bin_starts(LARGER_STEP_BYTES);

const fn bin_starts<const LEN: usize>(step_bytes: usize) -> [u16; LEN] {
    let mut starts = [0; LEN];
    let mut steps = 0;
    while steps < LEN {
        if let Some(class) = HostClasses::of(steps * step_bytes) {
            starts[steps] = bin_start(class.index()) as u16;
        }
        steps += 1;
    }
    starts
}
