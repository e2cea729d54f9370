//! Order within and between streams, and what waits for what.

use std::{
    ffi::c_void,
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

use crate::{OK, alloc, call, event, start, stream, word};

/// Work enough for a while.
fn dawdle(at: u64, on: cudarc::driver::sys::CUstream) {
    for value in 0..8 {
        assert_eq!(call!(cuMemsetD32Async(at, value, 1, on)), OK);
    }
}

#[test]
fn without_a_wait_the_order_is_anyones_and_with_one_it_is_ours() {
    let fake = start();
    fake.set("FAKECUDA_DELAY_US", 2000);
    let (at, slow, fast) = (alloc(4096), stream(), stream());
    dawdle(at, slow);
    assert_eq!(call!(cuMemsetD32Async(at, 99, 1, fast)), OK);
    assert_eq!((call!(cuStreamSynchronize(fast)), call!(cuStreamSynchronize(slow))), (OK, OK));
    assert_eq!(word(at), Ok(7), "the slow stream came last");
    let done = event();
    dawdle(at, slow);
    assert_eq!(call!(cuEventRecord(done, slow)), OK);
    assert_eq!(call!(cuEventQuery(done)), Err(600));
    assert_eq!(call!(cuStreamQuery(slow)), Err(600));
    assert_eq!(call!(cuStreamWaitEvent(fast, done, 0)), OK);
    assert_eq!(call!(cuMemsetD32Async(at, 99, 1, fast)), OK);
    assert_eq!(call!(cuStreamSynchronize(fast)), OK);
    assert_eq!((call!(cuEventQuery(done)), word(at)), (OK, Ok(99)));
}

#[test]
fn events_take_the_time_and_stale_handles_are_noticed() {
    let fake = start();
    fake.set("FAKECUDA_DELAY_US", 2000);
    let (at, on, begin, end) = (alloc(4096), stream(), event(), event());
    assert_eq!(call!(cuEventQuery(begin)), OK, "never recorded is passed");
    assert_eq!(call!(cuEventRecord(begin, on)), OK);
    dawdle(at, on);
    assert_eq!(call!(cuEventRecord(end, on)), OK);
    assert_eq!(call!(cuEventSynchronize(end)), OK);
    // By the name that the function has in cudarc's CUDA version.
    // SAFETY: both events are alive and recorded.
    let ms = unsafe { cudarc::driver::result::event::elapsed(begin, end) }.expect("both passed");
    assert!(ms > 0.5, "{ms}");
    assert_eq!((call!(cuEventDestroy_v2(end)), call!(cuEventDestroy_v2(end))), (OK, Err(400)));
    assert_eq!((call!(cuStreamDestroy_v2(on)), call!(cuStreamQuery(on))), (OK, Err(400)));
}

#[test]
fn the_default_stream_is_in_order_with_blocking_streams() {
    let fake = start();
    fake.set("FAKECUDA_DELAY_US", 2000);
    let (at, mut blocking) = (alloc(4096), std::ptr::null_mut());
    assert_eq!(call!(cuStreamCreate(&mut blocking, 0)), OK);
    dawdle(at, blocking);
    assert_eq!(word(at), Ok(7), "a call on the default stream came after");
    dawdle(at, std::ptr::null_mut());
    assert_eq!(call!(cuMemsetD32Async(at, 50, 1, blocking)), OK);
    assert_eq!((call!(cuStreamSynchronize(blocking)), word(at)), (OK, Ok(50)));
}

#[test]
fn page_locked_memory_is_read_when_the_copy_runs_and_other_memory_at_the_call() {
    let fake = start();
    let (at, on) = (alloc(4096), stream());
    let gate = alloc(4096);
    let mut locked = std::ptr::null_mut();
    assert_eq!(call!(cuMemHostAlloc(&mut locked, 4096, 0)), OK);
    let shared = locked.cast::<AtomicU32>();
    // SAFETY: the memory is there, aligned, and freed at the end.
    let shared = unsafe { &*shared };
    let other = AtomicU32::new(1);
    shared.store(1, Ordering::Relaxed);
    assert_eq!(call!(cuStreamWaitValue32_v2(on, gate, 5, 0)), OK);
    assert_eq!(call!(cuMemcpyHtoDAsync_v2(at, locked, 4, on)), OK);
    assert_eq!(call!(cuMemcpyHtoDAsync_v2(at + 4, other.as_ptr().cast::<c_void>(), 4, on)), OK);
    shared.store(2, Ordering::Relaxed);
    other.store(2, Ordering::Relaxed);
    thread::sleep(Duration::from_millis(5));
    assert_eq!(call!(cuStreamQuery(on)), Err(600), "it waits for the word");
    assert_eq!(call!(cuMemsetD32_v2(gate, 6, 1)), OK);
    assert_eq!(call!(cuStreamSynchronize(on)), OK);
    assert_eq!((word(at), word(at + 4)), (Ok(2), Ok(1)));
    assert_eq!(call!(cuMemFreeHost(locked)), OK);
    drop(fake);
}

#[test]
fn a_word_that_a_stream_writes_is_a_fence_that_the_host_can_read() {
    let fake = start();
    fake.set("FAKECUDA_DELAY_US", 1000);
    let (at, on) = (alloc(4096), stream());
    let mut word = Box::new(AtomicU32::new(0));
    let place = word.get_mut() as *mut u32;
    assert_eq!(call!(cuMemHostRegister_v2(place.cast::<c_void>(), 4, 0)), OK);
    dawdle(at, on);
    assert_eq!(call!(cuStreamWriteValue32_v2(on, place.expose_provenance() as u64, 9, 0)), OK);
    let begin = Instant::now();
    while word.load(Ordering::Acquire) != 9 && begin.elapsed() < Duration::from_secs(10) {
        thread::yield_now();
    }
    assert_eq!((call!(cuStreamQuery(on)), word.load(Ordering::Acquire)), (OK, 9));
    assert_eq!(call!(cuMemHostUnregister(place.cast::<c_void>())), OK);
    let at = place.expose_provenance() as u64;
    assert_eq!(call!(cuStreamWriteValue32_v2(on, at, 9, 0)), OK);
    assert_eq!(call!(cuStreamSynchronize(on)), Err(700), "it is not locked any more");
}

#[test]
fn the_program_is_called_in_order() {
    extern "C" fn note(data: *mut c_void) {
        // SAFETY: the test passes an atomic that outlives the call.
        let counter = unsafe { &*data.cast::<AtomicU32>() };
        counter.fetch_add(1, Ordering::Relaxed);
    }
    let _fake = start();
    let (counter, on) = (AtomicU32::new(0), stream());
    for _ in 0..3 {
        let data = (&raw const counter).cast_mut().cast::<c_void>();
        // cudarc's type says that the function may be called safely or not by version.
        // SAFETY: the signatures agree.
        let code = unsafe { cudarc::driver::sys::cuLaunchHostFunc(on, Some(note), data) };
        assert_eq!(crate::code(code), OK);
    }
    assert_eq!(call!(cuStreamSynchronize(on)), OK);
    assert_eq!(counter.load(Ordering::Relaxed), 3);
}

#[test]
fn memory_in_stream_order_is_freed_in_stream_order() {
    let fake = start();
    fake.set("FAKECUDA_DELAY_US", 2000);
    let (mut at, on) = (0, stream());
    assert_eq!(call!(cuMemAllocAsync(&mut at, 4096, on)), OK);
    dawdle(at, on);
    assert_eq!(call!(cuMemFreeAsync(at, on)), OK);
    assert_eq!(fake.live().bytes, 4096);
    assert_eq!(call!(cuStreamSynchronize(on)), OK);
    assert_eq!(fake.live().bytes, 0);
}
