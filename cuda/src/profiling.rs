//! Who holds the memory, since when, and from where: what programs ask of the allocator.
//!
//! The allocator tells a [`Recorder`] what happens, one shard a heap (`profiling/hooks.rs`); the
//! recorder never calls the allocator. While it is off an allocation costs one load and a branch
//! more, and the place in the code is a constant that nobody looks at.
#![forbid(unsafe_code)]

mod hooks;
mod map;

#[cfg(feature = "formats")]
use std::io;
use std::{
    fmt,
    panic::Location,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

#[cfg(feature = "formats")]
use genesis_mem_profile::format::html;
use genesis_mem_profile::{
    Baseline, Leaks, Live, Memory, Recorder, Recording, Report, SHARDS, Timeline,
};

use crate::{
    DeviceAllocator, PinnedPool,
    driver::{DefaultDriver, Driver, MemoryKind},
    heap::MAX_HEAPS,
    shared::Shared,
};

const _: () = assert!(MAX_HEAPS <= SHARDS, "each heap has a shard");

/// A place in the code.
pub(crate) type Site = &'static Location<'static>;

/// Events that a recording keeps: 48 MiB.
const MOST_EVENTS: usize = 1 << 20;

/// What a pool knows of its blocks.
#[derive(Debug)]
pub(crate) struct Profile {
    pub(crate) recorder: Recorder,
    /// The time of the last baseline; zero for none.
    baseline_ns: AtomicU64,
    /// The recording that ended last.
    last: Mutex<Option<Arc<Recording>>>,
}

impl Profile {
    pub(crate) fn new(kind: MemoryKind, on: bool) -> Self {
        let memory = match kind {
            MemoryKind::Device => Memory::Device,
            MemoryKind::PinnedHost => Memory::Pinned,
        };
        let recorder = Recorder::new(memory);
        recorder.switch(on);
        Self { recorder, baseline_ns: AtomicU64::new(0), last: Mutex::new(None) }
    }

    #[inline(always)]
    pub(crate) fn is_on(&self) -> bool {
        self.recorder.is_on()
    }

    fn last(&self) -> MutexGuard<'_, Option<Arc<Recording>>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A recording goes on until this is dropped; then
/// [`get_timeline`](DeviceAllocator::get_timeline) and [`recording`](DeviceAllocator::recording)
/// give what it recorded.
#[must_use = "the recording ends when this is dropped"]
pub struct RecordGuard<D: Driver = DefaultDriver> {
    allocator: DeviceAllocator<D>,
    begin_ns: u64,
}

impl<D: Driver> fmt::Debug for RecordGuard<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecordGuard").field("begin_ns", &self.begin_ns).finish_non_exhaustive()
    }
}

impl<D: Driver> Drop for RecordGuard<D> {
    fn drop(&mut self) {
        let profile = &self.allocator.shared().profile;
        // Another recording may have begun since.
        if profile.recorder.session_begin_ns() == Some(self.begin_ns) {
            self.allocator.end_recording();
        }
    }
}

/// Compiles and runs what the guide shows.
#[cfg(all(doctest, feature = "formats"))]
#[doc = include_str!("../../docs/profiling.md")]
struct Guide;

/// Profiling, of the device's memory and of the allocator's own page-locked memory together.
///
/// ```
/// use genesis_mem_cuda::{Builder, driver::StreamId, sim::{SimDriver, SimOptions}};
/// let allocator = Builder::new().build_on(SimDriver::new(SimOptions::default()))?;
/// let recording = allocator.record();
/// allocator.mark("epoch 1");
/// let block = allocator.alloc(1 << 20, StreamId(0))?;
/// drop(recording);
/// println!("{}", allocator.get_report().summary());
/// assert_eq!(allocator.get_timeline().end().live_bytes, 1 << 20);
/// let leaks = allocator.check_leaks();
/// assert_eq!((leaks.bytes(), leaks.sites.len()), (1 << 20, 1));
/// assert!(leaks.sites[0].location.contains(".rs:"));
/// # allocator.free(block)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
impl<D: Driver> DeviceAllocator<D> {
    /// Takes note of each block and of the place in the code that asked for it, from now on, or
    /// no more. Blocks that are live already are known without their place. What is known is
    /// forgotten when it is switched off; recordings stay.
    pub fn enable_profiling(&self, enabled: bool) {
        if !enabled && self.shared().profile.recorder.is_recording() {
            self.end_recording();
        }
        self.shared().switch_profile(enabled);
        if let Some(pool) = self.staging().pool() {
            pool.0.switch_profile(enabled);
        }
    }

    /// Whether it takes note of blocks.
    pub fn is_profiling(&self) -> bool {
        self.shared().profile.is_on()
    }

    /// Records each event from now on, until what is returned is dropped; switches profiling on.
    /// The last million events are kept, 48 MiB; what is lost of earlier ones is counted.
    pub fn record(&self) -> RecordGuard<D> {
        self.record_last(MOST_EVENTS)
    }

    /// The same with another number of events to keep. A stream has at least a thousand.
    pub fn record_last(&self, most_events: usize) -> RecordGuard<D> {
        self.enable_profiling(true);
        if let Some(pool) = self.staging().pool() {
            pool.0.profile.recorder.begin(most_events);
        }
        let begin_ns = self.shared().profile.recorder.begin(most_events);
        RecordGuard { allocator: self.clone(), begin_ns }
    }

    fn end_recording(&self) {
        let recording = Arc::new(self.read_recording());
        let profile = &self.shared().profile;
        profile.recorder.end();
        if let Some(pool) = self.staging().pool() {
            pool.0.profile.recorder.end();
        }
        *profile.last() = Some(recording);
    }

    /// Says where the program is, as in `epoch 3`, for the timeline. Kept only in recordings.
    pub fn mark(&self, label: &str) {
        self.shared().profile.recorder.mark(label);
    }

    /// Who holds the memory, and who has allocated it so far; empty while profiling is off.
    pub fn get_report(&self) -> Report {
        let mut report = Report::now();
        self.shared().read_report(&mut report);
        if let Some(pool) = self.staging().pool() {
            pool.0.read_report(&mut report);
        }
        report
    }

    /// The events so far while a recording goes on, or those of the last one.
    pub fn recording(&self) -> Arc<Recording> {
        let profile = &self.shared().profile;
        if !profile.recorder.is_recording()
            && let Some(last) = profile.last().clone()
        {
            return last;
        }
        Arc::new(self.read_recording())
    }

    fn read_recording(&self) -> Recording {
        let mut recording = Recording::default();
        self.shared().read_recording(&mut recording);
        if let Some(pool) = self.staging().pool() {
            pool.0.read_recording(&mut recording);
        }
        recording.finish();
        recording
    }

    /// Live, reserved and cached bytes of the device's memory over the present or the last
    /// recording; just the present ones where nothing was recorded.
    pub fn get_timeline(&self) -> Timeline {
        self.recording().timeline(Memory::Device)
    }

    /// The timeline as a picture in characters.
    #[cfg(feature = "formats")]
    pub fn plot(&self) -> String {
        genesis_mem_profile::format::plot::in_terminal(&self.get_timeline())
    }

    /// Writes the present or the last recording and the present report as one page for browsers.
    ///
    /// # Errors
    /// Those of `out`.
    #[cfg(feature = "formats")]
    pub fn write_page(&self, title: &str, out: impl io::Write) -> io::Result<()> {
        let limit_bytes = self.memory_stats().limit_bytes;
        let options = html::Options {
            title: title.into(),
            limits: if limit_bytes > 0 { vec![(Memory::Device, limit_bytes)] } else { Vec::new() },
            baseline: Baseline::from_ns(self.shared().profile.baseline_ns.load(Ordering::Relaxed)),
        };
        html::write(&self.get_report(), &self.recording(), &options, out)
    }

    /// From here on what is live now counts as kept on purpose.
    pub fn baseline(&self) -> Baseline {
        let baseline = Baseline::now();
        self.shared().profile.baseline_ns.store(baseline.time_ns(), Ordering::Relaxed);
        baseline
    }

    /// What was allocated since the last [`baseline`](Self::baseline), or else since profiling
    /// was switched on, and is still live. Empty while profiling is off.
    pub fn check_leaks(&self) -> Leaks {
        let since_ns = self.shared().profile.baseline_ns.load(Ordering::Relaxed);
        self.get_report().leaks(Baseline::from_ns(since_ns))
    }

    /// Live blocks of at least `min_bytes`, the largest first, each with file and line. Empty
    /// while profiling is off.
    pub fn get_large_allocations(&self, min_bytes: u64) -> Vec<(Live, String)> {
        let report = self.get_report();
        let large = report.large_allocations(min_bytes);
        large.into_iter().map(|live| (live, live.location(&report.stacks))).collect()
    }
}

impl<D: Driver> PinnedPool<D> {
    /// Takes note of who holds the pool's memory, or no more; an allocator does that for its own
    /// pool. See [`DeviceAllocator::enable_profiling`].
    pub fn enable_profiling(&self, enabled: bool) {
        self.0.switch_profile(enabled);
    }

    /// Who holds the pool's memory; empty while profiling is off.
    pub fn get_report(&self) -> Report {
        let mut report = Report::now();
        self.0.read_report(&mut report);
        report
    }

    /// What was allocated since `baseline` and is still live; empty while profiling is off.
    pub fn check_leaks(&self, baseline: Baseline) -> Leaks {
        self.get_report().leaks(baseline)
    }
}

impl<D: Driver> Shared<D> {
    /// A pool that belongs to this one does as this one does.
    pub(crate) fn share_profile<E: Driver>(&self, other: &Shared<E>) {
        let (ours, theirs) = (&self.profile.recorder, &other.profile.recorder);
        if ours.is_on() {
            other.switch_profile(true);
        }
        if ours.is_recording() && !theirs.is_recording() {
            theirs.begin(MOST_EVENTS);
        }
    }
}
