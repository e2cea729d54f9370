//! A typed buffer that frees itself.
#![forbid(unsafe_code)]

use std::{fmt, marker::PhantomData};

use crate::{
    DeviceAllocator,
    driver::{DefaultDriver, DevicePtr, Driver, StreamId},
    error::AllocError,
    heap::Block,
};

/// `len` values of `T` in device memory, uninitialised at first; freed on drop, in the order of
/// its stream.
///
/// Dropping never panics and never waits. After the device is lost the memory is left alone.
pub struct DeviceBuffer<T, D: Driver = DefaultDriver> {
    /// `None` only during the drop.
    pub(crate) block: Option<Block>,
    pub(crate) len: usize,
    pub(crate) stream: D::Stream,
    pub(crate) uses: D::Uses,
    pub(crate) allocator: DeviceAllocator<D>,
    values: PhantomData<T>,
}

impl<T, D: Driver> DeviceBuffer<T, D> {
    /// Room for `len` values, for use on `stream`.
    ///
    /// # Errors
    /// As for [`DeviceAllocator::alloc`].
    #[track_caller]
    pub fn new(
        allocator: &DeviceAllocator<D>,
        len: usize,
        stream: &D::Stream,
    ) -> Result<Self, AllocError> {
        let id = allocator.driver().stream_id(stream);
        let block = Some(allocator.alloc(bytes_of::<T>(len)?, id)?);
        let (stream, allocator) = (stream.clone(), allocator.clone());
        Ok(Self { block, len, stream, uses: D::Uses::default(), allocator, values: PhantomData })
    }

    /// The first address.
    pub fn ptr(&self) -> DevicePtr {
        self.block.as_ref().map_or(DevicePtr(0), Block::ptr)
    }

    /// How many values there is room for.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether there is room for none.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes of all values.
    pub const fn bytes(&self) -> u64 {
        (self.len * size_of::<T>()) as u64
    }

    /// How many values the block has room for.
    pub(crate) fn room(&self) -> usize {
        let bytes = self.block.as_ref().map_or(0, Block::bytes) as usize;
        bytes.checked_div(size_of::<T>()).unwrap_or(usize::MAX)
    }

    /// The stream in whose order the buffer is freed.
    pub fn stream_id(&self) -> StreamId {
        self.allocator.driver().stream_id(&self.stream)
    }

    /// Says that work on `stream` uses the buffer too: after the drop its memory goes to others
    /// only once `stream` has passed that point.
    ///
    /// # Errors
    /// There are too many streams to tell apart.
    pub fn record_stream(&mut self, stream: StreamId) -> Result<(), AllocError> {
        match &mut self.block {
            Some(block) => self.allocator.record_stream(block, stream),
            None => Ok(()),
        }
    }

    /// Makes room for `len` values in all without moving: into free memory behind the buffer, and
    /// into more that is mapped there where nothing else lies behind it. Returns whether there is.
    ///
    /// # Errors
    /// The size does not fit into 64 bits.
    pub fn resize_in_place(&mut self, len: usize) -> Result<bool, AllocError> {
        let bytes = bytes_of::<T>(len)?;
        if len < self.len {
            // What is cut off goes to others in our stream's order: uses elsewhere come before.
            self.allocator.shared().driver.end_of_use(self.stream_id(), &self.uses);
        }
        let resized = match &mut self.block {
            Some(block) => self.allocator.resize_in_place(block, bytes),
            None => false,
        };
        if resized {
            self.len = len;
        }
        Ok(resized)
    }

    /// The allocator it came from.
    pub const fn allocator(&self) -> &DeviceAllocator<D> {
        &self.allocator
    }
}

pub(crate) fn bytes_of<T>(len: usize) -> Result<u64, AllocError> {
    let bytes = len.checked_mul(size_of::<T>()).map(|bytes| bytes as u64);
    let largest_bytes = u64::MAX >> 1;
    bytes.ok_or(AllocError::TooLarge { requested_bytes: u64::MAX, largest_bytes })
}

impl<T, D: Driver> fmt::Debug for DeviceBuffer<T, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeviceBuffer")
            .field("ptr", &format_args!("{:#x}", self.ptr().0))
            .field("len", &self.len)
            .field("stream", &self.stream_id())
            .finish_non_exhaustive()
    }
}

impl<T, D: Driver> Drop for DeviceBuffer<T, D> {
    fn drop(&mut self) {
        if let Some(block) = self.block.take() {
            self.allocator.end_of_use(self.stream_id(), &self.uses);
            let freed = self.allocator.free(block);
            debug_assert_eq!(freed, Ok(()), "a buffer owns its block");
        }
    }
}
