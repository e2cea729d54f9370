//! Events.

use std::ffi::c_uint;

use crate::{call::functions, device::device, event::Event, raw::Out};

functions! {
    Context: cuEventCreate(handle: Out<u64>, flags: c_uint) {
        const DISABLE_TIMING: c_uint = 2;
        handle.set(device().events.insert(Event::new(flags & DISABLE_TIMING == 0)))
    }

    Context: cuEventDestroy_v2(handle: u64) {
        device().events.remove(handle).map(drop)
    }

    Context: cuEventRecord(handle: u64, stream: u64) {
        device().events.get(handle)?.record(device(), &device().stream(stream)?)
    }

    Context: cuEventRecordWithFlags(handle: u64, stream: u64, _flags: c_uint) {
        device().events.get(handle)?.record(device(), &device().stream(stream)?)
    }

    Context: cuEventQuery(handle: u64) {
        device().events.get(handle)?.query()
    }

    Context: cuEventSynchronize(handle: u64) {
        device().events.get(handle)?.synchronize()
    }

    Context: cuEventElapsedTime(milliseconds: Out<f32>, start: u64, end: u64) {
        let (start, end) = (device().events.get(start)?, device().events.get(end)?);
        milliseconds.set(start.elapsed_ms(&end)?)
    }

    Context: cuEventElapsedTime_v2(milliseconds: Out<f32>, start: u64, end: u64) {
        let (start, end) = (device().events.get(start)?, device().events.get(end)?);
        milliseconds.set(start.elapsed_ms(&end)?)
    }
}
