//! Page-locked host memory on the simulated device, which knows when the CPU may have it again.
mod common;

use std::ptr::NonNull;

use common::{GRANULE, Random, device, stream};
use genesis_mem_core::pin::PageLock;
use genesis_mem_cuda::{
    AllocError, Builder, CopyError, DeviceAllocator, DeviceBuffer, DriverLock, Options,
    PinnedBuffer, PinnedPool,
    driver::{Driver, DriverCall, DriverError, MemoryKind},
    sim::{Fault, SimDriver, SimOptions, Violation},
};

const MIB: usize = 1 << 20;

type Host<T> = PinnedBuffer<T, SimDriver>;
type Device<T> = DeviceBuffer<T, SimDriver>;

fn touch(driver: &SimDriver, buffer: &Host<u8>) {
    driver.touch_host(buffer.as_ptr().addr(), buffer.len());
}

fn pool(allocator: &DeviceAllocator<SimDriver>, limit_bytes: usize) -> PinnedPool<SimDriver> {
    let mut options = Options::default();
    options.limit_bytes = limit_bytes as u64;
    PinnedPool::new(allocator, options).expect("the host has memory")
}

#[test]
fn sizes_are_exact_and_a_block_at_hand_costs_no_call() {
    let (driver, allocator) = device(64, 0);
    let pool = allocator.pinned_pool().unwrap();
    let mut buffer = Host::<u32>::new(pool, 300_001).unwrap();
    assert!(buffer.as_slice().iter().all(|&value| value == 0), "nobody has used it before");
    buffer.as_mut_slice().copy_from_slice(&(0..300_001).collect::<Vec<_>>());
    assert!(buffer.as_slice().iter().copied().eq(0..300_001));
    let stats = pool.memory_stats();
    assert_eq!(stats.requested_bytes.current, 1_200_004);
    assert_eq!(stats.allocated_bytes.current, 1_200_004_u64.next_multiple_of(512));
    assert_eq!(stats.check(), Ok(()));
    let at = buffer.as_ptr();
    drop(buffer);
    let calls = driver.calls();
    let again = Host::<u32>::new(pool, 300_001).unwrap();
    assert_eq!((again.as_ptr(), driver.calls()), (at, calls), "no stream has used it");
    assert_eq!(driver.count(DriverCall::RegisterHost), 1);
    drop(again);
    assert_eq!(pool.empty_cache(), Ok(20 << 20));
    drop(allocator);
    assert_eq!(driver.finish(), []);
}

#[test]
fn the_cpu_gets_a_block_only_after_its_copies() {
    for lag_ops in [1, 3, 30, u64::MAX / 2] {
        let (driver, allocator) = device(64, lag_ops);
        let pool = pool(&allocator, 8 * MIB);
        let mut target = Device::<u8>::new(&allocator, MIB, &stream(1)).unwrap();
        for _ in 0..40 {
            let mut source = Host::<u8>::new(&pool, MIB).expect("at worst by waiting");
            touch(&driver, &source);
            target.copy_from_pinned(&mut source).unwrap();
        }
        assert!(pool.reserved_bytes() <= 8 << 20);
        assert_eq!(driver.take_violations(), [], "lag {lag_ops}");
        pool.assert_valid();
        assert_eq!(pool.counts().stream_waits, 0, "no stream waits for host memory");
        assert_eq!(pool.counts().borrows, 0);
        drop((target, pool, allocator));
        assert_eq!(driver.finish(), []);
    }
}

#[test]
fn the_check_above_would_notice() {
    let (driver, allocator) = device(64, 3);
    let mut source = Host::<u8>::new(allocator.pinned_pool().unwrap(), MIB).unwrap();
    let mut target = Device::<u8>::new(&allocator, MIB, &stream(1)).unwrap();
    target.copy_from_pinned(&mut source).unwrap();
    touch(&driver, &source);
    let early = Violation::HostInUse { stream: stream(1), address: source.as_ptr().addr() };
    assert_eq!(driver.take_violations(), [early]);
    source.as_mut_slice().fill(1);
    touch(&driver, &source);
    assert_eq!(driver.take_violations(), [], "the slice has waited");
    target.copy_to_pinned(&mut source).unwrap();
    assert_eq!(source.as_slice().len(), MIB);
    touch(&driver, &source);
    assert_eq!(driver.take_violations(), [], "so does a slice to read");
}

#[test]
fn uses_that_go_past_the_crate_are_recorded_by_hand() {
    let (driver, allocator) = device(64, 1000);
    let pool = pool(&allocator, 4 * MIB);
    let mut buffer = Host::<u8>::new(&pool, 3 * MIB).unwrap();
    buffer.record_stream(&stream(1)).unwrap();
    buffer.record_stream(&stream(2)).unwrap();
    let at = buffer.as_ptr();
    drop(buffer);
    assert_eq!(pool.memory_stats().inactive_bytes.current, 3 << 20, "set aside, not free");
    driver.synchronize(stream(1)).unwrap();
    pool.collect_garbage().unwrap();
    assert_eq!(pool.memory_stats().inactive_bytes.current, 3 << 20, "one of the two is left");
    let again = Host::<u8>::new(&pool, 3 * MIB).expect("the CPU waits at the limit");
    assert_eq!((again.as_ptr(), pool.counts().cpu_waits), (at, 1));
}

#[test]
fn the_limit_is_an_error_with_numbers() {
    let (driver, allocator) = device(64, 0);
    let pool = pool(&allocator, 8 * MIB);
    let kept = Host::<u8>::new(&pool, 6 * MIB).unwrap();
    let error = Host::<u8>::new(&pool, 4 * MIB).unwrap_err();
    let AllocError::OutOfMemory(error) = error else { panic!("{error}") };
    assert_eq!((error.kind, error.requested_bytes), (MemoryKind::PinnedHost, 4 << 20));
    assert_eq!((error.limit_bytes, error.reserved_bytes), (8 << 20, 6 << 20));
    assert!(error.to_string().contains("page-locked"), "{error}");
    pool.set_limit(16 << 20);
    let refused = DriverError::Other { call: DriverCall::RegisterHost, code: 304 };
    for _ in 0..8 {
        let call = Some(DriverCall::RegisterHost);
        driver.inject(Fault { call, after: 0, error: refused.clone() });
    }
    let error = Host::<u8>::new(&pool, 4 * MIB).unwrap_err();
    assert!(error.to_string().contains("ulimit -l"), "{error}");
    drop(kept);
}

#[test]
fn random_programs_under_any_lag() {
    for (seed, lag_ops) in (0..10).zip([0, 1, 7, 100, 1_000_000].into_iter().cycle()) {
        let (driver, allocator) = device(64, lag_ops);
        let pool = pool(&allocator, 24 * MIB);
        let mut random = Random(seed * 2 + 1);
        let mut target: Vec<_> =
            (0..3).map(|on| Device::<u8>::new(&allocator, 4 * MIB, &stream(on)).unwrap()).collect();
        let mut live: Vec<Host<u8>> = Vec::new();
        for step in 0..600 {
            match random.below(10) {
                0..4 => match Host::new(&pool, random.size(20) as usize) {
                    Ok(buffer) => {
                        touch(&driver, &buffer);
                        live.push(buffer);
                    }
                    Err(AllocError::OutOfMemory(error)) => assert!(error.limit_bytes == 24 << 20),
                    Err(error) => panic!("{error}"),
                },
                4..7 if !live.is_empty() => {
                    let at = random.below(live.len() as u64) as usize;
                    let device = &mut target[random.below(3) as usize];
                    match random.below(2) {
                        0 => device.copy_from_pinned(&mut live[at]).unwrap(),
                        _ => device.copy_to_pinned(&mut live[at]).unwrap(),
                    }
                }
                7..9 if !live.is_empty() => {
                    live.swap_remove(random.below(live.len() as u64) as usize);
                }
                _ => drop(pool.collect_garbage().unwrap()),
            }
            assert_eq!(driver.take_violations(), [], "seed {seed}, step {step}");
        }
        pool.assert_valid();
        drop((live, target));
        pool.empty_cache().unwrap();
        assert_eq!(pool.reserved_bytes(), 0);
        drop((pool, allocator));
        assert_eq!(driver.finish(), []);
    }
}

/// Copies both ways, staged and straight.
fn copies(allocator: &DeviceAllocator<SimDriver>) {
    for len in [0, 1, 1000, 100_000, 9 * MIB + 5] {
        let Ok(mut buffer) = Device::<u8>::new(allocator, len, &stream(1)) else { continue };
        let _ = buffer.copy_from_host(&vec![1; len]);
        let _ = buffer.to_vec();
    }
}

#[test]
fn staged_copies_break_no_rule_under_any_lag() {
    for lag_ops in [0, 1, 3, 1000] {
        let options = SimOptions { lag_ops, ..SimOptions::default() };
        let driver = SimDriver::new(options);
        let builder = Builder::new().enable_pinned_memory(true);
        let allocator = builder.build_on(driver.clone()).unwrap();
        for _ in 0..5 {
            copies(&allocator);
        }
        allocator.pinned_pool().unwrap().assert_valid();
        assert!(allocator.pinned_pool().unwrap().reserved_bytes() <= 64 << 20);
        drop(allocator);
        assert_eq!(driver.finish(), []);
    }
}

#[test]
fn small_copies_do_not_wait_where_pinned_memory_is_enabled() {
    let (driver, allocator) = device(64, 100);
    let mut buffer = Device::<u32>::new(&allocator, 1000, &stream(1)).unwrap();
    buffer.copy_from_host(&[7; 1000]).unwrap();
    assert_eq!(driver.count(DriverCall::Synchronize), 1, "straight, the copy is waited for");
    allocator.enable_pinned_memory(true);
    buffer.copy_from_host(&[8; 1000]).unwrap();
    let calls = driver.calls();
    for _ in 0..100 {
        buffer.copy_from_host(&[9; 1000]).unwrap();
    }
    assert_eq!(driver.calls() - calls, 100, "a copy each, and nothing else");
    assert_eq!(driver.count(DriverCall::Synchronize), 1);
    let error = buffer.copy_from_host(&[0; 1001]).unwrap_err();
    assert!(matches!(error, CopyError::TooLong { len: 1001, room: 1000 }), "{error}");
}

#[test]
fn any_call_of_a_copy_may_fail() {
    let calls = || {
        let (driver, allocator) = device(32, 2);
        allocator.enable_pinned_memory(true);
        (driver.calls(), driver, allocator)
    };
    let (before, driver, allocator) = calls();
    copies(&allocator);
    for after in 0..driver.calls() - before {
        for error in [
            DriverError::OutOfMemory { call: DriverCall::RegisterHost, bytes: 1 },
            DriverError::Other { call: DriverCall::Copy, code: 999 },
        ] {
            let (_, driver, allocator) = calls();
            driver.inject(Fault { call: None, after, error });
            copies(&allocator);
            copies(&allocator);
            allocator.assert_valid();
            drop(allocator);
            assert_eq!(driver.finish(), [], "call {after} failed");
        }
    }
}

#[test]
fn a_driver_locks_pages_for_others() {
    let driver = SimDriver::new(SimOptions::default());
    let lock = DriverLock::new(Ok(std::sync::Arc::new(driver.clone())));
    let mut memory = vec![3u8; 40 * MIB];
    let start = NonNull::new(memory.as_mut_ptr()).unwrap();
    // SAFETY: the vector's memory is committed; the simulated device asks for no alignment.
    unsafe { lock.lock(start, memory.len()) }.unwrap();
    assert_eq!(driver.count(DriverCall::RegisterHost), 1);
    // SAFETY: as above; the range is registered already, which the device refuses.
    let error = unsafe { lock.lock(start, memory.len()) }.unwrap_err();
    assert_eq!((error.requested_bytes, error.locked_bytes), (40 * MIB, 40 * MIB));
    assert!(matches!(driver.take_violations()[..], [Violation::BadCall { .. }]));
    // SAFETY: no copy is under way.
    unsafe { lock.unlock_all() };
    assert!(memory.iter().all(|&byte| byte == 3), "touching changes nothing");
    assert_eq!(driver.finish(), []);

    let missing = DriverError::NoDevice { ordinal: 9 };
    let lock = DriverLock::<SimDriver>::new(Err(missing.clone()));
    // SAFETY: as above.
    let error = unsafe { lock.lock(start, 4096) }.unwrap_err();
    assert_eq!((lock.error(), error.code), (Some(&missing), 100));
}

#[test]
fn threads_share_a_pool() {
    let (driver, allocator) = device(512, 3);
    let pool = pool(&allocator, 64 * MIB);
    std::thread::scope(|scope| {
        for on in 0..4 {
            let (allocator, pool) = (&allocator, &pool);
            scope.spawn(move || {
                let mut random = Random(on * 77 + 5);
                let mut device = Device::<u8>::new(allocator, MIB, &stream(on)).unwrap();
                for round in 0..300 {
                    let mut buffer = Host::<u8>::new(pool, random.size(18) as usize).unwrap();
                    buffer.as_mut_slice().fill(on as u8);
                    if round % 2 == 0 {
                        device.copy_from_pinned(&mut buffer).unwrap();
                    }
                    assert!(buffer.as_slice().iter().all(|&byte| byte == on as u8));
                }
            });
        }
    });
    pool.assert_valid();
    drop((pool, allocator));
    assert_eq!(driver.finish(), []);
}

#[test]
fn granules_are_those_of_huge_pages() {
    let (_, allocator) = device(8, 0);
    let buffer = Host::<u8>::new(allocator.pinned_pool().unwrap(), 1).unwrap();
    assert_eq!(allocator.pinned_pool().unwrap().reserved_bytes(), GRANULE);
    assert_eq!(buffer.as_ptr().addr() % MIB, 0);
}
