//! Page-locked host memory for transfers: the same pool over host memory.
//!
//! Blocks keep their exact size, in quanta of 512 bytes, and cost no driver call where a free one
//! fits. Limits, statistics and errors are those of the device's pool.
//!
//! # When a block is free
//!
//! Device memory is used in the order of streams alone, so a freed block may be handed on at once
//! to whoever comes later in that order. Host memory is used by the CPU too, which is in no
//! stream's order: the next owner may write to it the moment it has it, while a copy that was
//! enqueued before still reads it. So a pinned block that any stream has used is set aside when
//! it is dropped, and is free only once the CPU has seen fences of all those streams pass. No
//! stream is made to wait for it, since that would not keep the CPU off. A block that no stream
//! has used is free at once.
//!
//! While somebody holds a buffer the same rule is kept by the buffer itself: its slices wait for
//! the work that was recorded.

mod buffer;
mod host;
mod lock;

use std::{
    fmt,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
};

use genesis_mem_core::stats::Snapshot;

use self::host::PinnedHost;
pub use self::{buffer::PinnedBuffer, lock::DriverLock};
use crate::{
    Counts, DeviceAllocator, Options,
    driver::{DefaultDriver, Driver, DriverResult},
    heap::PoolId,
    shared::Shared,
};

/// A pool of page-locked host memory, for [`PinnedBuffer`]s. Clones are handles on the same pool.
///
/// ```
/// use genesis_mem_cuda::{Builder, PinnedBuffer, sim::{SimDriver, SimOptions}};
/// let allocator = Builder::new().build_on(SimDriver::new(SimOptions::default()))?;
/// let pool = allocator.pinned_pool()?;
/// let mut batch = PinnedBuffer::<f32, _>::new(pool, 1000)?;
/// batch.as_mut_slice().fill(0.5);
/// assert_eq!(pool.memory_stats().requested_bytes.current, 4000);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct PinnedPool<D: Driver = DefaultDriver>(pub(crate) Arc<Shared<PinnedHost<D>>>);

impl<D: Driver> Clone for PinnedPool<D> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<D: Driver> fmt::Debug for PinnedPool<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PinnedPool").field("options", &self.0.options).finish_non_exhaustive()
    }
}

impl<D: Driver> PinnedPool<D> {
    /// A pool of its own, on the driver of `allocator`. The options' fraction and limit are of
    /// the host's memory here.
    ///
    /// # Errors
    /// The device does not answer.
    pub fn new(allocator: &DeviceAllocator<D>, options: Options) -> DriverResult<Self> {
        let host = PinnedHost::new(allocator.shared_driver());
        // Growth to the limit comes before anything else: other blocks are not to be had by
        // waiting on a stream.
        let options = Options { slack_until_permille: 0, ..options };
        Shared::new(host, options).map(|shared| Self(Arc::new(shared)))
    }

    /// Locks at most this many bytes from now on. What is locked beyond is given back as it
    /// becomes free and is collected.
    pub fn set_limit(&self, bytes: u64) {
        self.0.pool().limit_bytes = bytes.min(self.0.device_bytes);
    }

    /// Gives all free memory back to the system; returns the bytes. Waits for the streams that
    /// have used any of it.
    ///
    /// # Errors
    /// The device does not answer.
    pub fn empty_cache(&self) -> DriverResult<u64> {
        self.0.empty_cache(&mut self.0.pool(), PoolId::default())
    }

    /// Takes back what streams are through with, and gives the system what nobody has asked for
    /// in a while and what the cache holds beyond its size; returns the bytes given back.
    ///
    /// # Errors
    /// The device does not answer.
    pub fn collect_garbage(&self) -> DriverResult<u64> {
        self.0.collect_garbage(&mut self.0.pool())
    }

    /// Everything the pool says of itself; reserved bytes are locked.
    pub fn memory_stats(&self) -> Snapshot {
        self.0.snapshot()
    }

    /// Page-locked memory held now, bytes.
    pub fn reserved_bytes(&self) -> u64 {
        self.0.pool().reserved_bytes
    }

    /// What the slow path has done.
    pub fn counts(&self) -> Counts {
        self.0.pool().counts
    }

    /// Checks the pool's structure, and the sums of the snapshot; for tests.
    ///
    /// # Panics
    /// Something does not hold.
    pub fn assert_valid(&self) {
        self.0.assert_valid();
    }
}

/// Whether an allocator's transfers go through pinned memory, and that memory.
#[derive(Debug)]
pub(crate) struct Staging<D: Driver> {
    pub(crate) enabled: AtomicBool,
    pool: OnceLock<PinnedPool<D>>,
}

impl<D: Driver> Staging<D> {
    pub(crate) const fn new(enabled: bool) -> Self {
        Self { enabled: AtomicBool::new(enabled), pool: OnceLock::new() }
    }

    /// The pool, if it was made.
    pub(crate) fn pool(&self) -> Option<&PinnedPool<D>> {
        self.pool.get()
    }
}

impl<D: Driver> DeviceAllocator<D> {
    /// Whether transfers between ordinary host memory and buffers go through page-locked memory,
    /// from now on: at the full speed of the bus, and without waiting for the device where the
    /// copy is to it. Off at first, since it locks a few MiB of host memory.
    pub fn enable_pinned_memory(&self, enabled: bool) {
        self.staging().enabled.store(enabled, Ordering::Relaxed);
    }

    /// The allocator's own pool of page-locked host memory, made on first use.
    ///
    /// # Errors
    /// The host's memory cannot be asked for.
    pub fn pinned_pool(&self) -> DriverResult<&PinnedPool<D>> {
        let staging = self.staging();
        if let Some(pool) = staging.pool.get() {
            return Ok(pool);
        }
        let options = Options {
            limit_bytes: self.options().pinned_limit_bytes,
            memory_fraction: 0.5,
            ..Options::default()
        };
        let pool = PinnedPool::new(self, options)?;
        let pool = staging.pool.get_or_init(|| pool);
        self.shared().share_profile(&pool.0);
        Ok(pool)
    }
}
