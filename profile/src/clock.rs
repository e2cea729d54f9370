//! The clock of all recorders of a process.
#![forbid(unsafe_code)]

use std::{sync::OnceLock, time::Instant};

static ORIGIN: OnceLock<Instant> = OnceLock::new();

/// Nanoseconds since this was first asked; the same on all threads, and never going back.
#[inline]
pub fn now_ns() -> u64 {
    ORIGIN.get_or_init(Instant::now).elapsed().as_nanos() as u64 + 1
}
