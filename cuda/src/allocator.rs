//! The allocator as programs see it.
#![forbid(unsafe_code)]

use std::{fmt, sync::Arc};

use genesis_mem_core::{frag::Ratio, stats::Snapshot};

use crate::{
    driver::{Driver, DriverError, StreamId},
    error::{AllocError, FreeError},
    heap::{Block, PoolId},
    options::Options,
    pool::Counts,
    shared::Shared,
};

/// A caching allocator for the memory of one device. Clones are handles on the same allocator.
pub struct DeviceAllocator<D: Driver>(pub(crate) Arc<Shared<D>>);

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
    /// An allocator on `driver`.
    ///
    /// # Errors
    /// The device does not answer.
    pub fn with_driver(driver: D, options: Options) -> Result<Self, DriverError> {
        Shared::new(driver, options).map(|shared| Self(Arc::new(shared)))
    }

    /// Allocates `bytes` for use on `stream`.
    ///
    /// # Errors
    /// [`AllocError::OutOfMemory`] with all numbers, once everything free has been collected.
    #[inline]
    pub fn alloc(&self, bytes: u64, stream: StreamId) -> Result<Block, AllocError> {
        self.0.alloc(bytes, stream, PoolId::default())
    }

    /// Takes a block back. Work enqueued on its stream may still use it.
    ///
    /// # Errors
    /// The block is not this allocator's.
    #[inline]
    pub fn free(&self, block: Block) -> Result<(), FreeError> {
        self.0.free(block)
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

    /// Everything the allocator says of itself.
    pub fn memory_stats(&self) -> Snapshot {
        self.0.snapshot()
    }

    /// Free memory that is not in the largest free block, over free memory.
    pub fn fragmentation_ratio(&self) -> Ratio {
        self.0.snapshot().external_fragmentation()
    }

    /// The driver below.
    pub fn driver(&self) -> &D {
        &self.0.driver
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

    /// Gives all free memory back to the device; returns the bytes. Waits for the device.
    ///
    /// # Errors
    /// The device does not answer.
    pub fn empty_cache(&self) -> Result<u64, DriverError> {
        self.0.empty_cache(&mut self.0.pool())
    }
}

impl<D: Driver> Drop for Shared<D> {
    fn drop(&mut self) {
        self.tear_down();
    }
}
