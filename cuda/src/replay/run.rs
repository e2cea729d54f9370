//! The replay itself.
#![forbid(unsafe_code)]

use genesis_mem_profile::Recording;

use super::{
    device::Device,
    error::ReplayError,
    player::{Player, Session},
    report::{Point, Report, driver_calls},
    timed::Timed,
    timing,
    trace::{Event, Trace},
};
use crate::{
    AllocError, Counts, DeviceAllocator, Options,
    sim::{SimDriver, SimOptions},
};

/// How to replay.
#[derive(Clone, Copy, Debug)]
pub struct ReplayOptions {
    /// The simulated device; a GPU is as it is.
    pub device: SimOptions,
    /// The allocator.
    pub allocator: Options,
    /// Whether to keep live and reserved memory over time in the report.
    pub timeline: bool,
    /// Whether to measure the allocator's own time, in further passes without checks.
    pub timing: bool,
}

impl Default for ReplayOptions {
    /// The defaults of device and allocator, with timing, without timeline.
    fn default() -> Self {
        let (device, allocator) = (SimOptions::default(), Options::default());
        Self { device, allocator, timeline: false, timing: true }
    }
}

/// A replay of one trace. Its figures are the same each time, but for measured times.
#[derive(Clone, Copy, Debug)]
pub struct Replay<'a> {
    pub(super) trace: &'a Trace,
    pub(super) options: ReplayOptions,
    /// Whether what the allocator does is recorded.
    recorded: bool,
}

/// Events between two calls of the progress callback.
const STEP: usize = 1024;
/// Points of a timeline, about.
const POINTS: usize = 1024;

impl<'a> Replay<'a> {
    /// A replay of `trace`.
    pub const fn new(trace: &'a Trace, options: ReplayOptions) -> Self {
        Self { trace, options, recorded: false }
    }

    /// Runs it on the simulated device; `progress` is told now and then how many events are done.
    ///
    /// # Errors
    /// The allocator failed other than for lack of memory, or broke a rule of the device.
    pub fn run(&self, progress: impl FnMut(usize)) -> Result<Report, ReplayError> {
        self.run_on::<SimDriver>(progress)
    }

    /// Runs it on a device of any kind.
    ///
    /// # Errors
    /// As for [`run`](Self::run), or the device does not open.
    pub fn run_on<D: Device>(&self, progress: impl FnMut(usize)) -> Result<Report, ReplayError> {
        self.run_with::<D>(progress, |_| ())
    }

    /// Runs it on a device of any kind, and records what the allocator does. Iterations are marks;
    /// where in the code a block came from is not in a trace.
    ///
    /// # Errors
    /// As for [`run_on`](Self::run_on).
    pub fn record_on<D: Device>(
        &self,
        progress: impl FnMut(usize),
    ) -> Result<(Report, Recording), ReplayError> {
        let mut recording = Recording::default();
        let record = |allocator: &DeviceAllocator<Timed<D>>| {
            recording = Recording::clone(&allocator.recording());
            recording.forget_stacks();
        };
        let replay = Self { recorded: true, ..*self };
        let report = replay.run_with::<D>(progress, record)?;
        Ok((report, recording))
    }

    fn run_with<D: Device>(
        &self,
        progress: impl FnMut(usize),
        at_end: impl FnOnce(&DeviceAllocator<Timed<D>>),
    ) -> Result<Report, ReplayError> {
        let session = Session::<D>::open(self.trace, self.options)?;
        // Growth and the like come on top of the trace's own events.
        let events = self.trace.events.len() * 2 + 100_000;
        let recording = self.recorded.then(|| session.allocator.record_last(events));
        let tally = self.play(&session, progress)?;
        at_end(&session.allocator);
        drop(recording);
        let done = tally.done;
        let mut report = self.report(&session, tally)?;
        let device = session.device;
        drop(session.allocator);
        let violations = device.violations();
        if !violations.is_empty() {
            return Err(ReplayError::Violations(violations));
        }
        drop(device);
        if self.options.timing {
            let pairs = (report.allocations + report.frees).max(1) as f64 / 2.0;
            let ns = timing::bookkeeping_ns::<D>(self.trace, self.options, done)?;
            report.bookkeeping_ns_per_pair = ns / pairs;
        }
        Ok(report)
    }

    /// The pass with all checks, until its end or until a request cannot be served.
    fn play<D: Device>(
        &self,
        session: &Session<D>,
        mut progress: impl FnMut(usize),
    ) -> Result<Tally, ReplayError> {
        let allocator = &session.allocator;
        let mut player = Player::new(allocator, &*session.device, self.trace);
        let mut tally = Tally::new(self.trace);
        let last_iteration = self.trace.last_iteration();
        let mut iterations = 0;
        for (index, &event) in session.events.iter().enumerate() {
            if index % STEP == 0 {
                progress(index);
            }
            if index == last_iteration {
                tally.mark = Some(allocator.counts());
            }
            if event == Event::Iteration && self.recorded {
                iterations += 1;
                allocator.mark(&format!("iteration {iterations}"));
            }
            if let Err(error) = player.apply(event) {
                if !is_lack_of_memory(&error) {
                    return Err(ReplayError::Alloc(error));
                }
                tally.failure = Some(error.to_string());
                break;
            }
            tally.count(event);
            if self.options.timeline {
                tally.point(allocator.reserved_bytes());
            }
        }
        progress(tally.done);
        Ok(tally)
    }

    /// The figures of that pass, before the allocator gives its memory back.
    fn report<D: Device>(&self, session: &Session<D>, tally: Tally) -> Result<Report, ReplayError> {
        let allocator = &session.allocator;
        let counts = allocator.counts();
        let info = session.device.memory_info().map_err(|e| ReplayError::Alloc(e.into()))?;
        let measured_ns = || allocator.driver().time_inside().as_nanos() as u64;
        Ok(Report {
            trace: self.trace.name.clone(),
            backend: D::BACKEND.into(),
            allocations: tally.sizes.len() as u64,
            frees: tally.frees,
            peak_live_bytes: tally.peak_live_bytes,
            peak_reserved_bytes: allocator.peak_reserved_bytes(),
            driver_calls: driver_calls(counts),
            // None where the last iteration was not reached.
            driver_calls_last_iteration: driver_calls(counts)
                - driver_calls(tally.mark.unwrap_or(counts)),
            stream_waits: counts.stream_waits,
            retries: counts.retries,
            bookkeeping_ns_per_pair: 0.0,
            modelled_driver_us: session.device.modelled_ns().unwrap_or_else(measured_ns) / 1000,
            out_of_memory: tally.failure.is_some(),
            device_bytes: info.total_bytes,
            failure: tally.failure.clone(),
            timeline: tally.timeline(),
        })
    }
}

/// Whether a replay ends with figures up to here, instead of none.
fn is_lack_of_memory(error: &AllocError) -> bool {
    match error {
        AllocError::OutOfMemory(_) | AllocError::TooLarge { .. } => true,
        AllocError::Driver(error) => error.is_out_of_memory(),
        AllocError::TooManyStreams { .. } => false,
    }
}

/// Sums along the way.
struct Tally {
    sizes: Vec<u64>,
    frees: u64,
    live_bytes: u64,
    peak_live_bytes: u64,
    done: usize,
    /// Counts at the beginning of the last iteration.
    mark: Option<Counts>,
    /// Why it ended early.
    failure: Option<String>,
    /// Events to a point of the timeline.
    stride: usize,
    points: Vec<Point>,
    open: Point,
}

impl Tally {
    fn new(trace: &Trace) -> Self {
        Self {
            sizes: Vec::with_capacity(trace.allocations as usize),
            frees: 0,
            live_bytes: 0,
            peak_live_bytes: 0,
            done: 0,
            mark: None,
            failure: None,
            stride: trace.events.len().div_ceil(POINTS).max(1),
            points: Vec::new(),
            open: Point::default(),
        }
    }

    fn count(&mut self, event: Event) {
        self.done += 1;
        match event {
            Event::Alloc { bytes, .. } => {
                self.sizes.push(bytes);
                self.live_bytes += bytes;
                self.peak_live_bytes = self.peak_live_bytes.max(self.live_bytes);
            }
            Event::Free { block } => {
                self.live_bytes -= self.sizes[block as usize];
                self.frees += 1;
            }
            _ => {}
        }
    }

    fn point(&mut self, reserved_bytes: u64) {
        let open = &mut self.open;
        open.events = self.done;
        open.live_bytes = open.live_bytes.max(self.live_bytes);
        open.reserved_bytes = open.reserved_bytes.max(reserved_bytes);
        if self.done.is_multiple_of(self.stride) {
            self.points.push(std::mem::take(open));
        }
    }

    fn timeline(mut self) -> Vec<Point> {
        if self.open.events > 0 {
            self.points.push(self.open);
        }
        self.points
    }
}
