//! A typed buffer in page-locked host memory.

use std::{fmt, marker::PhantomData, panic::Location, ptr};

use bytemuck::Pod;

use super::{PinnedPool, host::CPU};
use crate::{
    buffer::bytes_of,
    driver::{DefaultDriver, Driver, DriverResult, StreamId, Transfer},
    error::AllocError,
    heap::{Block, PoolId},
};

/// From this size on a block's fence is recorded when it is dropped, so that it is free as soon
/// as its copies are through; smaller ones share a fence when the pool next looks for memory.
const RECORD_BYTES: u64 = 64 << 10;

/// `len` values of `T` in page-locked host memory, which a device copies from and to at full
/// speed while the CPU goes on. At first it holds whatever was there before.
///
/// Its slices wait for the copies that were recorded, and so does the pool before anybody else
/// gets the memory; dropping it never waits.
pub struct PinnedBuffer<T, D: Driver = DefaultDriver> {
    /// `None` only during the drop.
    block: Option<Block>,
    len: usize,
    /// The last recorded use on each stream.
    uses: Vec<(StreamId, D::Fence)>,
    pool: PinnedPool<D>,
    values: PhantomData<T>,
}

impl<T: Pod, D: Driver> PinnedBuffer<T, D> {
    /// Room for `len` values.
    ///
    /// # Errors
    /// [`AllocError::OutOfMemory`] where the pool's limit is reached or the system does not lock
    /// more, with all numbers.
    #[track_caller]
    pub fn new(pool: &PinnedPool<D>, len: usize) -> Result<Self, AllocError> {
        const { assert!(align_of::<T>() <= 512, "blocks begin at multiples of 512") };
        let block =
            pool.0.alloc(bytes_of::<T>(len)?, CPU, PoolId::default(), Location::caller())?;
        let (uses, pool) = (Vec::new(), pool.clone());
        Ok(Self { block: Some(block), len, uses, pool, values: PhantomData })
    }

    /// Says that work enqueued on `stream` so far uses the memory. Call it after enqueueing what
    /// goes past this crate; the copies of [`DeviceBuffer`](crate::DeviceBuffer) do it themselves.
    ///
    /// # Errors
    /// There are too many streams to tell apart, or the driver refuses a fence.
    pub fn record_stream(&mut self, stream: &D::Stream) -> Result<(), AllocError> {
        let stream = self.pool.0.driver.stream_id(stream);
        self.mark(stream)?;
        Ok(self.record(stream)?)
    }

    /// Says that work on `stream` is about to use the memory: it is set aside on drop.
    pub(crate) fn mark(&mut self, stream: StreamId) -> Result<(), AllocError> {
        if let Some(block) = &mut self.block {
            block.streams |= self.pool.0.stream_bit(stream)?;
        }
        Ok(())
    }

    /// Remembers the present end of `stream`, for the slices to wait for.
    pub(crate) fn record(&mut self, stream: StreamId) -> DriverResult<()> {
        let fence = self.pool.0.driver.device.record(stream)?;
        self.uses.retain(|(used, _)| *used != stream);
        self.uses.push((stream, fence));
        Ok(())
    }

    /// The first address.
    pub fn as_ptr(&self) -> *const T {
        ptr::with_exposed_provenance(self.address())
    }

    /// The first address.
    pub fn as_mut_ptr(&mut self) -> *mut T {
        ptr::with_exposed_provenance_mut(self.address())
    }

    fn address(&self) -> usize {
        self.block.as_ref().map_or(0, |block| block.ptr().0 as usize)
    }

    /// How many values there are.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes of all values.
    pub fn bytes(&self) -> u64 {
        self.block.as_ref().map_or(0, Block::bytes)
    }

    /// The pool it came from.
    pub const fn pool(&self) -> &PinnedPool<D> {
        &self.pool
    }
}

impl<T: Pod, D: Transfer> PinnedBuffer<T, D> {
    /// Waits on the CPU until recorded work is through.
    ///
    /// # Errors
    /// The device is unusable; nothing on it goes on then.
    pub fn wait(&self) -> DriverResult<()> {
        self.uses.iter().try_for_each(|(_, fence)| self.pool.0.driver.device.finish(fence))
    }

    /// The values. Waits on the CPU until recorded work is through.
    pub fn as_slice(&self) -> &[T] {
        // A device that fails writes no more.
        let _ = self.wait();
        // SAFETY: the block holds `len` values, aligned since blocks are to 512 bytes and
        // initialised since pieces are zeroed at first; any bytes are a `T`. It is this buffer's
        // alone, and no recorded copy is under way.
        unsafe { std::slice::from_raw_parts(self.as_ptr(), self.len) }
    }

    /// The values. Waits on the CPU until recorded work is through.
    pub fn as_mut_slice(&mut self) -> &mut [T] {
        let _ = self.wait();
        self.uses.clear();
        // SAFETY: as above, and the borrow is exclusive; a `T` has no padding, so the bytes stay
        // initialised.
        unsafe { std::slice::from_raw_parts_mut(self.as_mut_ptr(), self.len) }
    }
}

impl<T, D: Driver> fmt::Debug for PinnedBuffer<T, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PinnedBuffer").field("len", &self.len).finish_non_exhaustive()
    }
}

impl<T, D: Driver> Drop for PinnedBuffer<T, D> {
    fn drop(&mut self) {
        if let Some(block) = self.block.take() {
            let record = block.streams != 0 && block.bytes() >= RECORD_BYTES;
            let freed = self.pool.0.free(block);
            debug_assert_eq!(freed, Ok(()), "a buffer owns its block");
            if record {
                self.pool.0.settle_now();
            }
        }
    }
}
