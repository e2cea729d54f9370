//! One region of host memory and everything that manages it: descriptors, the span pool under its
//! lock, growth, and the heaps that draw from it.
//!
//! Locks, in the order in which they may be taken: shared heap, heap pool, growth, span pool. The backend is
//! never called under the heap pool's or the span pool's lock; the growth lock is held across
//! `commit`, since whoever waits for it needs the outcome.

mod large;
mod layout;
mod purge;
mod snapshot;

use core::{
    fmt, mem,
    num::NonZeroUsize,
    ops::Range,
    ptr::{self, NonNull},
    slice,
};

pub(crate) use self::large::Fresh;
use self::layout::MetadataLayout;
use crate::{
    backend::{Backend, BackendError, Contents, Region},
    buddy::Span,
    config::Config,
    descriptor::{Descriptor, tag},
    event::{Event, EventKind, EventSink},
    heap::Heap,
    heap_pool::HeapPool,
    span_pool::{SpanPool, Taken},
    stats::Counter,
    sync::{
        Lock,
        atomic::{
            AtomicPtr, AtomicU64, AtomicUsize,
            Ordering::{Acquire, Relaxed, Release},
        },
    },
};

/// The state that the span pool's lock guards.
struct Middle {
    /// `None` until the first use.
    pool: Option<SpanPool<'static>>,
    /// Bytes of live large blocks, and what their holders asked for.
    large: Held,
    /// Highest values of what only changes under this lock, granules.
    peak_active: u32,
    peak_cached: u32,
    peak_committed: u32,
}

impl Middle {
    fn note_peaks(&mut self) {
        let Some(pool) = &self.pool else { return };
        let cached = pool.cached_granules();
        let active = pool.open_granules() - cached;
        self.peak_active = self.peak_active.max(active);
        self.peak_cached = self.peak_cached.max(cached);
        self.peak_committed = self.peak_committed.max(active + pool.dirty_granules());
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

/// The state that the growth lock guards.
#[derive(Debug, Default)]
struct Growth {
    /// Heaps built so far, and how many have memory committed.
    heaps_committed: usize,
    /// Bytes of metadata committed, tables and descriptors and heaps.
    metadata_bytes: usize,
    /// Why the backend refused last.
    refusal: Option<Refusal>,
}

/// Why an arena could not grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The limit on reserved bytes is reached.
    Limit {
        /// The limit, bytes.
        limit_bytes: usize,
        /// Bytes reserved already.
        reserved_bytes: usize,
        /// Bytes that were needed on top.
        needed_bytes: usize,
    },
    /// The region is used up.
    Region {
        /// Length of the region, bytes.
        region_bytes: usize,
        /// Bytes that were needed on top of what is in use.
        needed_bytes: usize,
    },
    /// The backend refused.
    Backend(BackendError),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Limit { limit_bytes, reserved_bytes, needed_bytes } => write!(
                f,
                "limit of {limit_bytes} bytes reached: {reserved_bytes} reserved, \
                 {needed_bytes} more needed"
            ),
            Self::Region { region_bytes, needed_bytes } => {
                write!(f, "region of {region_bytes} bytes used up, {needed_bytes} more needed")
            }
            Self::Backend(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for Refusal {}

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
    secret: AtomicU64,
    /// How far the region is in use; descriptors exist below.
    opened_bytes: AtomicUsize,
    heap_count: AtomicUsize,
    limit_bytes: AtomicUsize,
    middle: Lock<Middle, C::Relax>,
    growth: Lock<Growth, C::Relax>,
    orphans: HeapPool<Heap<C>, C::Relax>,
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
    metadata_bytes: Counter,
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
            secret: AtomicU64::new(0),
            opened_bytes: AtomicUsize::new(0),
            heap_count: AtomicUsize::new(0),
            limit_bytes: AtomicUsize::new(0),
            middle: Lock::new(Middle {
                pool: None,
                large: Held { allocated_bytes: 0, requested_bytes: 0 },
                peak_active: 0,
                peak_cached: 0,
                peak_committed: 0,
            }),
            growth: Lock::new(Growth { heaps_committed: 0, metadata_bytes: 0, refusal: None }),
            orphans: HeapPool::new(),
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
                metadata_bytes: Counter::new(),
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

    /// Why the arena last refused to grow.
    pub fn last_refusal(&self) -> Option<Refusal> {
        self.growth.lock().refusal
    }

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
    pub unsafe fn adopt_heap_unbound(&self) -> Option<NonNull<Heap<C>>> {
        self.orphans.adopt().or_else(|| self.build_heap())
    }

    /// Leaves a heap, blocks and all, to whoever adopts next.
    ///
    /// # Safety
    /// - The caller owns `heap`, a heap of this arena, and doesn't touch it from now on.
    pub unsafe fn orphan_heap(&self, heap: NonNull<Heap<C>>) {
        // SAFETY: I1: the caller is the owner.
        unsafe { heap.as_ref().collect() };
        // SAFETY: I1, I3: as above; heaps are immortal.
        unsafe { self.orphans.orphan(heap) };
    }

    fn build_heap(&self) -> Option<NonNull<Heap<C>>> {
        let mut growth = self.growth.lock();
        if !self.set_up(&mut growth) {
            return None;
        }
        let index = self.heap_count.load(Relaxed);
        if index == C::MAX_HEAPS {
            return None;
        }
        let layout = self.metadata_layout();
        if index == growth.heaps_committed {
            let count = layout.heaps_at_once().min(C::MAX_HEAPS - index);
            let range = layout.heaps(index..index + count);
            self.commit_metadata(&mut growth, range)?;
            growth.heaps_committed += count;
        }
        let heap = NonNull::new(self.heaps.load(Relaxed))?;
        // SAFETY: I4: the slot is inside the committed part of the heap table, and new.
        let heap = unsafe {
            let heap = heap.add(index);
            heap.write(Heap::new(self));
            heap
        };
        // Release pairs with the Acquire in `heaps_so_far`.
        self.heap_count.store(index + 1, Release);
        Some(heap)
    }

    /// All heaps that were ever built.
    fn heaps_so_far(&self) -> &[Heap<C>] {
        // Acquire pairs with the Release in `build_heap`.
        let count = self.heap_count.load(Acquire);
        match NonNull::new(self.heaps.load(Relaxed)) {
            // SAFETY: I3: that many heaps were built, and heaps are immortal.
            Some(heaps) if count > 0 => unsafe { slice::from_raw_parts(heaps.as_ptr(), count) },
            _ => &[],
        }
    }

    /// Reserves the region and its tables on first use; false if the backend refuses.
    fn set_up(&self, growth: &mut Growth) -> bool {
        let () = C::VALID;
        if !self.base.load(Relaxed).is_null() {
            return true;
        }
        let mut granules = C::REGION_BYTES / C::GRANULE_BYTES;
        while granules >= 4 {
            if self.try_set_up(growth, granules as u32) {
                return true;
            }
            granules /= 2;
        }
        false
    }

    fn try_set_up(&self, growth: &mut Growth, granules: u32) -> bool {
        let layout = MetadataLayout::new::<C>(granules, self.metadata.page_bytes().get());
        let region_bytes = granules as usize * C::GRANULE_BYTES;
        let (Some(bytes), Some(metadata_bytes)) =
            (NonZeroUsize::new(region_bytes), NonZeroUsize::new(layout.bytes()))
        else {
            return false;
        };
        self.count_call();
        let Ok(tables) = self.metadata.reserve(metadata_bytes, layout.align()) else {
            return false;
        };
        self.count_call();
        let align = NonZeroUsize::MIN.saturating_add(
            (1usize << 30).min(region_bytes.next_power_of_two()).max(C::GRANULE_BYTES) - 1,
        );
        let region = self
            .backend
            .reserve(bytes, align)
            .or_else(|_| self.backend.reserve(bytes, granule_align::<C>()));
        let Ok(region) = region else {
            // SAFETY: nothing of the tables is in use yet.
            let _ = unsafe { self.metadata.release(tables) };
            return false;
        };
        self.metadata_base.store(tables.base().as_ptr(), Relaxed);
        self.region_bytes.store(region_bytes, Relaxed);
        if self.commit_metadata(growth, layout.tables()).is_none() {
            self.region_bytes.store(0, Relaxed);
            // The last first, as a backend over lent memory needs it.
            // SAFETY: nothing of either is in use yet.
            unsafe {
                let _ = self.backend.release(region);
                let _ = self.metadata.release(tables);
            }
            return false;
        }
        // SAFETY: I4: the tables are committed and zeroed, and each part is lent once.
        let pool = unsafe { layout.build_pool(tables.base()) };
        self.middle.lock().pool = Some(pool);
        // SAFETY: the offsets are inside the reserved metadata.
        unsafe {
            self.descriptors
                .store(tables.base().add(layout.descriptors_start()).cast().as_ptr(), Relaxed);
            self.heaps.store(tables.base().add(layout.heaps(0..0).start).cast().as_ptr(), Relaxed);
        }
        self.secret.store(C::secret(), Relaxed);
        self.base.store(region.base().as_ptr(), Release);
        true
    }

    fn metadata_layout(&self) -> MetadataLayout {
        let granules = self.region_bytes.load(Relaxed) / C::GRANULE_BYTES;
        MetadataLayout::new::<C>(granules as u32, self.metadata.page_bytes().get())
    }

    /// Commits a page-aligned range of the metadata, zeroed.
    fn commit_metadata(&self, growth: &mut Growth, range: Range<usize>) -> Option<()> {
        if range.is_empty() {
            return Some(());
        }
        let base = NonNull::new(self.metadata_base.load(Relaxed))?;
        let bytes = NonZeroUsize::new(self.metadata_layout().bytes())?;
        // SAFETY: this is the region that `try_set_up` reserved.
        let region = unsafe { Region::new(base, bytes) };
        self.count_call();
        // SAFETY: the layout's ranges are page aligned and inside the region.
        let contents = unsafe { self.metadata.commit(&region, range.clone()) };
        if contents.ok()? == Contents::Unspecified {
            // SAFETY: I4: just committed, and nothing lives there yet.
            unsafe { base.add(range.start).write_bytes(0, range.len()) };
        }
        growth.metadata_bytes += range.len();
        self.counts.metadata_bytes.set(growth.metadata_bytes as u64);
        Some(())
    }

    /// Takes a span, for a large block that amounts to `large` or for a slab; grows the arena if
    /// there is none.
    pub(crate) fn take_span(
        &self,
        granules: u32,
        align_granules: u32,
        large: Held,
    ) -> Option<Taken> {
        loop {
            let seen = self.opened_bytes.load(Acquire);
            let taken = self.with_pool_holding(large, |pool| pool.take(granules, align_granules));
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
                Grown::Refused => {
                    self.counts.failures.fetch_add(1, Relaxed);
                    let bytes = granules as usize * C::GRANULE_BYTES;
                    if C::Sink::ENABLED {
                        self.sink.record(Event::new(EventKind::OutOfMemory, 0, bytes, 0));
                    }
                    return None;
                }
            }
        }
    }

    /// Gives a span back whose descriptors say that nobody uses it, and which amounted to `large`.
    pub(crate) fn put_span(&self, span: Span, large: Held) {
        let change = Held::default().minus(large);
        let known = self.with_pool_holding(change, |pool| pool.put(span.granule).then_some(()));
        debug_assert_eq!(known, Some(()), "the span was taken from this pool");
        self.record(EventKind::SpanReturned, span);
    }

    /// Opens more of the region, unless somebody did since `seen` bytes were open.
    fn grow(&self, seen: usize, granules: u32, align_granules: u32, large: Held) -> Grown {
        let mut growth = self.growth.lock();
        if !self.set_up(&mut growth) {
            return Grown::Refused;
        }
        let opened = self.opened_bytes.load(Relaxed);
        if opened != seen {
            return Grown::Retry;
        }
        let opened = (opened / C::GRANULE_BYTES) as u32;
        let start = self.with_pool(|pool| pool.free_from(opened)).unwrap_or(opened);
        let Some(start) = start.checked_next_multiple_of(align_granules) else {
            return Grown::Refused;
        };
        let Some(end) = start.checked_add(granules) else { return Grown::Refused };
        let capacity = (self.region_bytes.load(Relaxed) / C::GRANULE_BYTES) as u32;
        let ahead = (opened / 4).max(1 << 20 >> C::GRANULE_BYTES.ilog2());
        let ahead = ahead.min((C::GROWTH_BYTES / C::GRANULE_BYTES) as u32);
        let room = self.limit_granules().unwrap_or(capacity).min(capacity).max(opened);
        if end > room {
            growth.refusal = Some(self.refusal(end.min(capacity + granules) - opened, capacity));
            return Grown::Refused;
        }
        let opened_now = [(opened + ahead).clamp(end, room), end]
            .into_iter()
            .find(|&to| self.open(&mut growth, opened..to));
        if opened_now.is_none() {
            return Grown::Refused;
        }
        match self.with_pool_holding(large, |pool| pool.take_at(start, granules)) {
            Some(taken) => Grown::Taken(taken),
            // Somebody else was quicker.
            None => Grown::Retry,
        }
    }

    /// Opens the region as far as `granules` behind `end`, if all between `end` and what is not
    /// open yet is free.
    pub(crate) fn open_behind(&self, end: u32, granules: u32) -> bool {
        let mut growth = self.growth.lock();
        let opened = (self.opened_bytes.load(Relaxed) / C::GRANULE_BYTES) as u32;
        if self.with_pool(|pool| pool.free_from(opened)) != Some(end) {
            return false;
        }
        let capacity = (self.region_bytes.load(Relaxed) / C::GRANULE_BYTES) as u32;
        let room = self.limit_granules().unwrap_or(capacity).min(capacity);
        end.checked_add(granules)
            .filter(|&to| to <= room)
            .is_some_and(|to| self.open(&mut growth, opened..to))
    }

    fn limit_granules(&self) -> Option<u32> {
        let limit = self.limit_bytes.load(Relaxed);
        (limit != 0).then(|| (limit / C::GRANULE_BYTES).min(u32::MAX as usize) as u32)
    }

    fn refusal(&self, needed: u32, capacity: u32) -> Refusal {
        let needed_bytes = needed as usize * C::GRANULE_BYTES;
        let reserved_bytes = self.opened_bytes.load(Relaxed);
        match self.limit_bytes.load(Relaxed) {
            limit_bytes if limit_bytes != 0 && reserved_bytes + needed_bytes > limit_bytes => {
                Refusal::Limit { limit_bytes, reserved_bytes, needed_bytes }
            }
            _ => {
                Refusal::Region { region_bytes: capacity as usize * C::GRANULE_BYTES, needed_bytes }
            }
        }
    }

    /// Commits `range` and its descriptors, and gives it to the pool.
    fn open(&self, growth: &mut Growth, range: Range<u32>) -> bool {
        if range.is_empty() {
            return true;
        }
        let layout = self.metadata_layout();
        if self.commit_metadata(growth, layout.new_descriptors(range.clone())).is_none() {
            return false;
        }
        let Some(region) = self.region() else { return false };
        let bytes = self.bytes_of(range.clone());
        self.count_call();
        // SAFETY: the range is granule aligned, inside the region, and new.
        match unsafe { self.backend.commit(&region, bytes.clone()) } {
            Ok(_) => {}
            Err(error) => {
                growth.refusal = Some(Refusal::Backend(error));
                return false;
            }
        }
        // Release pairs with the Acquire of whoever looks a pointer up: descriptors first.
        self.opened_bytes.store(bytes.end, Release);
        self.with_pool(|pool| pool.open(range.clone()));
        let span = Span { granule: range.start, granules: range.end - range.start };
        self.record(EventKind::Grow, span);
        true
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
        middle.note_peaks();
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
        middle.note_peaks();
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

    /// Tags every granule of a slab's span: the head with `head`, the others as its tail.
    pub(crate) fn tag_span(&self, span: Span, head: usize) {
        for lead in (1..span.granules).rev() {
            let tail = self.descriptor(span.granule + lead);
            tail.lead.set(lead);
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

    fn record(&self, kind: EventKind, span: Span) {
        if C::Sink::ENABLED {
            let bytes = span.granules as usize * C::GRANULE_BYTES;
            let address = self.address_of(span.granule).addr().get();
            self.sink.record(Event::new(kind, address, bytes, 0));
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
        let mut locked = 0;
        loop {
            let heaps = self.heaps_so_far();
            for heap in &heaps[locked..] {
                mem::forget(heap.shared.lock());
            }
            locked = heaps.len();
            mem::forget(self.orphans.lock().lock());
            mem::forget(self.growth.lock());
            mem::forget(self.middle.lock());
            if self.heaps_so_far().len() == locked {
                return;
            }
            // SAFETY: taken just now; a heap was built meanwhile, and its lock comes first.
            unsafe { self.unlock_own() };
        }
    }

    /// # Safety
    /// - The calling thread holds the arena's own three locks, with their guards forgotten.
    unsafe fn unlock_own(&self) {
        // SAFETY: forwarded.
        unsafe {
            self.middle.force_unlock();
            self.growth.force_unlock();
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

enum Grown {
    Taken(Taken),
    Retry,
    Refused,
}

fn granule_align<C: Config>() -> NonZeroUsize {
    NonZeroUsize::new(C::GRANULE_BYTES).unwrap_or(NonZeroUsize::MIN)
}
