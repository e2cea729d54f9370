//! Locking with `mlock`.

use core::ptr::NonNull;

pub use genesis_mem_core::pin::{PageLock, PinError};

use crate::os::errno;

/// Locks with `mlock`, within the system's limit for the process (`ulimit -l`).
#[derive(Clone, Copy, Debug, Default)]
pub struct Mlock;

// SAFETY: the kernel keeps locked pages resident.
unsafe impl PageLock for Mlock {
    unsafe fn lock(&self, start: NonNull<u8>, bytes: usize) -> Result<(), PinError> {
        // SAFETY: forwarded.
        if unsafe { libc::mlock(start.as_ptr().cast(), bytes) } == 0 {
            return Ok(());
        }
        let error = at_limit(bytes, 0, errno());
        // A range that fails may be locked in part.
        // SAFETY: forwarded.
        unsafe { libc::munlock(start.as_ptr().cast(), bytes) };
        Err(error)
    }

    /// Nothing: unmapping unlocks.
    unsafe fn unlock_all(&self) {}
}

/// The error for `requested_bytes` where `locked_bytes` are locked, with the limit as of now.
pub(super) fn at_limit(requested_bytes: usize, locked_bytes: usize, code: i32) -> PinError {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the structure is writable.
    let known = unsafe { libc::getrlimit(libc::RLIMIT_MEMLOCK, &mut limit) } == 0;
    let limit_bytes = if known && limit.rlim_cur != libc::RLIM_INFINITY {
        usize::try_from(limit.rlim_cur).unwrap_or(usize::MAX)
    } else {
        usize::MAX
    };
    PinError::new(requested_bytes, locked_bytes, limit_bytes, code)
}
