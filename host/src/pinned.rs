//! Page-locked memory: the kind that a device copies from and to at full speed.

mod lock;

use core::{
    alloc::{GlobalAlloc, Layout},
    fmt,
    marker::PhantomData,
    num::NonZeroUsize,
    ops::Range,
    ptr::{self, NonNull},
    sync::atomic::{
        AtomicPtr, AtomicU64,
        Ordering::{AcqRel, Acquire, Relaxed},
    },
};

use genesis_mem_core::{
    arena::{Arena, Refusal},
    backend::{Backend, BackendCall, BackendError, Capabilities, Contents, HostBackend, Region},
    config::{Config, Fault},
    heap::Heap,
    shared_heap::SharedHeap,
    stats::Snapshot,
};

pub use self::lock::{Mlock, PageLock, PinError};
use crate::{
    Genesis,
    collections::{Blocks, resize_by_copy},
    fault,
    genesis::to_pointer,
    os::{OsMemory, Yield},
    process, sampler,
    sink::{Memory, Sink},
};

/// What to do where no more memory can be locked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AtLimit {
    /// The allocation fails; [`Pinned::last_error`] has the numbers.
    #[default]
    Fail,
    /// Ordinary memory serves, and [`Pinned::fallbacks`] counts it.
    FallBack,
}

/// An allocator whose memory is page-locked, for `#[global_allocator]` or for single collections
/// such as staging buffers.
///
/// Whole parts of a region are locked, through `L`: with `mlock`, or by registration with a device
/// driver. Blocks keep their exact size, but for the rounding of small ones to size classes, and
/// those beyond 2 KiB to 16 KiB; nothing is rounded to powers of two. Locked memory stays resident until
/// the allocator is dropped. One short lock keeps threads apart.
///
/// ```
/// use allocator_api2::vec::Vec;
/// use genesis_mem_host::Pinned;
///
/// let pinned = Pinned::new();
/// let mut staging: Vec<f32, &Pinned> = Vec::with_capacity_in(1000, &pinned);
/// staging.extend((0..1000).map(|n| n as f32));
/// assert!(pinned.is_pinned(staging.as_ptr().cast()));
/// ```
pub struct Pinned<L: PageLock = Mlock> {
    /// Built on first use, in memory of its own, so that the handle may move.
    state: AtomicPtr<State<L>>,
    at_limit: AtLimit,
    lock: fn() -> L,
    owned: PhantomData<L>,
}

struct State<L: PageLock> {
    arena: Arena<PinnedConfig<L>>,
    heap: SharedHeap<PinnedConfig<L>>,
    fallbacks: AtomicU64,
}

// SAFETY: the state is shared through its own locks.
unsafe impl<L: PageLock> Send for Pinned<L> {}
// SAFETY: as above.
unsafe impl<L: PageLock> Sync for Pinned<L> {}

impl<L: PageLock> fmt::Debug for Pinned<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pinned").field("at_limit", &self.at_limit).finish_non_exhaustive()
    }
}

impl Pinned<Mlock> {
    /// Memory locked with `mlock`; an allocation beyond the system's limit fails.
    pub const fn new() -> Self {
        Self::with_lock(|| Mlock, AtLimit::Fail)
    }
}

impl Default for Pinned<Mlock> {
    fn default() -> Self {
        Self::new()
    }
}

impl<L: PageLock> Pinned<L> {
    /// Memory locked as `lock`'s value does it, called once, before the first allocation.
    pub const fn with_lock(lock: fn() -> L, at_limit: AtLimit) -> Self {
        Self { state: AtomicPtr::new(ptr::null_mut()), at_limit, lock, owned: PhantomData }
    }

    /// The same allocator with another rule for the limit. Before the first allocation.
    pub const fn at_limit(mut self, at_limit: AtLimit) -> Self {
        self.at_limit = at_limit;
        self
    }

    /// Whether `pointer` lies in page-locked memory of this allocator.
    pub fn is_pinned(&self, pointer: *const u8) -> bool {
        self.existing().is_some_and(|state| state.arena.contains(pointer.addr()))
    }

    /// How many allocations ordinary memory served.
    pub fn fallbacks(&self) -> u64 {
        self.existing().map_or(0, |state| state.fallbacks.load(Relaxed))
    }

    /// Why the last allocation that failed, or fell back, could not be locked.
    pub fn last_error(&self) -> Option<PinError> {
        let state = self.existing()?;
        let (bytes, code) = match state.arena.last_refusal()? {
            Refusal::Backend(error) => (error.bytes, error.code),
            Refusal::Limit { needed_bytes, .. } | Refusal::Region { needed_bytes, .. } => {
                (needed_bytes, libc::ENOMEM)
            }
        };
        Some(lock::at_limit(bytes, state.arena.reserved_bytes() as usize, code))
    }

    /// Refuses to lock more than `bytes` from now on; zero is no limit but the system's.
    pub fn set_limit(&self, bytes: usize) {
        if let Some(state) = self.state() {
            state.arena.set_limit(bytes);
        }
    }

    /// What this allocator knows of itself; reserved bytes are locked.
    pub fn stats(&self) -> Snapshot {
        self.existing().map_or_else(Snapshot::default, |state| state.arena.snapshot(true))
    }

    fn existing(&self) -> Option<&State<L>> {
        // Acquire pairs with the Release in `build`.
        // SAFETY: the state lives as long as the handle.
        unsafe { self.state.load(Acquire).as_ref() }
    }

    fn state(&self) -> Option<&State<L>> {
        self.existing().or_else(|| self.build())
    }

    #[cold]
    fn build(&self) -> Option<&State<L>> {
        let region = state_region::<L>()?;
        let state = region.base().cast::<State<L>>();
        // SAFETY: the region is committed, large enough, page aligned and new.
        unsafe {
            state.write(State {
                arena: Arena::new(Locked((self.lock)()), OsMemory, Sink(Memory::Pinned)),
                heap: SharedHeap::new(),
                fallbacks: AtomicU64::new(0),
            });
        }
        let won = self.state.compare_exchange(ptr::null_mut(), state.as_ptr(), AcqRel, Acquire);
        if won.is_err() {
            // SAFETY: nobody has seen this state.
            unsafe {
                state.drop_in_place();
                let _ = OsMemory.release(region);
            }
        }
        self.existing()
    }

    fn with<T>(&self, f: impl FnOnce(&Heap<PinnedConfig<L>>) -> T) -> Option<T> {
        let state = self.state()?;
        // SAFETY: it is always this arena, which ends with the handle.
        unsafe { state.heap.with(&state.arena, f) }
    }

    fn falls_back(&self) -> bool {
        let falls_back = self.at_limit == AtLimit::FallBack;
        if falls_back && let Some(state) = self.existing() {
            state.fallbacks.fetch_add(1, Relaxed);
        }
        falls_back
    }
}

/// Committed memory for a [`State`].
fn state_region<L: PageLock>() -> Option<Region<NonNull<u8>>> {
    let page = OsMemory.page_bytes();
    let bytes = NonZeroUsize::new(size_of::<State<L>>().next_multiple_of(page.get()))?;
    let region = OsMemory.reserve(bytes, page).ok()?;
    // SAFETY: the whole of a region just reserved.
    match unsafe { OsMemory.commit(&region, 0..bytes.get()) } {
        Ok(_) => Some(region),
        Err(_) => {
            // SAFETY: nothing lives there.
            let _ = unsafe { OsMemory.release(region) };
            None
        }
    }
}

impl<L: PageLock> Blocks for Pinned<L> {
    #[inline(never)]
    #[unsafe(link_section = "genesis_mem_slow")]
    fn take(&self, layout: Layout, zeroed: bool) -> Option<NonNull<u8>> {
        let (bytes, align) = (layout.size(), layout.align());
        // SAFETY: I1: the lock makes this thread the owner.
        let block = self.with(|heap| unsafe {
            if zeroed { heap.alloc_zeroed(bytes, align) } else { heap.alloc_any(bytes, align) }
        });
        match block.flatten() {
            None if self.falls_back() => Genesis.take(layout, zeroed),
            block => block,
        }
    }

    unsafe fn give(&self, block: NonNull<u8>, layout: Layout) {
        if self.at_limit == AtLimit::FallBack && !self.is_pinned(block.as_ptr()) {
            // SAFETY: forwarded: ordinary memory served this block.
            return unsafe { Genesis.give(block, layout) };
        }
        let (bytes, align) = (layout.size(), layout.align());
        // SAFETY: I1: the lock makes this thread the owner; the caller gives the block up.
        self.with(|heap| unsafe {
            heap.free_any(block, bytes, align);
        });
    }

    #[inline(never)]
    #[unsafe(link_section = "genesis_mem_slow")]
    unsafe fn resize(
        &self,
        block: NonNull<u8>,
        old: Layout,
        new: Layout,
        zeroed: bool,
    ) -> Option<NonNull<u8>> {
        if old.align() == new.align() && !zeroed && self.is_pinned(block.as_ptr()) {
            // SAFETY: I1: the lock makes this thread the owner, who holds the block.
            let resized = self.with(|heap| unsafe {
                heap.reallocate(block, Some(old.size()), old.align(), new.size())
            });
            if let Some(resized) = resized.flatten() {
                return Some(resized);
            }
        }
        // SAFETY: forwarded. Ordinary memory may serve where locked memory does not.
        unsafe { resize_by_copy(self, block, old, new, zeroed) }
    }
}

// SAFETY: blocks are exclusive, as large and as aligned as asked, and stay until they are freed,
// wherever the handle moves; nothing unwinds.
unsafe impl<L: PageLock> GlobalAlloc for Pinned<L> {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        to_pointer(self.take(layout, false))
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        to_pointer(self.take(layout, true))
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if let Some(block) = NonNull::new(block) {
            // SAFETY: forwarded.
            unsafe { self.give(block, layout) }
        }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_bytes: usize) -> *mut u8 {
        let Some(block) = NonNull::new(block) else { return ptr::null_mut() };
        let Ok(new) = Layout::from_size_align(new_bytes, layout.align()) else {
            return ptr::null_mut();
        };
        // SAFETY: forwarded.
        to_pointer(unsafe { self.resize(block, layout, new, false) })
    }
}

impl<L: PageLock> Drop for Pinned<L> {
    fn drop(&mut self) {
        let Some(state) = NonNull::new(*self.state.get_mut()) else { return };
        let page = OsMemory.page_bytes().get();
        let bytes = size_of::<State<L>>().next_multiple_of(page);
        // SAFETY: nobody borrows a block of a handle that ends; the state was built in a region of
        // that length.
        unsafe {
            sampler::forget_range(&state.as_ref().arena.opened());
            state.as_ref().arena.release_regions();
            state.drop_in_place();
            if let Some(bytes) = NonZeroUsize::new(bytes) {
                let _ = OsMemory.release(Region::new(state.cast(), bytes));
            }
        }
    }
}

/// An arena of page-locked memory: small steps, since all of it is resident at once.
struct PinnedConfig<L>(PhantomData<L>);

impl<L: PageLock> Config for PinnedConfig<L> {
    type Backend = Locked<L>;
    type Metadata = OsMemory;
    type Sink = Sink;
    type Relax = Yield;
    const REGION_BYTES: usize = 1 << 38;
    const GRANULE_BYTES: usize = 16 * 1024;
    const GROWTH_BYTES: usize = 256 * 1024;
    // A staging buffer of any size locks itself, not room for eight.
    const MAX_SLAB_BLOCK_BYTES: usize = 2 * 1024;
    const MAX_HEAPS: usize = 2;

    fn secret() -> u64 {
        process::secret()
    }

    #[cold]
    fn fault(fault: &Fault) {
        fault::abort_on(fault);
    }
}

/// Memory from the system that is locked when it is committed.
struct Locked<L>(L);

// SAFETY: as `OsMemory`. Locked pages are never purged, so they stay locked until the release.
unsafe impl<L: PageLock> Backend for Locked<L> {
    type Address = NonNull<u8>;
    type Error = BackendError;
    const CAPABILITIES: Capabilities = Capabilities::HOST_ACCESSIBLE
        .union(Capabilities::COMMIT)
        .union(Capabilities::ZEROED)
        .union(Capabilities::PINNED);

    fn page_bytes(&self) -> NonZeroUsize {
        OsMemory.page_bytes()
    }

    fn reserve(
        &self,
        bytes: NonZeroUsize,
        align: NonZeroUsize,
    ) -> Result<Region<NonNull<u8>>, BackendError> {
        OsMemory.reserve(bytes, align)
    }

    unsafe fn commit(
        &self,
        region: &Region<NonNull<u8>>,
        range: Range<usize>,
    ) -> Result<Contents, BackendError> {
        let bytes = range.len();
        // SAFETY: forwarded.
        let contents = unsafe { OsMemory.commit(region, range.clone()) }?;
        // SAFETY: the range was just committed, and lies inside the region.
        let locked = unsafe { self.0.lock(region.base().add(range.start), bytes) };
        match locked {
            Ok(()) => Ok(contents),
            Err(error) => {
                // SAFETY: nothing lives there yet.
                let _ = unsafe { OsMemory.purge(region, range) };
                Err(BackendError { call: BackendCall::Lock, bytes, code: error.code })
            }
        }
    }

    unsafe fn purge(
        &self,
        _region: &Region<NonNull<u8>>,
        range: Range<usize>,
    ) -> Result<(), BackendError> {
        Err(BackendError { call: BackendCall::Purge, bytes: range.len(), code: libc::EBUSY })
    }

    unsafe fn remap(
        &self,
        _region: &Region<NonNull<u8>>,
        from: Range<usize>,
        _to: usize,
    ) -> Result<(), BackendError> {
        Err(BackendError { call: BackendCall::Remap, bytes: from.len(), code: libc::EBUSY })
    }

    unsafe fn release(
        &self,
        region: Region<NonNull<u8>>,
    ) -> Result<(), (Region<NonNull<u8>>, BackendError)> {
        // SAFETY: forwarded: nothing in the region is live.
        unsafe {
            self.0.unlock_all();
            OsMemory.release(region)
        }
    }
}

// SAFETY: locked memory is ordinary memory.
unsafe impl<L: PageLock> HostBackend for Locked<L> {}
