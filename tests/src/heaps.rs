//! Heaps of one arena, driven in one thread, beside their model.

use std::{collections::BTreeMap, ptr::NonNull};

use genesis_mem_core::{
    arena::{Arena, Use},
    config::FaultKind,
    heap::Heap,
};

use crate::{
    backend::FaultingBackend,
    config::{TestConfig, take_faults},
    model::{Blocks, Live},
    ops::{Misuse, Op},
    samples::TestSink,
};

/// Owners at a time.
const OWNERS: usize = 3;
/// The owner whose heaps list their large blocks, to be dropped whole.
const LISTING: usize = 0;

/// An arena, up to three owners, and what they should hold.
#[derive(Debug)]
pub struct Heaps<C: TestConfig> {
    arena: Box<Arena<C>>,
    handle: FaultingBackend<true>,
    owners: [Option<NonNull<Heap<C>>>; OWNERS],
    blocks: Blocks,
    /// Which heap each block came from.
    origins: BTreeMap<NonNull<u8>, NonNull<Heap<C>>>,
    /// The block freed last, for a second free, while its memory cannot be in use again.
    freed: Option<Live>,
    /// Requests are known exactly until a heap is dropped whose blocks another heap freed.
    knows_requests: bool,
}

impl<C: TestConfig> Heaps<C> {
    /// A fresh arena without heaps.
    pub fn new() -> Self {
        let (backend, metadata, handle) = C::backends();
        take_faults();
        Self {
            arena: Box::new(Arena::new(backend, metadata, C::Sink::default())),
            handle,
            owners: [None; OWNERS],
            blocks: Blocks::default(),
            origins: BTreeMap::new(),
            freed: None,
            knows_requests: true,
        }
    }

    /// What makes the backend refuse.
    pub fn handle(&self) -> &FaultingBackend<true> {
        &self.handle
    }

    /// The arena.
    pub fn arena(&self) -> &Arena<C> {
        &self.arena
    }

    /// Runs a whole program, and looks at everything every few operations and at its end.
    pub fn run(mut self, program: impl IntoIterator<Item = Op>) {
        for (step, op) in program.into_iter().enumerate() {
            self.apply(op);
            if step % 16 == 15 {
                self.check();
            }
        }
        self.check();
        self.finish();
    }

    /// Carries out one operation.
    pub fn apply(&mut self, op: Op) {
        match op {
            Op::Alloc { heap, bytes, align, zeroed } => {
                self.alloc(heap, bytes, align, zeroed);
            }
            Op::Free { heap, block, sized } => self.free(heap, block, sized),
            Op::Realloc { heap, block, bytes } => self.reallocate(heap, block, bytes),
            Op::Misuse { heap, block, how, amount } => self.misuse(heap, block, how, amount),
            Op::Collect { heap } => {
                if let Some(heap) = self.owners[usize::from(heap) % OWNERS] {
                    // SAFETY: this thread is the owner.
                    unsafe { heap.as_ref().collect() };
                }
            }
            Op::Orphan { heap } => {
                if usize::from(heap) % OWNERS == LISTING {
                    self.release_all();
                } else if let Some(heap) = self.owners[usize::from(heap) % OWNERS].take() {
                    // SAFETY: this thread is the owner, and has just forgotten the heap.
                    unsafe { self.arena.orphan_heap(heap) };
                }
            }
            Op::CollectOrphans => {
                self.arena.collect_orphans();
                self.arena.collect_samples();
            }
            Op::ReleaseAll { .. } => self.release_all(),
            Op::Tick => self.arena.tick(),
            Op::Purge { age_ticks } => {
                self.arena.purge(age_ticks);
            }
            Op::Fail { after_calls } => self.handle.fail_after(after_calls.into()),
            Op::Limit { granules } => {
                self.arena.set_limit(usize::from(granules) * C::GRANULE_BYTES);
            }
            Op::ResetPeaks => {
                self.arena.reset_peaks();
                self.arena.sink().switch();
            }
        }
        assert_eq!(take_faults(), [], "no misuse, but a fault after {op:?}");
    }

    fn owner(&mut self, owner: u8) -> Option<NonNull<Heap<C>>> {
        let index = usize::from(owner) % OWNERS;
        if self.owners[index].is_none() {
            // SAFETY: the arena is boxed, and ends last.
            let heap = unsafe {
                match index {
                    LISTING => self.arena.adopt_empty_heap(),
                    _ => self.arena.adopt_heap_unbound(),
                }
            }?;
            self.owners[index] = Some(heap);
        }
        self.owners[index]
    }

    /// Allocates a block; `None` where the arena has none to give.
    pub fn alloc(&mut self, owner: u8, bytes: usize, align: usize, zeroed: bool) -> Option<Live> {
        let heap = self.owner(owner)?;
        self.freed = None;
        // SAFETY: this thread is the owner.
        let block = unsafe {
            let heap = heap.as_ref();
            if zeroed { heap.alloc_zeroed(bytes, align) } else { heap.alloc_any(bytes, align) }
        }?;
        // SAFETY: the block is new.
        let live = unsafe { self.blocks.insert(block, bytes, align, zeroed) };
        self.origins.insert(block, heap);
        Some(live)
    }

    fn free(&mut self, owner: u8, index: u16, sized: bool) {
        let Some(live) = self.blocks.pick(index) else { return };
        let Some(heap) = self.owner(owner) else { return };
        // SAFETY: the block is live.
        unsafe { self.blocks.remove(live.address) };
        self.origins.remove(&live.address);
        self.freed = Some(live);
        // SAFETY: this thread is the owner; the model gave the block up.
        unsafe {
            let heap = heap.as_ref();
            if sized {
                Self::free_sized(heap, live.address, live.bytes, live.align);
            } else {
                self.knows_requests = false;
                if !heap.free_unsized_fast(live.address.as_ptr())
                    && !heap.free_unsized_otherwise(live.address)
                {
                    heap.free_slow(live.address, None);
                }
            }
        }
    }

    /// # Safety
    /// - Owner only; the caller gives the block up.
    unsafe fn free_sized(heap: &Heap<C>, block: NonNull<u8>, bytes: usize, align: usize) {
        // SAFETY: forwarded.
        unsafe {
            // Half of the sizes skip the paths between the first and the last.
            if bytes.is_multiple_of(2) {
                heap.free_any(block, bytes, align);
            } else if !Heap::<C>::is_ordinary(bytes, align) || !heap.free_fast(block, bytes) {
                heap.free_slow(block, Some((bytes, align)));
            }
        }
    }

    fn reallocate(&mut self, owner: u8, index: u16, bytes: usize) {
        let Some(live) = self.blocks.pick(index) else { return };
        let Some(heap) = self.owner(owner) else { return };
        // SAFETY: this thread is the owner, and the block is live.
        let moved =
            unsafe { heap.as_ref().reallocate(live.address, Some(live.bytes), live.align, bytes) };
        let Some(moved) = moved else { return };
        // SAFETY: the block is what the old one became.
        unsafe { self.blocks.resize(&live, moved, bytes) };
        if moved != live.address {
            self.origins.remove(&live.address);
            self.origins.insert(moved, heap);
            self.freed = None;
        }
        // It may have grown over what was freed, which is inside of it then.
        let inside = |freed: &Live| self.blocks.containing(freed.address.addr().get()).is_some();
        if self.freed.as_ref().is_some_and(inside) {
            self.freed = None;
        }
    }

    /// Drops the heap of the owner [`LISTING`] whole.
    fn release_all(&mut self) {
        let Some(heap) = self.owners[LISTING].take() else { return };
        let gone: Vec<_> = self
            .origins
            .iter()
            .filter(|(_, origin)| **origin == heap)
            .map(|(block, _)| *block)
            .collect();
        for block in gone {
            self.origins.remove(&block);
            self.blocks.forget(block);
        }
        // Whoever freed blocks of this heap has subtracted what this heap no longer adds.
        self.knows_requests = false;
        self.freed = None;
        // SAFETY: this thread is the owner, and the model has given all blocks up.
        unsafe { self.arena.drop_heap(heap) };
    }

    fn misuse(&mut self, owner: u8, index: u16, how: Misuse, amount: u16) {
        let Some(heap) = self.owner(owner) else { return };
        // SAFETY: this thread is the owner.
        let heap = unsafe { heap.as_ref() };
        let live = self.blocks.pick(index);
        let step = 1 + usize::from(amount);
        // SAFETY: the misuse is the point: a fault must stop it, and leave everything as it was.
        let kind = unsafe {
            match (how, live) {
                (Misuse::DoubleFree, _) => {
                    let Some(freed) = self.freed else { return };
                    Self::free_sized(heap, freed.address, freed.bytes, freed.align);
                    FaultKind::DoubleFree
                }
                (Misuse::Foreign, _) => {
                    let mut elsewhere = [0u64; 4];
                    heap.free_slow(NonNull::from(&mut elsewhere).cast(), Some((32, 8)));
                    FaultKind::Foreign
                }
                (_, None) => return,
                (Misuse::Interior, Some(live)) => {
                    if live.bytes < 2 {
                        return;
                    }
                    let inside = live.address.add(1 + step % (live.bytes - 1));
                    Self::free_sized(heap, inside, live.bytes, live.align);
                    FaultKind::Interior
                }
                (Misuse::WrongLayout, Some(live)) => {
                    let bytes = live.bytes.saturating_add(C::GRANULE_BYTES + step);
                    Self::free_sized(heap, live.address, bytes, live.align);
                    FaultKind::WrongLayout
                }
                (Misuse::WrongRealloc, Some(live)) => {
                    let bytes = live.bytes.saturating_add(C::GRANULE_BYTES + step);
                    let old = Some(bytes);
                    assert_eq!(heap.reallocate(live.address, old, live.align, step), None);
                    FaultKind::WrongLayout
                }
            }
        };
        let faults = take_faults();
        assert_eq!(faults.len(), 1, "one fault for {how:?} of {live:?}: {faults:?}");
        assert_eq!(faults[0].kind, kind, "{how:?} of {live:?}: {}", faults[0]);
    }

    /// Compares everything that can be known.
    pub fn check(&self) {
        // SAFETY: the blocks are live.
        unsafe { self.blocks.check_contents() };
        for sample in self.arena.sink().live() {
            let live = self.blocks.containing(sample.address);
            let said = live.map(|live| (live.address.addr().get(), live.bytes));
            assert_eq!(said, Some((sample.address, sample.bytes)), "what is sampled");
        }
        self.check_map();
        let s = self.arena.snapshot(true);
        s.check().unwrap_or_else(|broken| panic!("{broken}"));
        assert_eq!(s.allocations - s.frees, self.blocks.len() as u64, "live blocks");
        let allocated: usize =
            self.blocks.iter().map(|live| Heap::<C>::block_bytes_for(live.bytes, live.align)).sum();
        assert_eq!(s.allocated_bytes.current, allocated as u64, "allocated bytes");
        if self.knows_requests {
            assert_eq!(s.requested_bytes.current, self.blocks.requested_bytes(), "requested bytes");
        }
    }

    /// Compares the map of the ground with the sums.
    fn check_map(&self) {
        let s = self.arena.snapshot(true);
        let opened = self.arena.opened();
        let (mut end, mut dirty_bytes, mut taken_bytes) = (opened.start, 0, 0);
        let is_whole = self.arena.map(|stretch| {
            assert_eq!(stretch.address, end, "stretches follow each other");
            end += stretch.bytes;
            match stretch.used_for {
                Use::Slab { .. } | Use::Large => taken_bytes += stretch.bytes as u64,
                Use::Dirty => dirty_bytes += stretch.bytes as u64,
                _ => {}
            }
            true
        });
        assert!(is_whole && (opened.is_empty() || end == opened.end), "all of it");
        assert_eq!(taken_bytes, s.active_bytes.current);
        assert!(dirty_bytes <= s.cached_bytes.current);
    }

    /// Frees everything, sweeps, and checks that nothing is lost.
    pub fn finish(mut self) {
        self.handle.stop_failing();
        self.arena.set_limit(0);
        while !self.blocks.is_empty() {
            let before = self.blocks.len();
            self.free(1, 0, true);
            if self.blocks.len() == before {
                break;
            }
        }
        self.release_all();
        for heap in self.owners.iter_mut().filter_map(Option::take) {
            // SAFETY: this thread is the owner, and forgets the heap.
            unsafe { self.arena.orphan_heap(heap) };
        }
        self.arena.collect_orphans();
        self.arena.collect_samples();
        self.arena.purge(0);
        let s = self.arena.snapshot(true);
        s.check().unwrap_or_else(|broken| panic!("{broken}"));
        if self.blocks.is_empty() {
            assert_eq!(self.arena.sink().live(), [], "samples are lost");
            assert_eq!(s.active_bytes.current, 0, "spans are lost");
            assert_eq!(s.cached_bytes.current, s.reserved_bytes.current);
        }
        drop(self);
        assert_eq!(take_faults(), [], "a fault at the end");
    }
}

impl<C: TestConfig> Default for Heaps<C> {
    fn default() -> Self {
        Self::new()
    }
}

impl<C: TestConfig> Drop for Heaps<C> {
    fn drop(&mut self) {
        // SAFETY: the heaps and blocks are the model's, which ends.
        unsafe { self.arena.release_regions() };
        if !std::thread::panicking() {
            assert_eq!(self.handle.reserved_bytes(), 0, "a region was not released");
        }
    }
}
