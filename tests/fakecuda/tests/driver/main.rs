//! The library notices what it claims to notice, and does the rest, as cudarc sees it.
mod capture;
mod device;
mod memory;
mod streams;

use std::{
    ffi::{c_int, c_void},
    ptr,
};

use cudarc::driver::sys::{self, CUresult};
use fakecuda::client::Fake;

/// The codes that the tests expect.
const OK: Result<(), c_int> = Ok(());
const GRANULE: usize = 2 << 20;

/// What the driver says.
fn code(result: CUresult) -> Result<(), c_int> {
    if result as c_int == 0 { Ok(()) } else { Err(result as c_int) }
}

/// A call of the driver.
macro_rules! call {
    ($name:ident($($argument:expr),* $(,)?)) => {
        // SAFETY: pointers lead to variables that outlive the call; the rest is checked.
        $crate::code(unsafe { cudarc::driver::sys::$name($($argument),*) })
    };
}
use call;

/// The library with a context that is current on this thread.
fn start() -> Fake {
    let fake = Fake::load();
    let mut context = ptr::null_mut();
    assert_eq!(call!(cuInit(0)), OK);
    assert_eq!(call!(cuDevicePrimaryCtxRetain(&mut context, 0)), OK);
    assert_eq!(call!(cuCtxSetCurrent(context)), OK);
    fake
}

/// Memory of the device.
fn alloc(bytes: usize) -> u64 {
    let mut at = 0;
    assert_eq!(call!(cuMemAlloc_v2(&mut at, bytes)), OK);
    at
}

fn stream() -> sys::CUstream {
    let mut stream = ptr::null_mut();
    assert_eq!(call!(cuStreamCreate(&mut stream, 1)), OK);
    stream
}

fn event() -> sys::CUevent {
    let mut event = ptr::null_mut();
    assert_eq!(call!(cuEventCreate(&mut event, 0)), OK);
    event
}

/// One word of the device, in the order of the default stream.
fn word(at: u64) -> Result<u32, c_int> {
    let mut word = 0u32;
    call!(cuMemcpyDtoH_v2((&raw mut word).cast::<c_void>(), at, 4)).map(|()| word)
}
