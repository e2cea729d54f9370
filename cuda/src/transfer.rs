//! Copies between host and device, and on the device, in the order of a stream.

use crate::driver::{DevicePtr, Driver, DriverResult, StreamId};

/// A driver that copies.
///
/// Every copy is enqueued on a stream and takes place in its order. From and to page-locked host
/// memory the CPU goes on meanwhile; from and to other host memory the driver may wait.
pub trait Transfer: Driver {
    /// Enqueues a copy of `bytes` bytes from host memory to the device.
    ///
    /// # Errors
    /// The driver refuses; nothing is enqueued.
    ///
    /// # Safety
    /// - The host memory is readable and stays unchanged until `stream` has passed the copy.
    /// - The device memory is the caller's alone, in the order of `stream`.
    unsafe fn copy_to_device(
        &self,
        stream: StreamId,
        to: DevicePtr,
        from: *const u8,
        bytes: u64,
    ) -> DriverResult<()>;

    /// Enqueues a copy of `bytes` bytes from the device to host memory.
    ///
    /// # Errors
    /// The driver refuses; nothing is enqueued.
    ///
    /// # Safety
    /// - The host memory is writable, and nobody looks at it until `stream` has passed the copy.
    /// - The device memory is the caller's, in the order of `stream`.
    unsafe fn copy_to_host(
        &self,
        stream: StreamId,
        to: *mut u8,
        from: DevicePtr,
        bytes: u64,
    ) -> DriverResult<()>;

    /// Enqueues a copy of `bytes` bytes from one place on the device to another, which do not
    /// overlap.
    ///
    /// # Errors
    /// The driver refuses; nothing is enqueued.
    ///
    /// # Safety
    /// - Both are the caller's, in the order of `stream`, the second alone.
    unsafe fn copy_on_device(
        &self,
        stream: StreamId,
        to: DevicePtr,
        from: DevicePtr,
        bytes: u64,
    ) -> DriverResult<()>;

    /// Waits on the CPU until `fence` has been passed.
    ///
    /// # Errors
    /// The device is unusable.
    fn finish(&self, fence: &Self::Fence) -> DriverResult<()>;
}
