//! Streams, memory operations of streams, and functions of the program in their order.

use std::{
    ffi::{c_int, c_uint},
    sync::Arc,
};

use crate::{
    call::{functions, lock},
    capture,
    code::{Answer, INVALID_HANDLE, NOT_READY, STREAM_CAPTURE_UNSUPPORTED},
    device::{device, new_handle},
    op::{HostFunction, Op, Until, UserData, Word},
    raw::Out,
    stream::Stream,
};

fn create(handle: Out<u64>, flags: c_uint) -> Answer {
    const NON_BLOCKING: c_uint = 1;
    let new = new_handle();
    handle.set(new)?;
    device().streams.insert_as(new, Stream::start(new, flags & NON_BLOCKING == 0));
    Ok(())
}

/// The stream, if it is in no capture: the capture is spoilt otherwise.
fn outside(handle: u64) -> Answer<Arc<Stream>> {
    let stream = device().stream(handle)?;
    if let Some(capture) = stream.capture() {
        capture.invalidate();
        return Err(STREAM_CAPTURE_UNSUPPORTED);
    }
    Ok(stream)
}

fn write(stream: u64, at: u64, value: u64, wide: bool) -> Answer {
    device().submit(&device().stream(stream)?, Op::WriteWord(Word { at, value, wide }))
}

fn wait(stream: u64, at: u64, value: u64, wide: bool, flags: c_uint) -> Answer {
    let op = Op::WaitWord(Word { at, value, wide }, Until::from_flags(flags));
    device().submit(&device().stream(stream)?, op)
}

functions! {
    Context: cuStreamCreate(handle: Out<u64>, flags: c_uint) {
        create(handle, flags)
    }

    Context: cuStreamCreateWithPriority(handle: Out<u64>, flags: c_uint, _priority: c_int) {
        create(handle, flags)
    }

    Context: cuStreamDestroy_v2(handle: u64) {
        device().close(handle)
    }

    Context: cuStreamSynchronize(handle: u64) {
        let stream = outside(handle)?;
        capture::refuse_if_disturbed()?;
        stream.end().wait();
        lock(&device().calls).is_broken()
    }

    Context: cuStreamQuery(handle: u64) {
        let stream = outside(handle)?;
        capture::refuse_if_disturbed()?;
        if stream.end().is_passed() { Ok(()) } else { Err(NOT_READY) }
    }

    Context: cuStreamWaitEvent(handle: u64, event: u64, _flags: c_uint) {
        device().events.get(event)?.hold_back(device(), &device().stream(handle)?)
    }

    Context: cuStreamWriteValue32(stream: u64, at: u64, value: u32, _flags: c_uint) {
        write(stream, at, value.into(), false)
    }

    Context: cuStreamWriteValue32_v2(stream: u64, at: u64, value: u32, _flags: c_uint) {
        write(stream, at, value.into(), false)
    }

    Context: cuStreamWriteValue64(stream: u64, at: u64, value: u64, _flags: c_uint) {
        write(stream, at, value, true)
    }

    Context: cuStreamWriteValue64_v2(stream: u64, at: u64, value: u64, _flags: c_uint) {
        write(stream, at, value, true)
    }

    Context: cuStreamWaitValue32(stream: u64, at: u64, value: u32, flags: c_uint) {
        wait(stream, at, value.into(), false, flags)
    }

    Context: cuStreamWaitValue32_v2(stream: u64, at: u64, value: u32, flags: c_uint) {
        wait(stream, at, value.into(), false, flags)
    }

    Context: cuStreamWaitValue64(stream: u64, at: u64, value: u64, flags: c_uint) {
        wait(stream, at, value, true, flags)
    }

    Context: cuStreamWaitValue64_v2(stream: u64, at: u64, value: u64, flags: c_uint) {
        wait(stream, at, value, true, flags)
    }

    Context: cuLaunchHostFunc(stream: u64, function: Option<HostFunction>, data: UserData) {
        let function = function.ok_or(INVALID_HANDLE)?;
        device().submit(&device().stream(stream)?, Op::Call(function, data))
    }
}
