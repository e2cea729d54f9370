//! The driver until it breaks: after a fatal error no call is made any more, on whatever path.
#![forbid(unsafe_code)]

use std::{
    ops::Deref,
    sync::{Arc, OnceLock},
};

use crate::driver::{
    CaptureMode, DevicePtr, Driver, DriverError, DriverResult, MemoryInfo, PhysicalId, StreamId,
};

/// A driver with the first fatal error that it gave, which answers in its place from then on.
///
/// Its calls hide those of the driver; only what cannot fail is reached through it.
pub(crate) struct Guarded<D> {
    driver: Arc<D>,
    broken: OnceLock<DriverError>,
}

impl<D> Deref for Guarded<D> {
    type Target = D;

    #[inline]
    fn deref(&self) -> &D {
        &self.driver
    }
}

impl<D: Driver> Guarded<D> {
    pub(crate) fn new(driver: D) -> Self {
        Self { driver: Arc::new(driver), broken: OnceLock::new() }
    }

    /// The driver itself, to be shared.
    pub(crate) fn share(&self) -> Arc<D> {
        Arc::clone(&self.driver)
    }

    fn call<T>(&self, call: impl FnOnce(&D) -> DriverResult<T>) -> DriverResult<T> {
        if let Some(error) = self.broken.get() {
            return Err(error.clone());
        }
        call(&self.driver).inspect_err(|error| {
            if error.is_fatal() {
                // Another thread may have been quicker; its error says the same.
                let _ = self.broken.set(error.clone());
            }
        })
    }

    pub(crate) fn end_of_use(&self, stream: StreamId, uses: &D::Uses) {
        if self.broken.get().is_none() {
            self.driver.end_of_use(stream, uses);
        }
    }

    pub(crate) fn memory_info(&self) -> DriverResult<MemoryInfo> {
        self.call(D::memory_info)
    }

    pub(crate) fn reserve(&self, bytes: u64) -> DriverResult<DevicePtr> {
        self.call(|driver| driver.reserve(bytes))
    }

    pub(crate) fn unreserve(&self, at: DevicePtr, bytes: u64) -> DriverResult<()> {
        self.call(|driver| driver.unreserve(at, bytes))
    }

    pub(crate) fn create(&self, bytes: u64) -> DriverResult<PhysicalId> {
        self.call(|driver| driver.create(bytes))
    }

    pub(crate) fn release(&self, memory: PhysicalId) -> DriverResult<()> {
        self.call(|driver| driver.release(memory))
    }

    pub(crate) fn map(&self, at: DevicePtr, bytes: u64, memory: PhysicalId) -> DriverResult<()> {
        self.call(|driver| driver.map(at, bytes, memory))
    }

    pub(crate) fn unmap(&self, at: DevicePtr, bytes: u64) -> DriverResult<()> {
        self.call(|driver| driver.unmap(at, bytes))
    }

    pub(crate) fn alloc(&self, bytes: u64) -> DriverResult<DevicePtr> {
        self.call(|driver| driver.alloc(bytes))
    }

    pub(crate) fn free(&self, at: DevicePtr) -> DriverResult<()> {
        self.call(|driver| driver.free(at))
    }

    pub(crate) fn record(&self, stream: StreamId) -> DriverResult<D::Fence> {
        self.call(|driver| driver.record(stream))
    }

    pub(crate) fn is_passed(&self, fence: &D::Fence) -> DriverResult<bool> {
        self.call(|driver| driver.is_passed(fence))
    }

    pub(crate) fn wait(&self, stream: StreamId, fence: &D::Fence) -> DriverResult<()> {
        self.call(|driver| driver.wait(stream, fence))
    }

    pub(crate) fn exchange_capture_mode(&self, mode: CaptureMode) -> DriverResult<CaptureMode> {
        self.call(|driver| driver.exchange_capture_mode(mode))
    }

    pub(crate) fn synchronize(&self, stream: StreamId) -> DriverResult<()> {
        self.call(|driver| driver.synchronize(stream))
    }
}
