//! What every measured child process gets: time that ends, and memory that the machine has ready.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::ptr;

/// How long a single run may take; the slowest rival needs a few seconds for its slowest case.
const LIMIT_SECONDS: u32 = 300;

/// Has the system end the child when its time is over.
pub(crate) fn limit_time(command: &mut Command) {
    // SAFETY: `alarm` is async-signal-safe, and the closure does nothing else.
    unsafe {
        command.pre_exec(|| {
            libc::alarm(LIMIT_SECONDS);
            Ok(())
        })
    };
}

/// Memory that the machine has ready before each run of a case.
///
/// On a virtual machine the first touch of a page that the host has not backed yet, or has taken
/// back, costs up to twenty times a normal page fault; whoever runs first would pay for it.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct WarmMemory {
    greatest_peak_kib: Option<u64>,
}

impl WarmMemory {
    /// Touches twice what the case's greediest run needed so far, and gives it back to the system.
    ///
    /// # Errors
    /// When the system does not have that much memory.
    pub(crate) fn prepare(&self) -> io::Result<()> {
        const UNKNOWN_KIB: u64 = 256 << 10;
        let peak_kib = self.greatest_peak_kib.unwrap_or(UNKNOWN_KIB);
        touch(2 * peak_kib as usize * 1024)
    }

    /// Learns from a run.
    pub(crate) fn learn(&mut self, peak_kib: u64) {
        self.greatest_peak_kib = self.greatest_peak_kib.max(Some(peak_kib));
    }
}

fn touch(bytes: usize) -> io::Result<()> {
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // SAFETY: a fresh anonymous mapping touches no existing memory.
    let start = unsafe { libc::mmap(ptr::null_mut(), bytes, protection, flags, -1, 0) };
    if start == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the range is the mapping's own; where there are no huge pages, small ones do.
    unsafe { libc::madvise(start, bytes, libc::MADV_HUGEPAGE) };
    for offset in (0..bytes).step_by(4096) {
        // SAFETY: the offset is inside the mapping, which nobody else knows.
        unsafe { start.cast::<u8>().add(offset).write_volatile(1) };
    }
    // SAFETY: the mapping is this function's own and not used again.
    unsafe { libc::munmap(start, bytes) };
    Ok(())
}
