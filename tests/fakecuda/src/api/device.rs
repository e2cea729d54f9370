//! The driver itself, its one device, and the context.

use std::ffi::{c_char, c_int, c_uint};

use crate::{
    call::functions,
    code::{self, INVALID_DEVICE, INVALID_VALUE},
    context,
    device::device,
    raw::{In, Out},
    settings::Setting,
};

/// What the driver says it is: 12.8.
const VERSION: c_int = 12_080;
const NAME: &str = "Fake CUDA device on host memory";
const UUID: [u8; 16] = *b"genesis-fakecuda";

fn check(ordinal: c_int) -> code::Answer {
    if ordinal == 0 { Ok(()) } else { Err(INVALID_DEVICE) }
}

/// What programs ask of a device, by the driver's numbers; zero is no.
fn attribute(number: c_int) -> c_int {
    let settings = &device().settings;
    let yes = |setting| c_int::from(settings.get(setting) == 0);
    match number {
        // Threads in a block, and its three sides.
        1..=4 => 1024,
        // Blocks in a grid, by its three sides.
        5 => c_int::MAX,
        6 | 7 => 65_535,
        // Threads in a warp, processors, threads on a processor.
        10 => 32,
        16 => 1,
        39 => 2048,
        // One address space with the host; compute capability 8.0; stream priorities.
        41 | 78 => 1,
        75 => 8,
        76 => 0,
        // Stream memory operations, 64 bits, NOR, in both versions; host registration.
        92..=94 | 99 | 122 | 123 => 1,
        102 => yes(Setting::NoVmm),
        115 => yes(Setting::NoPools),
        _ => 0,
    }
}

functions! {
    Nothing: cuInit(flags: c_uint) {
        if flags == 0 { Ok(()) } else { Err(INVALID_VALUE) }
    }

    Nothing: cuDriverGetVersion(version: Out<c_int>) {
        version.set(VERSION)
    }

    Nothing: cuGetErrorName(code: c_int, name: Out<*const c_char>) {
        name.set(code::name(code).ok_or(INVALID_VALUE)?.as_ptr())
    }

    Nothing: cuGetErrorString(code: c_int, text: Out<*const c_char>) {
        text.set(code::name(code).ok_or(INVALID_VALUE)?.as_ptr())
    }

    Nothing: cuDeviceGetCount(count: Out<c_int>) {
        count.set(1)
    }

    Nothing: cuDeviceGet(number: Out<c_int>, ordinal: c_int) {
        check(ordinal)?;
        number.set(ordinal)
    }

    Nothing: cuDeviceGetName(name: Out<c_char>, bytes: c_int, ordinal: c_int) {
        check(ordinal)?;
        name.set_text(NAME, usize::try_from(bytes).unwrap_or(0))
    }

    Nothing: cuDeviceGetUuid(uuid: Out<[u8; 16]>, ordinal: c_int) {
        check(ordinal)?;
        uuid.set(UUID)
    }

    Nothing: cuDeviceGetUuid_v2(uuid: Out<[u8; 16]>, ordinal: c_int) {
        check(ordinal)?;
        uuid.set(UUID)
    }

    Nothing: cuDeviceTotalMem_v2(bytes: Out<usize>, ordinal: c_int) {
        check(ordinal)?;
        bytes.set(device().settings.total_bytes() as usize)
    }

    Nothing: cuDeviceGetAttribute(value: Out<c_int>, number: c_int, ordinal: c_int) {
        check(ordinal)?;
        value.set(attribute(number))
    }

    Nothing: cuDevicePrimaryCtxRetain(handle: Out<u64>, ordinal: c_int) {
        check(ordinal)?;
        handle.set(context::retain())
    }

    Nothing: cuDevicePrimaryCtxRelease_v2(ordinal: c_int) {
        check(ordinal)?;
        context::release()
    }

    Nothing: cuCtxSetCurrent(handle: u64) {
        context::set_current(handle)
    }

    Nothing: cuCtxGetCurrent(handle: Out<u64>) {
        handle.set(context::current())
    }

    Context: cuCtxGetDevice(ordinal: Out<c_int>) {
        ordinal.set(0)
    }

    Context: cuCtxSetFlags(_flags: c_uint) {
        Ok(())
    }

    Context: cuCtxGetStreamPriorityRange(least: Out<c_int>, greatest: Out<c_int>) {
        least.set_if_any(0);
        greatest.set_if_any(0);
        Ok(())
    }

    NoCapture: cuCtxSynchronize() {
        device().synchronize()
    }

    Context: cuMemGetInfo_v2(free: Out<usize>, total: Out<usize>) {
        let total_bytes = device().settings.total_bytes();
        free.set(device().memory().free_bytes(total_bytes) as usize)?;
        total.set(total_bytes as usize)
    }
}

/// `CUmemLocation`.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Location {
    kind: c_int,
    id: c_int,
}

impl Location {
    /// Refuses what is not the device.
    pub(crate) fn check(self) -> code::Answer {
        const ON_DEVICE: c_int = 1;
        if self.kind == ON_DEVICE { check(self.id) } else { Err(INVALID_VALUE) }
    }
}

/// A range of values from C.
pub(crate) fn each<T: Copy>(values: In<T>, count: usize) -> impl Iterator<Item = code::Answer<T>> {
    (0..count).map(move |index| values.get(index))
}
