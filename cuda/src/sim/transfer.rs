//! Copies on the simulated device, which has no contents: what they use is checked, and what they
//! take is modelled.
#![expect(unsafe_code, reason = "the trait's functions are unsafe; nothing here looks at memory")]

use super::{
    SimDriver, SimFence,
    state::{Clock, join},
};
use crate::{
    driver::{DevicePtr, DriverCall, DriverResult, StreamId},
    transfer::Transfer,
};

/// Bytes a nanosecond over the bus, page-locked and not, and within the device.
const PINNED_RATE: u64 = 25;
const PAGEABLE_RATE: u64 = 6;
const DEVICE_RATE: u64 = 1000;
/// Nanoseconds to enqueue a copy.
const ENQUEUE_NS: u64 = 2_000;

impl SimDriver {
    fn copy(
        &self,
        stream: StreamId,
        device: &[DevicePtr],
        host: Option<usize>,
        bytes: u64,
    ) -> DriverResult<()> {
        let mut sim = self.enter(DriverCall::Copy)?;
        let (position, clock) = sim.step(stream);
        for at in device {
            sim.use_as_it_is(stream, position, &clock, at.0, bytes);
        }
        let locked = host.is_some_and(|at| sim.is_registered(at, bytes as usize));
        let rate = match host {
            None => DEVICE_RATE,
            Some(_) if locked => PINNED_RATE,
            Some(_) => PAGEABLE_RATE,
        };
        sim.cost_ns += ENQUEUE_NS + bytes / rate;
        if let Some(at) = host.filter(|_| locked) {
            sim.host_uses.push((at..at + bytes as usize, stream, position));
        }
        Ok(())
    }

    /// The CPU reads or writes host memory: reports copies that may not be through with it.
    pub fn touch_host(&self, address: usize, bytes: usize) {
        self.lock().check_host(&(address..address + bytes));
    }
}

impl Transfer for SimDriver {
    unsafe fn copy_to_device(
        &self,
        stream: StreamId,
        to: DevicePtr,
        from: *const u8,
        bytes: u64,
    ) -> DriverResult<()> {
        self.copy(stream, &[to], Some(from.addr()), bytes)
    }

    unsafe fn copy_to_host(
        &self,
        stream: StreamId,
        to: *mut u8,
        from: DevicePtr,
        bytes: u64,
    ) -> DriverResult<()> {
        self.copy(stream, &[from], Some(to.addr()), bytes)
    }

    unsafe fn copy_on_device(
        &self,
        stream: StreamId,
        to: DevicePtr,
        from: DevicePtr,
        bytes: u64,
    ) -> DriverResult<()> {
        self.copy(stream, &[from, to], None, bytes)
    }

    fn finish(&self, fence: &SimFence) -> DriverResult<()> {
        let mut sim = self.enter(DriverCall::Synchronize)?;
        join(&mut sim.host, &fence.clock);
        join(&mut sim.host, &Clock::from([(fence.stream, fence.position)]));
        Ok(())
    }
}
