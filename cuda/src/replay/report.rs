//! What a replay reports.
#![forbid(unsafe_code)]

use serde::Serialize;

use crate::Counts;

/// What a replay needed. Serialises to the keys that scripts read.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Report {
    /// The trace's name.
    pub trace: String,
    /// `sim` or `cuda`.
    pub backend: String,
    /// Allocations served.
    pub allocations: u64,
    /// Frees.
    pub frees: u64,
    /// The largest sum of sizes asked for and live, bytes.
    pub peak_live_bytes: u64,
    /// The most physical memory held, bytes.
    pub peak_reserved_bytes: u64,
    /// Pieces of memory mapped plus pieces unmapped; allocations plus frees of the driver where
    /// there is no virtual memory.
    pub driver_calls: u64,
    /// Of these, in the last iteration that allocates something.
    pub driver_calls_last_iteration: u64,
    /// Times that a stream waited for another on the device.
    pub stream_waits: u64,
    /// Times that everything free was collected because a request did not fit.
    pub retries: u64,
    /// Time within the allocator for an allocation and a free, driver excluded, nanoseconds; zero
    /// where it was not measured.
    pub bookkeeping_ns_per_pair: f64,
    /// Time of all driver calls, microseconds: modelled on the simulated device, measured on a GPU.
    pub modelled_driver_us: u64,
    /// Whether a request could not be served; the figures are those up to it.
    pub out_of_memory: bool,
    /// Memory of the device, bytes.
    #[serde(skip)]
    pub device_bytes: u64,
    /// The allocator's words on the request that could not be served.
    #[serde(skip)]
    pub failure: Option<String>,
    /// Memory over time, where asked for.
    #[serde(skip)]
    pub timeline: Vec<Point>,
}

impl Report {
    /// Physical memory over live memory, each at its peak: 1 is the least that there can be.
    pub fn reserved_over_live(&self) -> f64 {
        self.peak_reserved_bytes as f64 / self.peak_live_bytes.max(1) as f64
    }
}

/// Memory during a part of the events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Point {
    /// Events done at the end of the part.
    pub events: usize,
    /// The largest sum of sizes asked for and live, bytes.
    pub live_bytes: u64,
    /// The most physical memory held, bytes.
    pub reserved_bytes: u64,
}

/// What counts as a driver call in reports.
pub(super) const fn driver_calls(counts: Counts) -> u64 {
    counts.maps + counts.unmaps + counts.allocs + counts.frees
}
