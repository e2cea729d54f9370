//! What a heap has for each size class, and where in the heap it lies.

use core::{
    cell::Cell,
    mem,
    ptr::{self},
};

use crate::{
    arena::Held,
    descriptor::{Descriptor, NO_SLAB, Place},
    size_class::HostClasses,
    stats::Counter,
};

/// What the fast paths touch of a size class: half a cache line.
#[derive(Debug)]
#[repr(C)]
pub(super) struct Bin {
    /// Where blocks come from; [`NO_SLAB`] if there is none.
    pub(super) current: Cell<*const Descriptor>,
    pub(super) allocations: Counter,
    pub(super) frees: Counter,
    /// Bytes asked for, less those that came back: wraps, and only the sum over heaps counts.
    pub(super) requested_bytes: Counter,
}

impl Bin {
    pub(super) const fn new() -> Self {
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
pub(super) struct Shelf {
    /// Slabs with free blocks, apart from the current one.
    pub(super) open: Cell<*const Descriptor>,
    /// Full slabs, parked.
    pub(super) full: Cell<*const Descriptor>,
    /// What the arena has been told of this bin.
    pub(super) published: Cell<Held>,
}

impl Shelf {
    pub(super) const fn new() -> Self {
        Self {
            open: Cell::new(ptr::null()),
            full: Cell::new(ptr::null()),
            published: Cell::new(Held { allocated_bytes: 0, requested_bytes: 0 }),
        }
    }
}

const _: () = assert!(size_of::<Bin>() == 32);

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

/// By sixteenths of a size, rounded up: where in the heap its bin is, bytes from the heap. The
/// entries of the smallest sizes keep to the second half of 128 bytes, too: see [`Pair`].
#[derive(Debug)]
#[repr(C, align(128))]
pub(super) struct Table {
    pub(super) apart: [u8; 64],
    pub(super) starts: [u16; TABLE_BYTES / 16 + 1],
}

/// Bins and shelves of two classes. A descriptor's owner writes to the first half of every 128 bytes
/// of a page; a load from the same place in another page would wait for that write (the processor
/// compares the low twelve bits of addresses first), so the bins keep to the second half.
#[derive(Debug)]
#[repr(C, align(128))]
pub(super) struct Pair {
    pub(super) shelves: [Shelf; 2],
    pub(super) bins: [Bin; 2],
}

pub(super) const PAIRS: usize = HostClasses::COUNT / 2;
const _: () = assert!(HostClasses::COUNT.is_multiple_of(2));
const _: () = assert!(mem::offset_of!(Pair, bins) == 64 && size_of::<Pair>() == 128);

impl Pair {
    pub(super) const fn new() -> Self {
        Self { shelves: [Shelf::new(), Shelf::new()], bins: [Bin::new(), Bin::new()] }
    }
}
