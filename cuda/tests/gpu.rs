//! The suite on the first GPU. Says that it skipped where there is none; `tests/gpu.sh` keeps what
//! it says where there is one.
#![cfg(feature = "cudarc")]
mod common;
mod suite;

use genesis_mem_cuda::{DeviceAllocator, cudarc::CudarcDriver, driver::DriverError};

suite::suite!(gpu, crate::suite::cudarc::Cudarc);
suite::suite!(gpu_buffers, crate::suite::cudarc::Cudarc, buffers);

#[test]
fn no_driver_is_an_error_and_never_a_panic() {
    let error = DeviceAllocator::<CudarcDriver>::new(4096).expect_err("nobody has that many");
    assert!(
        matches!(error, DriverError::NoDriver { .. } | DriverError::NoDevice { ordinal: 4096 }),
        "{error}"
    );
}
