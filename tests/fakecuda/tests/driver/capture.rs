//! Capture: what is recorded, what it forbids, and what graphs do.

use std::ptr;

use cudarc::driver::{
    CudaContext,
    sys::{self, CUstreamCaptureMode::*, CUstreamCaptureStatus::*},
};
use fakecuda::client::Fake;

use crate::{OK, alloc, call, event, start, stream, word};

fn end(stream: sys::CUstream) -> Result<sys::CUgraphExec, i32> {
    let (mut graph, mut instance) = (ptr::null_mut(), ptr::null_mut());
    call!(cuStreamEndCapture(stream, &mut graph))?;
    assert_eq!(call!(cuGraphInstantiateWithFlags(&mut instance, graph, 0)), OK);
    assert_eq!(call!(cuGraphDestroy(graph)), OK);
    Ok(instance)
}

fn begin(stream: sys::CUstream, mode: sys::CUstreamCaptureMode) {
    assert_eq!(call!(cuStreamBeginCapture_v2(stream, mode)), OK);
}

fn status(stream: sys::CUstream) -> sys::CUstreamCaptureStatus {
    let mut status = CU_STREAM_CAPTURE_STATUS_NONE;
    assert_eq!(call!(cuStreamIsCapturing(stream, &mut status)), OK);
    status
}

#[test]
fn work_is_recorded_and_played_back() {
    let fake = Fake::load();
    let context = CudaContext::new(0).unwrap();
    // SAFETY: everything is used on one stream.
    unsafe { context.disable_event_tracking() };
    let stream = context.new_stream().unwrap();
    let mut slice = stream.clone_htod(&[1u32; 100]).unwrap();
    stream.synchronize().unwrap();
    stream.begin_capture(CU_STREAM_CAPTURE_MODE_GLOBAL).unwrap();
    assert_eq!(stream.capture_status().unwrap(), CU_STREAM_CAPTURE_STATUS_ACTIVE);
    stream.memset_zeros(&mut slice).unwrap();
    let graph = stream.end_capture(sys::CUgraphInstantiate_flags(0)).unwrap().expect("a graph");
    assert_eq!(stream.clone_dtoh(&slice).unwrap(), [1; 100], "nothing was done yet");
    for _ in 0..2 {
        graph.launch().unwrap();
        assert_eq!(stream.clone_dtoh(&slice).unwrap(), [0; 100]);
        stream.memcpy_htod(&[2u32; 100], &mut slice).unwrap();
    }
    drop((graph, slice, stream, context));
    assert_eq!(fake.live().mappings, 0);
}

#[test]
fn waiting_inside_of_a_capture_spoils_it() {
    let _fake = start();
    let on = stream();
    type Attempt = fn(sys::CUstream) -> Result<(), i32>;
    let attempts: [(Attempt, i32); 4] = [
        (|on| call!(cuStreamSynchronize(on)), 900),
        (|on| call!(cuStreamQuery(on)), 900),
        (|_| call!(cuEventQuery(event())), 900),
        (|_| call!(cuMemAlloc_v2(&mut 0, 4096)), 900),
    ];
    for (attempt, code) in attempts {
        begin(on, CU_STREAM_CAPTURE_MODE_GLOBAL);
        assert_eq!(attempt(on), Err(code));
        assert_eq!(status(on), CU_STREAM_CAPTURE_STATUS_INVALIDATED);
        assert_eq!(call!(cuMemsetD8Async(0, 0, 1, on)), Err(901));
        assert_eq!(end(on), Err(901));
        assert_eq!(status(on), CU_STREAM_CAPTURE_STATUS_NONE);
    }
    assert_eq!(end(on), Err(903), "nothing was begun");
}

#[test]
fn a_relaxed_thread_may_ask_events_from_outside() {
    let _fake = start();
    let (on, other, outside) = (stream(), stream(), event());
    assert_eq!(call!(cuEventRecord(outside, other)), OK);
    begin(on, CU_STREAM_CAPTURE_MODE_GLOBAL);
    let mut mode = CU_STREAM_CAPTURE_MODE_RELAXED;
    assert_eq!(call!(cuThreadExchangeStreamCaptureMode(&mut mode)), OK);
    assert_eq!(mode, CU_STREAM_CAPTURE_MODE_GLOBAL);
    assert_eq!(call!(cuEventSynchronize(outside)), OK);
    let at = alloc(4096);
    assert_eq!(call!(cuThreadExchangeStreamCaptureMode(&mut mode)), OK);
    assert_eq!(call!(cuMemsetD32Async(at, 1, 1, on)), OK);
    assert_eq!(status(on), CU_STREAM_CAPTURE_STATUS_ACTIVE);
    assert!(end(on).is_ok());
}

#[test]
fn events_take_other_streams_into_the_capture_and_back() {
    let _fake = start();
    let (at, on, other) = (alloc(4096), stream(), stream());
    let (fork, join) = (event(), event());
    begin(on, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL);
    assert_eq!(call!(cuMemsetD32Async(at, 5, 2, on)), OK);
    assert_eq!(call!(cuEventRecord(fork, on)), OK);
    assert_eq!(call!(cuStreamWaitEvent(other, fork, 0)), OK);
    assert_eq!(status(other), CU_STREAM_CAPTURE_STATUS_ACTIVE);
    assert_eq!(call!(cuMemsetD32Async(at, 6, 1, other)), OK);
    assert_eq!(call!(cuEventRecord(join, other)), OK);
    assert_eq!(call!(cuStreamWaitEvent(on, join, 0)), OK);
    let graph = end(on).unwrap();
    assert_eq!(call!(cuEventQuery(join)), Err(907), "it was never recorded outside");
    assert_eq!(status(other), CU_STREAM_CAPTURE_STATUS_NONE);
    assert_eq!(call!(cuGraphLaunch(graph, on)), OK);
    assert_eq!(call!(cuStreamSynchronize(on)), OK);
    assert_eq!((word(at), word(at + 4)), (Ok(6), Ok(5)));
    assert_eq!(call!(cuGraphExecDestroy(graph)), OK);
    assert_eq!(call!(cuGraphLaunch(graph, on)), Err(400));
}

#[test]
fn a_fork_without_a_join_is_no_graph() {
    let _fake = start();
    let (on, other, fork) = (stream(), stream(), event());
    begin(on, CU_STREAM_CAPTURE_MODE_GLOBAL);
    assert_eq!(call!(cuEventRecord(fork, on)), OK);
    assert_eq!(call!(cuStreamWaitEvent(other, fork, 0)), OK);
    assert_eq!(end(on), Err(904));
    assert_eq!(status(other), CU_STREAM_CAPTURE_STATUS_NONE);
}

#[test]
fn work_from_outside_cannot_be_waited_for() {
    let _fake = start();
    let (on, other, outside) = (stream(), stream(), event());
    assert_eq!(call!(cuEventRecord(outside, other)), OK);
    begin(on, CU_STREAM_CAPTURE_MODE_RELAXED);
    assert_eq!(call!(cuStreamWaitEvent(on, outside, 0)), Err(905));
    assert_eq!(end(on), Err(901));
}
