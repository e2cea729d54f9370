//! What happens when the driver fails, on cudarc over the fake driver: any function at any call,
//! memory that others take, a broken context, a lost device.
#![cfg(feature = "cudarc")]
mod common;
mod suite;

use fakecuda::client::{Fake, Live};
use genesis_mem_cuda::{
    AllocError, Block,
    driver::{Driver, DriverError, StreamId},
};
use suite::{Device, cudarc::OnFake};

/// The functions that the allocator calls while it works.
const FUNCTIONS: [&str; 15] = [
    "cuMemAddressReserve",
    "cuMemAddressFree",
    "cuMemCreate",
    "cuMemRelease",
    "cuMemMap",
    "cuMemSetAccess",
    "cuMemUnmap",
    "cuMemGetInfo_v2",
    "cuEventCreate",
    "cuEventRecord",
    "cuEventQuery",
    "cuEventDestroy_v2",
    "cuStreamWaitEvent",
    "cuStreamSynchronize",
    "cuCtxSetCurrent",
];

/// Functions that give something back.
const GIVING_BACK: [&str; 4] = ["cuMemUnmap", "cuMemRelease", "cuMemAddressFree", "cuMemFree_v2"];

fn open() -> OnFake {
    let device = OnFake::open(36).expect("the fake driver is there");
    device.fake.set("FAKECUDA_DELAY_US", 10);
    device
}

/// A program that grows, gathers, borrows, waits and gives back, whatever fails meanwhile.
struct Program<'a> {
    device: &'a OnFake,
    live: Vec<(Block, StreamId, u32)>,
    value: u32,
    errors: Vec<DriverError>,
}

impl Program<'_> {
    fn note<T>(&mut self, outcome: Result<T, DriverError>) {
        self.errors.extend(outcome.err());
    }

    /// A new block with a pattern. Where the copy fails, it fails once.
    fn alloc(&mut self, granules: u64, on: usize) {
        let stream = self.device.stream(on);
        self.value += 1;
        let block = self.device.allocator().alloc(self.device.granules(granules), stream);
        match block {
            Ok(block) => {
                let fill = || self.device.device.try_fill(&block, stream, self.value);
                let filled = fill().or_else(|_| fill());
                assert!(filled.is_ok() || self.is_broken(), "{filled:?}");
                self.live.push((block, stream, self.value));
            }
            Err(AllocError::OutOfMemory(error)) => assert_eq!(error.snapshot.check(), Ok(())),
            Err(AllocError::Driver(error)) => self.errors.push(error),
            Err(error) => panic!("{error}"),
        }
    }

    fn free(&mut self, index: usize) {
        if index < self.live.len() {
            self.device.free(self.live.swap_remove(index).0);
        }
    }

    /// Whether the context gives nothing but errors.
    fn is_broken(&self) -> bool {
        let info = || self.device.allocator().driver().memory_info();
        info().and_then(|_| info()).is_err_and(|error| error.is_fatal())
    }

    fn run(&mut self) {
        (0..10).for_each(|_| self.alloc(3, 0));
        [8, 6, 4, 2, 0].into_iter().for_each(|index| self.free(index));
        self.alloc(15, 0);
        self.alloc(4, 1);
        if let Some((mut block, _, _)) = self.live.pop() {
            let other = self.device.stream(2);
            let recorded = self.device.allocator().record_stream(&mut block, other);
            assert!(recorded.is_ok());
            self.device.free(block);
        }
        self.alloc(12, 1);
        self.check();
        let outcome = self.device.allocator().compact();
        self.note(outcome);
        let outcome = self.device.allocator().collect_garbage();
        self.note(outcome);
        self.alloc(8, 2);
        self.free(1);
        let outcome = self.device.allocator().empty_cache();
        self.note(outcome);
        self.check();
    }

    /// Every live block holds its pattern, unless nothing can be read any more.
    fn check(&self) {
        for (block, stream, value) in &self.live {
            let look = || self.device.device.try_holds(block, *stream, *value);
            let holds = look().or_else(|_| look());
            assert!(holds == Ok(true) || self.is_broken(), "block {value}: {holds:?}");
        }
    }
}

fn program(device: &OnFake) -> Program<'_> {
    Program { device, live: Vec::new(), value: 0, errors: Vec::new() }
}

/// Runs the program with each function failing at its first call, its second, and so on, `step`
/// calls apart, until it makes no more of them. `check` sees how the program went, ends the
/// allocator, and gives the driver back.
fn fail_each_call(code: i32, step: usize, check: impl Fn(OnFake, Vec<DriverError>) -> Fake) {
    for function in FUNCTIONS {
        for after in (0..).step_by(step) {
            let device = open();
            device.fake.fail(function, after, code);
            let mut program = program(&device);
            program.run();
            let Program { errors, .. } = program;
            println!("call {after} of {function} failed: {errors:?}");
            if check(device, errors).count(function) <= after {
                // A wait is needed only where a stream is behind.
                assert!(after > 0 || function == "cuStreamWaitEvent", "no call of {function}");
                break;
            }
        }
    }
}

fn fail_and_go_on(code: i32) {
    fail_each_call(code, 1, |OnFake { device, fake }, errors| {
        assert!(errors.iter().all(|error| !error.is_fatal()));
        device.allocator().assert_valid();
        drop(device);
        assert_eq!(fake.live(), Live::default(), "nothing is lost");
        fake
    });
}

#[test]
fn any_call_may_find_the_device_full() {
    fail_and_go_on(2);
}

#[test]
fn any_call_may_fail_in_another_way() {
    fail_and_go_on(999);
}

/// Breaks the context; the errors say so, and nothing is asked of it at the end.
fn break_and_end(code: i32, expected: impl Fn(&DriverError) -> bool) {
    fail_each_call(code, 3, |device, errors| {
        assert!(errors.iter().all(&expected));
        let broken = !errors.is_empty();
        assert!(!broken || program(&device).is_broken());
        let OnFake { device, fake } = device;
        let counts = || GIVING_BACK.map(|function| fake.count(function));
        let before = counts();
        drop(device);
        assert!(!broken || before == counts(), "a broken context is left alone");
        fake
    });
}

#[test]
fn a_broken_context_is_left_alone() {
    break_and_end(700, |error| matches!(error, DriverError::Sticky { code: 700, .. }));
}

#[test]
fn a_lost_device_is_left_alone() {
    break_and_end(709, |error| matches!(error, DriverError::DeviceLost { code: 709, .. }));
}

#[test]
fn use_of_what_is_gone_breaks_the_context_and_the_allocator_says_so() {
    let device = open();
    let (allocator, stream) = (device.allocator(), device.stream(0));
    let block = device.filled(device.granules(2), stream, 1);
    let gone = block.ptr();
    device.free(block);
    allocator.empty_cache().expect("the device answers");
    let beyond = allocator.driver().context();
    beyond.bind_to_thread().expect("the device answers");
    // SAFETY: the address is none any more, which the device finds out.
    let set =
        unsafe { cudarc::driver::result::memset_d8_async(gone.0, 0, 512, stream.0 as usize as _) };
    set.expect("it is only enqueued");
    let _ = beyond.synchronize();
    let error = allocator.alloc(device.granules(2), stream).expect_err("the context is broken");
    let AllocError::Driver(error) = error else { panic!("{error}") };
    assert!(error.is_fatal(), "{error}");
    assert!(error.to_string().contains("compute-sanitizer"), "{error}");
}

#[test]
fn memory_that_another_process_takes_is_an_error_with_numbers() {
    let device = open();
    let (allocator, stream) = (device.allocator(), device.stream(0));
    let kept = device.filled(device.granules(4), stream, 3);
    let taken = (1 << 30) - device.granules(10) as i64;
    device.fake.take_memory(taken);
    let error = allocator.alloc(device.granules(16), stream).expect_err("six granules are left");
    let AllocError::OutOfMemory(error) = error else { panic!("{error}") };
    assert_eq!(error.device_free_bytes, device.granules(6));
    assert_eq!(error.allocated_bytes, device.granules(4));
    assert!(error.to_string().contains("held by others"), "{error}");
    device.fake.take_memory(-taken);
    let block = device.filled(device.granules(16), stream, 4);
    assert!(device.holds(&kept, stream, 3) && device.holds(&block, stream, 4));
    device.free(kept);
    device.free(block);
    suite::finish(device);
}

#[test]
fn host_memory_is_locked_once_and_unlocked_once() {
    let device = open();
    let driver = device.allocator().driver();
    let memory = vec![0u8; 4096];
    let at = memory.as_ptr().expose_provenance();
    driver.register_host(at, 4096).expect("it is not locked yet");
    let twice = driver.register_host(at, 4096).expect_err("it is locked");
    assert!(matches!(twice, DriverError::Other { code: 712, .. }), "{twice}");
    driver.unregister_host(at).expect("it is locked");
    let never = driver.unregister_host(at).expect_err("it is not locked any more");
    assert!(matches!(never, DriverError::Other { code: 713, .. }), "{never}");
    suite::finish(device);
}

#[test]
fn a_device_without_virtual_memory_is_served_all_the_same() {
    let device = open();
    let OnFake { device, fake } = device;
    drop(device);
    fake.set("FAKECUDA_NO_VMM", 1);
    let device = suite::cudarc::Cudarc::open(36).expect("the fake driver is there");
    let stream = device.stream(0);
    let blocks: Vec<Block> = (0..4).map(|n| device.filled(1 << (18 + n), stream, n)).collect();
    for (n, block) in blocks.into_iter().enumerate() {
        assert!(device.holds(&block, stream, n as u32));
        device.free(block);
    }
    let counts = device.allocator().counts();
    assert!(counts.allocs > 0 && counts.maps == 0, "{counts:?}");
    suite::finish(device);
    assert_eq!(fake.live(), Live::default());
}
