//! Plain allocations, and page-locked host memory.

use std::ffi::c_uint;

use crate::{
    call::functions,
    code::{INVALID_VALUE, NOT_SUPPORTED},
    device::device,
    memory::Pinned,
    op::Op,
    raw::Out,
    settings::Setting,
};

functions! {
    NoCapture: cuMemAlloc_v2(at: Out<u64>, bytes: usize) {
        let total_bytes = device().settings.total_bytes();
        at.set(device().memory_mut().alloc(bytes as u64, total_bytes)?)
    }

    NoCapture: cuMemFree_v2(at: u64) {
        if at == 0 {
            return Ok(());
        }
        // Like the driver's, this free comes after everything.
        device().ends().iter().for_each(crate::stream::Point::wait);
        device().memory_mut().free(at)
    }

    Context: cuMemAllocAsync(at: Out<u64>, bytes: usize, stream: u64) {
        if device().settings.get(Setting::NoPools) != 0 || device().stream(stream)?.capture().is_some() {
            return Err(NOT_SUPPORTED);
        }
        let total_bytes = device().settings.total_bytes();
        at.set(device().memory_mut().alloc(bytes as u64, total_bytes)?)
    }

    Context: cuMemFreeAsync(at: u64, stream: u64) {
        device().submit(&device().stream(stream)?, Op::Free(at))
    }

    NoCapture: cuMemHostAlloc(at: Out<u64>, bytes: usize, _flags: c_uint) {
        if bytes == 0 {
            return Err(INVALID_VALUE);
        }
        at.set(device().memory_mut().alloc_host(bytes as u64)?)
    }

    NoCapture: cuMemAllocHost_v2(at: Out<u64>, bytes: usize) {
        if bytes == 0 {
            return Err(INVALID_VALUE);
        }
        at.set(device().memory_mut().alloc_host(bytes as u64)?)
    }

    NoCapture: cuMemFreeHost(at: u64) {
        device().memory_mut().unpin(at, Pinned::Allocated)
    }

    NoCapture: cuMemHostRegister_v2(at: u64, bytes: usize, _flags: c_uint) {
        device().memory_mut().register(at, bytes as u64)
    }

    NoCapture: cuMemHostUnregister(at: u64) {
        device().memory_mut().unpin(at, Pinned::Registered)
    }

    Context: cuMemHostGetDevicePointer_v2(device_at: Out<u64>, at: u64, _flags: c_uint) {
        if !device().memory().is_pinned(at, 1) {
            return Err(INVALID_VALUE);
        }
        device_at.set(at)
    }
}
