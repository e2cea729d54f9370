//! Capture of graphs: which streams record their work instead of running it, and what must not
//! be asked of them meanwhile.
//!
//! A stream that is being captured has no present end: no fence may be recorded on it, nobody may
//! wait for it, and it may wait for nobody that is not captured too. What it frees stays in the
//! private pool of the graph, in the order of the capture, which is that of every later launch.
#![forbid(unsafe_code)]

use std::{
    fmt,
    ops::{Deref, DerefMut},
    sync::{MutexGuard, PoisonError, RwLock, atomic::AtomicBool, atomic::Ordering},
};

use crate::{
    AllocError, DeviceAllocator, PoolId,
    driver::{CaptureMode, Driver, StreamId},
    guard::Guarded,
    pool::Pool,
    shared::Shared,
};

/// Streams that are served from a private pool.
#[derive(Debug, Default)]
pub(crate) struct Captures {
    /// Whether there are any, for the fast path.
    any: AtomicBool,
    routes: RwLock<Vec<(StreamId, PoolId)>>,
}

impl Captures {
    /// The pool that serves `stream` now.
    #[inline]
    pub(crate) fn pool_of(&self, stream: StreamId) -> PoolId {
        // Relaxed: whoever captures a stream orders the uses of that stream itself.
        if self.any.load(Ordering::Relaxed) { self.look_up(stream) } else { PoolId::default() }
    }

    #[cold]
    fn look_up(&self, stream: StreamId) -> PoolId {
        let routes = self.routes.read().unwrap_or_else(PoisonError::into_inner);
        let found = routes.iter().find(|(captured, _)| *captured == stream);
        found.map_or_else(PoolId::default, |(_, pool)| *pool)
    }

    fn change(&self, change: impl FnOnce(&mut Vec<(StreamId, PoolId)>)) {
        let mut routes = self.routes.write().unwrap_or_else(PoisonError::into_inner);
        change(&mut routes);
        self.any.store(!routes.is_empty(), Ordering::Relaxed);
    }
}

/// Serves a stream from a private pool until it is dropped; see
/// [`DeviceAllocator::capture`].
#[must_use = "the capture ends when this is dropped"]
pub struct Capture<D: Driver> {
    allocator: DeviceAllocator<D>,
    stream: StreamId,
    pool: PoolId,
    bit: u64,
}

impl<D: Driver> Capture<D> {
    /// The pool that serves the stream.
    pub const fn pool(&self) -> PoolId {
        self.pool
    }
}

impl<D: Driver> fmt::Debug for Capture<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Capture")
            .field("stream", &self.stream)
            .field("pool", &self.pool)
            .finish_non_exhaustive()
    }
}

impl<D: Driver> Drop for Capture<D> {
    fn drop(&mut self) {
        let shared = self.allocator.shared();
        shared.pool().captured &= !self.bit;
        shared.captures.change(|routes| routes.retain(|(stream, _)| *stream != self.stream));
    }
}

impl<D: Driver> DeviceAllocator<D> {
    /// Serves `stream` from `pool`, a [private one](Self::create_pool), while a graph is captured
    /// on it. To be called before the capture begins; the result is dropped once it has ended.
    ///
    /// Meanwhile no fence is recorded on the stream, and nobody waits for it: blocks that it
    /// shares with other streams come back after the capture. Addresses handed out stay mapped
    /// until [`drop_pool`](Self::drop_pool), which is to be called when the graph is gone and its
    /// last launch is through. A stream that joins the capture by an event needs a call of its own,
    /// with the same pool.
    ///
    /// ```
    /// use genesis_mem_cuda::{Builder, driver::StreamId, sim::{SimDriver, SimOptions}};
    /// let allocator = Builder::new().build_on(SimDriver::new(SimOptions::default()))?;
    /// let (stream, pool) = (StreamId(1), allocator.create_pool());
    /// let capture = allocator.capture(stream, pool)?;
    /// let scratch = allocator.alloc(4096, stream)?; // Of the private pool.
    /// allocator.free(scratch)?;
    /// drop(capture);
    /// assert!(allocator.pool_stats(pool).reserved_bytes.current > 0);
    /// allocator.drop_pool(pool)?;
    /// assert_eq!(allocator.reserved_bytes(), 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// There are too many streams to tell apart, or the device does not answer.
    ///
    /// # Panics
    /// The stream is being captured already.
    pub fn capture(&self, stream: StreamId, pool: PoolId) -> Result<Capture<D>, AllocError> {
        let shared = self.shared();
        let bit = shared.stream_bit(stream)?;
        {
            let mut inner = shared.pool();
            assert_eq!(inner.captured & bit, 0, "a stream is captured once at a time");
            // The last chance to ask how far the stream is.
            shared.settle(&mut inner)?;
            shared.advance(&mut inner)?;
            inner.captured |= bit;
        }
        shared.captures.change(|routes| routes.push((stream, pool)));
        Ok(Capture { allocator: self.clone(), stream, pool, bit })
    }
}

impl<D: Driver> Pool<D> {
    /// Whether a stream may be made to wait for those of `waits`.
    pub(crate) fn may_wait(&self, bit: u64, waits: u64) -> bool {
        let others = waits & !bit;
        others == 0 || (others | bit) & self.captured == 0
    }
}

/// The pool, locked. While a stream is captured, this thread may make calls that a capture would
/// otherwise forbid.
pub(crate) struct PoolGuard<'a, D: Driver> {
    pool: MutexGuard<'a, Pool<D>>,
    driver: &'a Guarded<D>,
    mode: Option<CaptureMode>,
}

impl<'a, D: Driver> PoolGuard<'a, D> {
    pub(crate) fn new(shared: &'a Shared<D>, pool: MutexGuard<'a, Pool<D>>) -> Self {
        let driver = &shared.driver;
        // A failure shows in the call that the capture then forbids.
        let relax = || driver.exchange_capture_mode(CaptureMode::Relaxed).ok();
        let mode = if pool.captured == 0 { None } else { relax() };
        Self { pool, driver, mode }
    }
}

impl<D: Driver> Drop for PoolGuard<'_, D> {
    fn drop(&mut self) {
        if let Some(mode) = self.mode {
            let _ = self.driver.exchange_capture_mode(mode);
        }
    }
}

impl<D: Driver> Deref for PoolGuard<'_, D> {
    type Target = Pool<D>;

    fn deref(&self) -> &Pool<D> {
        &self.pool
    }
}

impl<D: Driver> DerefMut for PoolGuard<'_, D> {
    fn deref_mut(&mut self) -> &mut Pool<D> {
        &mut self.pool
    }
}
