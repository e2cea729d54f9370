//! How C functions say what went wrong.

use core::{ffi::c_int, ffi::c_void, ptr};

/// Sets the calling thread's `errno`.
pub(crate) fn set(code: c_int) {
    // SAFETY: the location is the calling thread's.
    unsafe { *libc::__errno_location() = code };
}

/// Null, and the reason in `errno`.
#[cold]
pub(crate) fn fail(code: c_int) -> *mut c_void {
    set(code);
    ptr::null_mut()
}

/// The block, or null and `ENOMEM`.
#[inline]
pub(crate) fn or_no_memory(block: *mut u8) -> *mut c_void {
    if block.is_null() { fail(libc::ENOMEM) } else { block.cast() }
}
