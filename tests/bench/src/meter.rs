//! What a case cost: CPU time, wall time, page faults, its worst batch and the process's peak memory.

use std::fs;
use std::mem::MaybeUninit;
use std::time::Instant;

use serde::{Deserialize, Serialize};

/// The cost of the measured part of one case, in the process that ran it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// How often the case's unit of work was done.
    pub operations: u64,
    /// User and system time of all threads, per operation.
    pub cpu_ns_per_op: f64,
    /// Elapsed time, per operation.
    pub wall_ns_per_op: f64,
    /// The slowest batch's elapsed time per operation, where the case is cut into batches.
    pub worst_ns_per_op: Option<f64>,
    /// Page faults served without reading from disk.
    pub minor_faults: u64,
    /// The process's peak resident memory (`VmHWM`), start-up included.
    pub peak_kib: u64,
}

/// Measures from its creation to [`Meter::finish`].
///
/// Setting up belongs before [`Meter::start`], so that only the work itself is charged.
#[derive(Debug)]
pub struct Meter {
    operations: u64,
    worst_ns_per_op: Option<f64>,
    usage: Usage,
    clock: Instant,
}

impl Meter {
    /// Starts the clocks.
    #[must_use]
    pub fn start() -> Self {
        Self { operations: 0, worst_ns_per_op: None, usage: Usage::now(), clock: Instant::now() }
    }

    /// Operations counted so far.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.operations
    }

    /// Counts work that is done outside a batch.
    pub fn count(&mut self, operations: u64) {
        self.operations += operations;
    }

    /// Does `work`, which is `operations` long, and remembers how slow it was.
    #[inline]
    pub fn batch<R>(&mut self, operations: u64, work: impl FnOnce() -> R) -> R {
        let begin = Instant::now();
        let result = work();
        let ns_per_op = begin.elapsed().as_nanos() as f64 / operations as f64;
        self.worst_ns_per_op = Some(self.worst_ns_per_op.unwrap_or(0.0).max(ns_per_op));
        self.operations += operations;
        result
    }

    /// Stops the clocks.
    ///
    /// # Panics
    /// When nothing was counted, or when the system does not tell the peak.
    #[must_use]
    pub fn finish(self) -> Measured {
        let wall_ns = self.clock.elapsed().as_nanos() as f64;
        let usage = Usage::now();
        assert!(self.operations > 0, "a case must count its operations");
        let operations = self.operations as f64;
        Measured {
            operations: self.operations,
            cpu_ns_per_op: (usage.cpu_ns - self.usage.cpu_ns) as f64 / operations,
            wall_ns_per_op: wall_ns / operations,
            worst_ns_per_op: self.worst_ns_per_op,
            minor_faults: usage.minor_faults - self.usage.minor_faults,
            peak_kib: peak_kib("self").expect("/proc/self/status tells VmHWM on Linux"),
        }
    }
}

/// What the process has used since it started, all its threads together.
#[derive(Debug, Clone, Copy)]
struct Usage {
    cpu_ns: u64,
    minor_faults: u64,
}

impl Usage {
    fn now() -> Self {
        let mut raw = MaybeUninit::<libc::rusage>::uninit();
        // SAFETY: the pointer is valid for one `rusage`.
        let status = unsafe { libc::getrusage(libc::RUSAGE_SELF, raw.as_mut_ptr()) };
        assert_eq!(status, 0, "getrusage(RUSAGE_SELF) cannot fail with a valid pointer");
        // SAFETY: the call succeeded, so it filled the struct.
        let raw = unsafe { raw.assume_init() };
        Self { cpu_ns: cpu_ns(&raw), minor_faults: raw.ru_minflt as u64 }
    }
}

/// User and system time together, in nanoseconds.
#[must_use]
pub fn cpu_ns(usage: &libc::rusage) -> u64 {
    let ns = |time: libc::timeval| time.tv_sec as u64 * 1_000_000_000 + time.tv_usec as u64 * 1_000;
    ns(usage.ru_utime) + ns(usage.ru_stime)
}

/// Peak resident memory of a process (`"self"` or its id), unless it is gone.
///
/// `VmHWM` begins anew at `exec`; `ru_maxrss` would carry over the parent's.
#[must_use]
pub fn peak_kib(process: &str) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}

/// Resident memory of this process that is backed by no file, exact: what pages of code it has come to
/// need is not counted.
///
/// # Panics
/// When the system does not tell it.
#[must_use]
pub fn anonymous_kib() -> u64 {
    let rollup = fs::read_to_string("/proc/self/smaps_rollup").unwrap_or_default();
    let line = rollup.lines().find_map(|line| line.strip_prefix("Anonymous:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok());
    kib.expect("/proc/self/smaps_rollup tells Anonymous on Linux")
}

/// The most that this process has grown, files apart, since `start_kib` KiB were anonymous.
///
/// # Panics
/// When the system does not tell it.
#[must_use]
pub fn grown_kib(start_kib: u64) -> u64 {
    let peak_kib = peak_kib("self").expect("/proc/self/status tells VmHWM on Linux");
    let files_kib = fs::read_to_string("/proc/self/status").ok().and_then(|status| {
        let line = status.lines().find_map(|line| line.strip_prefix("RssFile:"))?;
        line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()
    });
    peak_kib.saturating_sub(files_kib.unwrap_or(0)).saturating_sub(start_kib)
}
