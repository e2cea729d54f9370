//! What a thread's work took, and how long the thread was asleep in it.
//!
//! Asleep is what remains of the time on the wall after the time on a processor and the time in the
//! queue for one, which the kernel counts in `/proc/thread-self/schedstat`, if the thread gave its
//! processor up at all. The workloads never
//! wait for one another by themselves, so it is the allocator that put the thread to sleep, in
//! `futex`, or the kernel, on a lock of the address space.

use std::fs;
use std::mem::MaybeUninit;
use std::time::Instant;

/// Sums over any number of threads.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Took {
    pub(super) wall_ns: u64,
    pub(super) cpu_ns: u64,
    pub(super) asleep_ns: u64,
    /// How often a thread gave its processor up to wait for something.
    pub(super) waits: u64,
}

impl Took {
    pub(super) fn plus(self, other: Self) -> Self {
        Self {
            wall_ns: self.wall_ns + other.wall_ns,
            cpu_ns: self.cpu_ns + other.cpu_ns,
            asleep_ns: self.asleep_ns + other.asleep_ns,
            waits: self.waits + other.waits,
        }
    }
}

/// Does `work` on the calling thread and tells what it took.
pub(super) fn watch<R>(work: impl FnOnce() -> R) -> (R, Took) {
    let (clock, before) = (Instant::now(), Usage::now());
    let result = work();
    let (after, wall_ns) = (Usage::now(), clock.elapsed().as_nanos() as u64);
    let cpu_ns = after.cpu_ns - before.cpu_ns;
    let queued_ns = after.queued_ns - before.queued_ns;
    let waits = after.waits - before.waits;
    // What is left without a single wait is the time of interrupts and of the machine's host.
    let left_ns = wall_ns.saturating_sub(cpu_ns + queued_ns);
    let asleep_ns = if waits == 0 { 0 } else { left_ns };
    (result, Took { wall_ns, cpu_ns, asleep_ns, waits })
}

#[derive(Debug, Clone, Copy)]
struct Usage {
    cpu_ns: u64,
    queued_ns: u64,
    waits: u64,
}

impl Usage {
    fn now() -> Self {
        let mut usage = MaybeUninit::<libc::rusage>::uninit();
        // SAFETY: the pointer is valid for one `rusage`.
        let failed = unsafe { libc::getrusage(libc::RUSAGE_THREAD, usage.as_mut_ptr()) } != 0;
        assert!(!failed, "getrusage(RUSAGE_THREAD) cannot fail with a valid pointer");
        // SAFETY: the call succeeded, so it filled the struct.
        let usage = unsafe { usage.assume_init() };
        Self { cpu_ns: cpu_ns(), queued_ns: queued_ns(), waits: usage.ru_nvcsw as u64 }
    }
}

/// The thread's time on processors; what `schedstat` says of it lags behind.
fn cpu_ns() -> u64 {
    let mut time = MaybeUninit::<libc::timespec>::uninit();
    // SAFETY: the pointer is valid for one `timespec`.
    let failed =
        unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, time.as_mut_ptr()) } != 0;
    assert!(!failed, "every thread has a clock of its own on Linux");
    // SAFETY: the call succeeded, so it filled the struct.
    let time = unsafe { time.assume_init() };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// The thread's time in the queue for a processor.
fn queued_ns() -> u64 {
    let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let queued = text.split(' ').nth(1).and_then(|word| word.parse().ok());
    queued.expect("the kernel counts how long threads wait for a processor")
}

#[cfg(test)]
mod tests {
    use std::thread;
    use std::time::Duration;

    use super::watch;

    #[test]
    fn sleep_is_seen_and_work_is_not_sleep() {
        let ((), took) = watch(|| thread::sleep(Duration::from_millis(50)));
        assert!(took.asleep_ns > 45_000_000 && took.waits > 0, "{took:?}");
        let (sum, took) = watch(|| (0..30_000_000_u64).map(std::hint::black_box).sum::<u64>());
        assert!(sum > 0 && took.asleep_ns * 5 < took.wall_ns, "{took:?}");
    }
}
