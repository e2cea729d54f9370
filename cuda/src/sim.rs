//! A device in simulation: deterministic, with memory of a given size, streams that lag, faults
//! on demand, a count of every call, and checks that no GPU makes.
//!
//! Time is the number of operations enqueued on any stream. A fence is passed once `lag` further
//! operations have been enqueued, or its stream was synchronised. The checks do not depend on
//! the lag: they follow what is ordered before what (vector clocks over streams and the host), so
//! a reuse that merely happened to be late enough is still reported.
#![forbid(unsafe_code)]

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::driver::{
    DevicePtr, Driver, DriverCall, DriverError, DriverResult, MemoryInfo, PhysicalId, StreamId,
};

/// What to build a [`SimDriver`] from.
#[derive(Clone, Copy, Debug)]
pub struct SimOptions {
    /// Memory of the device, bytes.
    pub device_bytes: u64,
    /// The unit of physical memory, bytes, a power of two.
    pub granularity_bytes: u64,
    /// How many further operations pass before a fence is passed.
    pub lag_ops: u64,
    /// Whether addresses can be reserved and mapped; if not, only plain allocation works.
    pub virtual_memory: bool,
    /// Whether [`SimDriver::touch`] checks orders. Costs time and memory per operation.
    pub checks: bool,
}

impl Default for SimOptions {
    /// More memory than any device has, in granules of 2 MiB, no lag, with checks.
    fn default() -> Self {
        Self {
            device_bytes: 1 << 40,
            granularity_bytes: 2 << 20,
            lag_ops: 0,
            virtual_memory: true,
            checks: true,
        }
    }
}

/// Something that a program must never do to a device.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Violation {
    /// Work used an address at which nothing is mapped.
    NotMapped {
        /// The stream of the work.
        stream: StreamId,
        /// The address.
        address: u64,
    },
    /// Work used memory whose last use, as another block, is not ordered before it.
    ReusedTooEarly {
        /// The stream of the new use.
        stream: StreamId,
        /// The stream of the last use.
        last: StreamId,
        /// The address of the new use.
        address: u64,
        /// The block of the last use, as the caller numbered it.
        block: u64,
    },
    /// Two live blocks share memory.
    Overlap {
        /// The address of the second one.
        address: u64,
        /// The block that holds the memory, as the caller numbered it.
        block: u64,
    },
    /// A mapping was taken away while enqueued work may still use it.
    UnmappedInUse {
        /// The stream of the work.
        stream: StreamId,
        /// The address of the mapping.
        address: u64,
    },
    /// A call on addresses or handles that are not what it says.
    BadCall {
        /// The call.
        call: DriverCall,
        /// The address or handle.
        address: u64,
    },
    /// Something was still held at the end.
    Leak {
        /// Physical memory not given back, bytes.
        physical_bytes: u64,
        /// Mappings left.
        mappings: usize,
        /// Reservations left.
        reservations: usize,
        /// Host ranges still page-locked.
        registered: usize,
    },
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

/// A fault to inject.
#[derive(Clone, Debug)]
pub struct Fault {
    /// Which kind of call fails; all kinds where `None`.
    pub call: Option<DriverCall>,
    /// Which one of them, counted from zero from now on.
    pub after: u64,
    /// How it fails. Fatal errors stay for all later calls.
    pub error: DriverError,
}

/// A fence of a [`SimDriver`].
#[derive(Clone, Debug)]
pub struct SimFence {
    stream: StreamId,
    position: u64,
    time: u64,
    clock: Clock,
}

/// Positions of streams that are ordered before something.
type Clock = HashMap<StreamId, u64>;

fn join(clock: &mut Clock, other: &Clock) {
    for (&stream, &position) in other {
        let mine = clock.entry(stream).or_default();
        *mine = (*mine).max(position);
    }
}

#[derive(Default)]
struct SimStream {
    position: u64,
    clock: Clock,
}

struct Physical {
    bytes: u64,
    mappings: usize,
    /// Last uses by start offset.
    uses: BTreeMap<u64, LastUse>,
}

#[derive(Clone)]
struct LastUse {
    end: u64,
    block: u64,
    live: bool,
    by: Vec<(StreamId, u64)>,
}

/// A part of physical memory, and the mapping through which it was reached.
struct Piece {
    memory: u64,
    from: u64,
    to: u64,
    mapping: u64,
}

struct Mapping {
    bytes: u64,
    memory: u64,
    last: Clock,
}

struct Sim {
    options: SimOptions,
    used_bytes: u64,
    peak_used_bytes: u64,
    taken_bytes: u64,
    next_address: u64,
    next_handle: u64,
    reservations: BTreeMap<u64, u64>,
    physical: HashMap<u64, Physical>,
    mappings: BTreeMap<u64, Mapping>,
    registered: HashMap<usize, usize>,
    streams: HashMap<StreamId, SimStream>,
    host: Clock,
    time: u64,
    counts: [u64; DriverCall::COUNT],
    cost_ns: u64,
    faults: Vec<Fault>,
    broken: Option<DriverError>,
    violations: Vec<Violation>,
}

/// The simulated device. Clones are handles on the same device.
#[derive(Clone)]
pub struct SimDriver(Arc<Mutex<Sim>>);

impl fmt::Debug for SimDriver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sim = self.lock();
        f.debug_struct("SimDriver")
            .field("options", &sim.options)
            .field("used_bytes", &sim.used_bytes)
            .finish_non_exhaustive()
    }
}

/// Modelled time of one call in nanoseconds: medians that others have published for a granule.
const fn cost_ns(call: DriverCall) -> u64 {
    match call {
        DriverCall::Reserve | DriverCall::Map => 2_000,
        DriverCall::Create => 29_000,
        DriverCall::SetAccess => 38_000,
        DriverCall::Unmap => 34_000,
        DriverCall::Release => 23_000,
        DriverCall::Unreserve | DriverCall::Query | DriverCall::Wait => 1_000,
        DriverCall::Alloc => 14_000,
        DriverCall::Free => 47_000,
        DriverCall::Record => 1_500,
        DriverCall::Synchronize => 10_000,
        _ => 0,
    }
}

impl SimDriver {
    /// A device as `options` say.
    ///
    /// # Panics
    /// The granularity is no power of two.
    pub fn new(options: SimOptions) -> Self {
        assert!(options.granularity_bytes.is_power_of_two(), "granularity is a power of two");
        Self(Arc::new(Mutex::new(Sim {
            options,
            used_bytes: 0,
            peak_used_bytes: 0,
            taken_bytes: 0,
            next_address: 0x10_0000_0000,
            next_handle: 1,
            reservations: BTreeMap::new(),
            physical: HashMap::new(),
            mappings: BTreeMap::new(),
            registered: HashMap::new(),
            streams: HashMap::new(),
            host: Clock::new(),
            time: 0,
            counts: [0; DriverCall::COUNT],
            cost_ns: 0,
            faults: Vec::new(),
            broken: None,
            violations: Vec::new(),
        })))
    }

    fn lock(&self) -> MutexGuard<'_, Sim> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a call, and fails it where a fault says so.
    fn enter(&self, call: DriverCall) -> DriverResult<MutexGuard<'_, Sim>> {
        let mut sim = self.lock();
        sim.counts[call as usize] += 1;
        sim.cost_ns += cost_ns(call);
        if let Some(error) = &sim.broken {
            return Err(error.clone());
        }
        let mut failed = None;
        sim.faults.retain_mut(|fault| {
            if fault.call.is_some_and(|kind| kind != call) || failed.is_some() {
                return true;
            }
            if fault.after == 0 {
                failed = Some(fault.error.clone());
                return false;
            }
            fault.after -= 1;
            true
        });
        match failed {
            Some(error) => {
                if error.is_fatal() {
                    sim.broken = Some(error.clone());
                }
                Err(error)
            }
            None => Ok(sim),
        }
    }

    /// Enqueues work on `stream` that uses `bytes` at `at` as part of `block`, a number of the
    /// caller's.
    pub fn touch(&self, stream: StreamId, at: DevicePtr, bytes: u64, block: u64) {
        self.lock().touch(stream, at.0, bytes, block);
    }

    /// Says that `block` at `at` is free from now on: others may use its memory where that is
    /// ordered after its last use.
    pub fn retire(&self, at: DevicePtr, bytes: u64) {
        let mut sim = self.lock();
        if !sim.options.checks {
            return;
        }
        for Piece { memory, from, to, .. } in sim.pieces(at.0, bytes).0 {
            let physical = sim.physical.get_mut(&memory).expect("mapped memory exists");
            for (_, last) in physical.uses.range_mut(from..to) {
                last.live = false;
            }
        }
    }

    /// Makes `fault` happen.
    pub fn inject(&self, fault: Fault) {
        self.lock().faults.push(fault);
    }

    /// Another process takes `bytes` of the device, or gives them back where negative.
    pub fn take_memory(&self, bytes: i64) {
        let mut sim = self.lock();
        sim.taken_bytes = sim.taken_bytes.saturating_add_signed(bytes);
    }

    /// How often `call` was made.
    pub fn count(&self, call: DriverCall) -> u64 {
        self.lock().counts[call as usize]
    }

    /// Calls of all kinds.
    pub fn calls(&self) -> u64 {
        self.lock().counts.iter().sum()
    }

    /// Modelled time of all calls so far, nanoseconds.
    pub fn cost_ns(&self) -> u64 {
        self.lock().cost_ns
    }

    /// Physical memory in use now, and the most there has been, bytes.
    pub fn used_bytes(&self) -> (u64, u64) {
        let sim = self.lock();
        (sim.used_bytes, sim.peak_used_bytes)
    }

    /// Everything wrong so far; empties the list.
    pub fn take_violations(&self) -> Vec<Violation> {
        std::mem::take(&mut self.lock().violations)
    }

    /// Everything wrong in all, leaks included, once the allocator is gone.
    pub fn finish(&self) -> Vec<Violation> {
        let mut sim = self.lock();
        let leak = Violation::Leak {
            physical_bytes: sim.used_bytes,
            mappings: sim.mappings.len(),
            reservations: sim.reservations.len(),
            registered: sim.registered.len(),
        };
        let clean = sim.used_bytes == 0
            && sim.mappings.is_empty()
            && sim.reservations.is_empty()
            && sim.registered.is_empty();
        if !clean && sim.broken.is_none() {
            sim.violations.push(leak);
        }
        std::mem::take(&mut sim.violations)
    }
}

impl Sim {
    /// The physical pieces behind an address range, and the first address that is not mapped, if
    /// any.
    fn pieces(&self, at: u64, bytes: u64) -> (Vec<Piece>, Option<u64>) {
        let (mut pieces, mut next, end) = (Vec::new(), at, at + bytes.max(1));
        while next < end {
            let found = self.mappings.range(..=next).next_back();
            let Some((&start, mapping)) = found.filter(|(start, m)| next < **start + m.bytes)
            else {
                return (pieces, Some(next));
            };
            let to = end.min(start + mapping.bytes);
            pieces.push(Piece {
                memory: mapping.memory,
                from: next - start,
                to: to - start,
                mapping: start,
            });
            next = to;
        }
        (pieces, None)
    }

    fn touch(&mut self, stream: StreamId, at: u64, bytes: u64, block: u64) {
        self.time += 1;
        let state = self.streams.entry(stream).or_default();
        state.position += 1;
        let position = state.position;
        if !self.options.checks {
            return;
        }
        join(&mut state.clock, &self.host);
        state.clock.insert(stream, position);
        let clock = state.clock.clone();
        let (pieces, missing) = self.pieces(at, bytes);
        if let Some(address) = missing {
            self.violations.push(Violation::NotMapped { stream, address });
        }
        for Piece { memory, from, to, mapping } in pieces {
            let last = &mut self.mappings.get_mut(&mapping).expect("found above").last;
            last.insert(stream, position);
            let physical = self.physical.get_mut(&memory).expect("mapped memory exists");
            let address = mapping + from;
            let now = LastUse { end: to, block, live: true, by: vec![(stream, position)] };
            let wrong = physical.use_range(from, now, &clock, address, stream);
            self.violations.extend(wrong);
        }
    }

    fn bad(&mut self, call: DriverCall, address: u64, bytes: u64) -> DriverError {
        self.violations.push(Violation::BadCall { call, address });
        DriverError::InvalidValue { call, address, bytes }
    }

    fn take(&mut self, call: DriverCall, bytes: u64) -> DriverResult<()> {
        if self.used_bytes + self.taken_bytes + bytes > self.options.device_bytes {
            return Err(DriverError::OutOfMemory { call, bytes });
        }
        self.used_bytes += bytes;
        self.peak_used_bytes = self.peak_used_bytes.max(self.used_bytes);
        Ok(())
    }

    fn place(&mut self, bytes: u64) -> u64 {
        let granularity = self.options.granularity_bytes;
        let at = self.next_address;
        // A gap behind each range, so that running over an end never finds a neighbour.
        self.next_address += bytes.next_multiple_of(granularity) + granularity;
        at
    }

    fn create(&mut self, bytes: u64) -> u64 {
        let handle = self.next_handle;
        self.next_handle += 1;
        self.physical.insert(handle, Physical { bytes, mappings: 0, uses: BTreeMap::new() });
        handle
    }
}

impl Physical {
    /// Notes a use and reports what it must not have followed.
    fn use_range(
        &mut self,
        from: u64,
        mut now: LastUse,
        clock: &Clock,
        address: u64,
        stream: StreamId,
    ) -> Vec<Violation> {
        let (to, block, mut wrong) = (now.end, now.block, Vec::new());
        self.cut(from);
        self.cut(to);
        let before: Vec<u64> = self.uses.range(from..to).map(|(&start, _)| start).collect();
        for start in before {
            let last = self.uses.remove(&start).expect("listed above");
            if last.block == block {
                for (other, position) in last.by {
                    if !now.by.iter().any(|(stream, _)| *stream == other) {
                        now.by.push((other, position));
                    }
                }
                continue;
            }
            if last.live && wrong.is_empty() {
                wrong.push(Violation::Overlap { address, block: last.block });
            }
            for (other, position) in last.by {
                let ordered = clock.get(&other).is_some_and(|&seen| seen >= position);
                if !ordered && wrong.is_empty() {
                    let (last, block) = (other, last.block);
                    wrong.push(Violation::ReusedTooEarly { stream, last, address, block });
                }
            }
        }
        self.uses.insert(from, now);
        wrong
    }

    /// Makes a last use that spans `at` end there and another begin.
    fn cut(&mut self, at: u64) {
        if let Some((_, last)) = self.uses.range_mut(..at).next_back()
            && last.end > at
        {
            let tail = last.clone();
            last.end = at;
            self.uses.insert(at, tail);
        }
    }
}

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
        for (&stream, &position) in &mapping.last {
            if sim.host.get(&stream).is_none_or(|&seen| seen < position) {
                sim.violations.push(Violation::UnmappedInUse { stream, address: at.0 });
            }
        }
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
        sim.used_bytes -= mapping.bytes;
        sim.physical.remove(&mapping.memory);
        Ok(())
    }

    fn record(&self, stream: StreamId) -> DriverResult<SimFence> {
        let mut sim = self.enter(DriverCall::Record)?;
        let (time, host) = (sim.time, sim.host.clone());
        let state = sim.streams.entry(stream).or_default();
        let mut clock = state.clock.clone();
        join(&mut clock, &host);
        Ok(SimFence { stream, position: state.position, time, clock })
    }

    fn is_passed(&self, fence: &SimFence) -> DriverResult<bool> {
        let mut sim = self.enter(DriverCall::Query)?;
        let synchronised = sim.host.get(&fence.stream).is_some_and(|&p| p >= fence.position);
        let passed = synchronised || sim.time >= fence.time + sim.options.lag_ops;
        if passed {
            join(&mut sim.host, &fence.clock);
            join(&mut sim.host, &Clock::from([(fence.stream, fence.position)]));
        }
        Ok(passed)
    }

    fn wait(&self, stream: StreamId, fence: &SimFence) -> DriverResult<()> {
        let mut sim = self.enter(DriverCall::Wait)?;
        let state = sim.streams.entry(stream).or_default();
        join(&mut state.clock, &fence.clock);
        join(&mut state.clock, &Clock::from([(fence.stream, fence.position)]));
        Ok(())
    }

    fn synchronize(&self, stream: StreamId) -> DriverResult<()> {
        let mut sim = self.enter(DriverCall::Synchronize)?;
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
        if sim.registered.remove(&address).is_none() {
            return Err(sim.bad(DriverCall::UnregisterHost, address as u64, 0));
        }
        Ok(())
    }
}
