//! Modules, and launching their kernels.

use std::ffi::{c_char, c_uint, c_void};

use crate::{
    call::functions,
    code::{INVALID_IMAGE, INVALID_VALUE, NOT_FOUND, NOT_SUPPORTED},
    device::device,
    kernel::{Launch, Module},
    op::Op,
    raw::{In, Out},
};

functions! {
    Context: cuModuleLoadData(handle: Out<u64>, image: In<c_char>) {
        let module = Module::load(image.text().ok_or(INVALID_IMAGE)?)?;
        handle.set(device().modules.insert(module))
    }

    Context: cuModuleUnload(handle: u64) {
        device().modules.remove(handle).map(drop)
    }

    Context: cuModuleGetFunction(handle: Out<u64>, module: u64, name: In<c_char>) {
        let kernel = device().modules.get(module)?.kernel(name.text().ok_or(NOT_FOUND)?)?;
        handle.set(device().kernels.insert(kernel))
    }

    Context: cuLaunchKernel(
        kernel: u64,
        grid_x: c_uint, grid_y: c_uint, grid_z: c_uint,
        block_x: c_uint, block_y: c_uint, block_z: c_uint,
        _shared_bytes: c_uint,
        stream: u64, arguments: In<In<u32>>, extra: In<c_void>,
    ) {
        let kernel = *device().kernels.get(kernel)?;
        let sides = [grid_x, grid_y, grid_z, block_x, block_y, block_z];
        let threads = sides.iter().fold(1u64, |threads, &side| threads.saturating_mul(side.into()));
        if threads == 0 {
            return Err(INVALID_VALUE);
        }
        // Arguments in one buffer instead of one pointer each.
        if !extra.is_null() {
            return Err(NOT_SUPPORTED);
        }
        let launch = Launch::new(kernel, threads, arguments)?;
        device().submit(&device().stream(stream)?, Op::Launch(launch))
    }
}
