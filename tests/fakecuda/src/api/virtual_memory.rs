//! Virtual memory management: addresses apart from memory.

use std::ffi::{c_int, c_ulonglong, c_void};

use super::device::{Location, each};
use crate::{
    call::functions,
    code::{Answer, INVALID_VALUE, NOT_SUPPORTED},
    device::device,
    os::Access,
    raw::{In, Out},
    settings::Setting,
};

/// `CUmemAllocationProp`, as far as it is looked at.
#[derive(Clone, Copy)]
#[repr(C)]
struct Properties {
    kind: c_int,
    handle_types: c_int,
    location: Location,
    win32: *const c_void,
    flags: [u8; 8],
}

impl Properties {
    fn check(self) -> Answer {
        const PINNED: c_int = 1;
        if self.kind == PINNED { self.location.check() } else { Err(INVALID_VALUE) }
    }
}

/// `CUmemAccessDesc`.
#[derive(Clone, Copy)]
#[repr(C)]
struct Grant {
    location: Location,
    flags: c_int,
}

/// Refuses where there is no such thing, or numbers are not whole granules.
fn check(numbers: &[u64]) -> Answer {
    let settings = &device().settings;
    if settings.get(Setting::NoVmm) != 0 {
        return Err(NOT_SUPPORTED);
    }
    let whole = |number: &u64| number.is_multiple_of(settings.granule_bytes());
    if numbers.iter().all(whole) { Ok(()) } else { Err(INVALID_VALUE) }
}

/// As [`check`], for a range that must not be empty.
fn check_range(at: u64, bytes: usize) -> Answer {
    check(&[at, bytes as u64])?;
    let bounded = bytes > 0 && at.checked_add(bytes as u64).is_some();
    if bounded { Ok(()) } else { Err(INVALID_VALUE) }
}

functions! {
    Context: cuMemGetAllocationGranularity(
        bytes: Out<usize>, properties: In<Properties>, _which: c_int,
    ) {
        check(&[])?;
        properties.get(0)?.check()?;
        bytes.set(device().settings.granule_bytes() as usize)
    }

    Context: cuMemAddressReserve(
        at: Out<u64>, bytes: usize, align: usize, _wanted: u64, flags: c_ulonglong,
    ) {
        check_range(0, bytes)?;
        let align = (align as u64).max(device().settings.granule_bytes());
        if !align.is_power_of_two() || flags != 0 {
            return Err(INVALID_VALUE);
        }
        at.set(device().memory_mut().reserve(bytes as u64, align)?)
    }

    Context: cuMemAddressFree(at: u64, bytes: usize) {
        check_range(at, bytes)?;
        device().memory_mut().unreserve(at, bytes as u64)
    }

    Context: cuMemCreate(
        memory: Out<u64>, bytes: usize, properties: In<Properties>, flags: c_ulonglong,
    ) {
        check_range(0, bytes)?;
        properties.get(0)?.check()?;
        if flags != 0 {
            return Err(INVALID_VALUE);
        }
        let total_bytes = device().settings.total_bytes();
        memory.set(device().memory_mut().create(bytes as u64, total_bytes)?)
    }

    Context: cuMemRelease(memory: u64) {
        check(&[])?;
        device().memory_mut().release(memory)
    }

    Context: cuMemMap(at: u64, bytes: usize, offset: usize, memory: u64, flags: c_ulonglong) {
        check_range(at, bytes)?;
        // The driver knows no other offset either.
        if offset != 0 || flags != 0 {
            return Err(INVALID_VALUE);
        }
        device().memory_mut().map(at, bytes as u64, memory)
    }

    Context: cuMemSetAccess(at: u64, bytes: usize, grants: In<Grant>, count: usize) {
        check_range(at, bytes)?;
        let mut access = None;
        for grant in each(grants, count) {
            let grant = grant?;
            grant.location.check()?;
            access = Some(match grant.flags {
                0 => Access::None,
                1 => Access::Read,
                3 => Access::ReadWrite,
                _ => return Err(INVALID_VALUE),
            });
        }
        device().memory_mut().set_access(at, bytes as u64, access.ok_or(INVALID_VALUE)?)
    }

    Context: cuMemUnmap(at: u64, bytes: usize) {
        check_range(at, bytes)?;
        device().memory_mut().unmap(at, bytes as u64)
    }
}
