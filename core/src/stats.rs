//! What the allocator knows about itself: single-writer counters, and the snapshot they add up to.
//!
//! A counter has one writer, which loads, adds and stores; readers sum the counters of all
//! owners. One shared counter that every thread incremented would cost more than an allocation.
#![forbid(unsafe_code)]

mod json;
mod table;

use core::fmt;

use crate::{
    frag::{self, Ratio},
    size_class::MAX_CLASSES,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

pub use self::table::Bytes;

/// A counter with one writer and any number of readers.
#[derive(Debug)]
#[repr(transparent)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Zero.
    #[cfg(not(genesis_loom))]
    pub const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Zero.
    #[cfg(genesis_loom)]
    pub fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Adds `n`. Owner only: a load and a store, never a locked instruction.
    #[inline(always)]
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(n), Relaxed);
    }

    /// Raises the counter to `value` if it is below. Owner only.
    #[inline]
    pub fn raise(&self, value: u64) {
        if self.get() < value {
            self.set(value);
        }
    }

    /// Replaces the value. Owner only.
    #[inline]
    pub fn set(&self, value: u64) {
        self.0.store(value, Relaxed);
    }

    /// The value as of now. Any thread.
    #[inline]
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

impl Default for Counter {
    fn default() -> Self {
        Self::new()
    }
}

/// A quantity now, and the most it has been since the last reset of the peaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Level {
    /// As of the snapshot.
    pub current: u64,
    /// The highest value seen.
    pub peak: u64,
}

impl Level {
    /// A level of `current` whose peak is at least that.
    pub const fn new(current: u64, peak: u64) -> Self {
        Self { current, peak: if peak > current { peak } else { current } }
    }

    /// Sets the current value and keeps the peak.
    pub fn set(&mut self, current: u64) {
        *self = Self::new(current, self.peak);
    }

    fn merge(&mut self, other: Self) {
        // Two peaks need not have happened together, so their sum is an upper bound.
        self.current += other.current;
        self.peak += other.peak;
    }
}

/// What one size class holds and has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClassStats {
    /// Bytes of a block; zero for an unused row, and for the row of large allocations.
    pub block_bytes: u64,
    /// Allocations so far.
    pub allocations: u64,
    /// Frees so far.
    pub frees: u64,
    /// Bytes of live blocks.
    pub allocated_bytes: u64,
    /// Bytes that the holders of live blocks asked for.
    pub requested_bytes: u64,
}

impl ClassStats {
    /// Live blocks.
    pub const fn live(&self) -> u64 {
        self.allocations.saturating_sub(self.frees)
    }

    fn merge(&mut self, other: &Self) {
        self.block_bytes = self.block_bytes.max(other.block_bytes);
        self.allocations += other.allocations;
        self.frees += other.frees;
        self.allocated_bytes += other.allocated_bytes;
        self.requested_bytes += other.requested_bytes;
    }
}

/// The layout version of [`Snapshot`]; grows when a field's meaning changes.
pub const SNAPSHOT_VERSION: u32 = 1;

/// Everything an allocator says of itself at one moment. All sizes in bytes.
///
/// ```text
/// requested <= allocated
/// allocated + inactive == active        (blocks in use + free blocks of spans in use)
/// active + cached     == reserved       (spans in use + free spans)
/// committed <= reserved                 (the rest was given back or never used)
/// resident <= committed                 (the rest was never touched)
/// sum over classes, large included: allocated, requested, allocations, frees
/// cache_hits + cache_misses == allocations
/// ```
/// [`check`](Self::check) tests these. They hold exactly where no thread allocates meanwhile;
/// otherwise the counters are read one after the other and may disagree by what happened between.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Snapshot {
    /// [`SNAPSHOT_VERSION`] of the writer.
    pub version: u32,
    /// Bytes that callers asked for and have not freed.
    pub requested_bytes: Level,
    /// Bytes of live blocks: requested, rounded up to block sizes.
    pub allocated_bytes: Level,
    /// Bytes of spans in use: slabs that belong to a heap, and large blocks.
    pub active_bytes: Level,
    /// Bytes of spans in use that are in no live block.
    pub inactive_bytes: Level,
    /// Bytes of free spans, kept for reuse.
    pub cached_bytes: Level,
    /// Bytes opened for use in the backend's regions; what a limit is set on.
    pub reserved_bytes: Level,
    /// Reserved bytes that may be backed by memory: not purged since their last use.
    pub committed_bytes: Level,
    /// Committed bytes that were touched since, as far as the allocator can know: what the system backs
    /// with memory where the holders of blocks use all of them.
    pub resident_bytes: Level,
    /// Bytes of the allocator's own tables, touched throughout.
    pub metadata_bytes: Level,
    /// The limit on reserved bytes, or zero for none.
    pub limit_bytes: u64,
    /// Addresses set aside in the backend; no memory.
    pub address_space_bytes: u64,
    /// Bytes of the largest free span.
    pub largest_free_bytes: u64,
    /// Bytes of an order-zero span.
    pub granule_bytes: u64,
    /// Allocations so far.
    pub allocations: u64,
    /// Frees so far, remote frees included.
    pub frees: u64,
    /// Reallocations so far.
    pub reallocations: u64,
    /// Reallocations that kept their address.
    pub reallocations_in_place: u64,
    /// Frees by another owner than the block's.
    pub remote_frees: u64,
    /// Allocations served from a free block at hand.
    pub cache_hits: u64,
    /// Allocations that had to look further.
    pub cache_misses: u64,
    /// Calls to the backend: reserve, commit, purge, release, remap.
    pub backend_calls: u64,
    /// Purges.
    pub purges: u64,
    /// Bytes given back by purges so far.
    pub purged_bytes: u64,
    /// Requests that failed.
    pub failures: u64,
    /// Owners: heaps in use, those of ended threads that wait for a new one included.
    pub heaps: u64,
    /// Free spans of `1 << order` granules, by order.
    pub free_spans_by_order: [u32; 32],
    /// By size class; rows without blocks have `block_bytes` zero.
    pub classes: [ClassStats; MAX_CLASSES],
    /// Allocations too large for a class.
    pub large: ClassStats,
}

impl Default for Snapshot {
    fn default() -> Self {
        Self {
            version: SNAPSHOT_VERSION,
            requested_bytes: Level::default(),
            allocated_bytes: Level::default(),
            active_bytes: Level::default(),
            inactive_bytes: Level::default(),
            cached_bytes: Level::default(),
            reserved_bytes: Level::default(),
            committed_bytes: Level::default(),
            resident_bytes: Level::default(),
            metadata_bytes: Level::default(),
            limit_bytes: 0,
            address_space_bytes: 0,
            largest_free_bytes: 0,
            granule_bytes: 0,
            allocations: 0,
            frees: 0,
            reallocations: 0,
            reallocations_in_place: 0,
            remote_frees: 0,
            cache_hits: 0,
            cache_misses: 0,
            backend_calls: 0,
            purges: 0,
            purged_bytes: 0,
            failures: 0,
            heaps: 0,
            free_spans_by_order: [0; 32],
            classes: [ClassStats::default(); MAX_CLASSES],
            large: ClassStats::default(),
        }
    }
}

impl Snapshot {
    /// Adds another allocator's snapshot, so that one shows a whole program.
    ///
    /// Peaks add up to an upper bound, since they need not have happened together. Class rows
    /// are matched by index and keep the larger block size; merge allocators of one family for
    /// an exact table.
    pub fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.levels_mut().into_iter().zip(other.levels()) {
            mine.merge(*theirs);
        }
        for (mine, theirs) in self.counts_mut().into_iter().zip(other.counts()) {
            *mine += theirs;
        }
        self.limit_bytes += other.limit_bytes;
        self.address_space_bytes += other.address_space_bytes;
        self.largest_free_bytes = self.largest_free_bytes.max(other.largest_free_bytes);
        self.granule_bytes = self.granule_bytes.max(other.granule_bytes);
        self.heaps += other.heaps;
        for (mine, theirs) in self.free_spans_by_order.iter_mut().zip(other.free_spans_by_order) {
            *mine += theirs;
        }
        for (mine, theirs) in self.classes.iter_mut().zip(&other.classes) {
            mine.merge(theirs);
        }
        self.large.merge(&other.large);
    }

    /// What the counts have grown by since `earlier`; levels stay those of `self`.
    pub fn since(&self, earlier: &Self) -> Self {
        let mut difference = *self;
        for (now, then) in difference.counts_mut().into_iter().zip(earlier.counts()) {
            *now = now.saturating_sub(then);
        }
        for (now, then) in difference.rows_mut().zip(earlier.rows()) {
            now.allocations = now.allocations.saturating_sub(then.allocations);
            now.frees = now.frees.saturating_sub(then.frees);
        }
        difference
    }

    /// What the system shows as resident in the allocator's mappings: pages of spans, and tables.
    pub const fn footprint_bytes(&self) -> u64 {
        self.resident_bytes.current + self.metadata_bytes.current
    }

    /// The share of allocations that were served from a free block at hand.
    pub const fn hit_rate(&self) -> Ratio {
        Ratio::new(self.cache_hits, self.cache_hits + self.cache_misses)
    }

    /// Allocated but not requested, over allocated.
    pub const fn internal_fragmentation(&self) -> Ratio {
        frag::internal(self.requested_bytes.current, self.allocated_bytes.current)
    }

    /// Free span bytes outside the largest free span, over free span bytes.
    pub const fn external_fragmentation(&self) -> Ratio {
        frag::external(self.cached_bytes.current, self.largest_free_bytes)
    }

    /// Reserved but not allocated, over reserved.
    pub const fn reserved_fragmentation(&self) -> Ratio {
        frag::reserved(self.allocated_bytes.current, self.reserved_bytes.current)
    }

    /// Free granules in spans smaller than `1 << order` granules, over free granules.
    pub fn unusable(&self, order: usize) -> Ratio {
        frag::unusable(&self.free_spans_by_order, order)
    }

    /// Tests the sums that must hold; see the type.
    ///
    /// # Errors
    /// The first equation that does not hold, with both sides.
    pub fn check(&self) -> Result<(), BrokenSum> {
        let rows = |field: fn(&ClassStats) -> u64| self.rows().map(field).sum::<u64>();
        let equal = |equation, left, right| {
            if left == right { Ok(()) } else { Err(BrokenSum { equation, left, right }) }
        };
        let at_most = |equation, left, right| {
            if left <= right { Ok(()) } else { Err(BrokenSum { equation, left, right }) }
        };
        let now = |level: &Level| level.current;
        let (allocated, active) = (now(&self.allocated_bytes), now(&self.active_bytes));
        let (requested, reserved) = (now(&self.requested_bytes), now(&self.reserved_bytes));
        at_most("requested <= allocated", requested, allocated)?;
        equal("allocated + inactive == active", allocated + now(&self.inactive_bytes), active)?;
        equal("active + cached == reserved", active + now(&self.cached_bytes), reserved)?;
        at_most("committed <= reserved", now(&self.committed_bytes), reserved)?;
        let (resident, committed) = (now(&self.resident_bytes), now(&self.committed_bytes));
        at_most("resident <= committed", resident, committed)?;
        equal("classes add up to allocated", rows(|row| row.allocated_bytes), allocated)?;
        equal("classes add up to requested", rows(|row| row.requested_bytes), requested)?;
        equal("classes add up to allocations", rows(|row| row.allocations), self.allocations)?;
        equal("classes add up to frees", rows(|row| row.frees), self.frees)?;
        let lookups = self.cache_hits + self.cache_misses;
        equal("hits + misses == allocations", lookups, self.allocations)?;
        for level in self.levels() {
            at_most("current <= peak", level.current, level.peak)?;
        }
        Ok(())
    }

    /// All rows: the classes and the large allocations.
    pub fn rows(&self) -> impl Iterator<Item = &ClassStats> {
        self.classes.iter().chain(core::iter::once(&self.large))
    }

    fn rows_mut(&mut self) -> impl Iterator<Item = &mut ClassStats> {
        self.classes.iter_mut().chain(core::iter::once(&mut self.large))
    }

    fn levels(&self) -> [&Level; 9] {
        [
            &self.requested_bytes,
            &self.allocated_bytes,
            &self.active_bytes,
            &self.inactive_bytes,
            &self.cached_bytes,
            &self.reserved_bytes,
            &self.committed_bytes,
            &self.resident_bytes,
            &self.metadata_bytes,
        ]
    }

    fn levels_mut(&mut self) -> [&mut Level; 9] {
        [
            &mut self.requested_bytes,
            &mut self.allocated_bytes,
            &mut self.active_bytes,
            &mut self.inactive_bytes,
            &mut self.cached_bytes,
            &mut self.reserved_bytes,
            &mut self.committed_bytes,
            &mut self.resident_bytes,
            &mut self.metadata_bytes,
        ]
    }

    fn counts(&self) -> [u64; 11] {
        [
            self.allocations,
            self.frees,
            self.reallocations,
            self.reallocations_in_place,
            self.remote_frees,
            self.cache_hits,
            self.cache_misses,
            self.backend_calls,
            self.purges,
            self.purged_bytes,
            self.failures,
        ]
    }

    fn counts_mut(&mut self) -> [&mut u64; 11] {
        [
            &mut self.allocations,
            &mut self.frees,
            &mut self.reallocations,
            &mut self.reallocations_in_place,
            &mut self.remote_frees,
            &mut self.cache_hits,
            &mut self.cache_misses,
            &mut self.backend_calls,
            &mut self.purges,
            &mut self.purged_bytes,
            &mut self.failures,
        ]
    }
}

/// An equation of [`Snapshot`] that does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BrokenSum {
    /// The equation.
    pub equation: &'static str,
    /// Its left side.
    pub left: u64,
    /// Its right side.
    pub right: u64,
}

impl fmt::Display for BrokenSum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} does not hold: {} against {}", self.equation, self.left, self.right)
    }
}

impl core::error::Error for BrokenSum {}

#[cfg(all(test, not(genesis_loom)))]
mod tests {
    use super::*;

    fn example() -> Snapshot {
        let mut s = Snapshot::default();
        s.classes[3] = ClassStats {
            block_bytes: 64,
            allocations: 10,
            frees: 4,
            allocated_bytes: 384,
            requested_bytes: 300,
        };
        (s.allocations, s.frees, s.cache_hits, s.cache_misses) = (10, 4, 9, 1);
        s.requested_bytes = Level::new(300, 400);
        s.allocated_bytes = Level::new(384, 512);
        s.active_bytes = Level::new(65536, 0);
        s.inactive_bytes = Level::new(65536 - 384, 0);
        s.cached_bytes = Level::new(65536, 0);
        s.reserved_bytes = Level::new(131072, 0);
        s.committed_bytes = Level::new(65536, 0);
        s
    }

    #[test]
    fn the_sums_are_checked() {
        let good = example();
        assert_eq!(good.check(), Ok(()));
        assert_eq!(good.hit_rate(), Ratio { part: 9, whole: 10 });
        let mut bad = good;
        bad.inactive_bytes.set(1);
        assert_eq!(bad.check().unwrap_err().equation, "allocated + inactive == active");
        let mut bad = good;
        bad.large.frees = 1;
        assert_eq!(bad.check().unwrap_err().equation, "classes add up to frees");
    }

    #[test]
    fn merging_keeps_the_sums_and_since_takes_counts_back() {
        let mut both = example();
        both.merge(&example());
        assert_eq!(both.check(), Ok(()));
        assert_eq!(both.allocations, 20);
        assert_eq!(both.allocated_bytes, Level { current: 768, peak: 1024 });
        let step = both.since(&example());
        assert_eq!((step.allocations, step.classes[3].allocations), (10, 10));
        assert_eq!(step.allocated_bytes.current, 768);
    }
}
