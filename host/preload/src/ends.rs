//! What runs when the library is loaded, and when the program ends.

use core::{
    ffi::{CStr, c_char, c_int},
    fmt::Write,
};

use genesis_mem_host::c;

use crate::{out::Buffer, report::genesis_mem_stats_fd};

#[used]
#[unsafe(link_section = ".init_array")]
static START: extern "C" fn() = start;

#[used]
#[unsafe(link_section = ".fini_array")]
static END: extern "C" fn() = end;

extern "C" fn start() {
    unsafe extern "C" {
        // The linker's names for where the library begins, and for what follows its code.
        static __ehdr_start: u8;
        static _DYNAMIC: u8;
    }
    c::start(&((&raw const __ehdr_start).addr()..(&raw const _DYNAMIC).addr()));
}

/// Writes the statistics to the file that `GENESIS_MEM_STATS_FILE` names.
///
/// Runs where the program returns from `main` or calls `exit`, after its own exit handlers; not
/// where it ends by `_exit` or a signal. Programs that it starts inherit the variable.
extern "C" fn end() {
    let mut path = [0; libc::PATH_MAX as usize];
    let Some(path) = stats_path(&mut path) else { return };
    let how = libc::O_WRONLY | libc::O_CREAT | libc::O_TRUNC | libc::O_CLOEXEC;
    // SAFETY: the path is a C string.
    let file: c_int = unsafe { libc::open(path.as_ptr(), how, 0o666 as libc::mode_t) };
    let written = file >= 0 && genesis_mem_stats_fd(file) == 0;
    // SAFETY: the file is open, and nobody else's.
    let closed = file >= 0 && unsafe { libc::close(file) } == 0;
    if !(written && closed) {
        // SAFETY: the location is the calling thread's.
        let code = unsafe { *libc::__errno_location() };
        let mut out = crate::out::Out::<512>::to(libc::STDERR_FILENO);
        let path = path.to_str().unwrap_or("(not UTF-8)");
        let _ = writeln!(out, "genesis-mem: cannot write {path} (error {code}): no statistics");
        out.flush();
    }
}

/// The value of the variable, with each `%p` replaced by the number of the process, as a C string
/// in `buffer`. Not in programs that run with another user's rights.
fn stats_path(buffer: &mut [u8]) -> Option<&CStr> {
    unsafe extern "C" {
        fn secure_getenv(name: *const c_char) -> *mut c_char;
    }
    // SAFETY: the name is a C string.
    let value = unsafe { secure_getenv(c"GENESIS_MEM_STATS_FILE".as_ptr()) };
    if value.is_null() {
        return None;
    }
    // SAFETY: `secure_getenv` returns a C string, and the program's own code has ended.
    let mut rest = unsafe { CStr::from_ptr(value) }.to_bytes();
    let mut path = Buffer { buffer, len: 0 };
    while let [first, after @ ..] = rest {
        if let Some(after) = rest.strip_prefix(b"%p") {
            // SAFETY: no preconditions.
            write!(path, "{}", unsafe { libc::getpid() }).ok()?;
            rest = after;
        } else {
            path.push(*first);
            rest = after;
        }
    }
    path.push(0);
    let Buffer { buffer, len } = path;
    CStr::from_bytes_with_nul(buffer.get(..len)?).ok().filter(|path| !path.is_empty())
}
