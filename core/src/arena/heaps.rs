//! The heaps of an arena: built once, then handed from owner to owner; and what a fork and the end
//! of the arena need.

use core::{
    mem,
    num::NonZeroUsize,
    ptr::{self, NonNull},
    slice,
};

use super::Arena;
use crate::{
    backend::{Backend, Region},
    config::Config,
    heap::Heap,
    sync::atomic::Ordering::{Acquire, Relaxed, Release},
};

/// How many heaps at a time are left as they were by owners that ended: a few threads that come and go are
/// quicker so, and no more than what as many threads hold back is held longer.
const MAX_UNSWEPT: usize = 4;

impl<C: Config> Arena<C> {
    /// A heap of the caller's own: one that waits for an owner, or a new one. `None` where the
    /// backend or [`Config::MAX_HEAPS`] refuses.
    pub fn adopt_heap(&'static self) -> Option<&'static Heap<C>> {
        // SAFETY: a static arena outlives its heaps.
        unsafe { self.adopt_heap_unbound() }.map(|heap| {
            // SAFETY: I3: heaps live as long as their arena.
            unsafe { heap.as_ref() }
        })
    }

    /// As [`adopt_heap`](Self::adopt_heap), for an arena that may end.
    ///
    /// # Safety
    /// - The arena neither moves nor ends while the heap or one of its blocks is in use.
    #[cfg_attr(target_os = "linux", unsafe(link_section = "genesis_mem_slow"))]
    pub unsafe fn adopt_heap_unbound(&self) -> Option<NonNull<Heap<C>>> {
        let orphan = self.adopt_orphan().or_else(|| self.swept.adopt());
        orphan.or_else(|| self.empties.adopt()).or_else(|| self.build_heap())
    }

    /// A heap whose owner is gone. The caller is its owner now.
    pub(super) fn adopt_orphan(&self) -> Option<NonNull<Heap<C>>> {
        let heap = self.orphans.adopt()?;
        // SAFETY: I1, I3: adopted just now; heaps are immortal.
        if unsafe { heap.as_ref() }.is_unswept.take() {
            self.unswept.fetch_sub(1, Relaxed);
        }
        Some(heap)
    }

    /// Leaves a heap, blocks and all, to whoever adopts next. What is empty in it goes back, but for a few
    /// heaps at a time: an owner that comes soon starts from what the last one had at hand. Otherwise it
    /// goes back when orphans are next [collected](Self::collect_orphans).
    ///
    /// # Safety
    /// - The caller owns `heap`, a heap of this arena, and doesn't touch it from now on.
    pub unsafe fn orphan_heap(&self, heap: NonNull<Heap<C>>) {
        // SAFETY: I1, I3: the caller is the owner, and heaps are immortal.
        unsafe {
            if self.unswept.fetch_add(1, Relaxed) < MAX_UNSWEPT {
                heap.as_ref().leave();
                heap.as_ref().is_unswept.set(true);
            } else {
                self.unswept.fetch_sub(1, Relaxed);
                heap.as_ref().collect();
            }
            self.orphans.orphan(heap);
        }
    }

    /// Whether heaps whose owners are gone may have something to give back.
    pub(super) fn has_unswept(&self) -> bool {
        self.unswept.load(Relaxed) > 0
    }

    /// An empty heap, to be [dropped](Self::drop_heap) whole: frees by others don't wait, and large
    /// blocks are listed.
    ///
    /// # Safety
    /// - As for [`adopt_heap_unbound`](Self::adopt_heap_unbound).
    pub unsafe fn adopt_empty_heap(&self) -> Option<NonNull<Heap<C>>> {
        let heap = self.empties.adopt().or_else(|| self.build_heap())?;
        // SAFETY: I1: adopted just now.
        unsafe { heap.as_ref() }.set_dropped_whole(true);
        Some(heap)
    }

    /// Gives back everything that a heap holds, live blocks and all.
    ///
    /// # Safety
    /// - The caller owns `heap`, which came from [`adopt_empty_heap`](Self::adopt_empty_heap), and
    ///   doesn't touch it from now on.
    /// - Nobody uses a block of it any more, nor is freeing one.
    pub unsafe fn drop_heap(&self, heap: NonNull<Heap<C>>) {
        // SAFETY: forwarded; heaps are immortal.
        unsafe {
            heap.as_ref().release_all();
            heap.as_ref().set_dropped_whole(false);
            self.empties.orphan(heap);
        }
    }

    #[cfg_attr(target_os = "linux", unsafe(link_section = "genesis_mem_slow"))]
    pub(super) fn build_heap(&self) -> Option<NonNull<Heap<C>>> {
        let mut growth = self.growth.lock();
        if !self.set_up(&mut growth) {
            return None;
        }
        let index = self.heap_count.load(Relaxed);
        let layout = self.metadata_layout();
        if index == layout.max_heaps() {
            return None;
        }
        if index == growth.heaps_committed {
            let count = layout.heaps_at_once().min(layout.max_heaps() - index);
            let range = layout.heaps(index..index + count);
            if let Err(refusal) = self.commit_metadata(range) {
                growth.refusal = Some(refusal);
                return None;
            }
            growth.heaps_committed += count;
        }
        let heap = NonNull::new(self.heaps.load(Relaxed))?;
        // SAFETY: I4: the slot is inside the committed part of the heap table, and new: it reads as
        // zeroes, which are a heap that stands for none.
        let heap = unsafe { heap.add(index) };
        // SAFETY: as above. What is written to is what is used: a heap of zeroes is not copied there.
        unsafe { heap.as_ref() }.belong_to(self);
        // Release pairs with the Acquire in `heaps_so_far`.
        self.heap_count.store(index + 1, Release);
        Some(heap)
    }

    /// All heaps that were ever built.
    pub(super) fn heaps_so_far(&self) -> &[Heap<C>] {
        // Acquire pairs with the Release in `build_heap`.
        let count = self.heap_count.load(Acquire);
        match NonNull::new(self.heaps.load(Relaxed)) {
            // SAFETY: I3: that many heaps were built, and heaps are immortal.
            Some(heaps) if count > 0 => unsafe { slice::from_raw_parts(heaps.as_ptr(), count) },
            _ => &[],
        }
    }

    /// Gives region and tables back to their backends: the end of an arena that is no `static`.
    ///
    /// # Safety
    /// - Nobody uses the arena, a heap or a block of it ever again.
    pub unsafe fn release_regions(&self) {
        let Some(region) = self.region() else { return };
        let bytes = NonZeroUsize::new(self.metadata_layout().bytes());
        let tables = NonNull::new(self.metadata_base.load(Relaxed)).zip(bytes);
        self.middle.lock().pool = None;
        // A backend that refuses keeps its region; there is nobody left to tell.
        // SAFETY: forwarded: nothing in either is live.
        unsafe {
            let _ = self.backend.release(region);
            if let Some((base, bytes)) = tables {
                let _ = self.metadata.release(Region::new(base, bytes));
            }
        }
    }

    /// Takes all locks, those of shared heaps first, so that no other thread holds one across a
    /// fork.
    pub fn before_fork(&self) {
        // The heap of samples comes last: who has the lock of another may need it. One that is made
        // meanwhile counts as any other: nobody needs it yet.
        let samples = self.sample_heap();
        let mut locked = 0;
        loop {
            let heaps = self.heaps_so_far();
            for heap in heaps[locked..].iter().filter(|heap| !ptr::eq(*heap, samples)) {
                mem::forget(heap.shared.lock());
            }
            locked = heaps.len();
            // SAFETY: I3: heaps live as long as their arena.
            let samples = unsafe { samples.as_ref() };
            samples.inspect(|heap| mem::forget(heap.shared.lock()));
            mem::forget(self.orphans.lock().lock());
            mem::forget(self.swept.lock().lock());
            mem::forget(self.empties.lock().lock());
            mem::forget(self.growth.lock());
            mem::forget(self.middle.lock());
            if self.heaps_so_far().len() == locked {
                return;
            }
            // SAFETY: taken just now; a heap was built meanwhile, and its lock comes first.
            unsafe {
                self.unlock_own();
                samples.inspect(|heap| heap.shared.force_unlock());
            }
        }
    }

    /// # Safety
    /// - The calling thread holds the arena's own locks, with their guards forgotten.
    pub(super) unsafe fn unlock_own(&self) {
        // SAFETY: forwarded.
        unsafe {
            self.middle.force_unlock();
            self.growth.force_unlock();
            self.empties.lock().force_unlock();
            self.swept.lock().force_unlock();
            self.orphans.lock().force_unlock();
        }
    }

    /// Opens the locks again, in the parent and in the child.
    ///
    /// # Safety
    /// - The calling thread called [`before_fork`](Self::before_fork).
    pub unsafe fn after_fork(&self) {
        // SAFETY: the caller's thread holds all locks, and their guards are forgotten.
        unsafe {
            self.unlock_own();
            for heap in self.heaps_so_far() {
                heap.shared.force_unlock();
            }
        }
    }
}
