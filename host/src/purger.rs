//! When free memory goes back to the system: a while after it was freed, also where the program
//! is idle.
//!
//! A thread of our own does it, asleep unless there is something to give back. It starts when the
//! program has grown beyond [`START_BYTES`], so that small programs stay single-threaded.

use core::{
    ptr,
    sync::atomic::{
        AtomicBool, AtomicU32, AtomicU64,
        Ordering::{AcqRel, Relaxed},
    },
};

use crate::{background, process};

/// Below this many reserved bytes there is no purger: there is little to give back.
const START_BYTES: u64 = 4 << 20;
const STACK_BYTES: usize = 128 * 1024;

/// How long memory stays free before it goes back, milliseconds.
pub(crate) static DELAY_MS: AtomicU64 = AtomicU64::new(100);
/// Whether the purger may run.
pub(crate) static ALLOWED: AtomicBool = AtomicBool::new(true);

static RUNNING: AtomicBool = AtomicBool::new(false);
/// One while there may be something to give back.
static WORK: AtomicU32 = AtomicU32::new(0);

/// Memory came free. Any thread, at any point.
#[inline]
pub(crate) fn wake() {
    if WORK.load(Relaxed) == 0 && WORK.swap(1, AcqRel) == 0 && RUNNING.load(Relaxed) {
        crate::os::keep_errno(|| {
            // SAFETY: wakes whoever sleeps on the word, which is static.
            unsafe { libc::syscall(libc::SYS_futex, WORK.as_ptr(), FUTEX_WAKE_PRIVATE, 1) }
        });
    }
}

/// Starts the purger if it is due. Called on slow paths, where allocating is safe.
#[inline]
pub(crate) fn poke(reserved_bytes: u64) {
    if reserved_bytes > START_BYTES && !RUNNING.load(Relaxed) && ALLOWED.load(Relaxed) {
        start();
    }
}

const FUTEX_WAIT_PRIVATE: i32 = libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG;
const FUTEX_WAKE_PRIVATE: i32 = libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG;

#[cold]
fn start() {
    if RUNNING.swap(true, AcqRel) {
        return;
    }
    if !background::spawn(STACK_BYTES, run, ptr::null_mut()) {
        // The system has no thread to give; memory goes back on `trim` alone.
        ALLOWED.store(false, Relaxed);
    }
}

/// The child of a fork has one thread, which is not the purger.
pub(crate) fn after_fork_in_child() {
    RUNNING.store(false, Relaxed);
}

#[unsafe(link_section = "genesis_mem_slow")]
extern "C" fn run(_: *mut libc::c_void) -> *mut libc::c_void {
    // SAFETY: the name is a C string; naming the calling thread harms nobody.
    unsafe { libc::prctl(libc::PR_SET_NAME, c"genesis-purge".as_ptr()) };
    let arena = process::arena();
    loop {
        while WORK.swap(0, AcqRel) == 0 {
            // SAFETY: sleeps while the word, which is static, is zero.
            unsafe {
                let forever = ptr::null::<libc::timespec>();
                libc::syscall(libc::SYS_futex, WORK.as_ptr(), FUTEX_WAIT_PRIVATE, 0, forever)
            };
        }
        // Two steps of half the delay: what is freed now goes back after one to one and a half.
        while arena.has_dirt() {
            sleep_ms(DELAY_MS.load(Relaxed).div_ceil(2));
            arena.collect_orphans();
            arena.tick();
            arena.purge(2);
        }
    }
}

fn sleep_ms(ms: u64) {
    let time = libc::timespec {
        tv_sec: (ms / 1000).min(i32::MAX as u64) as libc::time_t,
        tv_nsec: (ms % 1000 * 1_000_000) as libc::c_long,
    };
    // SAFETY: the time is valid; waking early does no harm.
    unsafe { libc::nanosleep(&time, ptr::null_mut()) };
}
