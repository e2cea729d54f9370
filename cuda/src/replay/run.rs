//! The replay itself, and what it reports.
#![forbid(unsafe_code)]

use std::{
    fmt,
    time::{Duration, Instant},
};

use serde::Serialize;

use super::{
    timed::Timed,
    trace::{Event, Trace},
};
use crate::{
    AllocError, Block, Counts, DeviceAllocator, Options,
    driver::StreamId,
    sim::{SimDriver, SimOptions, Violation},
};

/// How to replay.
#[derive(Clone, Copy, Debug, Default)]
pub struct ReplayOptions {
    /// The simulated device.
    pub device: SimOptions,
    /// The allocator.
    pub allocator: Options,
    /// Whether to keep live and reserved memory over time in the report.
    pub timeline: bool,
}

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
    /// Pieces of memory mapped plus pieces unmapped.
    pub driver_calls: u64,
    /// Of these, in the last iteration.
    pub driver_calls_last_iteration: u64,
    /// Times that a stream waited for another on the device.
    pub stream_waits: u64,
    /// Times that everything free was collected because a request did not fit.
    pub retries: u64,
    /// Time within the allocator for an allocation and a free, driver excluded, nanoseconds.
    pub bookkeeping_ns_per_pair: f64,
    /// Modelled time of all driver calls, microseconds.
    pub modelled_driver_us: u64,
    /// Whether a request could not be served; the figures are those up to it.
    pub out_of_memory: bool,
    /// Live and reserved bytes after every so many events, where asked for.
    #[serde(skip)]
    pub timeline: Vec<(u64, u64)>,
}

/// Why a replay stopped without figures.
#[derive(Debug)]
#[non_exhaustive]
pub enum ReplayError {
    /// The allocator failed other than for lack of memory.
    Alloc(AllocError),
    /// The allocator did what a device does not forgive. A bug of this crate: please report it.
    Violations(Vec<Violation>),
}

impl fmt::Display for ReplayError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Alloc(error) => error.fmt(f),
            Self::Violations(list) => {
                write!(f, "{} violations, the first one: {}", list.len(), list[0])
            }
        }
    }
}

impl std::error::Error for ReplayError {}

/// A replay of one trace on the simulated device.
#[derive(Debug)]
pub struct Replay<'a> {
    trace: &'a Trace,
    options: ReplayOptions,
}

/// Events between two calls of the progress callback, and two points of the timeline.
const STEP: usize = 256;

impl<'a> Replay<'a> {
    /// A replay of `trace`.
    pub const fn new(trace: &'a Trace, options: ReplayOptions) -> Self {
        Self { trace, options }
    }

    /// Runs it; `progress` is told now and then how many events are done.
    ///
    /// # Errors
    /// The allocator failed other than for lack of memory, or broke a rule of the device.
    pub fn run(&self, mut progress: impl FnMut(usize)) -> Result<Report, ReplayError> {
        let driver = SimDriver::new(self.options.device);
        let allocator =
            DeviceAllocator::with_driver(Timed::new(driver.clone()), self.options.allocator)
                .map_err(|error| ReplayError::Alloc(error.into()))?;
        let mut state = State::new(&allocator, &driver, self.trace);
        let mut live = (0, 0);
        let mut timeline = Vec::new();
        let mut out_of_memory = false;
        let mut sizes: Vec<u64> = Vec::new();
        for (index, event) in self.trace.events.iter().enumerate() {
            if index % STEP == 0 {
                progress(index);
                if self.options.timeline {
                    let reserved = allocator.reserved_bytes();
                    timeline.push((live.0, reserved));
                }
            }
            match state.apply(*event) {
                Ok(()) => {}
                Err(AllocError::OutOfMemory(_)) => {
                    out_of_memory = true;
                    break;
                }
                Err(error) => return Err(ReplayError::Alloc(error)),
            }
            match *event {
                Event::Alloc { bytes, .. } => {
                    sizes.push(bytes);
                    live.0 += bytes;
                }
                Event::Free { block } => live.0 -= sizes[block as usize],
                _ => {}
            }
            live.1 = live.1.max(live.0);
        }
        progress(self.trace.events.len());
        let (counts, reserved) = (allocator.counts(), allocator.peak_reserved_bytes());
        let pairs = (state.allocations + state.frees) as f64 / 2.0;
        let report = Report {
            trace: self.trace.name.clone(),
            backend: "sim".into(),
            allocations: state.allocations,
            frees: state.frees,
            peak_live_bytes: live.1,
            peak_reserved_bytes: reserved,
            driver_calls: counts.maps + counts.unmaps,
            driver_calls_last_iteration: state.last_iteration(counts),
            stream_waits: counts.stream_waits,
            retries: counts.retries,
            bookkeeping_ns_per_pair: state.bookkeeping_ns() / pairs.max(1.0),
            modelled_driver_us: driver.cost_ns() / 1000,
            out_of_memory,
            timeline,
        };
        drop(state);
        drop(allocator);
        let violations = driver.finish();
        if violations.is_empty() { Ok(report) } else { Err(ReplayError::Violations(violations)) }
    }
}

/// Where a replay is.
struct State<'a> {
    allocator: &'a DeviceAllocator<Timed<SimDriver>>,
    driver: &'a SimDriver,
    blocks: Vec<Option<(Block, StreamId)>>,
    allocations: u64,
    frees: u64,
    /// Counts at the beginning of the last iteration.
    mark: Counts,
    time: Duration,
    clock: Duration,
    timed: u64,
}

impl<'a> State<'a> {
    fn new(
        allocator: &'a DeviceAllocator<Timed<SimDriver>>,
        driver: &'a SimDriver,
        trace: &Trace,
    ) -> Self {
        Self {
            allocator,
            driver,
            blocks: Vec::with_capacity(trace.allocations as usize),
            allocations: 0,
            frees: 0,
            mark: Counts::default(),
            time: Duration::ZERO,
            clock: clock_cost(),
            timed: 0,
        }
    }

    fn apply(&mut self, event: Event) -> Result<(), AllocError> {
        match event {
            Event::Alloc { bytes, stream } => {
                let in_driver = self.allocator.driver().time_inside();
                let begin = Instant::now();
                let block = self.allocator.alloc(bytes, stream);
                let elapsed = begin.elapsed();
                self.timed += 1;
                self.time +=
                    elapsed.saturating_sub(self.allocator.driver().time_inside() - in_driver);
                let block = block?;
                self.driver.touch(stream, block.ptr(), bytes, self.allocations);
                self.blocks.push(Some((block, stream)));
                self.allocations += 1;
            }
            Event::Free { block } => {
                let (block, _) = self.blocks[block as usize].take().expect("a sound trace");
                self.driver.retire(block.ptr(), block.bytes());
                let begin = Instant::now();
                self.allocator.free(block).expect("the block is live");
                self.time += begin.elapsed();
                self.timed += 1;
                self.frees += 1;
            }
            Event::Record { block: number, stream } => {
                let (block, _) = self.blocks[number as usize].as_mut().expect("a sound trace");
                self.allocator.record_stream(block, stream)?;
                let (at, bytes) = (block.ptr(), block.bytes());
                self.driver.touch(stream, at, bytes, u64::from(number));
            }
            Event::Iteration => self.mark = self.allocator.counts(),
        }
        Ok(())
    }

    fn last_iteration(&self, now: Counts) -> u64 {
        now.maps + now.unmaps - self.mark.maps - self.mark.unmaps
    }

    /// Time within the allocator, what reading the clock costs taken off.
    fn bookkeeping_ns(&self) -> f64 {
        let clock_ns = self.clock.as_nanos() as f64 / CLOCK_READS as f64 * self.timed as f64;
        (self.time.as_nanos() as f64 - clock_ns).max(0.0)
    }
}

const CLOCK_READS: u32 = 1000;

/// What it costs to time nothing, [`CLOCK_READS`] times: the least of many trials, since other
/// programs can only make it dearer.
fn clock_cost() -> Duration {
    let trial = || (0..CLOCK_READS).map(|_| Instant::now().elapsed()).sum();
    (0..32).map(|_| trial()).min().unwrap_or_default()
}
