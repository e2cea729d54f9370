//! What happens when the driver fails: the n-th call of any kind, for every n.
mod common;

use common::{GRANULE, device, plain_device, stream};
use genesis_mem_cuda::{
    AllocError, Block, DeviceAllocator,
    driver::{DriverCall, DriverError},
    profile::Level,
    sim::{Fault, SimDriver},
};

/// A program that grows, gathers, borrows, waits and gives back; failures are part of it.
fn program(driver: &SimDriver, allocator: &DeviceAllocator<SimDriver>) {
    let mut number = 0;
    let mut alloc = |granules: u64, on: u64| -> Option<Block> {
        let block = allocator.alloc(granules * GRANULE, stream(on)).ok()?;
        number += 1;
        driver.touch(stream(on), block.ptr(), block.bytes(), number);
        Some(block)
    };
    let free = |block: Option<Block>| {
        if let Some(block) = block {
            driver.retire(block.ptr(), block.bytes());
            allocator.free(block).expect("the block is live");
        }
    };
    let mut blocks: Vec<_> = (0..10).map(|_| alloc(3, 0)).collect();
    for at in [8, 6, 4, 2, 0] {
        free(blocks.swap_remove(at));
    }
    let big = alloc(15, 0);
    let other = alloc(4, 1);
    if let Some(mut block) = blocks.pop().flatten() {
        if allocator.record_stream(&mut block, stream(1)).is_ok() {
            driver.touch(stream(1), block.ptr(), block.bytes(), 1000);
        }
        // Used under another number than it was allocated with: end that use first.
        driver.retire(block.ptr(), block.bytes());
        allocator.free(block).expect("the block is live");
    }
    free(big);
    let borrowed = alloc(12, 1);
    let _ = allocator.compact();
    let _ = allocator.collect_garbage();
    free(other);
    free(borrowed);
    blocks.into_iter().for_each(free);
    let _ = allocator.empty_cache();
}

type Device = (SimDriver, DeviceAllocator<SimDriver>);

/// With virtual memory management and without.
const DEVICES: [fn() -> Device; 2] = [|| device(36, 2), || plain_device(36, 2)];

fn calls_of_a_clean_run((driver, allocator): Device) -> u64 {
    let before = driver.calls();
    program(&driver, &allocator);
    driver.calls() - before
}

/// The events lead from nothing to what the allocator says it has.
fn assert_recorded(allocator: &DeviceAllocator<SimDriver>) {
    let (timeline, stats) = (allocator.get_timeline(), allocator.memory_stats());
    let end = Level {
        live_bytes: stats.requested_bytes.current,
        allocated_bytes: stats.allocated_bytes.current,
        reserved_bytes: stats.reserved_bytes.current,
    };
    assert_eq!((timeline.points[0].level, timeline.end()), (Level::default(), end));
}

fn fail_at((driver, allocator): Device, after: u64, error: DriverError) {
    let recording = allocator.record();
    driver.inject(Fault { call: None, after, error });
    program(&driver, &allocator);
    allocator.assert_valid();
    drop(recording);
    assert_recorded(&allocator);
    drop(allocator);
    let mut wrong = driver.finish();
    // What the program renumbers is no fault of the allocator's.
    wrong
        .retain(|violation| !matches!(violation, genesis_mem_cuda::sim::Violation::Overlap { .. }));
    assert_eq!(wrong, [], "call {after} failed");
}

#[test]
fn any_call_may_find_the_device_full() {
    for device in DEVICES {
        for after in 0..calls_of_a_clean_run(device()) {
            let error = DriverError::OutOfMemory { call: DriverCall::Create, bytes: 1 };
            fail_at(device(), after, error);
        }
    }
}

#[test]
fn any_call_may_fail_in_another_way() {
    for device in DEVICES {
        for after in 0..calls_of_a_clean_run(device()) {
            fail_at(device(), after, DriverError::Other { call: DriverCall::Map, code: 999 });
        }
    }
}

#[test]
fn a_broken_device_is_left_alone() {
    for device in DEVICES {
        for after in 0..calls_of_a_clean_run(device()) {
            let (driver, allocator) = device();
            let before = driver.calls();
            let error = DriverError::Sticky { call: DriverCall::Query, code: 700 };
            driver.inject(Fault { call: None, after, error });
            program(&driver, &allocator);
            drop(allocator);
            assert_eq!(driver.calls() - before, after + 1, "nothing is asked after that");
        }
    }
}

#[test]
fn memory_that_another_process_takes_is_an_error_with_numbers() {
    let (driver, allocator) = device(32, 0);
    driver.take_memory(20 * GRANULE as i64);
    let kept = allocator.alloc(4 * GRANULE, stream(0)).unwrap();
    let error = allocator.alloc(16 * GRANULE, stream(0)).unwrap_err();
    let AllocError::OutOfMemory(error) = error else { panic!("{error}") };
    assert_eq!(error.requested_bytes, 16 * GRANULE);
    assert_eq!(error.allocated_bytes, 4 * GRANULE);
    assert_eq!(error.device_bytes, 32 * GRANULE);
    assert!(error.to_string().contains("held by others"), "{error}");
    driver.take_memory(-20 * GRANULE as i64);
    let block = allocator.alloc(16 * GRANULE, stream(0)).expect("the memory is back");
    allocator.free(block).unwrap();
    allocator.free(kept).unwrap();
    drop(allocator);
    assert_eq!(driver.finish(), []);
}

#[test]
fn the_callback_may_make_room() {
    let (driver, allocator) = device(16, 0);
    let hoard = allocator.alloc(12 * GRANULE, stream(0)).unwrap();
    let hoard = std::sync::Mutex::new(Some(hoard));
    let inner = allocator.clone();
    allocator.set_oom_callback(move |bytes| {
        assert_eq!(bytes, 8 * GRANULE);
        let hoard = hoard.lock().unwrap().take();
        hoard.is_some_and(|block| inner.free(block).is_ok())
    });
    let block = allocator.alloc(8 * GRANULE, stream(0)).expect("the callback frees 12 granules");
    allocator.free(block).unwrap();
    // The callback holds a handle on the allocator: without it the last one could never go.
    allocator.set_oom_callback(|_| false);
    drop(allocator);
    assert_eq!(driver.finish(), []);
}
