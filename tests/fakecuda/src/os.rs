//! What is asked of the operating system: a file in memory that stands for the device's memory,
//! and mappings of it.

use std::{
    io,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
    ptr,
    sync::atomic::{AtomicU8, AtomicU32, AtomicU64},
};

use crate::code::{Answer, Code, OPERATING_SYSTEM, OUT_OF_MEMORY};

/// Physical memory: offsets in a file that grows without end and gives back what is released.
#[derive(Debug)]
pub(crate) struct Physical {
    file: OwnedFd,
    end: u64,
}

/// What a mapping lets the device do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    None,
    Read,
    ReadWrite,
}

impl Access {
    const fn protection(self) -> i32 {
        match self {
            Self::None => libc::PROT_NONE,
            Self::Read => libc::PROT_READ,
            Self::ReadWrite => libc::PROT_READ | libc::PROT_WRITE,
        }
    }
}

fn check(failed: bool) -> Answer {
    if failed { Err(last_error()) } else { Ok(()) }
}

fn last_error() -> Code {
    match io::Error::last_os_error().raw_os_error() {
        Some(libc::ENOMEM) => OUT_OF_MEMORY,
        _ => OPERATING_SYSTEM,
    }
}

impl Physical {
    pub(crate) fn new() -> io::Result<Self> {
        // SAFETY: the name ends in a zero.
        let file = unsafe { libc::memfd_create(c"fakecuda".as_ptr(), libc::MFD_CLOEXEC) };
        if file < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor was just opened and has no other owner.
        Ok(Self { file: unsafe { OwnedFd::from_raw_fd(file) }, end: 0 })
    }

    /// The offset of `bytes` of new memory.
    pub(crate) fn create(&mut self, bytes: u64) -> Answer<u64> {
        let offset = self.end;
        let end = offset + bytes;
        // SAFETY: no memory of the process is concerned.
        check(unsafe { libc::ftruncate(self.file.as_raw_fd(), end as libc::off_t) } != 0)?;
        self.end = end;
        Ok(offset)
    }

    /// Gives memory back to the system.
    pub(crate) fn release(&self, offset: u64, bytes: u64) {
        let mode = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
        let (offset, bytes) = (offset as libc::off_t, bytes as libc::off_t);
        // SAFETY: the range is mapped nowhere any more. A failure costs memory, nothing else.
        unsafe { libc::fallocate(self.file.as_raw_fd(), mode, offset, bytes) };
    }

    /// Maps memory at `at`, inside of a reservation, without access.
    pub(crate) fn map(&self, at: u64, bytes: u64, offset: u64) -> Answer {
        let flags = libc::MAP_SHARED | libc::MAP_FIXED;
        let (file, offset) = (self.file.as_raw_fd(), offset as libc::off_t);
        // SAFETY: the caller checked that the range lies in one of its reservations.
        let got = unsafe {
            libc::mmap(pointer(at), bytes as usize, libc::PROT_NONE, flags, file, offset)
        };
        check(got == libc::MAP_FAILED)
    }
}

/// Reserves addresses without memory, or with zeroed memory of their own.
pub(crate) fn reserve(bytes: u64, access: Access) -> Answer<u64> {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    // SAFETY: the system chooses addresses that nobody uses.
    let got =
        unsafe { libc::mmap(ptr::null_mut(), bytes as usize, access.protection(), flags, -1, 0) };
    check(got == libc::MAP_FAILED).map(|()| got.expose_provenance() as u64)
}

/// Makes a mapped range an empty reservation again.
pub(crate) fn clear(at: u64, bytes: u64) -> Answer {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE | libc::MAP_FIXED;
    // SAFETY: the caller owns the range, and no operation that uses it is running.
    let got = unsafe { libc::mmap(pointer(at), bytes as usize, libc::PROT_NONE, flags, -1, 0) };
    check(got == libc::MAP_FAILED)
}

/// Gives addresses back.
pub(crate) fn unreserve(at: u64, bytes: u64) -> Answer {
    // SAFETY: the caller owns the range, and no operation that uses it is running.
    check(unsafe { libc::munmap(pointer(at), bytes as usize) } != 0)
}

/// Sets what can be done with a mapped range.
pub(crate) fn protect(at: u64, bytes: u64, access: Access) -> Answer {
    // SAFETY: the caller owns the range.
    check(unsafe { libc::mprotect(pointer(at), bytes as usize, access.protection()) } != 0)
}

/// A pointer to an address that was exposed when it was reserved, or that C passed in.
fn pointer(at: u64) -> *mut libc::c_void {
    ptr::with_exposed_provenance_mut(at as usize)
}

/// Copies between ranges that may overlap.
///
/// # Safety
/// Both are accessible during the call. Whoever else writes to them meanwhile is the program under
/// test, which then reads one of the values written.
pub(crate) unsafe fn copy(to: u64, from: u64, bytes: usize) {
    // SAFETY: as above. A call, so that no compiler reasons about what others write.
    unsafe { libc::memmove(pointer(to), pointer(from), bytes) };
}

/// The bytes of a range of host memory.
///
/// # Safety
/// It is accessible, and not written to during the call.
pub(crate) unsafe fn read(from: u64, bytes: usize) -> Box<[u8]> {
    // SAFETY: as above.
    unsafe { std::slice::from_raw_parts(pointer(from).cast::<u8>(), bytes) }.into()
}

/// A type that kernels and patterns work on.
pub(crate) trait Element {}
impl Element for AtomicU8 {}
impl Element for AtomicU32 {}
impl Element for AtomicU64 {}

/// A range as elements.
///
/// # Safety
/// It is aligned, and accessible for as long as the caller uses the slice.
pub(crate) unsafe fn elements<'a, T: Element>(at: u64, count: usize) -> &'a [T] {
    // SAFETY: as above. Atomics, because other streams may write at the same time.
    unsafe { std::slice::from_raw_parts(pointer(at).cast::<T>(), count) }
}
