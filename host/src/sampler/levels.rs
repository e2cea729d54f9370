//! How much memory the process had over time: looked at now and then, when a sample is taken. Where
//! there is no more room, every other level goes, and looks become half as frequent.
#![forbid(unsafe_code)]

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::{memory::List, records::Level, shards::Shard};
use crate::process;

/// The list, for who must lock it.
pub(super) static LEVELS: Shard<List<Level>> = Shard::new(List::new());

/// How many levels there are at most.
const ROOM: usize = 4096;

/// When to look next, and how long after that, nanoseconds.
static NEXT_NS: AtomicU64 = AtomicU64::new(0);
static STEP_NS: AtomicU64 = AtomicU64::new(10_000_000);

fn now(time_ns: u64) -> Level {
    let stats = process::stats();
    Level {
        time_ns,
        live_bytes: stats.requested_bytes.current,
        allocated_bytes: stats.allocated_bytes.current,
        reserved_bytes: stats.reserved_bytes.current,
    }
}

/// Looks, if it is time. The caller holds no lock but a heap's.
#[inline]
pub(super) fn look(time_ns: u64) {
    let next_ns = NEXT_NS.load(Relaxed);
    if time_ns < next_ns {
        return;
    }
    let after_ns = time_ns + STEP_NS.load(Relaxed);
    if NEXT_NS.compare_exchange(next_ns, after_ns, Relaxed, Relaxed).is_ok() {
        let level = now(time_ns);
        LEVELS.with(|levels| add(levels, level));
    }
}

fn add(levels: &mut List<Level>, level: Level) {
    if levels.len() >= ROOM {
        for index in 0..ROOM / 2 {
            levels[index] = levels[2 * index];
        }
        levels.truncate(ROOM / 2);
        STEP_NS.store(STEP_NS.load(Relaxed) * 2, Relaxed);
    }
    // Without memory there is one level less.
    levels.push(level);
}

/// All levels, and the one of now; `None` where there is no memory.
pub(super) fn copy(time_ns: u64) -> Option<List<Level>> {
    let last = now(time_ns);
    LEVELS.with(|levels| {
        let mut all = List::with_room(levels.len() + 1)?;
        (all.extend(levels) && all.push(last)).then_some(all)
    })
}
