//! Giving pages back: the pool says what is due, the backend gives it back, outside the lock.

use core::sync::atomic::Ordering::Relaxed;

use super::Arena;
use crate::{
    backend::{Backend, Capabilities},
    buddy::Span,
    config::Config,
    event::EventKind,
    heap::Heap,
};

impl<C: Config> Arena<C> {
    /// A step of the clock by which free memory ages. What heaps keep joins it.
    pub fn tick(&self) {
        self.put_kept();
        self.with_pool(|pool| pool.tick());
    }

    /// Gives back the pages of free spans, and of free blocks in slabs of several granules, that were
    /// freed at least `age_ticks` steps ago; returns how many bytes. Addresses stay. Any thread.
    pub fn purge(&self, age_ticks: u8) -> usize {
        if !C::Backend::CAPABILITIES.contains(Capabilities::PURGE) {
            return 0;
        }
        let Some(region) = self.region() else { return 0 };
        if age_ticks == 0 {
            self.put_kept();
        }
        let mut purged_bytes = 0;
        while let Some(purge) = self.with_pool(|pool| pool.begin_purge(age_ticks)).flatten() {
            let run = purge.run();
            let range = self.bytes_of(run.clone());
            self.count_call();
            // SAFETY: I2: the pool took the run out; nothing in it is live.
            let done = unsafe { self.backend.purge(&region, range.clone()) }.is_ok();
            if done {
                self.note_untouched(run.clone());
                self.note_sparse(run.clone());
            }
            self.with_pool(|pool| pool.finish_purge(purge, done));
            if !done {
                continue;
            }
            // SAFETY: the run is committed; what it lies in goes on being used by whom it may.
            unsafe { self.backend.expect_sparse(&region, range.clone()) };
            purged_bytes += range.len();
            self.counts.purges.fetch_add(1, Relaxed);
            self.counts.purged_bytes.fetch_add(range.len() as u64, Relaxed);
            let span = Span { granule: run.start, granules: run.end - run.start };
            self.record(EventKind::Purge, span);
        }
        purged_bytes + self.purge_offers(&region, age_ticks)
    }

    /// Whether free memory waits to be given back.
    pub fn has_dirt(&self) -> bool {
        let is_kept = |heap: &Heap<C>| heap.kept().0 > 0;
        self.with_pool(|pool| pool.has_dirt()).unwrap_or(false)
            || self.has_offers()
            || self.has_unswept()
            || self.heaps_so_far().iter().any(is_kept)
    }

    /// Bytes of free spans that may be backed by memory.
    pub fn dirty_bytes(&self) -> usize {
        self.with_pool(|pool| pool.dirty_granules()).unwrap_or(0) as usize * C::GRANULE_BYTES
    }

    /// Sweeps heaps without an owner: what other threads freed into them since comes home, and
    /// their empty slabs go to the pool. Any thread.
    pub fn collect_orphans(&self) {
        // One at a time: a thread that starts meanwhile finds the others.
        for _ in 0..self.heaps_so_far().len() {
            let Some(heap) = self.adopt_orphan() else { break };
            // SAFETY: I1: adopted just now, and not touched after.
            unsafe {
                heap.as_ref().collect();
                self.swept.orphan(heap);
            }
        }
        while let Some(heap) = self.swept.adopt() {
            // SAFETY: I1: as above.
            unsafe { self.orphans.orphan(heap) };
        }
    }
}
