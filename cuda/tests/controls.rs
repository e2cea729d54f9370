//! What a user can set and ask.
mod common;

use common::{GRANULE, device, stream};
use genesis_mem_cuda::{
    Builder, DeviceBuffer, FreeError, Options, PoolId,
    sim::{SimDriver, SimOptions},
};

#[test]
fn a_limit_holds_and_can_be_lifted() {
    let (_, allocator) = device(64, 0);
    allocator.set_limit(8 * GRANULE);
    assert!(allocator.alloc(9 * GRANULE, stream(0)).is_err());
    allocator.set_memory_fraction(0.5);
    let block = allocator.alloc(30 * GRANULE, stream(0)).expect("half of the device");
    assert!(allocator.alloc(4 * GRANULE, stream(0)).is_err());
    allocator.free(block).unwrap();
    assert_eq!(allocator.memory_stats().limit_bytes, 32 * GRANULE);
    assert_eq!(allocator.memory_stats().failures, 2);
    let error = allocator.alloc(33 * GRANULE, stream(0)).unwrap_err();
    assert!(format!("{error:?}").len() < 400, "without the snapshot: {error:?}");
}

#[test]
fn the_cache_shrinks_to_its_size_without_waiting() {
    let (driver, allocator) = device(64, 0);
    let blocks: Vec<_> =
        (0..16).map(|_| allocator.alloc(2 * GRANULE, stream(0)).unwrap()).collect();
    for (number, block) in blocks.into_iter().enumerate() {
        driver.touch(stream(0), block.ptr(), block.bytes(), number as u64);
        driver.retire(block.ptr(), block.bytes());
        allocator.free(block).unwrap();
    }
    assert_eq!(allocator.collect_garbage(), Ok(0), "no cache size is set, and nothing is old");
    allocator.set_cache_size("16 MiB").unwrap();
    assert_eq!(allocator.collect_garbage(), Ok(24 * GRANULE));
    assert_eq!(allocator.reserved_bytes(), 16 << 20);
    assert!(allocator.set_cache_size("a lot").is_err());
    allocator.assert_valid();
    drop(allocator);
    assert_eq!(driver.finish(), []);
}

#[test]
fn what_nobody_asks_for_goes_back() {
    let driver = SimDriver::new(SimOptions::default());
    let mut options = Options::default();
    options.idle_frees = 100;
    let allocator = Builder::new().options(options).build_on(driver.clone()).unwrap();
    allocator.preallocate(8 * GRANULE).unwrap();
    let small = allocator.alloc(GRANULE, stream(0)).unwrap();
    let far = allocator.alloc(8 * GRANULE, stream(0)).unwrap();
    allocator.free(far).unwrap();
    for _ in 0..200 {
        let block = allocator.alloc(512, stream(0)).unwrap();
        allocator.free(block).unwrap();
    }
    assert_eq!(allocator.collect_garbage(), Ok(0), "the far block was needed since the last look");
    for _ in 0..200 {
        let block = allocator.alloc(512, stream(0)).unwrap();
        allocator.free(block).unwrap();
    }
    let released = allocator.collect_garbage().unwrap();
    assert!(released >= 6 * GRANULE, "the far block has not been asked for since: {released}");
    assert!(allocator.reserved_bytes() > GRANULE, "what is in use stays, and room for 512 bytes");
    allocator.free(small).unwrap();
    drop(allocator);
    assert_eq!(driver.finish(), []);
}

#[test]
fn compaction_makes_one_range_of_many() {
    let (driver, allocator) = device(64, 0);
    let mut blocks: Vec<_> =
        (0..16).map(|_| Some(allocator.alloc(2 * GRANULE, stream(0)).unwrap())).collect();
    for block in blocks.iter_mut().step_by(2) {
        allocator.free(block.take().unwrap()).unwrap();
    }
    assert!(allocator.fragmentation_ratio().as_f64() > 0.8);
    let reserved = allocator.reserved_bytes();
    assert_eq!(allocator.compact(), Ok(16 * GRANULE));
    assert_eq!(allocator.fragmentation_ratio().part, 0);
    assert_eq!(allocator.reserved_bytes(), reserved, "no memory was added");
    blocks.into_iter().flatten().for_each(|block| allocator.free(block).unwrap());
    drop(allocator);
    assert_eq!(driver.finish(), []);
}

#[test]
fn private_pools_share_nothing_and_keep_their_addresses() {
    let (driver, allocator) = device(64, 0);
    let pool = allocator.create_pool();
    let captured = allocator.alloc_in(20 * GRANULE, stream(0), pool).unwrap();
    let address = captured.ptr();
    allocator.free(captured).unwrap();
    let other = allocator.alloc(40 * GRANULE, stream(0)).unwrap();
    assert!(allocator.alloc(10 * GRANULE, stream(0)).is_err(), "the pool's memory is its own");
    allocator.empty_cache().unwrap();
    let again = allocator.alloc_in(20 * GRANULE, stream(0), pool).unwrap();
    assert_eq!(again.ptr(), address);
    assert_eq!(allocator.pool_stats(pool).allocated_bytes.current, 20 * GRANULE);
    assert_eq!(allocator.pool_stats(PoolId::default()).allocated_bytes.current, 40 * GRANULE);
    allocator.free(again).unwrap();
    assert_eq!(allocator.drop_pool(pool), Ok(20 * GRANULE));
    allocator.free(other).unwrap();
    drop(allocator);
    assert_eq!(driver.finish(), []);
}

#[test]
fn a_private_pool_gets_what_others_leave_lying() {
    let (_, allocator) = device(16, 0);
    allocator.preallocate(12 * GRANULE).unwrap();
    let pool = allocator.create_pool();
    let block = allocator.alloc_in(10 * GRANULE, stream(0), pool).expect("12 granules are free");
    allocator.free(block).unwrap();
    allocator.assert_valid();
}

#[test]
fn streams_are_told_apart_and_peaks_can_be_reset() {
    let (_, allocator) = device(64, 0);
    let one = allocator.alloc(3 * GRANULE, stream(1)).unwrap();
    let two = allocator.alloc(5 * GRANULE, stream(2)).unwrap();
    assert_eq!(allocator.stream_stats(stream(1)).requested_bytes.current, 3 * GRANULE);
    assert_eq!(allocator.stream_stats(stream(2)).requested_bytes.current, 5 * GRANULE);
    allocator.free(one).unwrap();
    allocator.reset_peak_stats();
    let stats = allocator.memory_stats();
    assert_eq!(stats.requested_bytes.peak, 5 * GRANULE);
    assert_eq!(stats.allocations, 2);
    let mut both = stats;
    both.merge(&stats);
    assert_eq!(both.allocated_bytes.current, 10 * GRANULE);
    allocator.free(two).unwrap();
}

#[test]
fn memory_can_be_held_before_it_is_needed() {
    let (_, allocator) = device(64, 0);
    allocator.preallocate_on(4 * GRANULE, stream(1)).unwrap();
    assert!(allocator.stream_stats(stream(1)).largest_free_bytes >= 4 * GRANULE);
    let misses = allocator.counts().misses;
    let block = allocator.alloc(4 * GRANULE, stream(1)).unwrap();
    assert_eq!(allocator.counts().misses, misses);
    allocator.free(block).unwrap();
}

#[test]
fn a_foreign_block_is_refused() {
    let ((_, one), (_, two)) = (device(8, 0), device(8, 0));
    let block = one.alloc(100, stream(0)).unwrap();
    let address = block.ptr();
    assert_eq!(two.free(block), Err(FreeError::WrongAllocator { address }));
}

#[test]
fn a_buffer_grows_where_it_is_while_there_is_room() {
    let (driver, allocator) = device(64, 0);
    allocator.preallocate(8 * GRANULE).unwrap();
    let mut buffer = DeviceBuffer::<u64, _>::new(&allocator, 1000, &stream(0)).unwrap();
    let at = buffer.ptr();
    assert!(buffer.resize_in_place(100_000).unwrap());
    assert_eq!((buffer.ptr(), buffer.len(), buffer.bytes()), (at, 100_000, 800_000));
    assert!(!buffer.resize_in_place(1 << 30).unwrap());
    assert!(DeviceBuffer::<u64, _>::new(&allocator, usize::MAX, &stream(0)).is_err());
    allocator.assert_valid();
    drop(buffer);
    assert_eq!(allocator.memory_stats().allocated_bytes.current, 0);
    drop(allocator);
    assert_eq!(driver.finish(), []);
}

#[test]
fn each_stream_of_small_blocks_has_memory_of_its_own() {
    let (driver, allocator) = device(64, 5);
    for round in 0..100 {
        for on in 0..3 {
            let block = allocator.alloc(4096, stream(on)).unwrap();
            driver.touch(stream(on), block.ptr(), block.bytes(), round);
            driver.retire(block.ptr(), block.bytes());
            allocator.free(block).unwrap();
        }
    }
    let counts = allocator.counts();
    assert_eq!((counts.borrows, counts.stream_waits, counts.misses), (0, 0, 3));
    assert_eq!(allocator.reserved_bytes(), 3 * GRANULE);
    assert_eq!(driver.take_violations(), []);
}

#[test]
fn a_block_that_shrinks_gives_its_end_back() {
    let (driver, allocator) = device(16, 3);
    let mut block = allocator.alloc(8 * GRANULE, stream(1)).unwrap();
    assert!(allocator.resize_in_place(&mut block, GRANULE));
    assert_eq!(allocator.memory_stats().allocated_bytes.current, GRANULE);
    let other = allocator.alloc(7 * GRANULE, stream(1)).unwrap();
    assert_eq!(allocator.reserved_bytes(), 8 * GRANULE, "the end serves again");
    allocator.free(other).unwrap();

    // Not while another stream may use it.
    assert!(allocator.resize_in_place(&mut block, 4 * GRANULE));
    allocator.record_stream(&mut block, stream(2)).unwrap();
    assert!(allocator.resize_in_place(&mut block, GRANULE));
    assert_eq!(allocator.memory_stats().allocated_bytes.current, 4 * GRANULE);
    allocator.assert_valid();
    allocator.free(block).unwrap();
    drop(allocator);
    assert_eq!(driver.finish(), []);
}
