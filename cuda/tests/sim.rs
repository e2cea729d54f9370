//! The simulated device notices what it claims to notice.
use genesis_mem_cuda::{
    driver::{DevicePtr, Driver, StreamId},
    sim::{SimDriver, SimOptions, Violation},
};

const GRANULE: u64 = 2 << 20;
const A: StreamId = StreamId(1);
const B: StreamId = StreamId(2);

/// A device with one granule mapped at the address it returns.
fn mapped() -> (SimDriver, DevicePtr) {
    let driver = SimDriver::new(SimOptions { lag_ops: 2, ..SimOptions::default() });
    let at = driver.reserve(8 * GRANULE).unwrap();
    let memory = driver.create(GRANULE).unwrap();
    driver.map(at, GRANULE, memory).unwrap();
    (driver, at)
}

#[test]
fn reuse_on_another_stream_needs_an_order() {
    let (driver, at) = mapped();
    driver.touch(A, at, 512, 1);
    driver.retire(at, 512);
    driver.touch(B, at, 512, 2);
    let early = Violation::ReusedTooEarly { stream: B, last: A, address: at.0, block: 1 };
    assert_eq!(driver.take_violations(), [early]);

    driver.retire(at, 512);
    let fence = driver.record(B).unwrap();
    driver.wait(A, &fence).unwrap();
    driver.touch(A, at, 512, 3);
    assert_eq!(driver.take_violations(), [], "the wait is an order");

    driver.retire(at, 512);
    let fence = driver.record(A).unwrap();
    assert_eq!(driver.is_passed(&fence), Ok(false), "the fence lags by two operations");
    driver.touch(A, DevicePtr(at.0 + 4096), 512, 9);
    driver.touch(A, DevicePtr(at.0 + 4096), 512, 9);
    assert_eq!(driver.is_passed(&fence), Ok(true));
    driver.touch(B, at, 512, 4);
    assert_eq!(driver.take_violations(), [], "what the host has seen is an order");
}

#[test]
fn the_order_follows_the_memory_and_not_the_address() {
    let driver = SimDriver::new(SimOptions::default());
    let at = driver.reserve(4 * GRANULE).unwrap();
    let memory = driver.create(GRANULE).unwrap();
    let alias = DevicePtr(at.0 + 2 * GRANULE);
    driver.map(at, GRANULE, memory).unwrap();
    driver.map(alias, GRANULE, memory).unwrap();
    driver.touch(A, at, GRANULE, 1);
    driver.touch(A, alias, 512, 2);
    assert_eq!(driver.take_violations(), [Violation::Overlap { address: alias.0, block: 1 }]);
    driver.retire(at, GRANULE);
    driver.touch(B, DevicePtr(alias.0 + 4096), 512, 3);
    assert!(matches!(driver.take_violations()[..], [Violation::ReusedTooEarly { .. }]));
}

#[test]
fn a_fence_lags_unless_the_host_has_waited_since() {
    let (driver, at) = mapped();
    driver.touch(A, at, 512, 1);
    let before = driver.record(A).unwrap();
    driver.synchronize(A).unwrap();
    let after = driver.record(A).unwrap();
    assert_eq!(driver.is_passed(&before), Ok(true));
    assert_eq!(driver.is_passed(&after), Ok(false), "nobody has waited for this one");
    driver.wait(B, &after).unwrap();
    let later = driver.record(A).unwrap();
    driver.touch(B, DevicePtr(at.0 + 4096), 512, 2);
    driver.synchronize(B).unwrap();
    assert_eq!(driver.is_passed(&after), Ok(true), "another stream waited, and the host for it");
    assert_eq!(driver.is_passed(&later), Ok(false));
    driver.touch(B, DevicePtr(at.0 + 4096), 512, 2);
    assert_eq!(driver.is_passed(&later), Ok(true), "two operations later");
    assert_eq!(driver.take_violations(), []);
}

#[test]
fn mappings_are_checked() {
    let (driver, at) = mapped();
    driver.touch(A, DevicePtr(at.0 + GRANULE - 256), 512, 1);
    let missing = Violation::NotMapped { stream: A, address: at.0 + GRANULE };
    assert_eq!(driver.take_violations(), [missing]);
    driver.unmap(at, GRANULE).unwrap();
    let early = Violation::UnmappedInUse { stream: A, address: at.0 };
    assert_eq!(driver.take_violations(), [early]);
    assert!(driver.unmap(at, GRANULE).is_err());
    assert!(matches!(driver.take_violations()[..], [Violation::BadCall { .. }]));
    let leak = driver.finish();
    let expected =
        Violation::Leak { physical_bytes: GRANULE, mappings: 0, reservations: 1, registered: 0 };
    assert_eq!(leak, [expected]);
}
