//! The global allocator.

use core::{
    alloc::{GlobalAlloc, Layout},
    ptr::{self, NonNull},
};

use crate::{process, purger, thread};

/// The host allocator, for `#[global_allocator]` and for single collections. Every value is the
/// same allocator: the one of the process.
///
/// Memory that comes free goes back to the system after a delay. A wrong pointer or layout ends the
/// program with one line on stderr. Exhaustion is a null pointer, never a panic.
///
/// ```
/// use genesis_mem_host::Genesis;
///
/// #[global_allocator]
/// static ALLOC: Genesis = Genesis::new();
/// # fn main() {}
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Genesis;

impl Genesis {
    /// The allocator of the process.
    pub const fn new() -> Self {
        Self
    }
}

// SAFETY: blocks are exclusive, as large and as aligned as asked, and stay until they are freed,
// wherever the value moves; nothing unwinds.
unsafe impl GlobalAlloc for Genesis {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: I1: the heap is the calling thread's.
        match unsafe { thread::heap().alloc_fast(layout.size(), layout.align()) } {
            Some(block) => block.as_ptr(),
            None => alloc_slow(layout.size(), layout.align(), false),
        }
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: I1: the heap is the calling thread's; the block holds that many bytes.
        match unsafe { thread::heap().alloc_fast(layout.size(), layout.align()) } {
            Some(block) => unsafe {
                // SAFETY: the block holds that many bytes.
                block.write_bytes(0, layout.size());
                block.as_ptr()
            },
            None => alloc_slow(layout.size(), layout.align(), true),
        }
    }

    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: I1: the heap is the calling thread's; the caller gives the block up, which is
        // not null.
        unsafe {
            let block = NonNull::new_unchecked(block);
            if !thread::heap().free_fast(block, layout.size(), layout.align()) {
                free_otherwise(block, layout.size(), layout.align());
            }
        }
    }

    #[inline]
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_bytes: usize) -> *mut u8 {
        let Some(block) = NonNull::new(block) else { return ptr::null_mut() };
        let (old_bytes, align) = (Some(layout.size()), layout.align());
        // SAFETY: I1: the heap is the calling thread's, who holds the block.
        match unsafe { thread::heap().reallocate_fast(block, old_bytes, align, new_bytes) } {
            Some(block) => block.as_ptr(),
            None => reallocate(block, old_bytes, align, new_bytes),
        }
    }
}

/// What [`GlobalAlloc::alloc`] does where no block is at hand.
#[cold]
#[inline(never)]
pub(crate) fn alloc_slow(bytes: usize, align: usize, zeroed: bool) -> *mut u8 {
    // SAFETY: I1: `with_heap` makes this thread the owner.
    let block = process::with_heap(|heap| unsafe { heap.alloc_slow(bytes, align, zeroed) });
    purger::poke(process::arena().reserved_bytes());
    to_pointer(block.flatten())
}

/// What [`GlobalAlloc::dealloc`] does with a block that is not small, or not the thread's own.
#[inline(never)]
fn free_otherwise(block: NonNull<u8>, bytes: usize, align: usize) {
    // SAFETY: I1: the heap is the calling thread's; the caller gives the block up.
    if !unsafe { thread::heap().free_otherwise(block, bytes, align) } {
        free_slow(block, Some((bytes, align)));
    }
}

/// Frees a block where something is unusual about it.
#[cold]
#[inline(never)]
pub(crate) fn free_slow(block: NonNull<u8>, layout: Option<(usize, usize)>) {
    // SAFETY: I1: `with_heap` makes this thread the owner; the caller gives the block up.
    process::with_heap(|heap| unsafe { heap.free_slow(block, layout) });
}

/// Changes the size of a block; null where memory has run out, and the block is as it was.
#[inline(never)]
pub(crate) fn reallocate(
    block: NonNull<u8>,
    old_bytes: Option<usize>,
    align: usize,
    new_bytes: usize,
) -> *mut u8 {
    // SAFETY: I1: `with_heap` makes this thread the owner, who holds the block.
    let block =
        process::with_heap(|heap| unsafe { heap.reallocate(block, old_bytes, align, new_bytes) });
    to_pointer(block.flatten())
}

/// The block, or null, as the C-like interfaces have it.
pub(crate) fn to_pointer(block: Option<NonNull<u8>>) -> *mut u8 {
    block.map_or(ptr::null_mut(), NonNull::as_ptr)
}
