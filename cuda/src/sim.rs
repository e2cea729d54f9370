//! A device in simulation: deterministic, with memory of a given size, streams that lag, faults
//! on demand, a count of every call, and checks that no GPU makes.
//!
//! Time is the number of operations enqueued on any stream. A fence is passed once `lag` further
//! operations have been enqueued, or the host has waited for its stream since. The checks do not depend on
//! the lag: they follow what is ordered before what (vector clocks over streams and the host), so
//! a reuse that merely happened to be late enough is still reported.
#![deny(unsafe_code)]

mod driver;
mod state;
mod transfer;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use self::state::{Clock, Piece, Sim};
use crate::driver::{DevicePtr, DriverCall, DriverError, DriverResult, StreamId};

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
    /// Page-locked host memory was used by the CPU, or unlocked, while a copy may still use it.
    HostInUse {
        /// The stream of the copy.
        stream: StreamId,
        /// The first address in use.
        address: usize,
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
            registered: BTreeMap::new(),
            host_uses: Vec::new(),
            streams: HashMap::new(),
            captured: HashSet::new(),
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

    /// Begins or ends the capture of a graph on `stream`: until its end, fences on the stream and
    /// waits for it are violations.
    pub fn set_captured(&self, stream: StreamId, captured: bool) {
        let mut sim = self.lock();
        if captured {
            sim.captured.insert(stream);
        } else {
            sim.captured.remove(&stream);
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
