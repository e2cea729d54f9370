//! What this very process knows of its memory.
#![forbid(unsafe_code)]

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use genesis_mem_profile::{Baseline, Leaks, Live, Memory, Recording, Report, Timeline};

use super::{KEPT_BY_RUNTIMES, Names, ReadError, Recorded, maps::Maps, symbols::Known};
use crate::sampler;

/// When the recording began that goes on; zero for none.
static BEGIN_NS: AtomicU64 = AtomicU64::new(0);
/// The recording that ended last.
static LAST: Mutex<Option<Arc<Recording>>> = Mutex::new(None);
/// What was found at addresses, as long as the same files are mapped.
static NAMES: Mutex<Option<(Maps, Known)>> = Mutex::new(None);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes a sample of the blocks that are allocated from now on, one each 512 KiB on average, or no
/// more. It costs about one instruction an allocation. What is sampled already is followed until
/// it is freed. Other intervals: [`sampler::enable`].
///
/// # Errors
/// The system has no memory for it; nothing has changed then.
pub fn enable_profiling(enabled: bool) -> Result<(), sampler::Error> {
    match enabled {
        true => sampler::enable(sampler::Options::SAMPLED),
        false => {
            sampler::disable();
            Ok(())
        }
    }
}

/// Whether it takes note of blocks.
pub fn is_profiling() -> bool {
    sampler::is_on()
}

/// Each block is recorded until this is dropped; then [`get_timeline`] and [`recording`] give what
/// was recorded, and blocks are sampled no more, or as they were before.
#[must_use = "the recording ends when this is dropped"]
#[derive(Debug)]
pub struct RecordGuard {
    begin_ns: u64,
    was_on: bool,
}

/// Records each block from now on, until what is returned is dropped. The last 700,000 events are
/// kept; fewer where profiling was on already, which had less room made for them.
///
/// # Errors
/// The system has no memory for it; nothing has changed then.
pub fn record() -> Result<RecordGuard, sampler::Error> {
    let was_on = sampler::is_on();
    sampler::enable(sampler::Options::FULL)?;
    let begin_ns = sampler::now_ns();
    BEGIN_NS.store(begin_ns, Relaxed);
    Ok(RecordGuard { begin_ns, was_on })
}

impl Drop for RecordGuard {
    fn drop(&mut self) {
        // Another recording may have begun since.
        if BEGIN_NS.load(Relaxed) != self.begin_ns {
            return;
        }
        let ended = read_recording();
        BEGIN_NS.store(0, Relaxed);
        // Switching it on again needs no memory that is not there already.
        let _switched = enable_profiling(self.was_on);
        *lock(&LAST) = ended.ok().map(Arc::new);
    }
}

/// Says where the program is, as in `epoch 3`, for the timeline.
pub fn mark(label: &str) {
    // Where a MiB of marks is there already, one more says nothing new.
    let _is_kept = sampler::mark(label);
}

/// From here on what is live now counts as kept on purpose.
pub fn baseline() -> Baseline {
    Baseline::from_ns(sampler::baseline())
}

/// All that is known, to be read in whatever form.
///
/// # Errors
/// Profiling was never on, or there is no memory for a copy.
pub fn recorded() -> Result<Recorded, ReadError> {
    sampler::quietly(read)
}

fn read() -> Result<Recorded, ReadError> {
    let mut bytes = Vec::new();
    let written = sampler::write_recording_with(&mut |piece| {
        bytes.extend_from_slice(piece);
        true
    });
    written.map_err(|error| ReadError::Unwritten { reason: error.to_string() })?;
    Recorded::from_bytes(&bytes)
}

fn with_names<T>(form: impl FnOnce(Recorded, Names) -> T) -> Result<T, ReadError> {
    sampler::quietly(|| read_with_names().map(|(recorded, names)| form(recorded, names)))
}

fn read_with_names() -> Result<(Recorded, Names), ReadError> {
    let recorded = read()?;
    let mut cached = lock(&NAMES);
    let (_, mut known) =
        cached.take().filter(|(maps, _)| maps == recorded.maps()).unwrap_or_default();
    let names = recorded.names_from(&mut known, |_, _| {});
    *cached = Some((recorded.maps().clone(), known));
    drop(cached);
    Ok((recorded, names))
}

/// Who holds the memory, and who has allocated it so far; estimates where blocks are sampled.
///
/// # Errors
/// As [`recorded`].
pub fn get_report() -> Result<Report, ReadError> {
    with_names(|recorded, names| recorded.report(&names))
}

fn read_recording() -> Result<Recording, ReadError> {
    let mut recording = with_names(|recorded, names| recorded.recording(&names))?;
    let begin_ns = BEGIN_NS.load(Relaxed);
    if begin_ns > 0 {
        recording.begin_at(begin_ns);
        // Each block since then is known.
        recording.sampling = None;
    }
    Ok(recording)
}

/// The events so far while a recording goes on, or those of the last one.
///
/// # Errors
/// As [`recorded`].
pub fn recording() -> Result<Arc<Recording>, ReadError> {
    if BEGIN_NS.load(Relaxed) == 0
        && let Some(last) = lock(&LAST).clone()
    {
        return Ok(last);
    }
    read_recording().map(Arc::new)
}

/// Live, reserved and cached bytes over the present or the last recording.
///
/// # Errors
/// As [`recorded`].
pub fn get_timeline() -> Result<Timeline, ReadError> {
    Ok(recording()?.timeline(Memory::Host))
}

/// The timeline as a picture in characters.
///
/// # Errors
/// As [`recorded`].
#[cfg(feature = "formats")]
pub fn plot() -> Result<String, ReadError> {
    Ok(genesis_mem_profile::format::plot::in_terminal(&get_timeline()?))
}

/// What was allocated since the last [`baseline`], or else since profiling was switched on, and is
/// still live; without what the runtimes keep on purpose. Exact in a recording, estimated where
/// blocks are sampled.
///
/// # Errors
/// As [`recorded`].
pub fn check_leaks() -> Result<Leaks, ReadError> {
    with_names(|recorded, names| {
        let known = KEPT_BY_RUNTIMES.map(str::to_owned);
        let mut leaks = recorded.report(&names).leaks_except(recorded.baseline(), &known);
        // Nobody asked about these.
        leaks.ignored.clear();
        leaks
    })
}

/// Live blocks of at least `min_bytes` that are known, the largest first, each with file and line.
///
/// # Errors
/// As [`recorded`].
pub fn get_large_allocations(min_bytes: u64) -> Result<Vec<(Live, String)>, ReadError> {
    let report = get_report()?;
    let large = report.large_allocations(min_bytes);
    Ok(large.into_iter().map(|live| (live, live.location(&report.stacks))).collect())
}
