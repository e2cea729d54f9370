//! Adding up what the heaps and the pool know.

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::{Arena, Held};
use crate::{
    config::Config,
    size_class::{HostClasses, SizeClass},
    stats::{ClassStats, Counter, Level, Snapshot},
};

impl<C: Config> Arena<C> {
    /// A heap's small blocks amount to this much more than when it last said so. Slow path only.
    pub(crate) fn publish(&self, change: Held) {
        if change != Held::default() {
            self.counts.allocated_bytes.fetch_add(change.allocated_bytes, Relaxed);
            self.counts.requested_bytes.fetch_add(change.requested_bytes, Relaxed);
            self.raise_peaks();
        }
    }

    /// Bytes of live blocks, as far as published.
    pub(super) fn held_bytes(&self) -> u64 {
        let small = self.counts.allocated_bytes.load(Relaxed);
        let now = small.wrapping_add(self.counts.large_allocated_bytes.get());
        if (now as i64) < 0 { 0 } else { now }
    }

    /// Keeps the peaks up with the sums.
    pub(super) fn raise_peaks(&self) {
        let counts = &self.counts;
        let raise = |peak: &AtomicU64, small: &AtomicU64, large: &Counter| {
            let now = small.load(Relaxed).wrapping_add(large.get());
            // Heaps publish in any order, so a sum may dip below zero for a moment.
            if (now as i64) > 0 && now > peak.load(Relaxed) {
                peak.fetch_max(now, Relaxed);
            }
        };
        raise(&counts.peak_allocated, &counts.allocated_bytes, &counts.large_allocated_bytes);
        raise(&counts.peak_requested, &counts.requested_bytes, &counts.large_requested_bytes);
    }

    /// Everything that the arena knows about itself. Any thread; exact where none allocates.
    ///
    /// `sized`: every free named its size, so requested bytes are exact; otherwise they are
    /// estimated from the mean request of each class.
    pub fn snapshot(&self, sized: bool) -> Snapshot {
        let mut s = Snapshot::default();
        s.large.allocated_bytes = self.counts.large_allocated_bytes.get();
        s.large.requested_bytes = self.counts.large_requested_bytes.get();
        for heap in self.heaps_so_far() {
            heap.add_to(&mut s);
        }
        s.heaps = self.heaps_so_far().len() as u64;
        for index in 0..HostClasses::COUNT {
            if let Some(class) = SizeClass::from_index(index) {
                s.classes[index].block_bytes = HostClasses::block_bytes(class) as u64;
            }
        }
        let (mut allocated, mut requested) = (0, 0);
        for row in s.classes.iter_mut().chain([&mut s.large]) {
            settle_row(row, sized);
            s.allocations += row.allocations;
            s.frees += row.frees;
            allocated += row.allocated_bytes;
            requested += row.requested_bytes;
        }
        s.cache_hits = s.allocations.saturating_sub(s.cache_misses);
        let counts = &self.counts;
        s.allocated_bytes = Level::new(allocated, counts.peak_allocated.load(Relaxed));
        // Frees that name no size leave the published sum too high.
        let peak_requested = counts.peak_requested.load(Relaxed).min(s.allocated_bytes.peak);
        s.requested_bytes = Level::new(requested, peak_requested);
        let open_granules = self.opened_bytes() / C::GRANULE_BYTES;
        let (heaps, pages) = (self.heaps_so_far().len(), self.descriptor_pages());
        let used = self.metadata_layout().used_bytes(open_granules, heaps, pages);
        // Heaps and descriptors are never given back, so what is used is the peak, too.
        s.metadata_bytes = Level::new(used as u64, 0);
        s.backend_calls = counts.backend_calls.load(Relaxed);
        s.purges = counts.purges.load(Relaxed);
        s.purged_bytes = counts.purged_bytes.load(Relaxed);
        s.failures = counts.failures.load(Relaxed);
        s.limit_bytes = self.limit_bytes.load(Relaxed) as u64;
        s.address_space_bytes = self.region_bytes.load(Relaxed) as u64;
        s.granule_bytes = C::GRANULE_BYTES as u64;
        self.add_pool(&mut s);
        s
    }

    fn add_pool(&self, s: &mut Snapshot) {
        let middle = self.middle.lock();
        let Some(pool) = &middle.pool else { return };
        let bytes = |granules: u32| u64::from(granules) * C::GRANULE_BYTES as u64;
        let (open, cached) = (pool.open_granules(), pool.cached_granules());
        let taken = open - cached;
        // The pool knows nothing of what heaps keep, which is as free as what it has itself.
        let kept_bytes = s.cached_bytes.current.min(bytes(taken));
        let active_bytes = bytes(taken) - kept_bytes;
        s.reserved_bytes = Level::new(bytes(open), 0);
        s.active_bytes = Level::new(active_bytes, bytes(middle.peak_active));
        s.cached_bytes = Level::new(bytes(cached) + kept_bytes, bytes(middle.peak_cached));
        let committed_bytes = middle.committed_bytes(pool, C::GRANULE_BYTES);
        s.committed_bytes = Level::new(committed_bytes, middle.peak_committed_bytes);
        let resident_bytes = self.touched_bytes().saturating_sub(middle.offers.purged_bytes);
        s.resident_bytes = Level::new(resident_bytes.min(committed_bytes), 0);
        let inactive = active_bytes.saturating_sub(s.allocated_bytes.current);
        s.inactive_bytes = Level::new(inactive, 0);
        s.largest_free_bytes = bytes(pool.largest_free_granules());
        let by_order = pool.free_blocks_by_order();
        s.free_spans_by_order[..by_order.len().min(32)]
            .copy_from_slice(&by_order[..by_order.len().min(32)]);
    }

    /// Lets the peaks start over from the levels of now.
    pub fn reset_peaks(&self) {
        let counts = &self.counts;
        counts.peak_allocated.store(0, Relaxed);
        counts.peak_requested.store(0, Relaxed);
        self.raise_peaks();
        let mut middle = self.middle.lock();
        (middle.peak_active, middle.peak_cached) = (0, 0);
        middle.peak_committed_bytes = 0;
        drop(middle);
        self.with_pool(|_| ());
    }
}

/// Counters are read one after the other while others count on; a row never shows less than none.
fn settle_row(row: &mut ClassStats, sized: bool) {
    row.frees = row.frees.min(row.allocations);
    if row.block_bytes > 0 {
        row.allocated_bytes = row.live() * row.block_bytes;
    }
    if !sized && row.block_bytes > 0 && row.allocations > 0 {
        let mean = u128::from(row.requested_bytes) * u128::from(row.live());
        row.requested_bytes = (mean / u128::from(row.allocations)) as u64;
    }
    if (row.requested_bytes as i64) < 0 || row.live() == 0 {
        row.requested_bytes = 0;
    }
    row.requested_bytes = row.requested_bytes.min(row.allocated_bytes);
}
