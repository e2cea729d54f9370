//! A backend that refuses on demand, and shows whoever touches what is not theirs.
//!
//! What is not committed cannot be touched; what was purged is filled anew, with zeroes where the
//! backend promises them and with rubbish where it does not; and regions that were not released
//! are counted.

use std::{
    num::NonZeroUsize,
    ops::Range,
    ptr::{self, NonNull},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::SeqCst},
    },
};

use genesis_mem_core::backend::{
    Backend, BackendCall, BackendError, Capabilities, Contents, HostBackend, Region,
};

/// What memory holds that was never written, where a backend promises nothing.
const RUBBISH: u8 = 0xa5;
const PAGE_BYTES: usize = 4096;
/// The error code of a refusal that a test asked for.
pub const REFUSED: i32 = -1;

#[derive(Debug, Default)]
struct State {
    /// How many calls still succeed; below zero, all do.
    calls_left: AtomicI64,
    /// Whether it stays at the first refusal.
    refuses_on: AtomicBool,
    calls: AtomicU64,
    refusals: AtomicU64,
    reserved_bytes: AtomicU64,
    committed_bytes: AtomicU64,
}

/// Memory from the system; `ZEROED` says whether fresh memory is promised to be zero. Clones and
/// [twins](Self::twin) count and refuse together.
#[derive(Clone, Debug)]
pub struct FaultingBackend<const ZEROED: bool> {
    state: Arc<State>,
}

impl<const ZEROED: bool> FaultingBackend<ZEROED> {
    /// A backend that refuses nothing.
    pub fn new() -> Self {
        let state = State { calls_left: AtomicI64::new(-1), ..State::default() };
        Self { state: Arc::new(state) }
    }

    /// A backend of the other kind with the same counters.
    pub fn twin<const OTHER: bool>(&self) -> FaultingBackend<OTHER> {
        FaultingBackend { state: Arc::clone(&self.state) }
    }

    /// Has the call after the next `calls` be refused, once.
    pub fn fail_after(&self, calls: u64) {
        self.state.refuses_on.store(false, SeqCst);
        self.state.calls_left.store(calls as i64, SeqCst);
    }

    /// Has every call after the next `calls` be refused.
    pub fn fail_from(&self, calls: u64) {
        self.state.refuses_on.store(true, SeqCst);
        self.state.calls_left.store(calls as i64, SeqCst);
    }

    /// Refuses nothing from now on.
    pub fn stop_failing(&self) {
        self.state.calls_left.store(-1, SeqCst);
    }

    /// Whether a refusal still waits.
    pub fn is_armed(&self) -> bool {
        self.state.calls_left.load(SeqCst) >= 0
    }

    /// Calls so far, refused ones included; releases do not count, since none may fail.
    pub fn calls(&self) -> u64 {
        self.state.calls.load(SeqCst)
    }

    /// Calls that were refused.
    pub fn refusals(&self) -> u64 {
        self.state.refusals.load(SeqCst)
    }

    /// Bytes reserved now.
    pub fn reserved_bytes(&self) -> u64 {
        self.state.reserved_bytes.load(SeqCst)
    }

    /// Counts a call, and refuses it if it is its turn.
    fn ask(&self, call: BackendCall, bytes: usize) -> Result<(), BackendError> {
        self.state.calls.fetch_add(1, SeqCst);
        let stays_at = if self.state.refuses_on.load(SeqCst) { 0 } else { -1 };
        let step = |left: i64| (left >= 0).then_some((left - 1).max(stays_at));
        match self.state.calls_left.fetch_update(SeqCst, SeqCst, step) {
            Ok(0) => {
                self.state.refusals.fetch_add(1, SeqCst);
                Err(BackendError { call, bytes, code: REFUSED })
            }
            _ => Ok(()),
        }
    }
}

impl<const ZEROED: bool> Default for FaultingBackend<ZEROED> {
    fn default() -> Self {
        Self::new()
    }
}

fn address(region: &Region<NonNull<u8>>, range: &Range<usize>) -> *mut libc::c_void {
    assert!(range.start < range.end, "an empty range");
    assert!(range.end <= region.bytes().get(), "{range:?} outside of the region");
    assert!(range.start.is_multiple_of(PAGE_BYTES) && range.end.is_multiple_of(PAGE_BYTES));
    region.base().as_ptr().wrapping_add(range.start).cast()
}

// SAFETY: the kernel keeps mappings apart, and committed ranges stay accessible.
unsafe impl<const ZEROED: bool> Backend for FaultingBackend<ZEROED> {
    type Address = NonNull<u8>;
    type Error = BackendError;
    const CAPABILITIES: Capabilities = {
        let all = Capabilities::HOST_ACCESSIBLE
            .union(Capabilities::COMMIT)
            .union(Capabilities::PURGE)
            .union(Capabilities::REMAP);
        if ZEROED { all.union(Capabilities::ZEROED) } else { all }
    };

    fn page_bytes(&self) -> NonZeroUsize {
        NonZeroUsize::new(PAGE_BYTES).unwrap()
    }

    fn reserve(
        &self,
        bytes: NonZeroUsize,
        align: NonZeroUsize,
    ) -> Result<Region<NonNull<u8>>, BackendError> {
        self.ask(BackendCall::Reserve, bytes.get())?;
        assert!(align.is_power_of_two());
        let mapped_bytes = bytes.get() + 2 * align.get();
        // SAFETY: a new mapping harms nobody; its two ends, which are not used, are unmapped.
        let base = unsafe {
            let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
            let map = libc::mmap(ptr::null_mut(), mapped_bytes, libc::PROT_NONE, flags, -1, 0);
            if map == libc::MAP_FAILED {
                let (call, bytes) = (BackendCall::Reserve, bytes.get());
                return Err(BackendError { call, bytes, code: libc::ENOMEM });
            }
            let map = map.cast::<u8>();
            let mut skip = map.align_offset(align.get());
            if (map.addr() + skip).is_multiple_of(2 * align.get()) {
                // At exactly the alignment asked for, not at a larger one by luck.
                skip += align.get();
            }
            let base = map.add(skip);
            let end = base.add(bytes.get());
            if skip > 0 {
                libc::munmap(map.cast(), skip);
            }
            libc::munmap(end.cast(), mapped_bytes - skip - bytes.get());
            base
        };
        self.state.reserved_bytes.fetch_add(bytes.get() as u64, SeqCst);
        // SAFETY: just mapped, for the caller alone.
        Ok(unsafe { Region::new(NonNull::new(base).unwrap(), bytes) })
    }

    unsafe fn commit(
        &self,
        region: &Region<NonNull<u8>>,
        range: Range<usize>,
    ) -> Result<Contents, BackendError> {
        let start = address(region, &range);
        self.ask(BackendCall::Commit, range.len())?;
        // SAFETY: the range is inside a region of this backend.
        let code =
            unsafe { libc::mprotect(start, range.len(), libc::PROT_READ | libc::PROT_WRITE) };
        assert_eq!(code, 0);
        self.state.committed_bytes.fetch_add(range.len() as u64, SeqCst);
        if ZEROED {
            return Ok(Contents::Zeroed);
        }
        // SAFETY: committed just now, and nothing lives there.
        unsafe { start.cast::<u8>().write_bytes(RUBBISH, range.len()) };
        Ok(Contents::Unspecified)
    }

    unsafe fn purge(
        &self,
        region: &Region<NonNull<u8>>,
        range: Range<usize>,
    ) -> Result<(), BackendError> {
        let start = address(region, &range);
        self.ask(BackendCall::Purge, range.len())?;
        // SAFETY: the range is committed, and nothing in it is live.
        unsafe {
            if ZEROED {
                assert_eq!(libc::madvise(start, range.len(), libc::MADV_DONTNEED), 0);
            } else {
                start.cast::<u8>().write_bytes(RUBBISH, range.len());
            }
        }
        Ok(())
    }

    /// Copies, and leaves `from` zero; the system's own way is the host's business.
    unsafe fn remap(
        &self,
        region: &Region<NonNull<u8>>,
        from: Range<usize>,
        to: usize,
    ) -> Result<(), BackendError> {
        let source = address(region, &from).cast::<u8>();
        let target = address(region, &(to..to + from.len())).cast::<u8>();
        assert!(to + from.len() <= from.start || from.end <= to, "the ranges overlap");
        self.ask(BackendCall::Remap, from.len())?;
        // SAFETY: both ranges are committed, and the target's contents are nobody's.
        unsafe {
            ptr::copy_nonoverlapping(source, target, from.len());
            source.write_bytes(0, from.len());
        }
        Ok(())
    }

    unsafe fn release(
        &self,
        region: Region<NonNull<u8>>,
    ) -> Result<(), (Region<NonNull<u8>>, BackendError)> {
        let bytes = region.bytes().get();
        // SAFETY: the region came from `reserve`, and nothing in it is live.
        let code = unsafe { libc::munmap(region.base().as_ptr().cast(), bytes) };
        assert_eq!(code, 0, "a region that was never reserved");
        self.state.reserved_bytes.fetch_sub(bytes as u64, SeqCst);
        Ok(())
    }
}

// SAFETY: committed memory is ordinary memory.
unsafe impl<const ZEROED: bool> HostBackend for FaultingBackend<ZEROED> {}
