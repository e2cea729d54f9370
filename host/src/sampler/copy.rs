//! What the profiler knows, as of one moment: a recording is written from a copy, so that no lock is
//! held where writing waits or the receiver allocates.
#![forbid(unsafe_code)]

use core::sync::atomic::Ordering::{Acquire, Relaxed};

use super::{
    BASELINE_NS, BEGIN_NS, LOST, chance, levels, live, marks,
    memory::{List, Text, used_bytes},
    os,
    records::{Level, Live, Usage},
    stacks, usages,
};

/// All of it but the events, which are read as they are written.
pub(super) struct Copies {
    pub(super) header: Header,
    pub(super) command_line: List<u8>,
    pub(super) maps: List<u8>,
    pub(super) stacks: List<u64>,
    pub(super) usages: List<Usage>,
    pub(super) live: List<Live>,
    pub(super) marks: List<u8>,
    pub(super) stats: Text,
    pub(super) levels: List<Level>,
}

/// The numbers of a recording's header, in their order but for the counts of events.
pub(super) struct Header {
    pub(super) pid: u64,
    pub(super) ppid: u64,
    pub(super) is_full: bool,
    pub(super) interval_bytes: u64,
    pub(super) epoch_ns: u64,
    pub(super) begin_ns: u64,
    pub(super) end_ns: u64,
    pub(super) baseline_ns: u64,
    pub(super) lost_samples: u64,
    pub(super) profiler_bytes: u64,
}

impl Copies {
    /// `None` where there is no memory.
    pub(super) fn take() -> Option<Self> {
        let end_ns = os::now_ns();
        let (pid, ppid) = os::processes();
        let interval_bytes = chance::last_interval_bytes();
        let header = Header {
            pid: pid.into(),
            ppid: ppid.into(),
            is_full: interval_bytes == chance::FULL,
            interval_bytes,
            epoch_ns: os::epoch_ns(),
            begin_ns: BEGIN_NS.load(Acquire),
            end_ns,
            baseline_ns: BASELINE_NS.load(Relaxed),
            lost_samples: LOST.load(Relaxed),
            profiler_bytes: used_bytes() as u64,
        };
        let mut stats = Text(List::new());
        crate::process::stats().write_json(&mut stats).ok()?;
        let mut live = live::copy()?;
        for sample in live.iter_mut() {
            sample.usage >>= usages::MEMORY_SHIFT;
        }
        Some(Self {
            header,
            command_line: os::read(c"/proc/self/cmdline")?,
            live,
            usages: usages::copy()?,
            // After what has their numbers.
            stacks: stacks::copy()?,
            marks: marks::copy()?,
            levels: levels::copy(end_ns)?,
            stats,
            maps: os::read(c"/proc/self/maps")?,
        })
    }
}
