//! The allocator as programs see it.
#![forbid(unsafe_code)]

use std::{
    fmt,
    ops::Deref,
    panic::Location,
    sync::{Arc, PoisonError, atomic::Ordering},
};

use genesis_mem_core::{frag::Ratio, stats::Snapshot};

use crate::{
    SizeError,
    driver::{DefaultDriver, Driver, DriverError, StreamId},
    error::{AllocError, FreeError},
    heap::{Block, PoolId},
    options::Options,
    parse_size,
    pinned::Staging,
    pool::Counts,
    shared::Shared,
};

/// A caching allocator for the memory of one device. Clones are handles on the same allocator;
/// the last one gives everything back.
///
/// ```
/// use genesis_mem_cuda::{Builder, driver::StreamId, sim::{SimDriver, SimOptions}};
/// let allocator = Builder::new().build_on(SimDriver::new(SimOptions::default()))?;
/// let block = allocator.alloc(1 << 20, StreamId(0))?;
/// allocator.free(block)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct DeviceAllocator<D: Driver = DefaultDriver>(Arc<Handle<D>>);

/// What handles on one allocator share: the pool, and page-locked memory for transfers.
struct Handle<D: Driver> {
    shared: Shared<D>,
    staging: Staging<D>,
}

impl<D: Driver> Deref for Handle<D> {
    type Target = Shared<D>;

    #[inline(always)]
    fn deref(&self) -> &Shared<D> {
        &self.shared
    }
}

impl<D: Driver> Clone for DeviceAllocator<D> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<D: Driver> fmt::Debug for DeviceAllocator<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeviceAllocator")
            .field("device_bytes", &self.0.device_bytes)
            .field("options", &self.0.options)
            .finish_non_exhaustive()
    }
}

impl<D: Driver> DeviceAllocator<D> {
    /// An allocator on `driver`; [`Builder`](crate::Builder) does the same option by option.
    ///
    /// # Errors
    /// The device does not answer.
    pub fn with_driver(driver: D, options: Options) -> Result<Self, DriverError> {
        let staging = Staging::new(options.pinned_memory);
        let shared = Shared::new(driver, options)?;
        Ok(Self(Arc::new(Handle { shared, staging })))
    }

    /// Allocates `bytes` for use on `stream`. No driver call where a free block fits.
    ///
    /// # Errors
    /// [`AllocError::OutOfMemory`] with all numbers, once everything free has been collected.
    #[inline]
    #[track_caller]
    pub fn alloc(&self, bytes: u64, stream: StreamId) -> Result<Block, AllocError> {
        self.0.alloc(bytes, stream, self.0.captures.pool_of(stream), Location::caller())
    }

    /// Allocates from a private pool.
    ///
    /// # Errors
    /// As for [`alloc`](Self::alloc).
    #[track_caller]
    pub fn alloc_in(
        &self,
        bytes: u64,
        stream: StreamId,
        pool: PoolId,
    ) -> Result<Block, AllocError> {
        self.0.alloc(bytes, stream, pool, Location::caller())
    }

    /// Takes a block back, in the order of its stream: work that was enqueued there before may
    /// still use it, and whoever gets the memory next comes after that work.
    ///
    /// # Errors
    /// The block is not this allocator's.
    #[inline]
    pub fn free(&self, block: Block) -> Result<(), FreeError> {
        self.0.free(block)
    }

    /// Makes a block larger or smaller where it is: into free memory behind it, and into more that
    /// is mapped there where nothing else lies behind it. Otherwise nothing changes.
    pub fn resize_in_place(&self, block: &mut Block, bytes: u64) -> bool {
        self.0.extend(block, bytes)
    }

    /// Says that `block` is also used on `stream`: after its free others get it only once
    /// `stream` has passed that point.
    ///
    /// # Errors
    /// There are too many streams to tell apart.
    pub fn record_stream(&self, block: &mut Block, stream: StreamId) -> Result<(), AllocError> {
        block.streams |= self.0.stream_bit(stream)?;
        Ok(())
    }

    /// A new private pool: its blocks never come from, nor go to, any other. Addresses handed
    /// out during the capture of a graph stay mapped until [`drop_pool`](Self::drop_pool).
    pub fn create_pool(&self) -> PoolId {
        let mut pool = self.0.pool();
        pool.dropped.pop().unwrap_or_else(|| {
            pool.pools += 1;
            PoolId(pool.pools - 1)
        })
    }

    /// Gives the memory of a private pool back, as far as no block of it is live; returns the
    /// bytes. Waits for the device. Once all of it went back, [`create_pool`](Self::create_pool)
    /// gives the pool to the next who asks, so it must not be used any more; with blocks still
    /// live it can, and is dropped by a later call.
    ///
    /// # Errors
    /// The device does not answer.
    pub fn drop_pool(&self, pool: PoolId) -> Result<u64, DriverError> {
        self.0.drop_pool(&mut self.0.pool(), pool)
    }

    /// Holds at most this share of the device, 0 to 1, from now on.
    pub fn set_memory_fraction(&self, fraction: f64) {
        let bytes = self.0.device_bytes as f64 * fraction.clamp(0.0, 1.0);
        self.set_limit(bytes as u64);
    }

    /// Holds at most this many bytes from now on. What is held beyond is given back as it
    /// becomes free and is collected.
    pub fn set_limit(&self, bytes: u64) {
        self.0.pool().limit_bytes = bytes.min(self.0.device_bytes);
    }

    /// Keeps at most this much free memory, as in `"2GB"`, when garbage is collected.
    ///
    /// # Errors
    /// The text is no size.
    pub fn set_cache_size(&self, size: &str) -> Result<(), SizeError> {
        self.0.pool().cache_bytes = parse_size(size)?;
        Ok(())
    }

    /// Calls `callback` when a request cannot be served, with the bytes asked for. If it made
    /// memory free it returns `true`, and the request is tried again.
    pub fn set_oom_callback(&self, callback: impl Fn(u64) -> bool + Send + Sync + 'static) {
        let mut slot = self.0.oom.lock().unwrap_or_else(PoisonError::into_inner);
        *slot = Some(Arc::new(callback));
    }

    /// Holds at least `bytes` in one range for the default stream, so that the first requests
    /// find it.
    ///
    /// # Errors
    /// As for [`alloc`](Self::alloc).
    #[track_caller]
    pub fn preallocate(&self, bytes: u64) -> Result<(), AllocError> {
        self.preallocate_on(bytes, StreamId::default())
    }

    /// The same for another stream.
    ///
    /// # Errors
    /// As for [`alloc`](Self::alloc).
    #[track_caller]
    pub fn preallocate_on(&self, bytes: u64, stream: StreamId) -> Result<(), AllocError> {
        let block = self.alloc(bytes, stream)?;
        self.free(block).expect("a block just allocated is live");
        Ok(())
    }

    /// Gives all free memory back to the device; returns the bytes. Waits for the device.
    ///
    /// # Errors
    /// The device does not answer.
    pub fn empty_cache(&self) -> Result<u64, DriverError> {
        self.0.empty_cache(&mut self.0.pool(), PoolId::default())
    }

    /// Takes back what other streams are through with, and gives the device what nobody has
    /// asked for in a while and what the cache holds beyond its size; returns the bytes given
    /// back. Never waits, but for what the driver itself waits for in a plain free on a device
    /// without virtual memory management.
    ///
    /// # Errors
    /// The device does not answer.
    pub fn collect_garbage(&self) -> Result<u64, DriverError> {
        self.0.collect_garbage(&mut self.0.pool())
    }

    /// Gathers the wholly free pieces of each stream under one contiguous range; returns the
    /// longest free range in bytes. Never waits, never moves a live block.
    ///
    /// # Errors
    /// The device does not answer.
    pub fn compact(&self) -> Result<u64, DriverError> {
        self.0.compact(&mut self.0.pool())?;
        Ok(self.memory_stats().largest_free_bytes)
    }

    /// Everything the allocator says of itself. Snapshots of several allocators
    /// [merge](Snapshot::merge).
    pub fn memory_stats(&self) -> Snapshot {
        self.0.snapshot()
    }

    /// What one stream holds; limits and counts of the whole allocator are zero.
    pub fn stream_stats(&self, stream: StreamId) -> Snapshot {
        self.0.snapshot_of(|heap| heap.stream == stream)
    }

    /// What one pool holds; limits and counts of the whole allocator are zero.
    pub fn pool_stats(&self, pool: PoolId) -> Snapshot {
        self.0.snapshot_of(|heap| heap.pool == pool)
    }

    /// Free memory that is not in the largest free block, over free memory.
    pub fn fragmentation_ratio(&self) -> Ratio {
        self.0.snapshot().external_fragmentation()
    }

    /// Forgets the peaks: the present levels are the new ones.
    pub fn reset_peak_stats(&self) {
        self.0.reset_peaks();
    }

    pub(crate) fn shared(&self) -> &Shared<D> {
        &self.0
    }

    /// The driver below.
    pub fn driver(&self) -> &D {
        &self.0.driver
    }

    /// The same, to share.
    pub(crate) fn shared_driver(&self) -> Arc<D> {
        self.0.driver.share()
    }

    /// See [`Driver::end_of_use`]; nothing once the device is broken.
    pub(crate) fn end_of_use(&self, stream: StreamId, uses: &D::Uses) {
        self.0.driver.end_of_use(stream, uses);
    }

    /// What it was built from.
    pub fn options(&self) -> &Options {
        &self.0.options
    }

    pub(crate) fn staging(&self) -> &Staging<D> {
        &self.0.staging
    }

    /// Whether transfers go through page-locked memory.
    pub(crate) fn stages(&self) -> bool {
        self.0.staging.enabled.load(Ordering::Relaxed)
    }

    /// Physical memory held now, bytes.
    pub fn reserved_bytes(&self) -> u64 {
        self.0.pool().reserved_bytes
    }

    /// The most physical memory held since the last reset of the peaks, bytes.
    pub fn peak_reserved_bytes(&self) -> u64 {
        self.0.pool().reserved_peak_bytes
    }

    /// What the slow path has done.
    pub fn counts(&self) -> Counts {
        self.0.pool().counts
    }

    /// Checks the structure of every arena, and the sums of the snapshot; for tests.
    ///
    /// # Panics
    /// Something does not hold.
    pub fn assert_valid(&self) {
        self.0.assert_valid();
    }
}
