//! Addresses, physical memory and what may be done with them.

use std::ffi::c_void;

use cudarc::driver::sys;

use crate::{GRANULE, OK, alloc, call, start, stream, word};

fn location() -> sys::CUmemLocation {
    // SAFETY: plain numbers; the fields differ between versions of the header.
    let mut location: sys::CUmemLocation = unsafe { std::mem::zeroed() };
    location.type_ = sys::CUmemLocationType::CU_MEM_LOCATION_TYPE_DEVICE;
    location
}

fn create(bytes: usize) -> Result<u64, i32> {
    // SAFETY: plain numbers, and a pointer that may be null.
    let mut properties: sys::CUmemAllocationProp = unsafe { std::mem::zeroed() };
    properties.type_ = sys::CUmemAllocationType::CU_MEM_ALLOCATION_TYPE_PINNED;
    properties.location = location();
    let mut memory = 0;
    call!(cuMemCreate(&mut memory, bytes, &properties, 0)).map(|()| memory)
}

fn reserve(bytes: usize) -> u64 {
    let mut at = 0;
    assert_eq!(call!(cuMemAddressReserve(&mut at, bytes, 0, 0, 0)), OK);
    at
}

fn allow(at: u64, bytes: usize) -> Result<(), i32> {
    let flags = sys::CUmemAccess_flags::CU_MEM_ACCESS_FLAGS_PROT_READWRITE;
    let access = sys::CUmemAccessDesc { location: location(), flags };
    call!(cuMemSetAccess(at, bytes, &access, 1))
}

#[test]
fn memory_that_is_mapped_twice_is_the_same() {
    let fake = start();
    let (one, two) = (reserve(4 * GRANULE), reserve(4 * GRANULE));
    let memory = create(2 * GRANULE).unwrap();
    for at in [one, two + GRANULE as u64] {
        assert_eq!(call!(cuMemMap(at, 2 * GRANULE, 0, memory, 0)), OK);
        assert_eq!(allow(at, 2 * GRANULE), OK);
    }
    let last = 2 * GRANULE as u64 - 4;
    assert_eq!(call!(cuMemsetD32_v2(one + last, 42, 1)), OK);
    assert_eq!(word(two + GRANULE as u64 + last), Ok(42));
    assert_eq!(call!(cuMemRelease(memory)), OK);
    assert_eq!(call!(cuMemUnmap(one, 2 * GRANULE)), OK);
    assert_eq!(word(two + GRANULE as u64 + last), Ok(42), "a mapping keeps its memory");
    assert_eq!(call!(cuMemUnmap(two + GRANULE as u64, 2 * GRANULE)), OK);
    assert_eq!((fake.live().bytes, fake.live().mappings, fake.live().reservations), (0, 0, 2));
    assert_eq!(call!(cuMemAddressFree(one, 4 * GRANULE)), OK);
    assert_eq!(call!(cuMemAddressFree(two, 4 * GRANULE)), OK);
    assert_eq!(fake.live(), Default::default());
}

#[test]
fn wrong_calls_are_refused_and_change_nothing() {
    let fake = start();
    fake.set("FAKECUDA_TOTAL_MB", 16);
    let at = reserve(4 * GRANULE);
    let memory = create(GRANULE).unwrap();
    assert_eq!(create(GRANULE + 4096), Err(1), "whole granules only");
    assert_eq!(create(8 * GRANULE), Err(2), "seven are left");
    assert_eq!(call!(cuMemMap(at + 4096, GRANULE, 0, memory, 0)), Err(1));
    assert_eq!(call!(cuMemMap(at, 2 * GRANULE, 0, memory, 0)), Err(1), "more than there is");
    assert_eq!(call!(cuMemMap(at + 4 * GRANULE as u64, GRANULE, 0, memory, 0)), Err(1));
    assert_eq!(call!(cuMemMap(at, GRANULE, 0, memory, 0)), OK);
    assert_eq!(call!(cuMemMap(at, GRANULE, 0, memory, 0)), Err(1), "something is there");
    assert_eq!(allow(at, 2 * GRANULE), Err(1), "half of it is not mapped");
    assert_eq!(call!(cuMemUnmap(at, 2 * GRANULE)), Err(1));
    assert_eq!(call!(cuMemAddressFree(at, 4 * GRANULE)), Err(1), "something is mapped there");
    assert_eq!(call!(cuMemAddressFree(at, 2 * GRANULE)), Err(1), "it is longer");
    assert_eq!(call!(cuMemRelease(memory)), OK);
    assert_eq!(call!(cuMemRelease(memory)), Err(1));
    assert_eq!(call!(cuMemFree_v2(at)), Err(1), "it was not allocated like this");
    assert_eq!((fake.live().mappings, fake.live().bytes), (1, GRANULE as u64));
}

#[test]
fn a_mapping_needs_its_access_rights() {
    let _fake = start();
    let at = reserve(GRANULE);
    let memory = create(GRANULE).unwrap();
    assert_eq!(call!(cuMemMap(at, GRANULE, 0, memory, 0)), OK);
    assert_eq!(word(at), Err(700));
    assert_eq!(call!(cuCtxSynchronize()), Err(700), "for ever after");
}

#[test]
fn an_operation_needs_its_memory_when_it_runs() {
    let fake = start();
    fake.set("FAKECUDA_DELAY_US", 20_000);
    let at = reserve(GRANULE);
    let memory = create(GRANULE).unwrap();
    assert_eq!(call!(cuMemMap(at, GRANULE, 0, memory, 0)), OK);
    assert_eq!(allow(at, GRANULE), OK);
    let stream = stream();
    for _ in 0..8 {
        assert_eq!(call!(cuMemsetD8Async(at, 1, GRANULE, stream)), OK);
    }
    assert_eq!(call!(cuMemUnmap(at, GRANULE)), OK, "nobody waits");
    assert_eq!(call!(cuStreamSynchronize(stream)), Err(700));
}

#[test]
fn patterns_of_each_width_end_where_they_should() {
    let _fake = start();
    let at = alloc(65_536);
    assert_eq!(call!(cuMemsetD8_v2(at, 0xAB, 65_536)), OK);
    assert_eq!(call!(cuMemsetD16_v2(at + 2, 0x1234, 10_000)), OK);
    assert_eq!(call!(cuMemsetD32_v2(at + 40_000, 0x1122_3344, 1)), OK);
    assert_eq!(word(at), Ok(0x1234_ABAB));
    assert_eq!(word(at + 19_996), Ok(0x1234_1234));
    assert_eq!(word(at + 20_000), Ok(0xABAB_1234));
    assert_eq!(word(at + 40_000), Ok(0x1122_3344));
    assert_eq!(word(at + 40_004), Ok(0xABAB_ABAB));
    assert_eq!(call!(cuMemsetD32_v2(at + 65_532, 0, 2)), Err(700), "one word too far");
}

#[test]
fn host_memory_is_registered_once() {
    let fake = start();
    let mut memory = vec![0u8; 3 * 4096];
    let at = memory.as_mut_ptr().cast::<c_void>();
    assert_eq!(call!(cuMemHostUnregister(at)), Err(713));
    assert_eq!(call!(cuMemHostRegister_v2(at, 2 * 4096, 0)), OK);
    assert_eq!(call!(cuMemHostRegister_v2(at.wrapping_byte_add(4096), 2 * 4096, 0)), Err(712));
    assert_eq!(call!(cuMemFreeHost(at)), Err(1), "it was not allocated here");
    assert_eq!(fake.live().pinned, 1);
    assert_eq!(call!(cuMemHostUnregister(at)), OK);
    let mut own = std::ptr::null_mut();
    assert_eq!(call!(cuMemHostAlloc(&mut own, 5000, 0)), OK);
    assert_eq!(call!(cuMemFreeHost(own)), OK);
    assert_eq!(call!(cuMemFreeHost(own)), Err(1));
    assert_eq!(fake.live().pinned, 0);
}

#[test]
fn without_virtual_memory_there_is_plain_memory() {
    let fake = start();
    fake.set("FAKECUDA_NO_VMM", 1);
    let (mut at, mut has) = (0, 1);
    let attribute =
        sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED;
    assert_eq!(call!(cuDeviceGetAttribute(&mut has, attribute, 0)), OK);
    assert_eq!((has, create(GRANULE)), (0, Err(801)));
    assert_eq!(call!(cuMemAddressReserve(&mut at, GRANULE, 0, 0, 0)), Err(801));
    let at = alloc(GRANULE);
    assert_eq!((call!(cuMemFree_v2(at)), call!(cuMemFree_v2(at))), (OK, Err(1)));
}
