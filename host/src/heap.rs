//! First-class heaps: an allocator for a purpose, dropped whole.

use core::{alloc::Layout, ptr::NonNull};

use genesis_mem_core::shared_heap::SharedHeap;

use crate::{collections::Blocks, collections::resize_by_copy, process, process::HostConfig};

/// A heap of its own, for collections that belong together: `Vec::new_in(&heap)`.
///
/// Any thread may allocate from it and free into it; a short lock keeps them apart. Dropping it
/// gives back all its memory at once, what was leaked in it included. It draws from the same arena
/// as [`Genesis`](crate::Genesis), and shows in the same [`stats`](crate::stats).
///
/// ```
/// use allocator_api2::vec::Vec;
/// use genesis_mem_host::Heap;
///
/// let heap = Heap::new();
/// let mut squares = Vec::new_in(&heap);
/// squares.extend((0u64..100).map(|n| n * n));
/// assert_eq!(squares[9], 81);
/// ```
#[derive(Debug)]
pub struct Heap {
    shared: SharedHeap<HostConfig>,
}

impl Heap {
    /// An empty heap, which costs nothing until its first allocation.
    pub const fn new() -> Self {
        Self { shared: SharedHeap::for_dropping() }
    }

    fn with<T>(&self, f: impl FnOnce(&crate::thread::HostHeap) -> T) -> Option<T> {
        // SAFETY: it is always this arena, which is static.
        unsafe { self.shared.with(process::arena(), f) }
    }
}

impl Blocks for Heap {
    fn take(&self, layout: Layout, zeroed: bool) -> Option<NonNull<u8>> {
        let (bytes, align) = (layout.size(), layout.align());
        // SAFETY: I1: the lock makes this thread the owner.
        self.with(|heap| unsafe {
            if zeroed { heap.alloc_zeroed(bytes, align) } else { heap.alloc_any(bytes, align) }
        })
        .flatten()
    }

    unsafe fn give(&self, block: NonNull<u8>, layout: Layout) {
        let (bytes, align) = (layout.size(), layout.align());
        // SAFETY: I1: the lock makes this thread the owner; the caller gives the block up.
        self.with(|heap| unsafe {
            heap.free_any(block, bytes, align);
        });
    }

    unsafe fn resize(
        &self,
        block: NonNull<u8>,
        old: Layout,
        new: Layout,
        zeroed: bool,
    ) -> Option<NonNull<u8>> {
        if old.align() != new.align() || zeroed {
            // SAFETY: forwarded.
            return unsafe { resize_by_copy(self, block, old, new, zeroed) };
        }
        // SAFETY: I1: the lock makes this thread the owner, who holds the block.
        self.with(|heap| unsafe {
            heap.reallocate(block, Some(old.size()), old.align(), new.size())
        })
        .flatten()
    }
}

impl Default for Heap {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Heap {
    fn drop(&mut self) {
        // SAFETY: it is always this arena; nobody borrows a block of a heap that ends.
        unsafe { self.shared.drop_whole(process::arena()) };
    }
}
