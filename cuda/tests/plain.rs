//! Devices without virtual memory management: pieces come whole and go back whole.
mod common;

use common::{GRANULE, plain_device, stream};
use genesis_mem_cuda::{
    AllocError,
    driver::{DriverCall, DriverError},
    sim::Fault,
};

const MIB: u64 = 1 << 20;

#[test]
fn pieces_are_shared_by_size() {
    let (driver, allocator) = plain_device(512, 0);
    let mut blocks: Vec<_> =
        (0..16).map(|_| allocator.alloc(100 << 10, stream(0)).unwrap()).collect();
    assert_eq!(allocator.reserved_bytes(), 2 * MIB, "small blocks share a small piece");
    blocks.extend((0..4).map(|_| allocator.alloc(5 * MIB, stream(0)).unwrap()));
    assert_eq!(allocator.reserved_bytes(), 22 * MIB, "medium ones a larger one");
    blocks.push(allocator.alloc(101 * MIB + 1, stream(0)).unwrap());
    assert_eq!(allocator.reserved_bytes(), 124 * MIB, "a large one has its own");
    let counts = allocator.counts();
    assert_eq!((counts.allocs, counts.creates, counts.maps), (3, 0, 0));
    let mut ends: Vec<_> = blocks.iter().map(|b| (b.ptr().0, b.bytes())).collect();
    ends.sort_unstable();
    assert!(ends.windows(2).all(|two| two[0].0 + two[0].1 <= two[1].0), "no overlap");
    blocks.into_iter().for_each(|block| allocator.free(block).unwrap());
    allocator.assert_valid();
    assert_eq!(allocator.empty_cache(), Ok(124 * MIB));
    assert_eq!((driver.used_bytes().0, allocator.counts().frees), (0, 3));
    assert_eq!(allocator.memory_stats().address_space_bytes, 0);
    drop(allocator);
    assert_eq!(driver.finish(), []);
}

#[test]
fn blocks_of_two_pieces_never_become_one() {
    let (driver, allocator) = plain_device(64, 0);
    let blocks: Vec<_> = (0..4).map(|_| allocator.alloc(11 * MIB, stream(0)).unwrap()).collect();
    blocks.into_iter().for_each(|block| allocator.free(block).unwrap());
    assert_eq!(allocator.memory_stats().largest_free_bytes, 12 * MIB);
    assert_eq!(allocator.compact(), Ok(12 * MIB), "nothing moves");
    let mut small = allocator.alloc(MIB * 3, stream(0)).unwrap();
    assert!(!allocator.resize_in_place(&mut small, 13 * MIB));
    assert!(allocator.resize_in_place(&mut small, 12 * MIB));
    allocator.free(small).unwrap();
    allocator.assert_valid();
    drop(allocator);
    assert_eq!(driver.finish(), []);
}

#[test]
fn at_the_limit_as_few_pieces_go_as_make_room() {
    let (driver, allocator) = plain_device(512, 0);
    allocator.set_limit(100 * MIB);
    let sizes = [12, 40, 16, 30];
    let blocks: Vec<_> =
        sizes.into_iter().map(|mib| allocator.alloc(mib * MIB, stream(0)).unwrap()).collect();
    blocks.into_iter().for_each(|block| allocator.free(block).unwrap());
    let block = allocator.alloc(44 * MIB, stream(0)).expect("98 MiB are free");
    assert_eq!(allocator.counts().frees, 2, "42 MiB are lacking: the pieces of 40 and of 12");
    assert_eq!(allocator.reserved_bytes(), 90 * MIB);
    allocator.free(block).unwrap();
    let whole = allocator.alloc(100 * MIB, stream(0)).expect("all of it is free");
    assert_eq!(allocator.reserved_bytes(), 100 * MIB);
    let error = allocator.alloc(1, stream(0)).unwrap_err();
    let AllocError::OutOfMemory(error) = error else { panic!("{error}") };
    assert_eq!((error.limit_bytes, error.reserved_bytes), (100 * MIB, 100 * MIB));
    allocator.free(whole).unwrap();
    allocator.assert_valid();
    drop(allocator);
    assert_eq!(driver.finish(), []);
}

#[test]
fn positions_of_pieces_that_went_are_used_again() {
    // Forty times the positions that a heap has.
    let (driver, allocator) = plain_device(1 << 19, 0);
    let kept = allocator.alloc(15 * MIB, stream(0)).unwrap();
    for round in 0..100 {
        let block = allocator.alloc((800 << 30) - round % 3 * MIB * 2, stream(0)).unwrap();
        allocator.free(block).unwrap();
        allocator.empty_cache().unwrap();
    }
    assert_eq!(allocator.memory_stats().heaps, 2, "one takes over for a size that is left over");
    allocator.free(kept).unwrap();
    allocator.assert_valid();
    drop(allocator);
    assert_eq!(driver.finish(), []);
}

#[test]
fn a_piece_that_cannot_be_freed_is_kept() {
    let (driver, allocator) = plain_device(64, 0);
    let block = allocator.alloc(20 * MIB, stream(0)).unwrap();
    allocator.free(block).unwrap();
    let error = DriverError::Other { call: DriverCall::Free, code: 1 };
    driver.inject(Fault { call: Some(DriverCall::Free), after: 0, error: error.clone() });
    assert_eq!(allocator.empty_cache(), Err(error));
    allocator.assert_valid();
    let block = allocator.alloc(20 * MIB, stream(0)).unwrap();
    assert_eq!(allocator.counts().allocs, 1, "it serves again");
    allocator.free(block).unwrap();
    assert_eq!(allocator.empty_cache(), Ok(10 * GRANULE));
    drop(allocator);
    assert_eq!(driver.finish(), []);
}
