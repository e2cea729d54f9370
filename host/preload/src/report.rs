//! The functions that tell about the allocator or advise it.

use core::{
    ffi::{CStr, c_char, c_int},
    fmt::Write,
    slice,
};

use genesis_mem_host::{Snapshot, stats, trim};

use crate::out::{Buffer, Out};

const VERSION: &CStr =
    match CStr::from_bytes_with_nul(concat!(env!("CARGO_PKG_VERSION"), "\0").as_bytes()) {
        Ok(version) => version,
        Err(_) => c"",
    };

/// The version of the library, such as `0.1.0`. A program finds out by it that the library is there.
#[unsafe(no_mangle)]
pub extern "C" fn genesis_mem_version() -> *const c_char {
    VERSION.as_ptr()
}

/// Writes the statistics as JSON to a file descriptor. Returns 0, or -1 and `errno`.
#[unsafe(no_mangle)]
pub extern "C" fn genesis_mem_stats_fd(descriptor: c_int) -> c_int {
    let mut out = Out::<4096>::to(descriptor);
    let _ = stats().write_json(&mut out);
    let _ = out.write_char('\n');
    if out.flush() { 0 } else { -1 }
}

/// Writes the statistics as JSON into `buffer`, cut to `bytes` bytes with the zero at the end, as
/// `snprintf` does. Returns how long the whole text is, without the zero.
///
/// # Safety
/// - `buffer` is writable for `bytes` bytes; it may be null where that is zero.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn genesis_mem_stats_json(buffer: *mut c_char, bytes: usize) -> usize {
    let Some(room) = bytes.checked_sub(1) else {
        let mut out = Buffer { buffer: &mut [], len: 0 };
        let _ = stats().write_json(&mut out);
        return out.len;
    };
    // SAFETY: forwarded.
    let buffer = unsafe { slice::from_raw_parts_mut(buffer.cast(), bytes) };
    let mut out = Buffer { buffer: &mut buffer[..room], len: 0 };
    let _ = stats().write_json(&mut out);
    let len = out.len;
    buffer[len.min(room)] = 0;
    len
}

/// Prints the statistics as a table on stderr.
#[unsafe(no_mangle)]
pub extern "C" fn malloc_stats() {
    let mut out = Out::<4096>::to(libc::STDERR_FILENO);
    let _ = write!(out, "{}", stats());
    out.flush();
}

/// Gives free memory back to the system. Returns 1 where there was some, else 0.
#[unsafe(no_mangle)]
pub extern "C" fn malloc_trim(_keep_bytes: usize) -> c_int {
    c_int::from(trim() > 0)
}

/// Does nothing, and says that it went well: glibc's parameters have no meaning here.
#[unsafe(no_mangle)]
pub extern "C" fn mallopt(_parameter: c_int, _value: c_int) -> c_int {
    1
}

/// The statistics in glibc's terms.
#[unsafe(no_mangle)]
pub extern "C" fn mallinfo2() -> libc::mallinfo2 {
    let s = stats();
    let bytes = |bytes: u64| bytes as usize;
    libc::mallinfo2 {
        arena: bytes(s.reserved_bytes.current.saturating_sub(s.large.allocated_bytes)),
        ordblks: free_spans(&s),
        smblks: 0,
        hblks: bytes(s.large.live()),
        hblkhd: bytes(s.large.allocated_bytes),
        usmblks: 0,
        fsmblks: 0,
        uordblks: bytes(s.allocated_bytes.current),
        fordblks: bytes(s.reserved_bytes.current.saturating_sub(s.allocated_bytes.current)),
        keepcost: bytes(s.cached_bytes.current),
    }
}

fn free_spans(s: &Snapshot) -> usize {
    s.free_spans_by_order.iter().map(|&spans| spans as usize).sum()
}

/// As [`mallinfo2`], with numbers that end at 2 GiB.
#[unsafe(no_mangle)]
pub extern "C" fn mallinfo() -> libc::mallinfo {
    let wide = mallinfo2();
    let narrow = |number: usize| c_int::try_from(number).unwrap_or(c_int::MAX);
    libc::mallinfo {
        arena: narrow(wide.arena),
        ordblks: narrow(wide.ordblks),
        smblks: 0,
        hblks: narrow(wide.hblks),
        hblkhd: narrow(wide.hblkhd),
        usmblks: 0,
        fsmblks: 0,
        uordblks: narrow(wide.uordblks),
        fordblks: narrow(wide.fordblks),
        keepcost: narrow(wide.keepcost),
    }
}
