//! The allocator on whatever driver library there is, checked by what is in the memory. Says that
//! it skipped where there is none.
#![cfg(feature = "cudarc")]

use std::sync::Arc;

use cudarc::driver::CudaStream;
use genesis_mem_cuda::{
    AllocError, Builder, DeviceAllocator, DeviceBuffer,
    cudarc::CudarcDriver,
    driver::{Driver, DriverError, DriverResult},
};

type Buffer = DeviceBuffer<u32, CudarcDriver>;

/// An allocator held to 64 granules, or `None` without a driver.
fn device() -> Option<DeviceAllocator<CudarcDriver>> {
    let made = CudarcDriver::new(0).and_then(|driver| {
        let limit = 64 * driver.granularity_bytes();
        Builder::new().limit_bytes(limit).build_on(driver)
    });
    match made {
        Ok(allocator) => Some(allocator),
        Err(error @ (DriverError::NoDriver { .. } | DriverError::NoDevice { .. })) => {
            eprintln!("skipped: {error}");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

fn granules(allocator: &DeviceAllocator<CudarcDriver>, count: usize) -> usize {
    count * allocator.driver().granularity_bytes() as usize / size_of::<u32>()
}

fn filled(
    allocator: &DeviceAllocator<CudarcDriver>,
    len: usize,
    stream: &Arc<CudaStream>,
    value: u32,
) -> Result<Buffer, AllocError> {
    let mut buffer = Buffer::new(allocator, len, stream)?;
    stream.memcpy_htod(&vec![value; len], &mut buffer).expect("the device copies");
    Ok(buffer)
}

fn holds(buffer: &Buffer, stream: &Arc<CudaStream>, value: u32) -> bool {
    let mut host = vec![!value; buffer.len()];
    stream.memcpy_dtoh(buffer, &mut host).expect("the device copies");
    stream.synchronize().expect("the device answers");
    host.iter().all(|&word| word == value)
}

#[test]
fn no_driver_is_an_error_and_never_a_panic() {
    let made: DriverResult<_> = DeviceAllocator::new(4096);
    let error = made.expect_err("nobody has that many devices");
    assert!(
        matches!(error, DriverError::NoDriver { .. } | DriverError::NoDevice { ordinal: 4096 }),
        "{error}"
    );
}

#[test]
fn copies_and_zeroes_go_where_they_should() {
    let Some(allocator) = device() else { return };
    let stream = allocator.driver().context().new_stream().unwrap();
    let a = filled(&allocator, 1000, &stream, 7).unwrap();
    let b = filled(&allocator, 3_000_000, &stream, 8).unwrap();
    let c = Buffer::zeroed(&allocator, 500, &stream).unwrap();
    assert!(holds(&a, &stream, 7) && holds(&b, &stream, 8) && holds(&c, &stream, 0));
    drop((a, b, c));
    assert_eq!(allocator.memory_stats().allocated_bytes.current, 0);
    allocator.assert_valid();
}

#[test]
fn memory_that_moves_keeps_what_is_live() {
    let Some(allocator) = device() else { return };
    let stream = allocator.driver().context().new_stream().unwrap();
    let len = granules(&allocator, 2);
    let mut buffers: Vec<_> =
        (0..32).map(|i| Some(filled(&allocator, len, &stream, i).unwrap())).collect();
    for buffer in buffers.iter_mut().step_by(2) {
        *buffer = None;
    }
    for round in 0..3 {
        let big = filled(&allocator, granules(&allocator, 32), &stream, 1000 + round);
        let big = big.expect("half of the limit is free, if not in one piece");
        assert!(holds(&big, &stream, 1000 + round));
        for (i, buffer) in buffers.iter().enumerate() {
            assert!(buffer.as_ref().is_none_or(|buffer| holds(buffer, &stream, i as u32)));
        }
    }
    assert!(allocator.counts().moves > 0);
    assert_eq!(allocator.counts().cpu_waits, 0);
    allocator.assert_valid();
}

#[test]
fn streams_hand_memory_over_in_order() {
    let Some(allocator) = device() else { return };
    let context = allocator.driver().context();
    let streams = [context.new_stream().unwrap(), context.new_stream().unwrap()];
    let len = granules(&allocator, 20);
    let kept = filled(&allocator, granules(&allocator, 20), &streams[0], 5).unwrap();
    for round in 0..6 {
        let (one, two) = (&streams[round % 2], &streams[(round + 1) % 2]);
        let mut buffer = Buffer::new(&allocator, len, one).unwrap();
        let host = vec![round as u32; len];
        // Written on the other stream than it was allocated for.
        two.memcpy_htod(&host, &mut buffer).unwrap();
        assert!(holds(&buffer, one, round as u32));
        drop(buffer);
    }
    assert!(holds(&kept, &streams[0], 5));
    allocator.assert_valid();
}

#[test]
fn too_much_is_an_error_with_numbers_and_everything_goes_back() {
    let Some(allocator) = device() else { return };
    let stream = allocator.driver().context().new_stream().unwrap();
    let error = Buffer::new(&allocator, granules(&allocator, 65), &stream).unwrap_err();
    let AllocError::OutOfMemory(error) = error else { panic!("{error}") };
    assert_eq!(error.limit_bytes, 64 * allocator.driver().granularity_bytes());
    let buffer = Buffer::new(&allocator, granules(&allocator, 60), &stream).unwrap();
    drop(buffer);
    allocator.empty_cache().unwrap();
    assert_eq!(allocator.reserved_bytes(), 0);
}
