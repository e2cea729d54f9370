//! How pages are locked.

use core::{fmt, ptr::NonNull};

use crate::os::errno;

/// Locks pages in memory: with `mlock`, or by registering them with a device driver.
///
/// # Safety
/// - Pages of a range that was locked successfully stay where they are until
///   [`unlock_all`](Self::unlock_all), or until they are unmapped.
pub unsafe trait PageLock: Send + Sync + 'static {
    /// Locks `bytes` bytes from `start`, all of them or none.
    ///
    /// # Errors
    /// The system's code; no page of the range is locked.
    ///
    /// # Safety
    /// - The range is committed and page aligned.
    unsafe fn lock(&self, start: NonNull<u8>, bytes: usize) -> Result<(), PinError>;

    /// Unlocks every range that this value locked. Called before they are unmapped.
    ///
    /// # Safety
    /// - No device uses the ranges any more.
    unsafe fn unlock_all(&self);
}

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
        let error = PinError::at_limit(bytes, 0, errno());
        // A range that fails may be locked in part.
        // SAFETY: forwarded.
        unsafe { libc::munlock(start.as_ptr().cast(), bytes) };
        Err(error)
    }

    /// Nothing: unmapping unlocks.
    unsafe fn unlock_all(&self) {}
}

/// Memory could not be locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PinError {
    /// How many bytes were to be locked, on top of what is.
    pub requested_bytes: usize,
    /// How many bytes this allocator has locked.
    pub locked_bytes: usize,
    /// The system's limit for the process, bytes; `usize::MAX` for none.
    pub limit_bytes: usize,
    /// The system's error code, or zero.
    pub code: i32,
}

impl PinError {
    /// The error for `requested_bytes` where `locked_bytes` are locked, with the limit as of now.
    pub fn at_limit(requested_bytes: usize, locked_bytes: usize, code: i32) -> Self {
        let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: the structure is writable.
        let known = unsafe { libc::getrlimit(libc::RLIMIT_MEMLOCK, &mut limit) } == 0;
        let limit_bytes = if known && limit.rlim_cur != libc::RLIM_INFINITY {
            usize::try_from(limit.rlim_cur).unwrap_or(usize::MAX)
        } else {
            usize::MAX
        };
        Self { requested_bytes, locked_bytes, limit_bytes, code }
    }
}

impl fmt::Display for PinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { requested_bytes, locked_bytes, limit_bytes, code } = *self;
        write!(f, "cannot lock {requested_bytes} bytes on top of {locked_bytes}: ")?;
        if limit_bytes == usize::MAX {
            write!(f, "no limit is set (system error {code})")
        } else {
            write!(
                f,
                "the process may lock {limit_bytes} (system error {code}); raise `ulimit -l`, or \
                 let ordinary memory serve with `AtLimit::FallBack`"
            )
        }
    }
}

impl core::error::Error for PinError {}
