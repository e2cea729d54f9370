//! The snapshot: sums over the heaps, in the type that the host allocator uses too.
//!
//! Where the shared words speak of spans, a device reads: *inactive* are freed blocks that other
//! streams may still use, *cached* is free memory that is mapped, and the *backend calls* are
//! pieces created, mapped, unmapped and released, or allocated and freed.
#![forbid(unsafe_code)]

use genesis_mem_core::{
    size_class::{DeviceClasses, SizeClass},
    stats::{ClassStats, Level, Snapshot},
};

use crate::{
    arena::{QUANTUM_BYTES, ROWS, Row},
    driver::Driver,
    heap::Heap,
    shared::Shared,
};

impl<D: Driver> Shared<D> {
    /// Everything the allocator says of itself.
    pub(crate) fn snapshot(&self) -> Snapshot {
        let pool = self.pool();
        let mut sum = self.snapshot_of(|_| true);
        let counts = pool.counts;
        sum.reserved_bytes = Level::new(pool.reserved_bytes, pool.reserved_peak_bytes);
        sum.committed_bytes = sum.reserved_bytes;
        // The heaps know their own peaks only; that of their sum lies between the highest of
        // them, with what the slow path has seen, and their sum.
        sum.requested_bytes = Level::new(sum.requested_bytes.current, pool.live_peak_bytes);
        sum.limit_bytes = pool.limit_bytes;
        sum.backend_calls = counts.maps + counts.unmaps + counts.creates + counts.releases;
        sum.backend_calls += counts.allocs + counts.frees;
        sum.purges = counts.releases + counts.frees;
        sum.failures = counts.failures;
        sum.cache_misses = counts.misses.min(sum.allocations);
        sum.cache_hits = sum.allocations - sum.cache_misses;
        sum
    }

    /// The sums over the heaps that `wanted` names. The physical memory behind them counts as
    /// theirs where it is in use now.
    pub(crate) fn snapshot_of(&self, wanted: impl Fn(&Heap) -> bool) -> Snapshot {
        let mut sum = Snapshot::default();
        sum.granule_bytes = self.granule_bytes;
        for heap in self.heaps().filter(|heap| wanted(heap)) {
            let arena = heap.arena.lock();
            let sums = arena.sums;
            sum.heaps += 1;
            add(&mut sum.requested_bytes, sums.requested_bytes, sums.requested_peak_bytes);
            add(&mut sum.allocated_bytes, sums.allocated_bytes, sums.allocated_peak_bytes);
            add(&mut sum.inactive_bytes, sums.pending_bytes, 0);
            add(&mut sum.active_bytes, sums.allocated_bytes + sums.pending_bytes, 0);
            add(&mut sum.metadata_bytes, arena.metadata_bytes(), 0);
            arena.for_each_free(|len| {
                let bytes = u64::from(len) * QUANTUM_BYTES;
                add(&mut sum.cached_bytes, bytes, 0);
                let order = (bytes / self.granule_bytes).checked_ilog2();
                if let Some(order) = order {
                    sum.free_spans_by_order[order as usize] += 1;
                }
            });
            sum.largest_free_bytes = sum.largest_free_bytes.max(arena.largest_free_bytes());
            sum.address_space_bytes += match &heap.table {
                None => u64::from(heap.span) * QUANTUM_BYTES,
                Some(table) => table.lock().bytes(),
            };
            add_rows(&mut sum, &arena.rows);
        }
        sum.reserved_bytes = Level::new(sum.active_bytes.current + sum.cached_bytes.current, 0);
        sum.committed_bytes = sum.reserved_bytes;
        sum.cache_hits = sum.allocations;
        sum
    }
}

fn add(level: &mut Level, current: u64, peak: u64) {
    *level = Level::new(level.current + current, level.peak + peak.max(current));
}

fn add_rows(sum: &mut Snapshot, rows: &[Row; ROWS]) {
    for (index, row) in rows.iter().enumerate() {
        let class = if index + 1 < ROWS { SizeClass::from_index(index) } else { None };
        let stats: &mut ClassStats = match class {
            Some(_) => &mut sum.classes[index],
            None => &mut sum.large,
        };
        if row.allocations > 0
            && let Some(class) = class
        {
            stats.block_bytes = DeviceClasses::block_bytes(class) as u64;
        }
        stats.allocations += row.allocations;
        stats.frees += row.frees;
        stats.allocated_bytes += row.allocated_bytes;
        stats.requested_bytes += row.requested_bytes;
        sum.allocations += row.allocations;
        sum.frees += row.frees;
    }
}
