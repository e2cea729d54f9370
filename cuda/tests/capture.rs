//! Capture of graphs in the simulation: nothing is asked of a captured stream, and what a graph
//! uses stays its own.
mod common;

use common::{GRANULE, device, stream};
use genesis_mem_cuda::{AllocError, Block, driver::DriverCall};

#[test]
fn nothing_is_asked_of_a_captured_stream() {
    let (driver, allocator) = device(64, 3);
    let (captured, other) = (stream(1), stream(2));
    let mut shared = allocator.alloc(GRANULE, captured).unwrap();
    allocator.record_stream(&mut shared, other).unwrap();
    let outside = allocator.alloc(6 * GRANULE, captured).unwrap();
    driver.touch(captured, outside.ptr(), outside.bytes(), 0);
    driver.retire(outside.ptr(), outside.bytes());
    allocator.free(outside).unwrap();

    let pool = allocator.create_pool();
    let capture = allocator.capture(captured, pool).unwrap();
    driver.set_captured(captured, true);
    // Uses of other streams by this one, and of this one by others, end within the capture.
    allocator.free(shared).unwrap();
    let mut lent = allocator.alloc(GRANULE, other).unwrap();
    allocator.record_stream(&mut lent, captured).unwrap();
    allocator.free(lent).unwrap();
    let mut blocks: Vec<Block> = Vec::new();
    for round in 0..200 {
        blocks.push(allocator.alloc((round % 7 + 1) * GRANULE / 2, captured).unwrap());
        blocks.push(allocator.alloc((round % 5 + 1) * GRANULE / 2, other).unwrap());
        if blocks.len() > 8 {
            for block in blocks.drain(..6) {
                allocator.free(block).unwrap();
            }
        }
    }
    // Short of memory, too: nobody waits for the captured stream, or takes what it may still use.
    let error = allocator.alloc(63 * GRANULE, other).unwrap_err();
    assert!(matches!(error, AllocError::OutOfMemory(_)), "{error}");
    allocator.collect_garbage().unwrap();
    allocator.compact().unwrap();
    blocks.into_iter().for_each(|block| allocator.free(block).unwrap());
    assert!(allocator.memory_stats().inactive_bytes.current > 0, "shared blocks wait");
    assert_eq!(driver.take_violations(), []);
    allocator.assert_valid();

    driver.set_captured(captured, false);
    drop(capture);
    assert!(allocator.pool_stats(pool).reserved_bytes.current > 0);
    allocator.drop_pool(pool).unwrap();
    allocator.empty_cache().unwrap();
    assert_eq!((allocator.reserved_bytes(), driver.take_violations()), (0, vec![]));
    drop(allocator);
    assert_eq!(driver.finish(), []);
}

#[test]
fn a_graph_keeps_its_addresses_mapped() {
    let (driver, allocator) = device(32, 0);
    let s = stream(1);
    let pool = allocator.create_pool();
    let capture = allocator.capture(s, pool).unwrap();
    let scratch = allocator.alloc(8 * GRANULE, s).unwrap();
    let (at, bytes) = (scratch.ptr(), scratch.bytes());
    allocator.free(scratch).unwrap();
    drop(capture);

    // Whatever else happens to the allocator, a launch may write there.
    let blocks: Vec<_> = (0..12).map(|_| allocator.alloc(2 * GRANULE, s).unwrap()).collect();
    assert!(allocator.alloc(GRANULE, s).is_err(), "the graph's memory is not to be had");
    blocks.into_iter().for_each(|block| allocator.free(block).unwrap());
    allocator.compact().unwrap();
    allocator.collect_garbage().unwrap();
    allocator.empty_cache().unwrap();
    assert_eq!(allocator.reserved_bytes(), 8 * GRANULE);
    driver.touch(s, at, bytes, 1);
    driver.retire(at, bytes);
    assert_eq!(driver.take_violations(), []);

    allocator.drop_pool(pool).unwrap();
    assert_eq!(allocator.reserved_bytes(), 0);
    driver.touch(s, at, bytes, 2);
    assert_eq!(driver.take_violations().len(), 1, "now it is unmapped");
}

#[test]
fn only_a_captured_stream_is_served_from_the_pool() {
    let (driver, allocator) = device(64, 0);
    let pool = allocator.create_pool();
    let capture = allocator.capture(stream(1), pool).unwrap();
    let inside = allocator.alloc(GRANULE, stream(1)).unwrap();
    let beside = allocator.alloc(GRANULE, stream(2)).unwrap();
    assert_eq!(allocator.pool_stats(pool).allocated_bytes.current, GRANULE);
    drop(capture);
    let after = allocator.alloc(GRANULE, stream(1)).unwrap();
    assert_eq!(allocator.pool_stats(pool).allocated_bytes.current, GRANULE);
    for block in [inside, beside, after] {
        allocator.free(block).unwrap();
    }
    assert_eq!(driver.count(DriverCall::Synchronize), 0);
}

#[test]
fn graphs_may_come_and_go_without_end() {
    let (_, allocator) = device(64, 0);
    for round in 0..1000 {
        let on = stream(round % 3);
        let pool = allocator.create_pool();
        let capture = allocator.capture(on, pool).unwrap();
        let block = allocator.alloc(GRANULE, on).unwrap();
        allocator.free(block).unwrap();
        drop(capture);
        assert_eq!(allocator.drop_pool(pool).unwrap(), GRANULE);
        assert_eq!(allocator.drop_pool(pool).unwrap(), 0, "a second time does no harm");
    }
    let [one, two] = [allocator.create_pool(), allocator.create_pool()];
    assert_ne!(one, two);
}
