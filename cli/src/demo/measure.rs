//! What work takes: time and memory of this process.

use std::{fs, time::Duration, time::Instant};

use serde::{Deserialize, Serialize};

/// What the work took.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Cost {
    /// Of the rounds in order; half of them took no longer.
    pub(super) median_round_ms: f64,
    /// Of all rounds and threads, in the program and in the system.
    pub(super) cpu_ms: f64,
    /// The most memory that the process had at once (`VmHWM`).
    pub(super) peak_resident_bytes: u64,
}

/// A clock beside the work.
pub(super) struct Meter {
    cpu_before: Duration,
    round: Instant,
    rounds: Vec<Duration>,
}

impl Meter {
    pub(super) fn start() -> Self {
        Self { cpu_before: cpu_time(), round: Instant::now(), rounds: Vec::new() }
    }

    /// A round is done.
    pub(super) fn round(&mut self) {
        self.rounds.push(self.round.elapsed());
        self.round = Instant::now();
    }

    pub(super) fn stop(mut self) -> Cost {
        self.rounds.sort_unstable();
        let median = self.rounds[self.rounds.len() / 2];
        let ms = |time: Duration| time.as_secs_f64() * 1000.0;
        Cost {
            median_round_ms: ms(median),
            cpu_ms: ms(cpu_time() - self.cpu_before),
            peak_resident_bytes: peak_resident_bytes(),
        }
    }
}

/// CPU time of the process so far.
fn cpu_time() -> Duration {
    // SAFETY: an empty time is valid.
    let mut time: libc::timespec = unsafe { std::mem::zeroed() };
    // SAFETY: `time` is writable; the clock always exists.
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut time) };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// `VmHWM`; zero where the system doesn't say.
fn peak_resident_bytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}
