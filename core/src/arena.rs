//! One region of host memory and everything that manages it: descriptors, the span pool under its
//! lock, growth, and the heaps that draw from it.
//!
//! Locks, in the order in which they may be taken: shared heap, heap pools, growth, span pool. The backend is
//! never called under the heap pool's or the span pool's lock; the growth lock is held across
//! `commit`, since whoever waits for it needs the outcome.

mod growth;
mod heaps;
mod large;
mod layout;
mod map;
mod offers;
mod purge;
mod samples;
mod snapshot;
mod touched;

use core::{
    fmt,
    num::NonZeroUsize,
    ops::Range,
    ptr::{self, NonNull},
};

use self::growth::{Grown, Growth};
pub(crate) use self::large::Fresh;
pub use self::{
    growth::Refusal,
    map::{Stretch, Use},
};
use crate::{
    backend::{Backend, Region},
    buddy::Span,
    config::Config,
    descriptor::{Descriptor, tag},
    event::{Event, EventKind, EventSink},
    heap::Heap,
    heap_pool::HeapPool,
    offer::Queue,
    span_pool::{SpanPool, Taken},
    stats::Counter,
    sync::{
        Lock, RelaxStrategy,
        atomic::{
            AtomicPtr, AtomicU8, AtomicU64, AtomicUsize,
            Ordering::{Acquire, Relaxed},
        },
    },
};

/// How often a request waits for a purge before it fails: only a purge that never ends, as one that
/// a signal handler interrupted, uses it up.
const PATIENCE: u32 = 1 << 20;

/// The state that the span pool's lock guards.
struct Middle {
    /// `None` until the first use.
    pool: Option<SpanPool<'static>>,
    /// Bytes of live large blocks, and what their holders asked for.
    large: Held,
    /// Slabs in use with free blocks that may be purged.
    offers: Queue,
    /// Highest values of what only changes under this lock, granules.
    peak_active: u32,
    peak_cached: u32,
    peak_committed_bytes: u64,
}

impl Middle {
    fn note_peaks(&mut self, granule_bytes: usize) {
        let Some(pool) = &self.pool else { return };
        let cached = pool.cached_granules();
        let active = pool.open_granules() - cached;
        self.peak_active = self.peak_active.max(active);
        self.peak_cached = self.peak_cached.max(cached);
        self.peak_committed_bytes =
            self.peak_committed_bytes.max(self.committed_bytes(pool, granule_bytes));
    }

    /// Bytes that may be backed by memory.
    fn committed_bytes(&self, pool: &SpanPool<'_>, granule_bytes: usize) -> u64 {
        let taken = pool.open_granules() - pool.cached_granules();
        let granules = u64::from(taken + pool.dirty_granules());
        granules * granule_bytes as u64 - self.offers.purged_bytes
    }
}

/// What live blocks amount to; wraps where it stands for a change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) allocated_bytes: u64,
    pub(crate) requested_bytes: u64,
}

impl Held {
    pub(crate) const fn plus(self, other: Self) -> Self {
        Self {
            allocated_bytes: self.allocated_bytes.wrapping_add(other.allocated_bytes),
            requested_bytes: self.requested_bytes.wrapping_add(other.requested_bytes),
        }
    }

    pub(crate) const fn minus(self, other: Self) -> Self {
        Self {
            allocated_bytes: self.allocated_bytes.wrapping_sub(other.allocated_bytes),
            requested_bytes: self.requested_bytes.wrapping_sub(other.requested_bytes),
        }
    }
}

/// A region of host memory with its heaps. `const`-built, so that it can be a `static`; set up on
/// first use.
///
/// ```text
/// opened == active + cached      granules, see `SpanPool`
/// ```
pub struct Arena<C: Config> {
    backend: C::Backend,
    metadata: C::Metadata,
    sink: C::Sink,
    /// Written once, before `opened_bytes` first leaves zero.
    base: AtomicPtr<u8>,
    descriptors: AtomicPtr<Descriptor>,
    heaps: AtomicPtr<Heap<C>>,
    region_bytes: AtomicUsize,
    metadata_base: AtomicPtr<u8>,
    touched: AtomicPtr<AtomicU8>,
    secret: AtomicU64,
    /// How far the region is in use; descriptors exist below.
    opened_bytes: AtomicUsize,
    heap_count: AtomicUsize,
    limit_bytes: AtomicUsize,
    middle: Lock<Middle, C::Relax>,
    growth: Lock<Growth, C::Relax>,
    /// Heaps of owners that are gone, with whatever is live in them.
    orphans: HeapPool<Heap<C>, C::Relax>,
    /// How many of them were left as they were, to be swept later.
    unswept: AtomicUsize,
    /// Those of them that a sweep under way is done with.
    swept: HeapPool<Heap<C>, C::Relax>,
    /// Heaps that were dropped whole: nothing is live in them.
    empties: HeapPool<Heap<C>, C::Relax>,
    /// The heap of sampled blocks, once there is one; whoever uses it takes its lock.
    samples: AtomicPtr<Heap<C>>,
    counts: Counts,
}

/// Counters of slow paths.
#[derive(Debug)]
struct Counts {
    backend_calls: AtomicU64,
    purges: AtomicU64,
    purged_bytes: AtomicU64,
    failures: AtomicU64,
    /// Sums over small blocks that heaps publish on their slow paths.
    allocated_bytes: AtomicU64,
    requested_bytes: AtomicU64,
    /// `Middle::large`, for readers without the lock.
    large_allocated_bytes: Counter,
    large_requested_bytes: Counter,
    /// The highest that the sums of both have been.
    peak_allocated: AtomicU64,
    peak_requested: AtomicU64,
}

// SAFETY: I1, I3: what the raw pointers lead to is immortal, and guarded by the locks or owned.
unsafe impl<C: Config> Sync for Arena<C> {}

impl<C: Config> fmt::Debug for Arena<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Arena")
            .field("base", &self.base)
            .field("opened_bytes", &self.opened_bytes)
            .finish_non_exhaustive()
    }
}

impl<C: Config> Arena<C> {
    /// An arena over `backend`, with its tables in `metadata`.
    pub const fn new(backend: C::Backend, metadata: C::Metadata, sink: C::Sink) -> Self {
        Self {
            backend,
            metadata,
            sink,
            base: AtomicPtr::new(ptr::null_mut()),
            descriptors: AtomicPtr::new(ptr::null_mut()),
            heaps: AtomicPtr::new(ptr::null_mut()),
            region_bytes: AtomicUsize::new(0),
            metadata_base: AtomicPtr::new(ptr::null_mut()),
            touched: AtomicPtr::new(ptr::null_mut()),
            secret: AtomicU64::new(0),
            opened_bytes: AtomicUsize::new(0),
            heap_count: AtomicUsize::new(0),
            limit_bytes: AtomicUsize::new(0),
            middle: Lock::new(Middle {
                pool: None,
                large: Held { allocated_bytes: 0, requested_bytes: 0 },
                offers: Queue::new(),
                peak_active: 0,
                peak_cached: 0,
                peak_committed_bytes: 0,
            }),
            growth: Lock::new(Growth { heaps_committed: 0, refusal: None }),
            orphans: HeapPool::new(),
            unswept: AtomicUsize::new(0),
            swept: HeapPool::new(),
            empties: HeapPool::new(),
            samples: AtomicPtr::new(ptr::null_mut()),
            counts: Counts {
                backend_calls: AtomicU64::new(0),
                purges: AtomicU64::new(0),
                purged_bytes: AtomicU64::new(0),
                failures: AtomicU64::new(0),
                allocated_bytes: AtomicU64::new(0),
                requested_bytes: AtomicU64::new(0),
                large_allocated_bytes: Counter::new(),
                large_requested_bytes: Counter::new(),
                peak_allocated: AtomicU64::new(0),
                peak_requested: AtomicU64::new(0),
            },
        }
    }

    /// The backend.
    pub const fn backend(&self) -> &C::Backend {
        &self.backend
    }

    /// Refuses to reserve more than `bytes` from now on; zero for no limit.
    pub fn set_limit(&self, bytes: usize) {
        self.limit_bytes.store(bytes, Relaxed);
    }

    /// Bytes opened for use so far.
    pub fn reserved_bytes(&self) -> u64 {
        self.opened_bytes.load(Relaxed) as u64
    }

    /// The addresses of the region and of the tables, most of them without memory; empty before the first
    /// use.
    pub fn regions(&self) -> [Range<usize>; 2] {
        let region = self.base.load(Acquire).addr();
        let tables = self.metadata_base.load(Relaxed).addr();
        if region == 0 {
            return [0..0, 0..0];
        }
        let region_bytes = self.region_bytes.load(Relaxed);
        [region..region + region_bytes, tables..tables + self.metadata_layout().bytes()]
    }

    /// Why the arena last refused to grow.
    pub fn last_refusal(&self) -> Option<Refusal> {
        self.growth.lock().refusal
    }

    /// Takes a span, for a large block that amounts to `large` or for a slab; grows the arena if
    /// there is none.
    #[cfg_attr(target_os = "linux", unsafe(link_section = "genesis_mem_slow"))]
    pub(crate) fn take_span(
        &self,
        granules: u32,
        align_granules: u32,
        large: Held,
    ) -> Option<Taken> {
        let mut patience = PATIENCE;
        loop {
            let seen = self.opened_bytes.load(Acquire);
            let mut purged_times = 0;
            let taken = self.with_pool_holding(large, |pool| {
                purged_times = pool.purged_times();
                pool.take(granules, align_granules)
            });
            let grown = match taken {
                Some(taken) => Grown::Taken(taken),
                None => self.grow(seen, granules, align_granules, large),
            };
            match grown {
                Grown::Taken(taken) => {
                    self.record(EventKind::SpanTaken, taken.span);
                    return Some(taken);
                }
                Grown::Retry => {}
                // What is being purged is free, but out of the pool for the moment.
                Grown::Refused if patience > 0 && self.purges_since(purged_times) => {
                    patience -= 1;
                    C::Relax::relax();
                }
                // So is what heaps keep, while they keep it.
                Grown::Refused if self.put_kept() => {}
                Grown::Refused => return None,
            }
        }
    }

    /// Whether a purge is under way, or was finished since that many were.
    fn purges_since(&self, purged_times: u64) -> bool {
        let since =
            |pool: &mut SpanPool<'_>| pool.is_purging() || pool.purged_times() != purged_times;
        self.with_pool(since).unwrap_or(false)
    }

    /// A request for `bytes` bytes has failed for good.
    pub(crate) fn note_failure(&self, bytes: usize) {
        self.counts.failures.fetch_add(1, Relaxed);
        if C::Sink::ENABLED {
            self.sink.record(Event::new(EventKind::OutOfMemory, 0, bytes, 0));
        }
    }

    /// Gives a span back whose descriptors say that nobody uses it, and which amounted to `large`.
    #[cfg_attr(target_os = "linux", unsafe(link_section = "genesis_mem_slow"))]
    pub(crate) fn put_span(&self, span: Span, large: Held) {
        let change = Held::default().minus(large);
        let known = self.with_pool_holding(change, |pool| pool.put(span.granule).then_some(()));
        debug_assert_eq!(known, Some(()), "the span was taken from this pool");
        self.record(EventKind::SpanReturned, span);
    }

    fn region(&self) -> Option<Region<NonNull<u8>>> {
        let base = NonNull::new(self.base.load(Acquire))?;
        let bytes = NonZeroUsize::new(self.region_bytes.load(Relaxed))?;
        // SAFETY: this is the region that `try_set_up` reserved.
        Some(unsafe { Region::new(base, bytes) })
    }

    fn bytes_of(&self, granules: Range<u32>) -> Range<usize> {
        granules.start as usize * C::GRANULE_BYTES..granules.end as usize * C::GRANULE_BYTES
    }

    /// Runs `f` on the pool under its lock, and notes the peaks of what only changes there.
    fn with_pool<T>(&self, f: impl FnOnce(&mut SpanPool<'static>) -> T) -> Option<T> {
        let mut middle = self.middle.lock();
        let result = f(middle.pool.as_mut()?);
        middle.note_peaks(C::GRANULE_BYTES);
        Some(result)
    }

    /// As [`with_pool`](Self::with_pool); where `f` succeeds, large blocks amount to that much more.
    fn with_pool_holding<T>(
        &self,
        change: Held,
        f: impl FnOnce(&mut SpanPool<'static>) -> Option<T>,
    ) -> Option<T> {
        let mut middle = self.middle.lock();
        let result = f(middle.pool.as_mut()?)?;
        middle.note_peaks(C::GRANULE_BYTES);
        if change != Held::default() {
            middle.large = middle.large.plus(change);
            self.counts.large_allocated_bytes.set(middle.large.allocated_bytes);
            self.counts.large_requested_bytes.set(middle.large.requested_bytes);
            self.raise_peaks();
        }
        Some(result)
    }

    /// The descriptor of the granule that `address` lies in, or `None` outside of what is open.
    #[inline]
    pub(crate) fn descriptor_of(&self, address: usize) -> Option<&Descriptor> {
        let offset = address.wrapping_sub(self.base.load(Relaxed).addr());
        // Acquire pairs with the Release in `open`.
        if offset >= self.opened_bytes.load(Acquire) {
            return None;
        }
        Some(self.descriptor((offset / C::GRANULE_BYTES) as u32))
    }

    /// The descriptor of an open granule.
    #[inline]
    pub(crate) fn descriptor(&self, granule: u32) -> &Descriptor {
        debug_assert!((granule as usize) < self.opened_bytes.load(Acquire) / C::GRANULE_BYTES);
        // SAFETY: I3: descriptors exist for every open granule.
        unsafe { &*self.descriptors.load(Relaxed).add(granule as usize) }
    }

    /// The granule that a descriptor describes.
    pub(crate) fn granule_of(&self, descriptor: &Descriptor) -> u32 {
        let offset = ptr::from_ref(descriptor).addr() - self.descriptors.load(Relaxed).addr();
        (offset / size_of::<Descriptor>()) as u32
    }

    /// The first byte of an open granule.
    pub(crate) fn address_of(&self, granule: u32) -> NonNull<u8> {
        let offset_bytes = granule as usize * C::GRANULE_BYTES;
        // SAFETY: the granule is inside the region, whose base is not null.
        unsafe { NonNull::new_unchecked(self.base.load(Relaxed).add(offset_bytes)) }
    }

    /// Whether `address` lies in memory that this arena hands out.
    pub fn contains(&self, address: usize) -> bool {
        let offset = address.wrapping_sub(self.base.load(Relaxed).addr());
        offset < self.opened_bytes.load(Acquire)
    }

    /// The addresses that this arena hands out now, and may be others later.
    pub fn opened(&self) -> Range<usize> {
        let base = self.base.load(Relaxed).addr();
        base..base + self.opened_bytes.load(Acquire)
    }

    /// Tags every granule of a slab's span: the head with `head`, the others as its tail.
    pub(crate) fn tag_span(&self, span: Span, head: usize) {
        for lead in (1..span.granules).rev() {
            let tail = self.descriptor(span.granule + lead);
            tail.granules.set(lead);
            tail.set_tag(if head == tag::FREE { tag::FREE } else { tag::TAIL });
        }
        self.descriptor(span.granule).set_tag(head);
    }

    /// A secret for a slab's links: another one each time, so that what an earlier slab left
    /// behind does not look like a link (SplitMix64; Steele, Lea and Flood, 2014).
    pub(crate) fn slab_secret(&self) -> u64 {
        let mut z = self.secret.fetch_add(0x9e37_79b9_7f4a_7c15, Relaxed);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// The largest alignment that granules of the region can have, bytes.
    pub(crate) fn max_align(&self) -> usize {
        let base = self.base.load(Relaxed).addr();
        base & base.wrapping_neg()
    }

    #[cfg_attr(target_os = "linux", unsafe(link_section = "genesis_mem_slow"))]
    pub(crate) fn page_bytes(&self) -> usize {
        self.backend.page_bytes().get()
    }

    pub(crate) fn base_and_descriptors(&self) -> (usize, *const Descriptor) {
        (self.base.load(Relaxed).addr(), self.descriptors.load(Relaxed))
    }

    pub(crate) fn opened_bytes(&self) -> usize {
        self.opened_bytes.load(Acquire)
    }

    fn count_call(&self) {
        self.counts.backend_calls.fetch_add(1, Relaxed);
    }

    pub(crate) fn record(&self, kind: EventKind, span: Span) {
        if C::Sink::ENABLED {
            let bytes = span.granules as usize * C::GRANULE_BYTES;
            let address = self.address_of(span.granule).addr().get();
            self.sink.record(Event::new(kind, address, bytes, 0));
        }
    }
}
