//! Transfers on whatever driver library there is, checked by what arrives. Says that it skipped
//! where there is none.
#![cfg(feature = "cudarc")]

use std::sync::Arc;

use cudarc::driver::CudaStream;
use genesis_mem_cuda::{
    Builder, DeviceAllocator, DeviceBuffer, DeviceVec, PinnedBuffer, cudarc::CudarcDriver,
    driver::DriverError,
};

/// An allocator held to 256 MiB, and a stream.
fn device() -> Option<(DeviceAllocator, Arc<CudaStream>)> {
    match CudarcDriver::new(0) {
        Ok(driver) => {
            let stream = driver.context().new_stream().expect("the device answers");
            let builder = Builder::new().limit_bytes(256 << 20);
            Some((builder.build_on(driver).expect("the device answers"), stream))
        }
        Err(error @ (DriverError::NoDriver { .. } | DriverError::NoDevice { .. })) => {
            eprintln!("skipped: {error}");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

fn pattern(len: usize, seed: u32) -> Vec<u32> {
    (0..len as u32).map(|i| i.wrapping_mul(2_654_435_761) ^ seed).collect()
}

#[test]
fn copies_arrive_staged_and_straight() {
    let Some((allocator, stream)) = device() else { return };
    for staged in [false, true] {
        allocator.enable_pinned_memory(staged);
        for len in [0, 1, 1000, 16 << 10, (1 << 20) + 1, (5 << 20) + 3] {
            let values = pattern(len, 7);
            let mut buffer = DeviceBuffer::<u32>::new(&allocator, len, &stream).unwrap();
            {
                let mut source = values.clone();
                buffer.copy_from_host(&source).unwrap();
                source.fill(0);
            }
            assert!(buffer.to_vec().unwrap() == values, "staged {staged}, {len} values");
        }
    }
    allocator.pinned_pool().unwrap().assert_valid();
    assert!(allocator.pinned_pool().unwrap().counts().allocs > 0);
}

#[test]
fn pinned_buffers_are_not_reused_before_their_copies() {
    let Some((allocator, stream)) = device() else { return };
    let other = allocator.driver().context().new_stream().unwrap();
    let pool = allocator.pinned_pool().unwrap();
    let len = 1 << 20;
    let mut targets = Vec::new();
    for seed in 0..20 {
        let mut source = PinnedBuffer::<u32>::new(pool, len).unwrap();
        source.as_mut_slice().copy_from_slice(&pattern(len, seed));
        let on = if seed % 2 == 0 { &stream } else { &other };
        let mut target = DeviceBuffer::<u32>::new(&allocator, len, on).unwrap();
        target.copy_from_pinned(&mut source).unwrap();
        targets.push(target);
    }
    let mut back = PinnedBuffer::<u32>::new(pool, len).unwrap();
    for (target, seed) in targets.iter().zip(0..) {
        target.copy_to_pinned(&mut back).unwrap();
        assert!(back.as_slice() == pattern(len, seed), "{seed}");
    }
    drop((targets, back));
    pool.empty_cache().unwrap();
    assert_eq!(pool.reserved_bytes(), 0);
}

#[test]
fn a_pinned_buffer_goes_with_the_calls_of_cudarc() {
    let Some((allocator, stream)) = device() else { return };
    let pool = allocator.pinned_pool().unwrap();
    let mut device = DeviceBuffer::<u32>::new(&allocator, 1000, &stream).unwrap();
    let mut host = PinnedBuffer::<u32>::new(pool, 1000).unwrap();
    host.as_mut_slice().copy_from_slice(&pattern(1000, 3));
    stream.memcpy_htod(host.as_slice(), &mut device).unwrap();
    host.record_stream(&stream).unwrap();
    host.as_mut_slice().fill(0);
    assert!(device.to_vec().unwrap() == pattern(1000, 3));
}

#[test]
fn a_vector_keeps_its_values_as_it_grows() {
    let Some((allocator, stream)) = device() else { return };
    allocator.enable_pinned_memory(true);
    let mut vectors: Vec<_> =
        (0..3).map(|_| (DeviceVec::<u32>::new(&allocator, &stream).unwrap(), Vec::new())).collect();
    for round in 0..60 {
        let (vector, expected) = &mut vectors[round as usize * 7 % 3];
        let more = pattern(20_000 + round as usize * 997, round);
        vector.extend_from_slice(&more).unwrap();
        expected.extend(more);
    }
    for (vector, expected) in &vectors {
        assert!(vector.to_vec().unwrap() == *expected);
    }
    allocator.assert_valid();
}
