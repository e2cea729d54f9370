//! What the tests of the allocator share.
#![allow(dead_code, reason = "each test program uses a part of it")]

use genesis_mem_cuda::{
    Builder, DeviceAllocator,
    driver::StreamId,
    sim::{SimDriver, SimOptions},
};

/// One granule of the simulated device.
pub(crate) const GRANULE: u64 = 2 << 20;

/// A simulated device of `granules` granules whose fences lag, and an allocator on it.
pub(crate) fn device(granules: u64, lag_ops: u64) -> (SimDriver, DeviceAllocator<SimDriver>) {
    let options = SimOptions { device_bytes: granules * GRANULE, lag_ops, ..SimOptions::default() };
    let driver = SimDriver::new(options);
    let allocator = Builder::new().build_on(driver.clone()).expect("the device answers");
    (driver, allocator)
}

/// The same on a device without virtual memory management.
pub(crate) fn plain_device(granules: u64, lag_ops: u64) -> (SimDriver, DeviceAllocator<SimDriver>) {
    let options = SimOptions {
        device_bytes: granules * GRANULE,
        lag_ops,
        virtual_memory: false,
        ..SimOptions::default()
    };
    let driver = SimDriver::new(options);
    let allocator = Builder::new().build_on(driver.clone()).expect("the device answers");
    (driver, allocator)
}

/// A small deterministic generator of numbers (xorshift).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    /// A number below `bound`.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }

    /// A size with an even spread of magnitudes, up to `2 << top`.
    pub(crate) fn size(&mut self, top: u64) -> u64 {
        let magnitude = self.below(top) + 1;
        (1 << magnitude) + self.below(1 << magnitude)
    }
}

/// The stream with this number.
pub(crate) fn stream(number: u64) -> StreamId {
    StreamId(number)
}
