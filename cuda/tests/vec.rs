//! Buffers that grow: in place where they can, by a copy on the device where they cannot.
mod common;

use common::{GRANULE, Random, device, plain_device, stream};
use genesis_mem_cuda::{
    CopyError, DeviceAllocator, DeviceVec,
    driver::{DriverCall, DriverError},
    sim::{Fault, SimDriver},
};

type Vec8 = DeviceVec<u8, SimDriver>;

fn granules(count: u64) -> Vec<u8> {
    vec![1; (count * GRANULE) as usize]
}

#[test]
fn the_last_one_grows_where_it_is() {
    let (driver, allocator) = device(4096, 5);
    let mut values = DeviceVec::<u32, SimDriver>::new(&allocator, &stream(1)).unwrap();
    let at = values.ptr();
    for step in 1..=1000 {
        values.extend_from_slice(&[7; 50_000]).unwrap();
        assert_eq!((values.len(), values.ptr()), (step * 50_000, at));
        assert!(values.capacity() >= values.len());
    }
    assert_eq!(driver.count(DriverCall::Copy), 1000, "from the host, and none on the device");
    let (live, reserved) = (200_000_000, allocator.reserved_bytes());
    assert!(reserved <= live + live / 8 + 4 * GRANULE, "{reserved}");
    assert!(allocator.counts().maps < 60, "{:?}", allocator.counts());
    assert_eq!(values.as_buffer().len(), values.len());
    assert_eq!(values.as_buffer().bytes(), live);
    allocator.assert_valid();
    drop(values);
    assert_eq!(allocator.memory_stats().allocated_bytes.current, 0);
    drop(allocator);
    assert_eq!(driver.finish(), []);
}

#[test]
fn what_is_free_elsewhere_moves_behind_it() {
    let (driver, allocator) = device(48, 0);
    let far = allocator.alloc(30 * GRANULE, stream(0)).unwrap();
    let mut values = Vec8::with_capacity(&allocator, GRANULE as usize, &stream(0)).unwrap();
    let at = values.ptr();
    allocator.free(far).unwrap();
    values.extend_from_slice(&granules(40)).unwrap();
    assert_eq!(values.ptr(), at, "40 of 48 granules, though 30 lay before it");
    assert!(allocator.counts().moves > 0);
    assert!(allocator.reserved_bytes() <= 48 * GRANULE);
    allocator.assert_valid();
    drop((values, allocator));
    assert_eq!(driver.finish(), []);
}

#[test]
fn one_that_is_shut_in_moves_seldom() {
    let (driver, allocator) = device(512, 7);
    let mut one = Vec8::new(&allocator, &stream(1)).unwrap();
    let mut two = Vec8::new(&allocator, &stream(1)).unwrap();
    let (mut moves, mut last) = (0, (one.ptr(), two.ptr()));
    for _ in 0..500 {
        one.extend_from_slice(&[1; 60_000]).unwrap();
        two.extend_from_slice(&[2; 60_000]).unwrap();
        let now = (one.ptr(), two.ptr());
        moves += u32::from(now.0 != last.0) + u32::from(now.1 != last.1);
        last = now;
    }
    assert!((1..=22).contains(&moves), "{moves}");
    allocator.assert_valid();
    drop((one, two, allocator));
    assert_eq!(driver.finish(), []);
}

#[test]
fn where_twice_the_room_is_too_much_just_enough_will_do() {
    let (driver, allocator) = device(64, 0);
    let mut values = Vec8::new(&allocator, &stream(0)).unwrap();
    values.extend_from_slice(&granules(24)).unwrap();
    let behind = allocator.alloc(5 * GRANULE, stream(0)).unwrap();
    let (at, room) = (values.ptr(), values.capacity());
    values.extend_from_slice(&granules(4)).unwrap();
    assert_ne!(values.ptr(), at);
    assert_eq!((values.len() as u64, room as u64), (28 * GRANULE, 24 * GRANULE));
    let (at, len) = (values.ptr(), values.len());
    let error = values.extend_from_slice(&granules(60)).unwrap_err();
    assert!(matches!(error, CopyError::Alloc(_)), "{error}");
    assert_eq!((values.ptr(), values.len()), (at, len), "as it was");
    assert!(values.reserve(usize::MAX).is_err());
    values.truncate(10);
    assert_eq!(values.len(), 10);
    values.clear();
    assert!(values.is_empty() && values.capacity() >= len);
    allocator.free(behind).unwrap();
    drop((values, allocator));
    assert_eq!(driver.finish(), []);
}

#[test]
fn the_old_place_waits_for_other_streams() {
    let (driver, allocator) = device(64, 1000);
    let mut values = Vec8::new(&allocator, &stream(1)).unwrap();
    values.extend_from_slice(&granules(4)).unwrap();
    let wall = allocator.alloc(GRANULE, stream(1)).unwrap();
    let old = (values.ptr(), values.as_buffer().bytes());
    driver.touch(stream(2), old.0, old.1, 1);
    values.as_mut_buffer().record_stream(stream(2)).unwrap();
    values.extend_from_slice(&granules(1)).unwrap();
    assert_ne!(values.ptr(), old.0);
    driver.retire(old.0, old.1);
    assert_eq!(allocator.memory_stats().inactive_bytes.current, old.1, "set aside");
    let next = allocator.alloc(4 * GRANULE, stream(1)).unwrap();
    driver.touch(stream(1), next.ptr(), next.bytes(), 2);
    allocator.free(next).unwrap();
    allocator.free(wall).unwrap();
    drop((values, allocator));
    assert_eq!(driver.finish(), []);
}

/// Vectors on two streams that grow, shrink and go; failures are part of it.
fn program(allocator: &DeviceAllocator<SimDriver>, seed: u64, steps: u32) {
    let mut random = Random(seed * 2 + 1);
    let mut live: Vec<Vec8> = Vec::new();
    for _ in 0..steps {
        let at = random.below(live.len().max(1) as u64) as usize;
        match random.below(10) {
            0..2 => live.extend(Vec8::new(allocator, &stream(random.below(2)))),
            2..8 if !live.is_empty() => {
                let values = vec![1; random.size(21) as usize];
                let (len, room) = (live[at].len(), live[at].capacity());
                match live[at].extend_from_slice(&values) {
                    Ok(()) => assert_eq!(live[at].len(), len + values.len()),
                    Err(_) => assert!(live[at].len() == len && live[at].capacity() >= room),
                }
            }
            8 if !live.is_empty() => drop(live.swap_remove(at)),
            _ => drop(allocator.collect_garbage()),
        }
    }
}

#[test]
fn random_programs() {
    for (seed, lag_ops) in (0..16).zip([0, 3, 50, 1_000_000].into_iter().cycle()) {
        for (driver, allocator) in [device(24, lag_ops), plain_device(24, lag_ops)] {
            program(&allocator, seed, 400);
            allocator.assert_valid();
            assert_eq!(allocator.memory_stats().allocated_bytes.current, 0);
            drop(allocator);
            assert_eq!(driver.finish(), [], "seed {seed}");
        }
    }
}

#[test]
fn any_call_may_fail() {
    let (driver, allocator) = device(24, 2);
    let before = driver.calls();
    program(&allocator, 1, 60);
    for after in 0..driver.calls() - before {
        for error in [
            DriverError::OutOfMemory { call: DriverCall::Create, bytes: 1 },
            DriverError::Other { call: DriverCall::Map, code: 999 },
        ] {
            let (driver, allocator) = device(24, 2);
            driver.inject(Fault { call: None, after, error });
            program(&allocator, 1, 60);
            allocator.assert_valid();
            drop(allocator);
            assert_eq!(driver.finish(), [], "call {after} failed");
        }
    }
}
