//! Devices on which a trace can be replayed.
#![forbid(unsafe_code)]

use crate::{
    driver::{DevicePtr, Driver, DriverResult, StreamId},
    sim::{SimDriver, SimOptions, Violation},
};

/// A driver, and what a replay asks of it beside memory.
pub trait Device: Driver + Sized {
    /// The name in reports.
    const BACKEND: &'static str;

    /// Opens the device: as `options` say where it is simulated.
    ///
    /// # Errors
    /// The device does not answer.
    fn open(options: SimOptions) -> DriverResult<Self>;

    /// The device's stream for a stream of the trace; a new one at each call, but for the default
    /// stream, zero.
    ///
    /// # Errors
    /// The device has no more streams.
    fn stream(&self, of_trace: StreamId) -> DriverResult<StreamId>;

    /// Uses `bytes` at `at` on `stream` as part of `block`, where that is checked.
    fn touch(&self, _stream: StreamId, _at: DevicePtr, _bytes: u64, _block: u64) {}

    /// Says that a block is free from now on.
    fn retire(&self, _at: DevicePtr, _bytes: u64) {}

    /// Modelled time of all calls, nanoseconds; `None` where it can be measured.
    fn modelled_ns(&self) -> Option<u64> {
        None
    }

    /// What the device does not forgive, as far as it noticed, once the allocator is gone.
    fn violations(&self) -> Vec<Violation> {
        Vec::new()
    }
}

impl Device for SimDriver {
    const BACKEND: &'static str = "sim";

    fn open(options: SimOptions) -> DriverResult<Self> {
        Ok(Self::new(options))
    }

    fn stream(&self, of_trace: StreamId) -> DriverResult<StreamId> {
        Ok(of_trace)
    }

    fn touch(&self, stream: StreamId, at: DevicePtr, bytes: u64, block: u64) {
        Self::touch(self, stream, at, bytes, block);
    }

    fn retire(&self, at: DevicePtr, bytes: u64) {
        Self::retire(self, at, bytes);
    }

    fn modelled_ns(&self) -> Option<u64> {
        Some(self.cost_ns())
    }

    fn violations(&self) -> Vec<Violation> {
        self.finish()
    }
}

#[cfg(feature = "cudarc")]
impl Device for crate::cudarc::CudarcDriver {
    const BACKEND: &'static str = "cuda";

    /// The first GPU.
    fn open(_: SimOptions) -> DriverResult<Self> {
        Self::new(0)
    }

    fn stream(&self, of_trace: StreamId) -> DriverResult<StreamId> {
        use crate::driver::{DriverCall, DriverError};
        let stream = match of_trace {
            StreamId(0) => self.context().default_stream(),
            _ => self.context().new_stream().map_err(|error| DriverError::Other {
                call: DriverCall::Open,
                code: error.0 as i32,
            })?,
        };
        // The driver keeps it from now on.
        Ok(self.stream_id(&stream))
    }
}
