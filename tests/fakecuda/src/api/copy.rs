//! Copies and patterns, in the order of a stream or at once.
//!
//! As on a device, only page-locked host memory takes part at the time of the copy. Other memory
//! is read before the call returns, and written before it returns.

use std::{
    ffi::{c_uchar, c_uint, c_ushort},
    sync::Arc,
};

use crate::{
    call::{functions, lock},
    code::{Answer, STREAM_CAPTURE_UNSUPPORTED},
    device::device,
    op::{Op, Source},
    os,
};

/// The default stream, on which the calls without a stream work.
const DEFAULT: u64 = 0;

fn submit(stream: u64, op: Op) -> Answer {
    device().submit(&device().stream(stream)?, op)
}

/// Does it and waits.
fn finish(op: Op) -> Answer {
    let stream = device().stream(DEFAULT)?;
    device().enqueue(&stream, op).wait();
    lock(&device().calls).is_broken()
}

fn copy_in(to: u64, from: u64, bytes: usize) -> Op {
    let bytes_pinned = device().memory().is_pinned(from, bytes as u64);
    let from = if bytes_pinned {
        Source::Checked(from)
    } else {
        // SAFETY: the program passed `bytes` to read.
        Source::Bytes(Arc::from(unsafe { os::read(from, bytes) }))
    };
    Op::Copy { to, from, bytes: bytes as u64 }
}

fn copy_out(to: u64, from: u64, bytes: usize, stream: u64) -> Answer {
    let bytes = bytes as u64;
    if device().memory().is_pinned(to, bytes) {
        return submit(stream, Op::Copy { to, from: Source::Checked(from), bytes });
    }
    let stream = device().stream(stream)?;
    if let Some(capture) = stream.capture() {
        // Every launch would write to memory that the program may have freed since.
        capture.invalidate();
        return Err(STREAM_CAPTURE_UNSUPPORTED);
    }
    device().enqueue(&stream, Op::CopyOut { to, from, bytes }).wait();
    lock(&device().calls).is_broken()
}

fn set(at: u64, value: u32, width: u64, count: usize) -> Op {
    Op::Set { at, value, width, count: count as u64 }
}

functions! {
    Context: cuMemcpyHtoDAsync_v2(to: u64, from: u64, bytes: usize, stream: u64) {
        submit(stream, copy_in(to, from, bytes))
    }

    Context: cuMemcpyDtoHAsync_v2(to: u64, from: u64, bytes: usize, stream: u64) {
        copy_out(to, from, bytes, stream)
    }

    Context: cuMemcpyDtoDAsync_v2(to: u64, from: u64, bytes: usize, stream: u64) {
        submit(stream, Op::Copy { to, from: Source::Checked(from), bytes: bytes as u64 })
    }

    NoCapture: cuMemcpyHtoD_v2(to: u64, from: u64, bytes: usize) {
        finish(copy_in(to, from, bytes))
    }

    NoCapture: cuMemcpyDtoH_v2(to: u64, from: u64, bytes: usize) {
        finish(Op::CopyOut { to, from, bytes: bytes as u64 })
    }

    NoCapture: cuMemcpyDtoD_v2(to: u64, from: u64, bytes: usize) {
        finish(Op::Copy { to, from: Source::Checked(from), bytes: bytes as u64 })
    }

    Context: cuMemsetD8Async(at: u64, value: c_uchar, count: usize, stream: u64) {
        submit(stream, set(at, value.into(), 1, count))
    }

    Context: cuMemsetD16Async(at: u64, value: c_ushort, count: usize, stream: u64) {
        submit(stream, set(at, value.into(), 2, count))
    }

    Context: cuMemsetD32Async(at: u64, value: c_uint, count: usize, stream: u64) {
        submit(stream, set(at, value, 4, count))
    }

    NoCapture: cuMemsetD8_v2(at: u64, value: c_uchar, count: usize) {
        finish(set(at, value.into(), 1, count))
    }

    NoCapture: cuMemsetD16_v2(at: u64, value: c_ushort, count: usize) {
        finish(set(at, value.into(), 2, count))
    }

    NoCapture: cuMemsetD32_v2(at: u64, value: c_uint, count: usize) {
        finish(set(at, value, 4, count))
    }
}
