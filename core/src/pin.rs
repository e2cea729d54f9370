//! Page-locked memory: how pages are locked, and what is said where they cannot be.
//!
//! Implemented by whoever can lock pages (`mlock`, a device's driver) and used by whoever hands
//! out such memory; the two need not know each other.

use core::{fmt, ptr::NonNull};

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
    /// The code of the system or the driver, or zero.
    pub code: i32,
}

impl PinError {
    /// The error for `requested_bytes` where `locked_bytes` of at most `limit_bytes` are locked.
    pub const fn new(
        requested_bytes: usize,
        locked_bytes: usize,
        limit_bytes: usize,
        code: i32,
    ) -> Self {
        Self { requested_bytes, locked_bytes, limit_bytes, code }
    }
}

impl fmt::Display for PinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { requested_bytes, locked_bytes, limit_bytes, code } = *self;
        write!(f, "cannot lock {requested_bytes} bytes on top of {locked_bytes}: ")?;
        if limit_bytes == usize::MAX {
            write!(f, "no limit is set (error {code}); lock less, or let ordinary memory serve")
        } else {
            write!(
                f,
                "the process may lock {limit_bytes} (error {code}); raise `ulimit -l`, or let \
                 ordinary memory serve with `AtLimit::FallBack`"
            )
        }
    }
}

impl core::error::Error for PinError {}
