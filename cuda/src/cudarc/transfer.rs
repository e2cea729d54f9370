//! Copies on a GPU.

use cudarc::driver::{CudaEvent, sys};

use super::{CudarcDriver, check, raw};
use crate::{
    driver::{DevicePtr, DriverCall, DriverResult, StreamId},
    transfer::Transfer,
};

impl Transfer for CudarcDriver {
    unsafe fn copy_to_device(
        &self,
        stream: StreamId,
        to: DevicePtr,
        from: *const u8,
        bytes: u64,
    ) -> DriverResult<()> {
        self.bind()?;
        // SAFETY: forwarded.
        let code =
            unsafe { sys::cuMemcpyHtoDAsync_v2(to.0, from.cast(), bytes as usize, raw(stream)) };
        check(code, DriverCall::Copy, to.0, bytes)
    }

    unsafe fn copy_to_host(
        &self,
        stream: StreamId,
        to: *mut u8,
        from: DevicePtr,
        bytes: u64,
    ) -> DriverResult<()> {
        self.bind()?;
        // SAFETY: forwarded.
        let code =
            unsafe { sys::cuMemcpyDtoHAsync_v2(to.cast(), from.0, bytes as usize, raw(stream)) };
        check(code, DriverCall::Copy, from.0, bytes)
    }

    unsafe fn copy_on_device(
        &self,
        stream: StreamId,
        to: DevicePtr,
        from: DevicePtr,
        bytes: u64,
    ) -> DriverResult<()> {
        self.bind()?;
        // SAFETY: forwarded.
        let code = unsafe { sys::cuMemcpyDtoDAsync_v2(to.0, from.0, bytes as usize, raw(stream)) };
        check(code, DriverCall::Copy, to.0, bytes)
    }

    fn finish(&self, fence: &CudaEvent) -> DriverResult<()> {
        self.bind()?;
        // SAFETY: the event is alive.
        check(unsafe { sys::cuEventSynchronize(fence.cu_event()) }, DriverCall::Synchronize, 0, 0)
    }
}
