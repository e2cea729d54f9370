//! The driver's library: whether it is there, and has the functions that will be called.

use crate::driver::{DriverError, DriverResult};

/// The functions that a driver must have.
const FUNCTIONS: [&str; 24] = [
    "cuInit",
    "cuDeviceGetCount",
    "cuDeviceGet",
    "cuCtxSetCurrent",
    "cuMemGetInfo_v2",
    "cuMemAlloc_v2",
    "cuMemFree_v2",
    "cuEventRecord",
    "cuEventQuery",
    "cuStreamWaitEvent",
    "cuStreamSynchronize",
    "cuMemHostRegister_v2",
    "cuMemHostUnregister",
    "cuEventCreate",
    "cuEventDestroy_v2",
    "cuCtxGetCurrent",
    "cuDeviceGetAttribute",
    "cuDevicePrimaryCtxRetain",
    "cuMemcpyHtoDAsync_v2",
    "cuMemcpyDtoHAsync_v2",
    "cuMemcpyDtoDAsync_v2",
    "cuEventSynchronize",
    "cuDevicePrimaryCtxRelease_v2",
    "cuThreadExchangeStreamCaptureMode",
];

/// Those without which memory is allocated plainly, as before CUDA 10.2.
const VIRTUAL_MEMORY: [&str; 8] = [
    "cuMemAddressReserve",
    "cuMemAddressFree",
    "cuMemCreate",
    "cuMemRelease",
    "cuMemMap",
    "cuMemSetAccess",
    "cuMemUnmap",
    "cuMemGetAllocationGranularity",
];

/// Names under which the driver library is installed, as cudarc looks for them.
const LIBRARIES: [&str; 4] = ["libcuda.so", "libcuda.so.1", "nvcuda.dll", "nvcuda"];

/// Says what is missing of the driver, if anything, or whether it has virtual memory management.
pub(super) fn look_for_driver() -> DriverResult<bool> {
    // SAFETY: loading the driver's library runs its initialisers, which the program asks for by
    // asking for a device; the handle is leaked, so no code goes away.
    let library = LIBRARIES.iter().find_map(|name| unsafe { libloading::Library::new(*name).ok() });
    let reason = |reason: String| DriverError::NoDriver { reason };
    let library = library.ok_or_else(|| reason(format!("no library {}", LIBRARIES[1])))?;
    // SAFETY: the symbol's address is not used.
    let has = |function: &str| unsafe { library.get::<*const ()>(function) }.is_ok();
    if let Some(function) = FUNCTIONS.into_iter().find(|function| !has(function)) {
        return Err(reason(format!("its library has no function {function}; it is too old")));
    }
    let virtual_memory = VIRTUAL_MEMORY.into_iter().all(has);
    std::mem::forget(library);
    Ok(virtual_memory)
}
