//! The driver's calls on the simulated device.
#![forbid(unsafe_code)]

use super::{
    SimDriver, SimFence,
    state::{Clock, Mapping, join},
};
use crate::driver::{
    DevicePtr, Driver, DriverCall, DriverError, DriverResult, MemoryInfo, PhysicalId, StreamId,
};

impl Driver for SimDriver {
    type Fence = SimFence;
    type Stream = StreamId;
    type Uses = ();

    fn stream_id(&self, stream: &StreamId) -> StreamId {
        *stream
    }

    fn end_of_use(&self, _: StreamId, (): &()) {}

    fn granularity_bytes(&self) -> u64 {
        self.lock().options.granularity_bytes
    }

    fn memory_info(&self) -> DriverResult<MemoryInfo> {
        let sim = self.enter(DriverCall::MemoryInfo)?;
        let total_bytes = sim.options.device_bytes;
        let free_bytes = total_bytes.saturating_sub(sim.used_bytes + sim.taken_bytes);
        Ok(MemoryInfo { free_bytes, total_bytes })
    }

    fn reserve(&self, bytes: u64) -> DriverResult<DevicePtr> {
        let mut sim = self.enter(DriverCall::Reserve)?;
        if !sim.options.virtual_memory {
            return Err(DriverError::NotSupported { call: DriverCall::Reserve });
        }
        let at = sim.place(bytes);
        sim.reservations.insert(at, bytes);
        Ok(DevicePtr(at))
    }

    fn unreserve(&self, at: DevicePtr, bytes: u64) -> DriverResult<()> {
        let mut sim = self.enter(DriverCall::Unreserve)?;
        let mapped = sim.mappings.range(at.0..at.0 + bytes).next().is_some();
        if mapped || sim.reservations.get(&at.0) != Some(&bytes) {
            return Err(sim.bad(DriverCall::Unreserve, at.0, bytes));
        }
        sim.reservations.remove(&at.0);
        Ok(())
    }

    fn create(&self, bytes: u64) -> DriverResult<PhysicalId> {
        let mut sim = self.enter(DriverCall::Create)?;
        if bytes == 0 || !bytes.is_multiple_of(sim.options.granularity_bytes) {
            return Err(sim.bad(DriverCall::Create, 0, bytes));
        }
        sim.take(DriverCall::Create, bytes)?;
        Ok(PhysicalId(sim.create(bytes)))
    }

    fn release(&self, memory: PhysicalId) -> DriverResult<()> {
        let mut sim = self.enter(DriverCall::Release)?;
        let found = sim.physical.get(&memory.0).map(|p| (p.bytes, p.mappings));
        let Some((bytes, 0)) = found else {
            return Err(sim.bad(DriverCall::Release, memory.0, 0));
        };
        sim.physical.remove(&memory.0);
        sim.used_bytes -= bytes;
        Ok(())
    }

    fn map(&self, at: DevicePtr, bytes: u64, memory: PhysicalId) -> DriverResult<()> {
        drop(self.enter(DriverCall::SetAccess)?);
        let mut sim = self.enter(DriverCall::Map)?;
        let end = at.0 + bytes;
        let reserved = sim.reservations.range(..=at.0).next_back();
        let reserved = reserved.is_some_and(|(start, bytes)| end <= start + bytes);
        let last = sim.mappings.range(..end).next_back();
        let taken = last.is_some_and(|(start, mapping)| start + mapping.bytes > at.0);
        let whole = sim.physical.get(&memory.0).is_some_and(|p| p.bytes == bytes);
        if !reserved || taken || !whole {
            return Err(sim.bad(DriverCall::Map, at.0, bytes));
        }
        sim.physical.get_mut(&memory.0).expect("found above").mappings += 1;
        sim.mappings.insert(at.0, Mapping { bytes, memory: memory.0, last: Clock::new() });
        Ok(())
    }

    fn unmap(&self, at: DevicePtr, bytes: u64) -> DriverResult<()> {
        let mut sim = self.enter(DriverCall::Unmap)?;
        if sim.mappings.get(&at.0).is_none_or(|mapping| mapping.bytes != bytes) {
            return Err(sim.bad(DriverCall::Unmap, at.0, bytes));
        }
        let mapping = sim.mappings.remove(&at.0).expect("found above");
        sim.check_out_of_use(at.0, &mapping.last);
        if let Some(physical) = sim.physical.get_mut(&mapping.memory) {
            physical.mappings -= 1;
        }
        Ok(())
    }

    fn alloc(&self, bytes: u64) -> DriverResult<DevicePtr> {
        let mut sim = self.enter(DriverCall::Alloc)?;
        let bytes = bytes.next_multiple_of(sim.options.granularity_bytes);
        sim.take(DriverCall::Alloc, bytes)?;
        let (at, memory) = (sim.place(bytes), sim.create(bytes));
        sim.physical.get_mut(&memory).expect("just made").mappings = 1;
        sim.mappings.insert(at, Mapping { bytes, memory, last: Clock::new() });
        Ok(DevicePtr(at))
    }

    fn free(&self, at: DevicePtr) -> DriverResult<()> {
        let mut sim = self.enter(DriverCall::Free)?;
        let Some(mapping) = sim.mappings.remove(&at.0) else {
            return Err(sim.bad(DriverCall::Free, at.0, 0));
        };
        sim.check_out_of_use(at.0, &mapping.last);
        sim.used_bytes -= mapping.bytes;
        sim.physical.remove(&mapping.memory);
        Ok(())
    }

    fn record(&self, stream: StreamId) -> DriverResult<SimFence> {
        let mut sim = self.enter(DriverCall::Record)?;
        sim.check_capture(DriverCall::Record, stream)?;
        let (time, host) = (sim.time, sim.host.clone());
        let state = sim.streams.entry(stream).or_default();
        // A place of its own in the stream: who has waited for what came before has not seen it.
        state.position += 1;
        let mut clock = state.clock.clone();
        join(&mut clock, &host);
        Ok(SimFence { stream, position: state.position, time, clock })
    }

    fn is_passed(&self, fence: &SimFence) -> DriverResult<bool> {
        let mut sim = self.enter(DriverCall::Query)?;
        let seen = sim.host.get(&fence.stream).is_some_and(|&p| p >= fence.position);
        let passed = seen || sim.time >= fence.time.saturating_add(sim.options.lag_ops);
        if passed {
            join(&mut sim.host, &fence.clock);
            join(&mut sim.host, &Clock::from([(fence.stream, fence.position)]));
        }
        Ok(passed)
    }

    fn wait(&self, stream: StreamId, fence: &SimFence) -> DriverResult<()> {
        let mut sim = self.enter(DriverCall::Wait)?;
        sim.check_capture(DriverCall::Wait, stream)?;
        let state = sim.streams.entry(stream).or_default();
        join(&mut state.clock, &fence.clock);
        join(&mut state.clock, &Clock::from([(fence.stream, fence.position)]));
        Ok(())
    }

    fn synchronize(&self, stream: StreamId) -> DriverResult<()> {
        let mut sim = self.enter(DriverCall::Synchronize)?;
        sim.check_capture(DriverCall::Synchronize, stream)?;
        let state = sim.streams.entry(stream).or_default();
        let mut clock = state.clock.clone();
        clock.insert(stream, state.position);
        join(&mut sim.host, &clock);
        Ok(())
    }

    fn register_host(&self, address: usize, bytes: usize) -> DriverResult<()> {
        let mut sim = self.enter(DriverCall::RegisterHost)?;
        if bytes == 0 || sim.registered.contains_key(&address) {
            return Err(sim.bad(DriverCall::RegisterHost, address as u64, bytes as u64));
        }
        sim.registered.insert(address, bytes);
        Ok(())
    }

    fn unregister_host(&self, address: usize) -> DriverResult<()> {
        let mut sim = self.enter(DriverCall::UnregisterHost)?;
        let Some(bytes) = sim.registered.remove(&address) else {
            return Err(sim.bad(DriverCall::UnregisterHost, address as u64, 0));
        };
        sim.check_host(&(address..address + bytes));
        Ok(())
    }
}
