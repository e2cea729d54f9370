//! Finding a block where none is at hand: the bin's other slabs, what other threads gave back, and
//! at last a new slab from the arena.

use core::ptr::{self, NonNull};

use super::Heap;
use crate::{
    arena::{Arena, Fresh, Held},
    backend::{Backend, Capabilities},
    buddy::Span,
    config::{Config, Fault, FaultKind},
    descriptor::{Descriptor, Place, tag},
    event::EventSink,
    free_blocks::{FreeBlocks, Key, Link},
    size_class::{HostClasses, SizeClass},
    slab::NEVER,
    span_pool::Taken,
};

/// Empty slabs of several granules that a heap may keep, bytes touched: enough that a program
/// which allocates and frees one buffer at a time never waits for the arena.
const RETAINED_BYTES: usize = 1 << 20;

/// A bin's sums are published when they have changed by so many bytes: what all threads write to is not
/// written on each slow path.
const PUBLISHED_BYTES: u64 = 32 << 10;

/// A full slab is opened again when the owner has freed this share of its blocks: opening it for
/// each single one would cost every allocation of a busy program a slow path.
const REOPEN_SHARE: u32 = 16;

/// How the links of the slabs that were handed back are written: they are named by their granules.
const RETURNED: Key = Key::new(0, 0);

/// How many of its blocks the owner must have freed before a full slab is opened again.
fn frees_to_reopen(slab: &Descriptor) -> u32 {
    (slab.capacity.get() / REOPEN_SHARE).max(1)
}

/// How many of its blocks the owner has freed since the slab was full. To walk the chain instead would
/// wait for one block after another that is in no cache.
fn freed_since_full(slab: &Descriptor) -> u32 {
    let (told_after, left) = (frees_to_reopen(slab), slab.frees_left());
    if left <= told_after { told_after - left } else { told_after + (NEVER - left) }
}

/// After so many frees into a current slab that the first look has not found, the heap thinks again
/// about that.
const CURRENT_FREES: u32 = 1024;

impl<C: Config> Heap<C> {
    /// As [`alloc_fast`](Self::alloc_fast), by whatever it takes; `None` where memory has run out
    /// or the layout is beyond all bounds. With `zeroed`, the block reads as zero.
    ///
    /// # Safety
    /// - Owner only, and the heap is one.
    #[cold]
    #[inline(never)]
    #[cfg_attr(target_os = "linux", unsafe(link_section = "genesis_mem_slow"))]
    pub unsafe fn alloc_slow(
        &self,
        bytes: usize,
        align: usize,
        zeroed: bool,
    ) -> Option<NonNull<u8>> {
        let fresh = self.alloc_fresh(self.arena()?, bytes, align)?;
        if zeroed && !fresh.zeroed {
            // SAFETY: the block is the caller's, and at least that long.
            unsafe { fresh.block.write_bytes(0, bytes) };
        }
        Some(fresh.block)
    }

    /// The same, saying whether the block reads as zero. Owner only.
    #[inline]
    pub(super) fn alloc_fresh(
        &self,
        arena: &Arena<C>,
        bytes: usize,
        align: usize,
    ) -> Option<Fresh> {
        let class = Self::class_of(bytes, align);
        let is_sample = self.is_sample(arena, class, bytes);
        let find = || {
            let sampled = is_sample.then(|| self.take_sample(arena, class, bytes, align)).flatten();
            sampled.or_else(|| match class {
                Some(class) => self.find_small(arena, class, bytes),
                None => self.alloc_large(arena, bytes, align),
            })
        };
        let fresh = find().or_else(|| {
            // What is missing may wait in empty slabs, this heap's or those of ended threads.
            if bytes as u64 <= arena.reserved_bytes() {
                // SAFETY: I1: the caller is the owner.
                unsafe { self.collect() };
                arena.collect_orphans();
                arena.collect_samples();
                return find();
            }
            None
        });
        if fresh.is_none() {
            arena.note_failure(bytes);
        }
        fresh
    }

    /// Finds a block of `class`, for `bytes` bytes.
    #[cfg_attr(target_os = "linux", unsafe(link_section = "genesis_mem_slow"))]
    pub(super) fn find_small(&self, arena: &Arena<C>, class: usize, bytes: usize) -> Option<Fresh> {
        let bin = self.bin(class);
        // Where the count was over, a block may be at hand all the same.
        let at_hand = if C::Sink::SAMPLES { Self::pop(bin, bytes) } else { None };
        let fresh = match at_hand {
            Some(block) => Fresh { block, zeroed: false },
            None => {
                let fresh = self.refill(arena, class)?;
                self.misses.add(1);
                bin.countdown.count();
                bin.requested_bytes.add(bytes as u64);
                fresh
            }
        };
        self.publish(arena, class, PUBLISHED_BYTES);
        Some(fresh)
    }

    /// Finds a block of `class`.
    fn refill(&self, arena: &Arena<C>, class: usize) -> Option<Fresh> {
        let shelf = self.shelf(class);
        loop {
            if let Some(current) = shelf.current() {
                if let Some(fresh) = self.take(arena, current) {
                    return Some(fresh);
                }
                if !current.remote.park() {
                    // A block came home meanwhile.
                    continue;
                }
                self.leave_current(current);
                if current.granules.get() > 1 {
                    // Blocks may have come out that the purger had given back.
                    arena.note_carved(current, 0..current.own.bound_bytes());
                }
                current.place.set(Place::Full);
                current.tell_after(frees_to_reopen(current));
                self.release_retained(current);
                shelf.push(Place::Full, current);
            }
            self.settle_returned(arena);
            let next = match shelf.pop(Place::Open) {
                Some(open) => {
                    self.note_freed(open);
                    open
                }
                None => match self.new_slab(arena, class) {
                    Some(new) => new,
                    None if self.came_home(arena, class) => continue,
                    None => return None,
                },
            };
            self.make_current(arena, next, class);
        }
    }

    /// Tells the first look how many blocks of a slab were freed while it was open.
    fn note_freed(&self, open: &Descriptor) {
        if open.granules.get() == 1 {
            let reopened_with = open.capacity.get() - frees_to_reopen(open);
            let freed = reopened_with.saturating_sub(open.frees_left());
            self.first_look.note_elsewhere(freed);
        }
    }

    /// Whether a slab of `class` is open that was not: where no span could be had, the purger had
    /// taken its blocks out, and was waited for.
    fn came_home(&self, arena: &Arena<C>, class: usize) -> bool {
        self.settle_returned(arena);
        !self.shelf(class).last_open().is_null()
    }

    /// Takes a block of `slab`, from wherever it has one.
    fn take(&self, arena: &Arena<C>, slab: &Descriptor) -> Option<Fresh> {
        let free = &self.bin(slab.class()).free;
        // What others freed waits until the rest is used up: to join two chains is to walk one.
        if free.head() == Link::END {
            slab.gather(free);
        }
        if let Some(located) = free.pop() {
            return Some(Fresh { block: located.block.cast(), zeroed: false });
        }
        if free.head() != Link::END {
            // A link beyond what is carved: a block was freed that was never handed out. Any other:
            // a free block was written to.
            let offset_bytes = free.head().offset_bytes();
            if offset_bytes < slab.capacity.get() as usize * slab.block_bytes.get() {
                Self::report(FaultKind::Foreign, slab, offset_bytes);
            } else {
                Self::report(FaultKind::UseAfterFree, slab, 0);
            }
            free.set_head(Link::END);
        }
        let offset_bytes = slab.carve(free, arena.page_bytes(), arena.touched_in(slab))?;
        arena.note_carved(slab, offset_bytes..slab.own.bound_bytes());
        let block = free.locate(offset_bytes).block;
        if !slab.zeroed.get() {
            // SAFETY: I2: nobody else has the block yet. What an earlier slab left there must not
            // look like a link.
            unsafe { block.as_ref().wipe() };
        }
        self.watch_current(slab);
        Some(Fresh { block: block.cast(), zeroed: slab.zeroed.get() })
    }

    /// Reports a misuse that shows in `slab`, at `offset_bytes`.
    #[cold]
    pub(super) fn report(kind: FaultKind, slab: &Descriptor, offset_bytes: usize) {
        let address = slab.own.base().addr() + offset_bytes;
        C::fault(&Fault::new(kind, address, slab.block_bytes.get()));
    }

    fn make_current(&self, arena: &Arena<C>, slab: &Descriptor, class: usize) {
        let bin = self.bin(class);
        let purged = arena.withdraw(slab);
        arena.note_purged_blocks(slab, purged);
        slab.place.set(Place::Current);
        slab.lend_to(&bin.free);
        if slab.granules.get() == 1 {
            bin.find_frees(slab.block_bytes.get());
        } else {
            bin.count_frees();
        }
        self.shelf(class).current.set(slab);
        self.watch_current(slab);
    }

    /// Takes the free set of a slab out of its bin, which has no slab then.
    pub(super) fn leave_current(&self, slab: &Descriptor) {
        slab.take_home(&self.bin(slab.class()).free);
        self.shelf(slab.class()).current.set(ptr::null());
    }

    /// A current slab of one granule may become empty without a word: it is needed again soon. Of
    /// a larger one the heap hears at the earliest free that can have been its last.
    fn watch_current(&self, slab: &Descriptor) {
        slab.tell_after(if slab.granules.get() == 1 {
            CURRENT_FREES
        } else if slab.retained_blocks.get() == 0 {
            (slab.carved.get() - slab.home().count()).max(1)
        } else {
            NEVER
        });
    }

    /// A new slab of `class` from the arena.
    fn new_slab<'a>(&self, arena: &'a Arena<C>, class: usize) -> Option<&'a Descriptor> {
        let class = SizeClass::from_index(class)?;
        let block_bytes = HostClasses::block_bytes(class);
        let granules = (block_bytes * 8).div_ceil(C::GRANULE_BYTES) as u32;
        self.send_all(arena);
        let taken = self.slab_span(arena, granules)?;
        // The fast paths learn of new ground here, so that they find its descriptors.
        self.opened_bytes.set(arena.opened_bytes());
        let slab = arena.descriptor(taken.span.granule);
        let zeroed = taken.clean && C::Backend::CAPABILITIES.contains(Capabilities::ZEROED);
        let base = arena.address_of(taken.span.granule);
        let span_bytes = granules as usize * C::GRANULE_BYTES;
        slab.start_slab(base, span_bytes, class, arena.slab_secret(), zeroed);
        slab.granules.set(granules);
        ptr::from_ref(self).expose_provenance();
        let tag = match self.holds_samples.get() {
            true => tag::SAMPLED,
            false => ptr::from_ref(self.bin(class.index())).addr(),
        };
        arena.tag_span(taken.span, tag);
        Some(slab)
    }

    /// A span for a slab.
    fn slab_span(&self, arena: &Arena<C>, granules: u32) -> Option<Taken> {
        let taken = arena.take_span(granules, 1, Held::default())?;
        let base = arena.address_of(taken.span.granule).addr().get();
        if Key::fits(base, granules as usize * C::GRANULE_BYTES) {
            return Some(taken);
        }
        // It lies across a multiple of 4 GiB: there are few such spans, and another one is not.
        let another = self.slab_span(arena, granules);
        arena.put_span(taken.span, Held::default());
        another
    }

    /// Gives an empty slab, which is in no list, back to the arena.
    pub(super) fn release(&self, arena: &Arena<C>, slab: &Descriptor) {
        self.release_retained(slab);
        let span = Span { granule: arena.granule_of(slab), granules: slab.granules.get() };
        arena.tag_span(span, tag::FREE);
        arena.put_span(span, Held::default());
    }

    /// The same for a slab that may be empty only with what other threads freed.
    fn release_whole(&self, arena: &Arena<C>, slab: &Descriptor) {
        let _all = slab.remote.drain();
        self.release(arena, slab);
    }

    pub(super) fn release_retained(&self, slab: &Descriptor) {
        let kept_blocks = slab.retained_blocks.replace(0);
        let kept_bytes = usize::from(kept_blocks) * slab.block_bytes.get();
        self.retained_bytes.set(self.retained_bytes.get() - kept_bytes);
    }

    /// Takes back the slabs that remote frees unparked.
    pub(super) fn settle_returned(&self, arena: &Arena<C>) {
        // The chain names slabs by their granules.
        let mut link = self.returned.0.drain().first();
        while link != Link::END {
            let slab = arena.descriptor(link.offset_bytes() as u32);
            // SAFETY: I1: the drained chain is this heap's; a link is read before its slab can be
            // parked, and so handed back, again.
            link = unsafe { slab.returned.next(RETURNED) };
            self.reopen(arena, slab);
        }
    }

    /// Brings a slab, which is parked no more, back into use or gives it back.
    #[cfg_attr(target_os = "linux", unsafe(link_section = "genesis_mem_slow"))]
    fn reopen(&self, arena: &Arena<C>, slab: &Descriptor) {
        let shelf = self.shelf(slab.class());
        shelf.remove(Place::Full, slab);
        if self.offers(slab) {
            return self.open_and_offer(arena, slab);
        }
        // What other threads freed stays where it is, for the time when the slab is current.
        let free = freed_since_full(slab) + slab.remote.count();
        let others = slab.carved.get() - free;
        if others == 0 {
            return self.release_whole(arena, slab);
        }
        // Told when every other block was freed here: the slab is empty then. Where other threads
        // free some of them, it shows when the slab is current again, or in a collection.
        slab.tell_after(others);
        slab.place.set(Place::Open);
        shelf.push(Place::Open, slab);
    }

    /// The free has come that the slab was to tell of.
    #[cold]
    #[inline(never)]
    #[cfg_attr(target_os = "linux", unsafe(link_section = "genesis_mem_slow"))]
    pub(super) fn on_told(&self, slab: &Descriptor) {
        let Some(arena) = self.arena() else { return };
        let place = slab.place.get();
        // The first look is for slabs of one granule.
        if slab.granules.get() == 1 {
            match place {
                Place::Full => self.first_look.note_elsewhere(frees_to_reopen(slab)),
                Place::Open => self.first_look.note_elsewhere(slab.capacity.get()),
                Place::Current => {}
            }
            self.judge_first_look(place == Place::Current);
        }
        match place {
            Place::Full if slab.remote.unpark() => self.reopen(arena, slab),
            // A remote free was first: the slab is on its way back, and settled when it arrives.
            Place::Full => slab.tell_after(NEVER),
            Place::Open if self.offers(slab) => self.offer(arena, slab),
            Place::Open => {
                self.shelf(slab.class()).remove(Place::Open, slab);
                self.release_whole(arena, slab);
            }
            Place::Current
                if slab.granules.get() == 1 || slab.home().count() < slab.carved.get() =>
            {
                self.watch_current(slab);
            }
            Place::Current => self.retain_or_release(arena, slab),
        }
    }

    /// The current slab of a bin is empty. It may stay, within the heap's allowance.
    fn retain_or_release(&self, arena: &Arena<C>, slab: &Descriptor) {
        let touched_bytes = slab.carved.get() as usize * slab.block_bytes.get();
        let kept_bytes = self.retained_bytes.get() + touched_bytes;
        if kept_bytes <= RETAINED_BYTES {
            self.retained_bytes.set(kept_bytes);
            slab.retained_blocks.set(slab.carved.get() as u8);
            self.bin(slab.class()).find_frees(slab.block_bytes.get());
            self.watch_current(slab);
        } else {
            self.leave_current(slab);
            self.release(arena, slab);
        }
    }

    /// Tells the arena how this bin's sums have changed, if it is by so much.
    pub(super) fn publish(&self, arena: &Arena<C>, class: usize, least_bytes: u64) {
        let (bin, shelf) = (self.bin(class), self.shelf(class));
        let live = self.allocations(class).wrapping_sub(bin.frees.get());
        let block_bytes =
            SizeClass::from_index(class).map_or(0, |class| HostClasses::block_bytes(class) as u64);
        let held = Held {
            allocated_bytes: live.wrapping_mul(block_bytes),
            requested_bytes: bin.requested_bytes.get(),
        };
        let change = held.minus(shelf.published.get());
        if (change.allocated_bytes as i64).unsigned_abs() >= least_bytes {
            shelf.published.set(held);
            arena.publish(change);
        }
    }

    /// Hands a slab, which the caller's remote free has unparked, back to this heap. Any thread.
    pub(super) fn hand_back(&self, arena: &Arena<C>, slab: &Descriptor) {
        let granule = arena.granule_of(slab) as usize;
        // SAFETY: I1: whoever unparks a slab alone owns its link.
        unsafe { self.returned.0.push(NonNull::from(&slab.returned), granule, RETURNED) };
    }
}
