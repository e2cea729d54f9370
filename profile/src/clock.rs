//! The clock of all recorders of a process.
#![forbid(unsafe_code)]

use std::{
    sync::OnceLock,
    time::{Instant, SystemTime},
};

static ORIGIN: OnceLock<(Instant, SystemTime)> = OnceLock::new();

fn origin() -> &'static (Instant, SystemTime) {
    ORIGIN.get_or_init(|| (Instant::now(), SystemTime::now()))
}

/// Nanoseconds since somebody first asked, never zero; the same on all threads, and never going
/// back.
#[inline]
pub fn now_ns() -> u64 {
    origin().0.elapsed().as_nanos() as u64 + 1
}

/// The time of day at zero, nanoseconds since 1970.
pub fn epoch_ns() -> u64 {
    let since = origin().1.duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| since.as_nanos() as u64)
}
