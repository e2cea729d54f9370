//! A heap behind a lock: for whoever has no thread-local storage, or wants one heap for a purpose.

use core::{
    alloc::{GlobalAlloc, Layout},
    fmt, mem,
    ptr::{self, NonNull},
};

use crate::{
    arena::Arena,
    config::Config,
    heap::Heap,
    sync::atomic::{
        AtomicPtr,
        Ordering::{AcqRel, Acquire},
    },
};

/// One heap of an arena, shared by whoever takes its short lock. `const`-built; the heap is
/// adopted on first use. The lock lies in the heap, which is immortal, so that a fork finds it.
pub struct SharedHeap<C: Config> {
    heap: AtomicPtr<Heap<C>>,
    dropped_whole: bool,
}

impl<C: Config> fmt::Debug for SharedHeap<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedHeap").finish_non_exhaustive()
    }
}

impl<C: Config> SharedHeap<C> {
    /// No heap yet; any will do.
    pub const fn new() -> Self {
        Self { heap: AtomicPtr::new(ptr::null_mut()), dropped_whole: false }
    }

    /// No heap yet; an empty one, to be [dropped](Self::drop_whole) whole.
    pub const fn for_dropping() -> Self {
        Self { heap: AtomicPtr::new(ptr::null_mut()), dropped_whole: true }
    }

    /// Runs `f` as the heap's owner; `None` where `arena` has no heap to give.
    ///
    /// # Safety
    /// - It is always the same arena, which neither moves nor ends while its blocks are in use.
    pub unsafe fn with<T>(&self, arena: &Arena<C>, f: impl FnOnce(&Heap<C>) -> T) -> Option<T> {
        // Acquire pairs with the Release in `adopt`.
        let heap = match NonNull::new(self.heap.load(Acquire)) {
            Some(heap) => heap,
            // SAFETY: forwarded.
            None => unsafe { self.adopt(arena) }?,
        };
        // SAFETY: I3: heaps live as long as their arena.
        let heap = unsafe { heap.as_ref() };
        // I1: the lock makes whoever holds it the owner.
        let _owner = heap.shared.lock();
        Some(f(heap))
    }

    /// # Safety
    /// - As for [`with`](Self::with).
    #[cold]
    unsafe fn adopt(&self, arena: &Arena<C>) -> Option<NonNull<Heap<C>>> {
        // SAFETY: forwarded.
        let heap = unsafe {
            match self.dropped_whole {
                true => arena.adopt_empty_heap(),
                false => arena.adopt_heap_unbound(),
            }
        }?;
        match self.heap.compare_exchange(ptr::null_mut(), heap.as_ptr(), AcqRel, Acquire) {
            Ok(_) => Some(heap),
            Err(first) => {
                // SAFETY: I1: adopted above and not used, since somebody else's came first.
                unsafe {
                    match self.dropped_whole {
                        true => arena.drop_heap(heap),
                        false => arena.orphan_heap(heap),
                    }
                }
                NonNull::new(first)
            }
        }
    }

    /// Gives back everything that the heap holds, live blocks and all.
    ///
    /// # Safety
    /// - It is the arena of [`with`](Self::with), and the heap is one [for
    ///   dropping](Self::for_dropping).
    /// - Nobody uses a block of it any more.
    pub unsafe fn drop_whole(&mut self, arena: &Arena<C>) {
        if let Some(heap) = NonNull::new(mem::replace(self.heap.get_mut(), ptr::null_mut())) {
            // SAFETY: forwarded.
            unsafe { arena.drop_heap(heap) };
        }
    }
}

impl<C: Config> Default for SharedHeap<C> {
    fn default() -> Self {
        Self::new()
    }
}

/// An arena with a single shared heap: a whole allocator in a `static`, for a program without
/// threads or without an operating system.
#[derive(Debug)]
pub struct SharedArena<C: Config> {
    arena: Arena<C>,
    heap: SharedHeap<C>,
}

impl<C: Config> SharedArena<C> {
    /// An allocator over `arena`.
    ///
    /// # Safety
    /// - It does not move from its first use on: it is a `static`, or as good as one.
    pub const unsafe fn new(arena: Arena<C>) -> Self {
        Self { arena, heap: SharedHeap::new() }
    }

    /// The arena.
    pub const fn arena(&self) -> &Arena<C> {
        &self.arena
    }

    fn with<T>(&self, f: impl FnOnce(&Heap<C>) -> T) -> Option<T> {
        // SAFETY: it is always this arena, which does not move: see `new`.
        unsafe { self.heap.with(&self.arena, f) }
    }
}

// SAFETY: blocks are exclusive, as large and as aligned as asked, and stay until they are freed;
// nothing unwinds unless `Config::fault` does.
unsafe impl<C: Config> GlobalAlloc for SharedArena<C> {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the lock makes the caller the owner.
        let block = self.with(|heap| unsafe { heap.alloc_any(layout.size(), layout.align()) });
        to_pointer(block.flatten())
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the lock makes the caller the owner; a fast block is wiped as far as asked.
        let block = self.with(|heap| unsafe { heap.alloc_zeroed(layout.size(), layout.align()) });
        to_pointer(block.flatten())
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        let Some(block) = NonNull::new(block) else { return };
        // SAFETY: the lock makes the caller the owner; the caller of `dealloc` gives the block up.
        self.with(|heap| unsafe {
            heap.free_any(block, layout.size(), layout.align());
        });
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_bytes: usize) -> *mut u8 {
        let Some(block) = NonNull::new(block) else { return ptr::null_mut() };
        // SAFETY: the lock makes the caller the owner, who holds the block.
        let block = self.with(|heap| unsafe {
            heap.reallocate(block, Some(layout.size()), layout.align(), new_bytes)
        });
        to_pointer(block.flatten())
    }
}

/// The block, or null, as the C-like interfaces have it.
fn to_pointer(block: Option<NonNull<u8>>) -> *mut u8 {
    block.map_or(ptr::null_mut(), NonNull::as_ptr)
}
