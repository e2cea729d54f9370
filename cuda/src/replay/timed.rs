//! A driver that measures the time spent in the one below it.
#![forbid(unsafe_code)]

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use crate::driver::{
    CaptureMode, DevicePtr, Driver, DriverResult, MemoryInfo, PhysicalId, StreamId,
};

/// See the module.
#[derive(Debug)]
pub(super) struct Timed<D> {
    driver: Arc<D>,
    nanos: AtomicU64,
    calls: AtomicU64,
}

impl<D> Timed<D> {
    pub(super) const fn new(driver: Arc<D>) -> Self {
        Self { driver, nanos: AtomicU64::new(0), calls: AtomicU64::new(0) }
    }

    /// How often the clock was read twice.
    pub(super) fn calls(&self) -> u64 {
        self.calls.load(Relaxed)
    }

    /// Time spent in the driver so far.
    pub(super) fn time_inside(&self) -> Duration {
        Duration::from_nanos(self.nanos.load(Relaxed))
    }

    fn time<R>(&self, call: impl FnOnce(&D) -> R) -> R {
        let begin = Instant::now();
        let result = call(&self.driver);
        self.nanos.fetch_add(begin.elapsed().as_nanos() as u64, Relaxed);
        self.calls.fetch_add(1, Relaxed);
        result
    }
}

impl<D: Driver> Driver for Timed<D> {
    type Fence = D::Fence;
    type Stream = D::Stream;
    type Uses = D::Uses;

    fn stream_id(&self, stream: &D::Stream) -> StreamId {
        self.driver.stream_id(stream)
    }

    fn end_of_use(&self, stream: StreamId, uses: &D::Uses) {
        self.driver.end_of_use(stream, uses);
    }

    fn granularity_bytes(&self) -> u64 {
        self.driver.granularity_bytes()
    }

    fn memory_info(&self) -> DriverResult<MemoryInfo> {
        self.time(|driver| driver.memory_info())
    }

    fn reserve(&self, bytes: u64) -> DriverResult<DevicePtr> {
        self.time(|driver| driver.reserve(bytes))
    }

    fn unreserve(&self, at: DevicePtr, bytes: u64) -> DriverResult<()> {
        self.time(|driver| driver.unreserve(at, bytes))
    }

    fn create(&self, bytes: u64) -> DriverResult<PhysicalId> {
        self.time(|driver| driver.create(bytes))
    }

    fn release(&self, memory: PhysicalId) -> DriverResult<()> {
        self.time(|driver| driver.release(memory))
    }

    fn map(&self, at: DevicePtr, bytes: u64, memory: PhysicalId) -> DriverResult<()> {
        self.time(|driver| driver.map(at, bytes, memory))
    }

    fn unmap(&self, at: DevicePtr, bytes: u64) -> DriverResult<()> {
        self.time(|driver| driver.unmap(at, bytes))
    }

    fn alloc(&self, bytes: u64) -> DriverResult<DevicePtr> {
        self.time(|driver| driver.alloc(bytes))
    }

    fn free(&self, at: DevicePtr) -> DriverResult<()> {
        self.time(|driver| driver.free(at))
    }

    fn record(&self, stream: StreamId) -> DriverResult<Self::Fence> {
        self.time(|driver| driver.record(stream))
    }

    fn is_passed(&self, fence: &Self::Fence) -> DriverResult<bool> {
        self.time(|driver| driver.is_passed(fence))
    }

    fn wait(&self, stream: StreamId, fence: &Self::Fence) -> DriverResult<()> {
        self.time(|driver| driver.wait(stream, fence))
    }

    fn synchronize(&self, stream: StreamId) -> DriverResult<()> {
        self.time(|driver| driver.synchronize(stream))
    }

    fn exchange_capture_mode(&self, mode: CaptureMode) -> DriverResult<CaptureMode> {
        self.time(|driver| driver.exchange_capture_mode(mode))
    }

    fn register_host(&self, address: usize, bytes: usize) -> DriverResult<()> {
        self.time(|driver| driver.register_host(address, bytes))
    }

    fn unregister_host(&self, address: usize) -> DriverResult<()> {
        self.time(|driver| driver.unregister_host(address))
    }
}
