//! Frees of other owners' blocks, gathered by slab and sent together: one exchange for many blocks.

use core::{
    cell::Cell,
    ptr::{self, NonNull},
};

use super::{Heap, owner_of};
use crate::{
    arena::Arena,
    config::Config,
    descriptor::Descriptor,
    free_blocks::{FreeBlock, Link, Located, Word},
};

/// How many slabs' blocks wait at once.
const PARCELS: usize = 32;
/// What waits in one parcel, at most: so many blocks, or so many bytes if that is less.
const PARCEL_BLOCKS: u32 = 32;
const PARCEL_BYTES: usize = 8 * 1024;

/// Blocks of other owners that this one has freed and not sent yet: at most [`PARCELS`] times
/// [`PARCEL_BYTES`], and none of a heap that is dropped whole. Sent when a parcel is full, when its place is needed, when the heap takes a
/// span, and when it is collected.
#[derive(Debug)]
pub(super) struct Outbox {
    parcels: [Parcel; PARCELS],
}

/// Blocks of one slab, in a chain as the slab's remote list has them.
#[derive(Debug)]
struct Parcel {
    slab: Cell<*const Descriptor>,
    /// The link to the first, as blocks have it.
    first: Cell<Word>,
    last: Cell<Option<NonNull<FreeBlock>>>,
    count: Cell<u32>,
    /// How many blocks it takes until it is sent.
    room: Cell<u32>,
}

impl Outbox {
    /// Nothing waits: zeroes.
    pub(super) const fn new() -> Self {
        const fn empty() -> Parcel {
            Parcel {
                slab: Cell::new(ptr::null()),
                first: Cell::new(Word::ZERO),
                last: Cell::new(None),
                count: Cell::new(0),
                room: Cell::new(0),
            }
        }
        Self { parcels: [const { empty() }; PARCELS] }
    }
}

impl<C: Config> Heap<C> {
    /// Frees a block of another owner's slab.
    ///
    /// # Safety
    /// - Owner only. The caller gives the block up.
    #[cfg_attr(target_os = "linux", unsafe(link_section = "genesis_mem_slow"))]
    pub(super) unsafe fn free_remote(&self, arena: &Arena<C>, slab: &Descriptor, located: Located) {
        self.remote_frees.add(1);
        let index = ptr::from_ref(slab).addr() / size_of::<Descriptor>() % PARCELS;
        let parcel = &self.outbox.parcels[index];
        // SAFETY: forwarded. While a parcel has blocks of a slab, the slab is in use and its owner the
        // same.
        unsafe {
            if ptr::eq(parcel.slab.get(), slab) {
                self.add_to_parcel(arena, slab, parcel, located);
            } else {
                self.start_parcel(arena, slab, parcel, located);
            }
        }
    }

    /// # Safety
    /// - As for [`free_remote`](Self::free_remote); the parcel is one of the slab's.
    #[inline(always)]
    unsafe fn add_to_parcel(
        &self,
        arena: &Arena<C>,
        slab: &Descriptor,
        parcel: &Parcel,
        located: Located,
    ) {
        // SAFETY: I2: the caller gives the block up; it is in no other chain.
        unsafe { located.block.as_ref().set_word(parcel.first.get()) };
        parcel.first.set(slab.own.key().to_block(located.block));
        let count = parcel.count.get() + 1;
        parcel.count.set(count);
        if count >= parcel.room.get() {
            self.send(arena, parcel);
        }
    }

    /// Sends what is in a parcel, and begins one for `slab`. Not inlined, as `send` is not.
    ///
    /// # Safety
    /// - As for [`free_remote`](Self::free_remote).
    #[inline(never)]
    #[cfg_attr(target_os = "linux", unsafe(link_section = "genesis_mem_slow"))]
    unsafe fn start_parcel(
        &self,
        arena: &Arena<C>,
        slab: &Descriptor,
        parcel: &Parcel,
        located: Located,
    ) {
        let (owner, _) = owner_of(arena, slab, slab.tag());
        // SAFETY: I3: heaps are immortal. What is read does not change while a block is live.
        let owner = unsafe { &*owner };
        if owner.is_dropped_whole() {
            // SAFETY: forwarded.
            return unsafe { Self::send_one(arena, owner, slab, located) };
        }
        self.send(arena, parcel);
        parcel.slab.set(slab);
        parcel.first.set(slab.own.key().word(Link::END));
        parcel.last.set(Some(located.block));
        let room = (PARCEL_BYTES / slab.block_bytes.get()) as u32;
        parcel.room.set(room.min(PARCEL_BLOCKS));
        // SAFETY: forwarded.
        unsafe { self.add_to_parcel(arena, slab, parcel, located) };
    }

    /// Sends a block of a heap that is dropped whole: its slabs may be gone before a parcel is sent.
    ///
    /// # Safety
    /// - As for [`free_remote`](Self::free_remote); the slab is `owner`'s.
    #[cold]
    #[inline(never)]
    unsafe fn send_one(arena: &Arena<C>, owner: &Self, slab: &Descriptor, located: Located) {
        let key = slab.own.key();
        // SAFETY: forwarded.
        if unsafe { slab.remote.push(located.block, located.offset_bytes, key) } {
            owner.hand_back(arena, slab);
        }
    }

    /// Not inlined, so that what comes before it, a block a call, stays short.
    #[inline(never)]
    #[cfg_attr(target_os = "linux", unsafe(link_section = "genesis_mem_slow"))]
    fn send(&self, arena: &Arena<C>, parcel: &Parcel) {
        // SAFETY: I3: descriptors are immortal.
        let Some(slab) = (unsafe { parcel.slab.replace(ptr::null()).as_ref() }) else { return };
        let Some(last) = parcel.last.get() else { return };
        let (first, count) = (slab.own.key().link(parcel.first.get()), parcel.count.replace(0));
        // SAFETY: I2: the chain is this owner's to give; its slab is in use while it is.
        unsafe { Self::send_chain(arena, slab, first.offset_bytes(), last, count) };
    }

    /// Sends a chain of `count` blocks home to `slab`, from the one that lies `first_bytes` into it
    /// to `last`. Any thread.
    ///
    /// # Safety
    /// - The caller owns the chain, of blocks of the slab, and gives it up.
    pub(crate) unsafe fn send_chain(
        arena: &Arena<C>,
        slab: &Descriptor,
        first_bytes: usize,
        last: NonNull<FreeBlock>,
        count: u32,
    ) {
        let (first, key) = (Link::to(first_bytes), slab.own.key());
        // SAFETY: forwarded.
        if unsafe { slab.remote.push_chain(first, last, count, key) } {
            let (heap, _) = owner_of(arena, slab, slab.tag());
            // SAFETY: I3: heaps are immortal.
            unsafe { &*heap }.hand_back(arena, slab);
        }
    }

    /// Sends everything that waits.
    #[cfg_attr(target_os = "linux", unsafe(link_section = "genesis_mem_slow"))]
    pub(super) fn send_all(&self, arena: &Arena<C>) {
        for parcel in &self.outbox.parcels {
            self.send(arena, parcel);
        }
    }
}
