//! A buffer that grows.

use std::fmt;

use bytemuck::Pod;

use crate::{
    AllocError, CopyError, DeviceAllocator, DeviceBuffer,
    driver::{DefaultDriver, DevicePtr, Driver, Transfer},
};

/// Values in device memory that become more: [`DeviceBuffer`] with room behind them.
///
/// It grows where it is as long as the addresses behind it can be had, by mapping more memory
/// there; so the last vector of a stream grows without a copy, and by little more than it needs.
/// Otherwise it moves: a copy on the device, in the order of its stream, into twice the room.
///
/// ```
/// use genesis_mem_cuda::{Builder, DeviceVec, driver::StreamId, sim::{SimDriver, SimOptions}};
/// let allocator = Builder::new().build_on(SimDriver::new(SimOptions::default()))?;
/// let mut tokens = DeviceVec::<u32, _>::new(&allocator, &StreamId(0))?;
/// for step in 0..100 {
///     tokens.extend_from_slice(&[step; 1000])?;
/// }
/// assert_eq!(tokens.len(), 100_000);
/// assert!(tokens.capacity() >= tokens.len());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct DeviceVec<T, D: Driver = DefaultDriver> {
    /// Its length is the vector's, its block the room.
    buffer: DeviceBuffer<T, D>,
}

impl<T, D: Driver> DeviceVec<T, D> {
    /// No values yet, for use on `stream`.
    ///
    /// # Errors
    /// As for [`DeviceAllocator::alloc`].
    #[track_caller]
    pub fn new(allocator: &DeviceAllocator<D>, stream: &D::Stream) -> Result<Self, AllocError> {
        Self::with_capacity(allocator, 0, stream)
    }

    /// No values yet, and room for `capacity`.
    ///
    /// # Errors
    /// As for [`DeviceAllocator::alloc`].
    #[track_caller]
    pub fn with_capacity(
        allocator: &DeviceAllocator<D>,
        capacity: usize,
        stream: &D::Stream,
    ) -> Result<Self, AllocError> {
        let mut buffer = DeviceBuffer::new(allocator, capacity, stream)?;
        buffer.len = 0;
        Ok(Self { buffer })
    }

    /// How many values there are.
    pub const fn len(&self) -> usize {
        self.buffer.len()
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }

    /// How many values there is room for where it is.
    pub fn capacity(&self) -> usize {
        self.buffer.room()
    }

    /// Forgets all values but the first `len`; the room stays.
    pub fn truncate(&mut self, len: usize) {
        self.buffer.len = self.buffer.len.min(len);
    }

    /// Forgets all values; the room stays.
    pub fn clear(&mut self) {
        self.truncate(0);
    }

    /// The values, as a buffer of just their length.
    pub const fn as_buffer(&self) -> &DeviceBuffer<T, D> {
        &self.buffer
    }

    /// The values, as a buffer of just their length, for kernels that write to it.
    pub const fn as_mut_buffer(&mut self) -> &mut DeviceBuffer<T, D> {
        &mut self.buffer
    }

    /// The values, as a buffer; it keeps the room.
    pub fn into_buffer(self) -> DeviceBuffer<T, D> {
        self.buffer
    }
}

impl<T: Pod, D: Transfer> DeviceVec<T, D> {
    /// Makes room for `additional` more values, and for some beyond: by an eighth where the vector
    /// stays, twice as much where it moves. All of it in the order of its stream.
    ///
    /// # Errors
    /// As for [`DeviceAllocator::alloc`], or the driver refuses the copy; the vector is as it was.
    #[track_caller]
    pub fn reserve(&mut self, additional: usize) -> Result<(), CopyError> {
        let (len, room) = (self.len(), self.capacity());
        let too_large =
            AllocError::TooLarge { requested_bytes: u64::MAX, largest_bytes: u64::MAX >> 1 };
        let needed = len.checked_add(additional).ok_or(too_large)?;
        if needed <= room || self.stays(needed.max(room.saturating_add(room / 8)), needed) {
            return Ok(());
        }
        let (allocator, stream) = (&self.buffer.allocator, &self.buffer.stream);
        let more = DeviceBuffer::new(allocator, needed.max(room.saturating_mul(2)), stream);
        let new = match more {
            Err(AllocError::OutOfMemory(_) | AllocError::TooLarge { .. }) => {
                DeviceBuffer::new(allocator, needed, stream)?
            }
            more => more?,
        };
        self.move_to(new)
    }

    /// Grows where it is, to `wanted` values or at least to those `needed`.
    fn stays(&mut self, wanted: usize, needed: usize) -> bool {
        let len = self.len();
        let mut stays = |room| matches!(self.buffer.resize_in_place(room), Ok(true));
        let stayed = stays(wanted) || stays(needed);
        self.buffer.len = len;
        stayed
    }

    fn move_to(&mut self, mut new: DeviceBuffer<T, D>) -> Result<(), CopyError> {
        let (driver, stream) = (self.buffer.allocator.driver(), self.buffer.stream_id());
        driver.end_of_use(stream, &self.buffer.uses);
        let (to, from, bytes) = (new.ptr(), self.buffer.ptr(), self.buffer.bytes());
        if bytes > 0 {
            // SAFETY: the new buffer has room for more than the values of this one; both belong
            // here, in the order of their stream, and do not overlap.
            unsafe { driver.copy_on_device(stream, to, from, bytes) }?;
        }
        new.len = self.len();
        // What was here goes in the order of the stream, after the copy.
        self.buffer = new;
        Ok(())
    }

    /// Appends values from the host, in the order of the vector's stream. Returns when `values`
    /// may be used again; see [`DeviceBuffer::copy_from_host`].
    ///
    /// # Errors
    /// As for [`reserve`](Self::reserve); the vector is as long as it was.
    #[track_caller]
    pub fn extend_from_slice(&mut self, values: &[T]) -> Result<(), CopyError> {
        self.reserve(values.len())?;
        let len = self.len();
        self.buffer.write(len, values)?;
        self.buffer.len = len + values.len();
        Ok(())
    }

    /// All values, on the host.
    ///
    /// # Errors
    /// The driver refuses.
    #[track_caller]
    pub fn to_vec(&self) -> Result<Vec<T>, CopyError> {
        self.buffer.to_vec()
    }

    /// The address of the first value; another one after a growth that moved it.
    pub fn ptr(&self) -> DevicePtr {
        self.buffer.ptr()
    }
}

impl<T, D: Driver> fmt::Debug for DeviceVec<T, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeviceVec")
            .field("buffer", &self.buffer)
            .field("capacity", &self.capacity())
            .finish()
    }
}
