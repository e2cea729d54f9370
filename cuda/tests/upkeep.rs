//! The cache looks after itself: what a program keeps needing stays, the rest goes back.
mod common;

use common::{GRANULE, Random, stream};
use genesis_mem_cuda::{
    DeviceAllocator, Options,
    sim::{SimDriver, SimOptions},
};

const FREES: u32 = 256;

fn device(granules: u64) -> (SimDriver, DeviceAllocator<SimDriver>) {
    let device = SimOptions { device_bytes: granules * GRANULE, ..SimOptions::default() };
    let driver = SimDriver::new(device);
    let mut options = Options::default();
    // Look often, and however little time has passed.
    (options.idle_frees, options.idle_ms) = (FREES, 0);
    (driver.clone(), DeviceAllocator::with_driver(driver, options).unwrap())
}

/// Pairs of a small block, so that the clock goes on.
fn work(allocator: &DeviceAllocator<SimDriver>, frees: u32) {
    for _ in 0..frees {
        let block = allocator.alloc(1 << 20, stream(0)).unwrap();
        allocator.free(block).unwrap();
    }
}

#[test]
fn what_is_never_needed_again_goes_back_by_itself() {
    let (driver, allocator) = device(1024);
    let block = allocator.alloc(100 * GRANULE, stream(0)).unwrap();
    allocator.free(block).unwrap();
    work(&allocator, FREES);
    assert!(allocator.reserved_bytes() >= 100 * GRANULE, "not at once");
    work(&allocator, 8 * FREES);
    assert!(allocator.reserved_bytes() < 20 * GRANULE, "{}", allocator.reserved_bytes());
    allocator.assert_valid();
    drop(allocator);
    assert_eq!(driver.finish(), []);
}

#[test]
fn what_is_needed_again_and_again_stays() {
    let (driver, allocator) = device(1024);
    let mut random = Random(11);
    let mut calls = 0;
    for round in 0..40 {
        let mut blocks: Vec<_> =
            (0..50).map(|_| allocator.alloc(2 * GRANULE, stream(0)).unwrap()).collect();
        while let Some(at) = (!blocks.is_empty()).then(|| random.below(blocks.len() as u64)) {
            allocator.free(blocks.swap_remove(at as usize)).unwrap();
        }
        work(&allocator, FREES);
        if round == 4 {
            calls = driver.count(genesis_mem_cuda::driver::DriverCall::Map);
        }
    }
    assert_eq!(driver.count(genesis_mem_cuda::driver::DriverCall::Map), calls, "nothing is made");
    assert_eq!(allocator.counts().releases, 0, "nothing goes back");
}

#[test]
fn a_program_that_comes_back_after_long_pauses_is_learned() {
    let (_, allocator) = device(1024);
    let mut releases = Vec::new();
    for _ in 0..24 {
        let block = allocator.alloc(64 * GRANULE, stream(0)).unwrap();
        allocator.free(block).unwrap();
        work(&allocator, 6 * FREES);
        releases.push(allocator.counts().releases);
    }
    assert!(releases[1] > 0, "the first pauses look like an end");
    assert_eq!(releases[12], releases[23], "then the pool waits for the program: {releases:?}");
}

#[test]
fn a_device_that_is_nearly_full_gets_memory_back_sooner() {
    let (driver, allocator) = device(256);
    let block = allocator.alloc(100 * GRANULE, stream(0)).unwrap();
    allocator.free(block).unwrap();
    work(&allocator, FREES);
    // Another process takes nearly all of the rest.
    driver.take_memory((145 * GRANULE) as i64);
    work(&allocator, 2 * FREES);
    assert!(allocator.reserved_bytes() < 20 * GRANULE, "{}", allocator.reserved_bytes());
}

#[test]
fn the_size_of_the_cache_is_kept_to_without_being_told() {
    let (_, allocator) = device(1024);
    allocator.set_cache_size("40MiB").unwrap();
    let blocks: Vec<_> =
        (0..20).map(|_| allocator.alloc(4 * GRANULE, stream(0)).unwrap()).collect();
    blocks.into_iter().for_each(|block| allocator.free(block).unwrap());
    assert!(allocator.memory_stats().cached_bytes.current > 100 << 20);
    work(&allocator, FREES);
    let cached = allocator.memory_stats().cached_bytes.current;
    assert!(cached <= 60 << 20, "{cached}");
    assert!(cached >= 30 << 20, "no more than that goes back: {cached}");
}
