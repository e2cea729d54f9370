//! Memory from Linux. The only file that maps, advises and unmaps.

use core::{
    num::NonZeroUsize,
    ops::Range,
    ptr::{self, NonNull},
    sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
};

use genesis_mem_core::backend::{
    Backend, BackendCall, BackendError, Capabilities, Contents, HostBackend, Region,
};

/// Private anonymous memory.
#[derive(Clone, Copy, Debug, Default)]
pub struct OsMemory;

/// Whether ground that will be used throughout is advised to huge pages.
pub(crate) static HUGE_PAGES: AtomicBool = AtomicBool::new(true);
const HUGE_PAGE_BYTES: usize = 2 << 20;
/// Whether any was.
static ADVISED: AtomicBool = AtomicBool::new(false);

/// The size of a page in bytes, asked of the system once.
pub fn page_bytes() -> NonZeroUsize {
    static PAGE_BYTES: AtomicUsize = AtomicUsize::new(0);
    NonZeroUsize::new(PAGE_BYTES.load(Relaxed)).unwrap_or_else(|| {
        // What `sysconf` would say, which lies in pages of the C library that few programs use.
        // SAFETY: no preconditions.
        let bytes = unsafe { libc::getauxval(libc::AT_PAGESZ) } as usize;
        let bytes = if bytes.is_power_of_two() { bytes } else { 4096 };
        let bytes = NonZeroUsize::new(bytes).unwrap_or(NonZeroUsize::MIN);
        PAGE_BYTES.store(bytes.get(), Relaxed);
        bytes
    })
}

/// The calling thread's `errno`.
pub(crate) fn errno() -> i32 {
    // SAFETY: the location is the calling thread's.
    unsafe { *libc::__errno_location() }
}

/// Sets the calling thread's `errno`.
pub(crate) fn set_errno(code: i32) {
    // SAFETY: the location is the calling thread's.
    unsafe { *libc::__errno_location() = code };
}

/// Runs `f` without leaving its system calls' `errno` behind.
pub(crate) fn keep_errno<T>(f: impl FnOnce() -> T) -> T {
    let code = errno();
    let result = f();
    set_errno(code);
    result
}

/// Makes a system call; its `errno` goes into the error and is not left behind.
fn checked(call: BackendCall, bytes: usize, f: impl FnOnce() -> bool) -> Result<(), BackendError> {
    keep_errno(|| if f() { Ok(()) } else { Err(BackendError { call, bytes, code: errno() }) })
}

/// Maps `bytes` bytes of addresses without memory behind them.
fn map(bytes: usize) -> Option<NonNull<u8>> {
    // SAFETY: a new mapping harms nobody.
    let base = unsafe {
        libc::mmap(
            ptr::null_mut(),
            bytes,
            libc::PROT_NONE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
            -1,
            0,
        )
    };
    if base == libc::MAP_FAILED { None } else { NonNull::new(base.cast()) }
}

/// # Safety
/// - The range is mapped, page aligned, and nobody uses it.
unsafe fn unmap(base: NonNull<u8>, bytes: usize) -> bool {
    // SAFETY: forwarded.
    bytes == 0 || unsafe { libc::munmap(base.as_ptr().cast(), bytes) } == 0
}

/// Brings `bytes` bytes from `pages`, which are unmapped then, to `target`, for which the system had
/// no room in its tables and which it may have unmapped.
///
/// # Safety
/// - Both ranges are the caller's alone.
#[cold]
unsafe fn copy_out(pages: *mut libc::c_void, bytes: usize, target: *mut libc::c_void) {
    let access = libc::PROT_READ | libc::PROT_WRITE;
    let how = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    // SAFETY: forwarded; what is still mapped at the target stays as it is.
    unsafe {
        libc::mmap(target, bytes, access, how | libc::MAP_FIXED_NOREPLACE, -1, 0);
        ptr::copy_nonoverlapping(pages.cast::<u8>(), target.cast(), bytes);
        libc::munmap(pages, bytes);
    }
}

fn start(region: &Region<NonNull<u8>>, range: &Range<usize>) -> *mut libc::c_void {
    region.base().as_ptr().wrapping_add(range.start).cast()
}

// SAFETY: the kernel keeps mappings apart; fresh and purged anonymous pages read as zero.
unsafe impl Backend for OsMemory {
    type Address = NonNull<u8>;
    type Error = BackendError;
    const CAPABILITIES: Capabilities = Capabilities::HOST_ACCESSIBLE
        .union(Capabilities::COMMIT)
        .union(Capabilities::PURGE)
        .union(Capabilities::ZEROED)
        .union(Capabilities::REMAP);

    fn page_bytes(&self) -> NonZeroUsize {
        page_bytes()
    }

    #[unsafe(link_section = "genesis_mem_slow")]
    fn reserve(
        &self,
        bytes: NonZeroUsize,
        align: NonZeroUsize,
    ) -> Result<Region<NonNull<u8>>, BackendError> {
        let page = page_bytes().get();
        let refusal = |code| BackendError { call: BackendCall::Reserve, bytes: bytes.get(), code };
        let length = bytes.get().checked_next_multiple_of(page);
        let length = length.ok_or(refusal(libc::ENOMEM))?;
        // What cannot be asked for aligned is mapped with room to spare, and the room unmapped.
        let spare = align.get().saturating_sub(page);
        let mapped = length.checked_add(spare).ok_or(refusal(libc::ENOMEM))?;
        let base = keep_errno(|| map(mapped).ok_or_else(|| refusal(errno())))?;
        let skip = base.align_offset(align.get());
        // SAFETY: the mapping is new, and the three parts lie inside it.
        unsafe {
            let start = base.add(skip);
            unmap(base, skip);
            unmap(start.add(length), spare - skip);
            Ok(Region::new(start, NonZeroUsize::MIN.saturating_add(length - 1)))
        }
    }

    unsafe fn expect_sparse(&self, region: &Region<NonNull<u8>>, range: Range<usize>) {
        if ADVISED.load(Relaxed) {
            keep_errno(|| {
                // A touch of one granule would back its free neighbours again with a huge page.
                // SAFETY: the range is inside the caller's region. A refusal changes nothing.
                unsafe { libc::madvise(start(region, &range), range.len(), libc::MADV_NOHUGEPAGE) };
            });
        }
    }

    unsafe fn commit(
        &self,
        region: &Region<NonNull<u8>>,
        range: Range<usize>,
    ) -> Result<Contents, BackendError> {
        let access = libc::PROT_READ | libc::PROT_WRITE;
        checked(BackendCall::Commit, range.len(), || {
            // SAFETY: the range is inside the caller's region.
            unsafe { libc::mprotect(start(region, &range), range.len(), access) == 0 }
        })?;
        Ok(Contents::Zeroed)
    }

    unsafe fn expect_dense(&self, region: &Region<NonNull<u8>>, range: Range<usize>) -> bool {
        if !HUGE_PAGES.load(Relaxed) {
            return false;
        }
        let base = region.base().addr().get();
        let first = (base + range.start).next_multiple_of(HUGE_PAGE_BYTES) - base;
        let end = (base + range.end) / HUGE_PAGE_BYTES * HUGE_PAGE_BYTES - base;
        if first >= end {
            return false;
        }
        ADVISED.store(true, Relaxed);
        keep_errno(|| {
            let start = start(region, &(first..end));
            // SAFETY: the range is inside the caller's region. A refusal changes nothing.
            unsafe { libc::madvise(start, end - first, libc::MADV_HUGEPAGE) == 0 }
        })
    }

    unsafe fn purge(
        &self,
        region: &Region<NonNull<u8>>,
        range: Range<usize>,
    ) -> Result<(), BackendError> {
        checked(BackendCall::Purge, range.len(), || {
            // SAFETY: the range is inside the caller's region, and nothing in it is live.
            unsafe { libc::madvise(start(region, &range), range.len(), libc::MADV_DONTNEED) == 0 }
        })
    }

    unsafe fn remap(
        &self,
        region: &Region<NonNull<u8>>,
        from: Range<usize>,
        to: usize,
    ) -> Result<(), BackendError> {
        let bytes = from.len();
        let target = start(region, &(to..to + bytes));
        // Two steps, by way of addresses that the system picks. A single one unmaps the target
        // before it may still be refused, as it is where the source consists of earlier moves.
        let mut pages = libc::MAP_FAILED;
        checked(BackendCall::Remap, bytes, || {
            // The old addresses stay mapped, without pages (Linux 5.7).
            let how = libc::MREMAP_MAYMOVE | libc::MREMAP_DONTUNMAP;
            // An address of none: Linux reads the argument with these flags, whatever it may be.
            let anywhere = ptr::null_mut::<libc::c_void>();
            // SAFETY: the range is inside the caller's region.
            pages = unsafe { libc::mremap(start(region, &from), bytes, bytes, how, anywhere) };
            pages != libc::MAP_FAILED
        })?;
        let how = libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED;
        // SAFETY: the pages are ours alone by now, and nothing at the target is live.
        unsafe {
            if libc::mremap(pages, bytes, bytes, how, target) != target {
                copy_out(pages, bytes, target);
            }
        }
        Ok(())
    }

    unsafe fn release(
        &self,
        region: Region<NonNull<u8>>,
    ) -> Result<(), (Region<NonNull<u8>>, BackendError)> {
        let bytes = region.bytes().get();
        checked(BackendCall::Release, bytes, || {
            // SAFETY: nothing in the region is live.
            unsafe { unmap(region.base(), bytes) }
        })
        .map_err(|error| (region, error))
    }
}

// SAFETY: private anonymous memory is ordinary memory.
unsafe impl HostBackend for OsMemory {}

/// Waits by letting others run, so that a preempted holder of a lock gets its turn.
#[derive(Clone, Copy, Debug, Default)]
pub struct Yield;

impl genesis_mem_core::sync::RelaxStrategy for Yield {
    fn relax() {
        // SAFETY: no preconditions.
        unsafe { libc::sched_yield() };
    }
}
