//! The heap of sampled blocks: one an arena, behind its lock, made when the first is due.

use core::ptr::{self, NonNull};

use super::Arena;
use crate::{
    config::Config,
    event::EventSink,
    heap::Heap,
    sync::atomic::Ordering::{AcqRel, Acquire},
};

impl<C: Config> Arena<C> {
    /// Who hears about events.
    pub const fn sink(&self) -> &C::Sink {
        &self.sink
    }

    /// Which sampling is on; zero for none.
    #[inline(always)]
    pub(crate) fn sampling(&self) -> u32 {
        if C::Sink::SAMPLES { self.sink.sampling() } else { 0 }
    }

    /// The heap of sampled blocks; null if there is none yet.
    pub(crate) fn sample_heap(&self) -> *const Heap<C> {
        // Acquire pairs with the Release in `adopt_sample_heap`.
        if C::Sink::SAMPLES { self.samples.load(Acquire) } else { ptr::null() }
    }

    /// Runs `f` as the owner of the heap of sampled blocks; `None` where there is no heap to be had.
    pub(crate) fn with_samples<T>(&self, f: impl FnOnce(&Heap<C>) -> T) -> Option<T> {
        let mut heap = self.sample_heap();
        if heap.is_null() {
            heap = self.adopt_sample_heap()?;
        }
        // SAFETY: I3: heaps live as long as their arena.
        let heap = unsafe { &*heap };
        // I1: the lock makes whoever holds it the owner.
        let _owner = heap.shared.lock();
        Some(f(heap))
    }

    /// An empty heap for sampled blocks: every slab of it must have their tag.
    #[cold]
    fn adopt_sample_heap(&self) -> Option<*const Heap<C>> {
        let heap = self.empties.adopt().or_else(|| self.build_heap())?;
        // SAFETY: I1, I3: adopted just now; heaps live as long as their arena.
        unsafe { heap.as_ref() }.set_holds_samples(true);
        match self.samples.compare_exchange(ptr::null_mut(), heap.as_ptr(), AcqRel, Acquire) {
            Ok(_) => Some(heap.as_ptr()),
            Err(first) => {
                // SAFETY: as above, and not used, since somebody else's came first.
                unsafe { self.give_up_sample_heap(heap) };
                Some(first)
            }
        }
    }

    /// # Safety
    /// - The caller owns the heap, and doesn't touch it from now on.
    unsafe fn give_up_sample_heap(&self, heap: NonNull<Heap<C>>) {
        // SAFETY: forwarded.
        unsafe {
            heap.as_ref().set_holds_samples(false);
            self.empties.orphan(heap);
        }
    }

    /// Gives back every slab of sampled blocks without a live one. Any thread.
    pub fn collect_samples(&self) {
        // SAFETY: I3: heaps live as long as their arena.
        if let Some(heap) = unsafe { self.sample_heap().as_ref() } {
            let _owner = heap.shared.lock();
            // SAFETY: I1: the lock makes this thread the owner.
            unsafe { heap.collect() };
        }
    }
}
