//! The profiler's recording side: which blocks are live, from where, since when.
//!
//! It is switched on at run time, by the environment (`GENESIS_MEM_PROFILE`, see `docs/tuning.md`) or
//! by [`enable`]. Then it samples allocations: one each half MiB on average, or in full mode every
//! single one. What it knows is written as a recording, which `genesis-mem report` reads.
//!
//! Blocks of [`Genesis`](crate::Genesis) and of [`Pinned`](crate::Pinned) are sampled; those of a
//! first-class [`Heap`](crate::Heap) are not, since they end with it. The profiler never asks the
//! allocator for memory. A fork's child goes on with what its parent knew.

mod chance;
mod copy;
mod environment;
mod events;
mod index;
mod levels;
mod live;
mod marks;
mod memory;
mod os;
mod record;
mod records;
mod shards;
mod stacks;
mod usages;
mod write;

use core::{
    ffi::CStr,
    fmt,
    sync::atomic::{
        AtomicU32, AtomicU64,
        Ordering::{AcqRel, Acquire, Relaxed, Release},
    },
};

#[cfg(feature = "profile")]
pub(crate) use self::os::now_ns;
use self::shards::Shard;
pub(crate) use self::{
    environment::read as read_environment,
    os::set_own_code,
    record::{
        after_fork, after_fork_in_child, before_fork, draw, forget_range, freed, missed, note,
        resized, taken,
    },
};

/// How to sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Bytes between two samples, on average; not zero.
    pub interval_bytes: usize,
    /// Whether every allocation is sampled instead.
    pub full: bool,
    /// How many bytes of events are kept, the latest ones; zero for none. Whoever switches the
    /// profiler on first decides.
    pub events_bytes: usize,
}

impl Options {
    /// A sample each 512 KiB, and 4 MiB of events.
    pub const SAMPLED: Self =
        Self { interval_bytes: 512 << 10, full: false, events_bytes: 4 << 20 };
    /// Every allocation, and 32 MiB of events.
    pub const FULL: Self = Self { interval_bytes: 1, full: true, events_bytes: 32 << 20 };
}

impl Default for Options {
    fn default() -> Self {
        Self::SAMPLED
    }
}

/// Why the profiler could not do what it was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// An interval of zero bytes.
    Interval,
    /// The system has no memory for the profiler, which was to have `bytes` more.
    NoMemory {
        /// How much it asked for, bytes; zero where that is not known.
        bytes: usize,
    },
    /// A recording could not be written.
    Write {
        /// The system's number of the error; zero where the receiver has refused.
        code: i32,
    },
    /// There is nothing to write: the profiler was never switched on.
    Off,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Interval => f.write_str("an interval of 0 bytes: give the bytes between samples"),
            Self::NoMemory { bytes: 0 } => f.write_str(
                "the system has no memory for the profiler; raise the limit (ulimit -v)",
            ),
            Self::NoMemory { bytes } => write!(
                f,
                "the system has no {bytes} bytes for the profiler; raise the limit (ulimit -v) or \
                 keep fewer events"
            ),
            Self::Write { code: 0 } => f.write_str("the receiver of the recording has refused it"),
            Self::Write { code } => {
                write!(f, "the recording could not be written (error {code}): is there room?")
            }
            Self::Off => f.write_str("the profiler was never on: enable it first"),
        }
    }
}

impl core::error::Error for Error {}

/// Which sampling is on; zero for none.
static SAMPLING: AtomicU32 = AtomicU32::new(0);
/// How often it was switched on, and whoever does so has it.
static SWITCHED: Shard<u32> = Shard::new(0);
/// When it was first switched on, and the baseline; zero for not yet.
static BEGIN_NS: AtomicU64 = AtomicU64::new(0);
static BASELINE_NS: AtomicU64 = AtomicU64::new(0);
/// Samples that were to be taken, but for which there was no memory.
static LOST: AtomicU64 = AtomicU64::new(0);

/// The thread whose allocations nobody wants to know of; zero for none.
static QUIET: AtomicU32 = AtomicU32::new(0);

/// Whether the calling thread is that.
fn is_quiet() -> bool {
    let quiet = QUIET.load(Relaxed);
    quiet != 0 && quiet == crate::thread::id()
}

/// Does something without taking note of what this thread allocates meanwhile: reading what the
/// profiler knows must not change it. Of several threads the first has its way.
#[cfg(feature = "profile")]
pub(crate) fn quietly<T>(read: impl FnOnce() -> T) -> T {
    struct Again(bool);
    impl Drop for Again {
        fn drop(&mut self) {
            if self.0 {
                QUIET.store(0, Relaxed);
            }
        }
    }
    let first = QUIET.compare_exchange(0, crate::thread::id(), Relaxed, Relaxed);
    let _again = Again(first.is_ok());
    read()
}

/// Which sampling is on; zero for none.
#[inline(always)]
pub(crate) fn sampling() -> u32 {
    SAMPLING.load(Relaxed)
}

/// Switches the profiler on, or on with other options.
///
/// The calling thread is sampled from now on, others from their next slow path on, which each takes
/// after at most a MiB of a size class or 256 blocks.
///
/// # Errors
/// [`Error::Interval`], or [`Error::NoMemory`] where there is none for the events. Nothing has changed
/// then.
pub fn enable(options: Options) -> Result<(), Error> {
    let interval_bytes = match options {
        Options { full: true, .. } => chance::FULL,
        Options { interval_bytes: 0, .. } => return Err(Error::Interval),
        // One byte is as good as every allocation.
        Options { interval_bytes, .. } => interval_bytes as u64,
    };
    SWITCHED.with(|switched| {
        if !events::make_room(options.events_bytes) {
            return Err(Error::NoMemory { bytes: options.events_bytes });
        }
        let _first = BEGIN_NS.compare_exchange(0, os::now_ns(), AcqRel, Relaxed);
        *switched = (*switched + 1) % (u32::MAX - 1);
        chance::set_interval_bytes(interval_bytes);
        // Release pairs with nothing that must be exact: heaps look now and then.
        SAMPLING.store(*switched + 1, Release);
        Ok(())
    })?;
    crate::process::take_note_of_sampling();
    Ok(())
}

/// Switches sampling off. What is sampled already is followed until it is freed.
pub fn disable() {
    SWITCHED.with(|_| {
        SAMPLING.store(0, Release);
        chance::set_interval_bytes(chance::OFF);
    });
    crate::process::take_note_of_sampling();
}

/// Whether allocations are sampled.
pub fn is_on() -> bool {
    sampling() != 0
}

/// Notes in the recording that the program has come to `text`, which is cut to 4 KiB. False where a
/// MiB of marks is there already, or no memory.
pub fn mark(text: &str) -> bool {
    marks::add(os::now_ns(), text)
}

/// Has what is allocated from now on stand out in a recording; returns the time, nanoseconds of the
/// monotonic clock.
pub fn baseline() -> u64 {
    let now_ns = os::now_ns();
    BASELINE_NS.store(now_ns, Relaxed);
    now_ns
}

/// Bytes that the profiler has mapped for itself.
pub fn used_bytes() -> usize {
    memory::used_bytes()
}

/// Writes a recording of everything so far to a file, which is replaced if it exists.
///
/// # Errors
/// [`Error::Off`], [`Error::NoMemory`] for a copy of the tables, or [`Error::Write`]; part of the file
/// may be written then.
pub fn write_recording(path: &CStr) -> Result<(), Error> {
    let copies = copies()?;
    let mut file = os::File::create(path)?;
    let written = write::recording(&copies, &mut |bytes| file.write(bytes));
    file.close().and(if written { Ok(()) } else { Err(Error::Write { code: file.code() }) })
}

/// Hands a recording of everything so far to `send`, piece by piece, until that returns false.
///
/// # Errors
/// [`Error::Off`], [`Error::NoMemory`] for a copy of the tables, or [`Error::Write`] where `send`
/// refused a piece.
pub fn write_recording_with(send: &mut dyn FnMut(&[u8]) -> bool) -> Result<(), Error> {
    if write::recording(&copies()?, send) { Ok(()) } else { Err(Error::Write { code: 0 }) }
}

fn copies() -> Result<copy::Copies, Error> {
    if BEGIN_NS.load(Acquire) == 0 {
        return Err(Error::Off);
    }
    copy::Copies::take().ok_or(Error::NoMemory { bytes: 0 })
}
