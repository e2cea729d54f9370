//! What all handles on one allocator share: the driver, the heaps and the pool.
#![forbid(unsafe_code)]

use std::sync::{
    Arc, Mutex, OnceLock, PoisonError, TryLockError,
    atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicUsize, Ordering},
};

use genesis_mem_core::sync::Lock;

use crate::{
    arena::{Arena, QUANTUM_BYTES},
    capture::{Captures, PoolGuard},
    driver::{DevicePtr, Driver, DriverError, StreamId},
    error::{AllocError, FreeError, OutOfMemory},
    guard::Guarded,
    heap::{Alone, Block, Heap, MAX_HEAPS, PoolId},
    ladder::Request,
    options::Options,
    plain::{Table, is_plain},
    pool::{Pool, Progress},
    profiling::{Profile, Site},
    streams::Streams,
};

/// Called when a request cannot be served, with the bytes asked for. Returns whether it made
/// memory free, so that the request is worth another try.
pub(crate) type OomCallback = Arc<dyn Fn(u64) -> bool + Send + Sync>;

/// Tells blocks of different allocators apart.
static NEXT_OWNER: AtomicU32 = AtomicU32::new(1);

/// See the module.
///
/// Every thread reads it at every turn. It keeps to cache lines of its own, so that what somebody else
/// writes never lies beside it.
#[repr(align(128))]
pub(crate) struct Shared<D: Driver> {
    pub(crate) driver: Guarded<D>,
    pub(crate) options: Options,
    pub(crate) granule_bytes: u64,
    pub(crate) device_bytes: u64,
    pub(crate) owner: u32,
    heaps: Box<[OnceLock<Heap>; MAX_HEAPS]>,
    /// Which heap was asked for last, by a hash of what is asked.
    hints: [AtomicU8; 256],
    /// How many of `heaps` are set. Written under the pool's lock, after the heap itself.
    heap_count: AtomicUsize,
    pool: Mutex<Pool<D>>,
    pub(crate) streams: Streams,
    /// Whether small blocks get arenas of their own; see [`Options::apart_bytes`].
    pub(crate) apart: AtomicBool,
    /// Whether the device has no virtual memory management; see `plain.rs`.
    pub(crate) plain: bool,
    pub(crate) oom: Mutex<Option<OomCallback>>,
    pub(crate) profile: Profile,
    pub(crate) captures: Captures,
    /// A heap's clock at which the cache is looked after: where these bits are zero.
    upkeep_mask: u32,
}

impl<D: Driver> Shared<D> {
    pub(crate) fn new(driver: D, options: Options) -> Result<Self, DriverError> {
        let device_bytes = driver.memory_info()?.total_bytes;
        let fraction_bytes = (device_bytes as f64 * options.memory_fraction) as u64;
        let limit_bytes = options.limit_bytes.min(fraction_bytes);
        let plain = is_plain(&driver)?;
        Ok(Self {
            granule_bytes: driver.granularity_bytes(),
            device_bytes,
            owner: NEXT_OWNER.fetch_add(1, Ordering::Relaxed),
            heaps: Box::new([const { OnceLock::new() }; MAX_HEAPS]),
            hints: [const { AtomicU8::new(0) }; 256],
            heap_count: AtomicUsize::new(0),
            pool: Mutex::new(Pool::new(limit_bytes, options.cache_bytes)),
            streams: Streams::new(),
            // A piece cannot move in plain mode: a small block must not keep a large one.
            apart: AtomicBool::new(plain),
            plain,
            oom: Mutex::new(None),
            profile: Profile::new(driver.memory_kind(), options.profiling),
            captures: Captures::default(),
            upkeep_mask: options.idle_frees.checked_next_power_of_two().unwrap_or(1 << 31) - 1,
            driver: Guarded::new(driver),
            options,
        })
    }

    /// The pool. A panic under the lock leaves only counts behind, so poison is no reason to
    /// stop.
    pub(crate) fn pool(&self) -> PoolGuard<'_, D> {
        PoolGuard::new(self, self.pool.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The same, if nobody is busy with it.
    pub(crate) fn try_pool(&self) -> Option<PoolGuard<'_, D>> {
        match self.pool.try_lock() {
            Ok(pool) => Some(PoolGuard::new(self, pool)),
            Err(TryLockError::Poisoned(pool)) => Some(PoolGuard::new(self, pool.into_inner())),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// All heaps there are.
    #[inline]
    pub(crate) fn heaps(&self) -> impl Iterator<Item = &Heap> + Clone {
        // Acquire pairs with the release in `add_heap`: every counted heap is set.
        let count = self.heap_count.load(Ordering::Acquire);
        self.heaps[..count].iter().filter_map(OnceLock::get)
    }

    #[inline]
    pub(crate) fn heap_at(&self, index: u32) -> &Heap {
        self.heaps[index as usize].get().expect("heaps are numbered in order")
    }

    /// The heap for `bytes` on `stream` in `pool`, made on first use.
    #[inline]
    pub(crate) fn heap(
        &self,
        bytes: u64,
        stream: StreamId,
        pool: PoolId,
    ) -> Result<&Heap, AllocError> {
        let small = bytes <= self.options.small_bytes && self.apart.load(Ordering::Relaxed);
        match self.find_heap(stream, pool, small) {
            Some(heap) => Ok(heap),
            None => self.add_heap(stream, pool, small),
        }
    }

    #[inline]
    fn find_heap(&self, stream: StreamId, pool: PoolId, small: bool) -> Option<&Heap> {
        let wanted = |heap: &Heap| {
            heap.stream == stream
                && heap.pool == pool
                && heap.small == small
                && !heap.full.load(Ordering::Relaxed)
        };
        // Handles of streams are addresses: their upper bits tell little.
        let key = stream.0 ^ (u64::from(pool.0) << 1 | u64::from(small)) << 32;
        let hint = &self.hints[(key.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as usize];
        // Relaxed: a hint is an index like any other, and is looked at before it is believed.
        let hinted = self.heaps[usize::from(hint.load(Ordering::Relaxed))].get();
        hinted.filter(|heap| wanted(heap)).or_else(|| self.look_for_heap(hint, wanted))
    }

    #[cold]
    fn look_for_heap(&self, hint: &AtomicU8, wanted: impl Fn(&Heap) -> bool) -> Option<&Heap> {
        let heap = self.heaps().find(|heap| wanted(heap))?;
        hint.store(heap.index as u8, Ordering::Relaxed);
        Some(heap)
    }

    #[cold]
    fn add_heap(&self, stream: StreamId, id: PoolId, small: bool) -> Result<&Heap, AllocError> {
        let mut pool = self.pool();
        if let Some(heap) = self.find_heap(stream, id, small) {
            return Ok(heap);
        }
        let index = self.heap_count.load(Ordering::Relaxed);
        if index == MAX_HEAPS {
            return Err(AllocError::TooManyStreams { most: MAX_HEAPS });
        }
        let bit = self.stream_bit(stream)?;
        let bytes = self.options.span_bytes.next_multiple_of(self.granule_bytes);
        let bytes = bytes.min((u64::from(u32::MAX) * QUANTUM_BYTES) & !(self.granule_bytes - 1));
        let (base, table) = if self.plain {
            (DevicePtr(0), Some(Box::new(Lock::new(Table::default()))))
        } else {
            (self.driver.reserve(bytes)?, None)
        };
        let span = (bytes / QUANTUM_BYTES) as u32;
        let arena = Alone(Lock::new(Arena::new()));
        let (number, full) = (index as u32, AtomicBool::new(false));
        let heap =
            Heap { index: number, stream, pool: id, small, bit, base, table, span, full, arena };
        pool.progress.push(Progress { fence: None, passed: 0 });
        let heap = self.heaps[index].get_or_init(|| heap);
        self.heap_count.store(index + 1, Ordering::Release);
        Ok(heap)
    }

    /// The bit of a stream, which it keeps, whether it allocates or not.
    pub(crate) fn stream_bit(&self, stream: StreamId) -> Result<u64, AllocError> {
        self.streams.number(stream).map(|number| 1 << number)
    }

    /// The block that `node` of `home` is, for use on the stream of `user`.
    #[inline]
    pub(crate) fn block(
        &self,
        home: &Heap,
        user: &Heap,
        node: u32,
        start: u32,
        bytes: u64,
    ) -> Block {
        Block {
            start: home.address(start),
            bytes,
            streams: user.bit & !home.bit,
            node,
            home: home.index as u16,
            user: user.index as u16,
            owner: self.owner,
        }
    }

    #[inline]
    pub(crate) fn alloc(
        &self,
        bytes: u64,
        stream: StreamId,
        pool: PoolId,
        at: Site,
    ) -> Result<Block, AllocError> {
        let heap = self.heap(bytes, stream, pool)?;
        let len = bytes.max(1).div_ceil(QUANTUM_BYTES);
        if len >= u64::from(heap.span) {
            let largest_bytes = u64::from(heap.span) * QUANTUM_BYTES;
            return Err(AllocError::TooLarge { requested_bytes: bytes, largest_bytes });
        }
        let request = Request { heap, bytes, len: len as u32 };
        match self.fit(request) {
            Some(block) if self.profile.is_on() => Ok(self.tell_alloc(block, at, true)),
            Some(block) => Ok(block),
            None => self.alloc_slow(request, at),
        }
    }

    #[cold]
    fn alloc_slow<'a>(&'a self, mut request: Request<'a>, at: Site) -> Result<Block, AllocError> {
        loop {
            let failed = match self.slow(&mut self.pool(), request) {
                Ok(block) if self.profile.is_on() => return Ok(self.tell_alloc(block, at, false)),
                Ok(block) => return Ok(block),
                Err(failed) => failed,
            };
            if let Some(error) = failed
                && !error.is_out_of_memory()
            {
                return Err(AllocError::Driver(error));
            }
            let Heap { stream, pool, small, ref full, .. } = *request.heap;
            if full.load(Ordering::Relaxed) {
                self.reclaim_addresses(&mut self.pool())?;
                let next = self.find_heap(stream, pool, small);
                request.heap = next.map_or_else(|| self.add_heap(stream, pool, small), Ok)?;
                continue;
            }
            // Without any lock, since the callback frees blocks or even allocates.
            let callback = self.oom.lock().unwrap_or_else(PoisonError::into_inner).clone();
            if !callback.as_ref().is_some_and(|freed_some| freed_some(request.bytes)) {
                return Err(self.out_of_memory(request, at));
            }
        }
    }

    fn out_of_memory(&self, request: Request<'_>, at: Site) -> AllocError {
        self.pool().counts.failures += 1;
        let snapshot = self.snapshot();
        let device_free_bytes = self.driver.memory_info().map_or(0, |info| info.free_bytes);
        self.tell_out_of_memory(request, at, device_free_bytes);
        AllocError::OutOfMemory(Box::new(OutOfMemory {
            kind: self.driver.memory_kind(),
            requested_bytes: request.bytes,
            limit_bytes: snapshot.limit_bytes,
            device_bytes: self.device_bytes,
            device_free_bytes,
            reserved_bytes: snapshot.reserved_bytes.current,
            allocated_bytes: snapshot.allocated_bytes.current,
            largest_free_bytes: snapshot.largest_free_bytes,
            holders: self.largest_holders(),
            snapshot,
        }))
    }

    /// Records fences for what was freed, if nobody is busy with the pool: whoever is will do so.
    pub(crate) fn settle_now(&self) {
        if let Some(mut pool) = self.try_pool() {
            // A failure leaves it for the next time.
            let _ = self.settle(&mut pool);
        }
    }

    /// Takes a block back.
    #[inline]
    pub(crate) fn free(&self, block: Block) -> Result<(), FreeError> {
        if block.owner != self.owner {
            return Err(FreeError::WrongAllocator { address: block.start });
        }
        let heap = self.heap_at(u32::from(block.home));
        let Some(start) = heap.position(block.start) else {
            return Err(FreeError::NotLive { address: block.start });
        };
        let mut arena = heap.arena.lock();
        if !arena.is_live(block.node, start) {
            return Err(FreeError::NotLive { address: block.start });
        }
        match block.streams & !heap.bit {
            0 => arena.free(block.node),
            others => arena.free_pending(block.node, others),
        };
        if self.profile.is_on() {
            self.tell_free(heap, block.node);
        }
        let is_due = arena.clock & self.upkeep_mask == 0;
        drop(arena);
        if is_due {
            self.look_after();
        }
        Ok(())
    }
}

impl<D: Driver> Shared<D> {
    /// The present levels become the peaks.
    pub(crate) fn reset_peaks(&self) {
        let mut pool = self.pool();
        pool.reserved_peak_bytes = pool.reserved_bytes;
        pool.live_peak_bytes = 0;
        for heap in self.heaps() {
            let mut arena = heap.arena.lock();
            let sums = &mut arena.sums;
            sums.requested_peak_bytes = sums.requested_bytes;
            sums.allocated_peak_bytes = sums.allocated_bytes;
            pool.live_peak_bytes += sums.requested_bytes;
        }
    }

    /// Checks all arenas, each piece's places, and the sums of the snapshot.
    pub(crate) fn assert_valid(&self) {
        let pool = self.pool();
        let mut reserved = 0;
        for memory in pool.memories.iter().flatten() {
            reserved += memory.bytes();
            for place in &memory.places {
                let arena = self.heap_at(place.heap).arena.lock();
                let window = arena.windows()[place.window as usize];
                assert_eq!(window.len, memory.len);
                let usable = memory.parts().filter(|(_, at)| at == place);
                let usable = usable.map(|(range, _)| range).collect::<Vec<_>>();
                assert_eq!(arena.usable_in(place.window), usable, "a byte is usable at one place");
                drop(arena);
                let heap = self.heap_at(place.heap);
                if heap.table.is_some() {
                    assert_eq!(heap.address(window.start).0, memory.id.0, "where the piece is");
                }
            }
        }
        assert_eq!(reserved, pool.reserved_bytes, "pieces add up to what is reserved");
        for heap in self.heaps() {
            heap.arena.lock().assert_valid();
        }
        drop(pool);
        let sums = self.snapshot().check();
        assert_eq!(sums, Ok(()), "the snapshot's sums hold");
    }
}

impl<D: Driver> Drop for Shared<D> {
    fn drop(&mut self) {
        self.tear_down();
    }
}
