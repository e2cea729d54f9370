//! [`DeviceBuffer`] in cudarc's own calls: copies, memset, libraries and kernel launches.

use std::sync::Arc;

use cudarc::driver::{
    CudaStream, DevicePtr, DevicePtrMut, DeviceRepr, DeviceSlice, LaunchArgs, PushKernelArg,
    SyncOnDrop, ValidAsZeroBits,
};

use super::{CudarcDriver, id_of};
use crate::{
    AllocError, DeviceAllocator, DeviceBuffer,
    driver::{Driver, DriverCall, DriverError},
};

impl<T> DeviceBuffer<T, CudarcDriver> {
    /// A buffer of zeroes.
    ///
    /// # Errors
    /// As for [`DeviceBuffer::new`], or the stream refuses the work.
    #[track_caller]
    pub fn zeroed(
        allocator: &DeviceAllocator<CudarcDriver>,
        len: usize,
        stream: &Arc<CudaStream>,
    ) -> Result<Self, AllocError>
    where
        T: DeviceRepr + ValidAsZeroBits,
    {
        let mut buffer = Self::new(allocator, len, stream)?;
        stream
            .memset_zeros(&mut buffer)
            .map_err(|error| DriverError::Other { call: DriverCall::Copy, code: error.0 as i32 })?;
        Ok(buffer)
    }

    /// Orders `stream` after everything that uses the buffer, and sees to it that the free comes
    /// after what `stream` is about to do with it.
    fn on_stream<'a>(&'a self, stream: &'a CudaStream) -> SyncOnDrop<'a> {
        let (driver, id) = (self.allocator.driver(), id_of(stream));
        if let Some(last) = self.uses.get() {
            let _ = driver.wait(id, last);
        }
        if id == self.stream_id() {
            return SyncOnDrop::Sync(None);
        }
        if let Ok(own) = driver.record(self.stream_id()) {
            let _ = driver.wait(id, &own);
        }
        if self.uses.get().is_none()
            && let Ok(event) = driver.context.new_event(None)
        {
            let _ = self.uses.set(event);
        }
        match self.uses.get() {
            Some(event) => SyncOnDrop::Record(Some((event, stream))),
            None => SyncOnDrop::sync_stream(stream),
        }
    }
}

impl<T> DeviceSlice<T> for DeviceBuffer<T, CudarcDriver> {
    fn len(&self) -> usize {
        self.len
    }

    fn stream(&self) -> &Arc<CudaStream> {
        &self.stream
    }
}

impl<T> DevicePtr<T> for DeviceBuffer<T, CudarcDriver> {
    fn device_ptr<'a>(&'a self, stream: &'a CudaStream) -> (u64, SyncOnDrop<'a>) {
        (self.ptr().0, self.on_stream(stream))
    }
}

impl<T> DevicePtrMut<T> for DeviceBuffer<T, CudarcDriver> {
    fn device_ptr_mut<'a>(&'a mut self, stream: &'a CudaStream) -> (u64, SyncOnDrop<'a>) {
        (self.ptr().0, self.on_stream(stream))
    }
}

/// The address as a kernel gets it; lives as long as the buffer.
fn argument<T>(buffer: &DeviceBuffer<T, CudarcDriver>) -> &u64 {
    buffer.block.as_ref().map_or(&0, |block| &block.start.0)
}

// SAFETY: what is pushed is the buffer's address, a `u64` that lives as long as the buffer.
/// A launch on another stream than the buffer's needs
/// [`record_stream`](DeviceBuffer::record_stream) first, and an order between the streams.
unsafe impl<'a, 'b: 'a, T> PushKernelArg<&'b DeviceBuffer<T, CudarcDriver>> for LaunchArgs<'a> {
    #[inline]
    fn arg(&mut self, buffer: &'b DeviceBuffer<T, CudarcDriver>) -> &mut Self {
        self.arg(argument(buffer))
    }
}

// SAFETY: as above.
unsafe impl<'a, 'b: 'a, T> PushKernelArg<&'b mut DeviceBuffer<T, CudarcDriver>> for LaunchArgs<'a> {
    #[inline]
    fn arg(&mut self, buffer: &'b mut DeviceBuffer<T, CudarcDriver>) -> &mut Self {
        self.arg(argument(buffer))
    }
}
