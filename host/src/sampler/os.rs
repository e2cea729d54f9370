//! What the profiler asks of the system: the time, files, and which code is the allocator's.

use core::{
    arch::global_asm,
    ffi::{CStr, c_char},
    ops::Range,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
};

use super::{
    Error,
    memory::{List, Text},
};
use crate::os::{errno, keep_errno};

fn clock_ns(clock: libc::clockid_t) -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the time is writable.
    keep_errno(|| unsafe { libc::clock_gettime(clock, &mut time) });
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Nanoseconds of the monotonic clock; not zero.
pub(crate) fn now_ns() -> u64 {
    clock_ns(libc::CLOCK_MONOTONIC).max(1)
}

/// The time of day when the monotonic clock was zero, nanoseconds.
pub(super) fn epoch_ns() -> u64 {
    clock_ns(libc::CLOCK_REALTIME).wrapping_sub(now_ns())
}

// Each library and each program has a section of its own.
global_asm!(".hidden __start_genesis_mem_slow", ".hidden __stop_genesis_mem_slow");

unsafe extern "C" {
    /// Where the section begins and ends that the allocator's slow paths lie in: the linker's.
    static __start_genesis_mem_slow: u8;
    static __stop_genesis_mem_slow: u8;
}

/// The code of the library, where the allocator has one of its own.
static OWN_START: AtomicUsize = AtomicUsize::new(0);
static OWN_END: AtomicUsize = AtomicUsize::new(0);

/// Says which code is the allocator's, beside its slow paths.
pub(crate) fn set_own_code(code: &Range<usize>) {
    OWN_START.store(code.start, Relaxed);
    OWN_END.store(code.end, Relaxed);
}

/// Which return addresses lead into the allocator.
pub(super) fn own_code() -> impl Fn(usize) -> bool {
    let slow = (&raw const __start_genesis_mem_slow).addr();
    let slow_bytes = (&raw const __stop_genesis_mem_slow).addr() - slow;
    let own = OWN_START.load(Relaxed);
    let own_bytes = OWN_END.load(Relaxed).saturating_sub(own);
    // A call may be the last instruction.
    move |address| address.wrapping_sub(slow) <= slow_bytes || address.wrapping_sub(own) < own_bytes
}

/// A file to write to.
pub(super) struct File {
    descriptor: i32,
    code: i32,
}

impl File {
    /// Opens a file, empty.
    pub(super) fn create(path: &CStr) -> Result<Self, Error> {
        let how = libc::O_WRONLY | libc::O_CREAT | libc::O_TRUNC | libc::O_CLOEXEC;
        keep_errno(|| {
            // SAFETY: the path is a C string.
            let descriptor = unsafe { libc::open(path.as_ptr(), how, 0o666 as libc::mode_t) };
            if descriptor < 0 {
                return Err(Error::Write { code: errno() });
            }
            Ok(Self { descriptor, code: 0 })
        })
    }

    /// Writes all of `bytes`, or says why not.
    pub(super) fn write(&mut self, mut bytes: &[u8]) -> bool {
        keep_errno(|| {
            while !bytes.is_empty() {
                // SAFETY: the slice is readable.
                let written =
                    unsafe { libc::write(self.descriptor, bytes.as_ptr().cast(), bytes.len()) };
                match usize::try_from(written) {
                    Ok(written) => bytes = &bytes[written.min(bytes.len())..],
                    Err(_) if errno() == libc::EINTR => {}
                    Err(_) => {
                        self.code = errno();
                        return false;
                    }
                }
            }
            true
        })
    }

    /// The number of the last error; zero for none.
    pub(super) fn code(&self) -> i32 {
        self.code
    }

    /// Closes the file: some systems say only then that it could not be written.
    pub(super) fn close(&mut self) -> Result<(), Error> {
        let descriptor = core::mem::replace(&mut self.descriptor, -1);
        keep_errno(|| {
            // SAFETY: the descriptor is this file's, and used no more.
            if descriptor >= 0 && unsafe { libc::close(descriptor) } != 0 && errno() != libc::EINTR
            {
                self.code = errno();
                return Err(Error::Write { code: self.code });
            }
            Ok(())
        })
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = self.close();
    }
}

/// The contents of a file of the system's, as far as they can be read; `None` where there is no
/// memory.
pub(super) fn read(path: &CStr) -> Option<List<u8>> {
    let mut all = List::new();
    let mut piece = [0_u8; 4096];
    keep_errno(|| {
        // SAFETY: the path is a C string.
        let descriptor = unsafe { libc::open(path.as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC) };
        let mut is_kept = true;
        while descriptor >= 0 && is_kept {
            // SAFETY: the piece is writable.
            let read = unsafe { libc::read(descriptor, piece.as_mut_ptr().cast(), piece.len()) };
            match usize::try_from(read) {
                Ok(0) => break,
                Ok(read) => is_kept = all.extend(&piece[..read.min(piece.len())]),
                Err(_) if errno() == libc::EINTR => {}
                Err(_) => break,
            }
        }
        if descriptor >= 0 {
            // SAFETY: the descriptor is this function's.
            unsafe { libc::close(descriptor) };
        }
        is_kept.then_some(())
    })?;
    Some(all)
}

/// The number of the process, and of its parent.
pub(super) fn processes() -> (u32, u32) {
    // SAFETY: no preconditions.
    unsafe { (libc::getpid() as u32, libc::getppid() as u32) }
}

/// Whether the parent process was started with a variable of that value.
pub(super) fn parent_has(name: &CStr, value: &[u8]) -> bool {
    use core::fmt::Write;

    let mut path = Text(List::new());
    if write!(path, "/proc/{}/environ\0", processes().1).is_err() {
        return false;
    }
    let environment = CStr::from_bytes_until_nul(&path.0).ok().and_then(read);
    environment.is_some_and(|environment| {
        environment.split(|&byte| byte == 0).any(|variable| {
            let rest = variable.strip_prefix(name.to_bytes());
            rest.and_then(|rest| rest.strip_prefix(b"=")) == Some(value)
        })
    })
}

/// Whether a path leads to a folder.
pub(super) fn is_folder(path: &CStr) -> bool {
    keep_errno(|| {
        // SAFETY: the path is a C string; what is written is valid as zeroes.
        unsafe {
            let mut found: libc::stat = core::mem::zeroed();
            libc::stat(path.as_ptr(), &mut found) == 0
                && found.st_mode & libc::S_IFMT == libc::S_IFDIR
        }
    })
}

/// Makes a folder, if it is not there.
pub(super) fn make_folder(path: &CStr) {
    // SAFETY: the path is a C string. What goes wrong shows when a file is to be made in it.
    keep_errno(|| unsafe { libc::mkdir(path.as_ptr(), 0o777) });
}

/// The name of the program, without folders.
pub(super) fn program_name() -> &'static [u8] {
    unsafe extern "C" {
        static program_invocation_short_name: *const c_char;
    }
    // SAFETY: the C library sets it before the program starts, to a C string that stays.
    let name = unsafe { (&raw const program_invocation_short_name).read() };
    // SAFETY: as above.
    if name.is_null() { b"program" } else { unsafe { CStr::from_ptr(name) }.to_bytes() }
}
