//! The global allocator.

use core::{
    alloc::{GlobalAlloc, Layout},
    ptr::{self, NonNull},
};

use crate::{c::MIN_ALIGN, process, thread, thread::HostHeap};

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
        let heap = thread::heap();
        // SAFETY: I1: the heap is the calling thread's.
        match unsafe { heap.alloc_fast(layout.size(), layout.align()) } {
            Some(block) => block.as_ptr(),
            None => alloc_otherwise(heap, layout.size(), layout.align()),
        }
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        let heap = thread::heap();
        // SAFETY: I1: the heap is the calling thread's.
        match unsafe { heap.alloc_fast(layout.size(), layout.align()) } {
            Some(block) => unsafe {
                // SAFETY: the block holds that many bytes.
                block.write_bytes(0, layout.size());
                block.as_ptr()
            },
            None => alloc_zeroed_otherwise(heap, layout.size(), layout.align()),
        }
    }

    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        let heap = thread::heap();
        // SAFETY: the caller's block is not null.
        let block = unsafe { NonNull::new_unchecked(block) };
        if layout.align() > MIN_ALIGN {
            free_elsewhere(heap, block, layout.size(), layout.align());
        // SAFETY: I1: the heap is the calling thread's; the caller gives the block up.
        } else if !unsafe { heap.free_fast(block, layout.size()) } {
            free_otherwise(heap, block, layout.size());
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

/// What [`GlobalAlloc::alloc`] does with sizes and alignments that are not ordinary, and where no
/// block is at hand. Cold, so that it keeps out of the way where it is called; `heap` is the calling
/// thread's.
#[cold]
#[inline(never)]
#[unsafe(link_section = "genesis_mem_slow")]
pub(crate) fn alloc_otherwise(heap: &HostHeap, bytes: usize, align: usize) -> *mut u8 {
    // SAFETY: I1: the heap is the calling thread's.
    match unsafe { heap.alloc_larger(bytes, align) } {
        Some(block) => block.as_ptr(),
        None => alloc_anywhere(heap, bytes, align),
    }
}

/// The same for every other size and alignment.
#[inline(never)]
#[unsafe(link_section = "genesis_mem_slow")]
fn alloc_anywhere(heap: &HostHeap, bytes: usize, align: usize) -> *mut u8 {
    // SAFETY: I1: the heap is the calling thread's.
    match unsafe { heap.alloc_otherwise(bytes, align) } {
        Some(block) => block.as_ptr(),
        None => alloc_slow(bytes, align, false),
    }
}

/// The same for [`GlobalAlloc::alloc_zeroed`].
#[cold]
#[inline(never)]
#[unsafe(link_section = "genesis_mem_slow")]
fn alloc_zeroed_otherwise(heap: &HostHeap, bytes: usize, align: usize) -> *mut u8 {
    // SAFETY: I1: the heap is the calling thread's.
    match unsafe { heap.alloc_otherwise(bytes, align) } {
        Some(block) => unsafe {
            // SAFETY: the block holds that many bytes.
            block.write_bytes(0, bytes);
            block.as_ptr()
        },
        None => alloc_slow(bytes, align, true),
    }
}

/// Finds a block where none is at hand.
#[cold]
#[inline(never)]
#[unsafe(link_section = "genesis_mem_slow")]
pub(crate) fn alloc_slow(bytes: usize, align: usize, zeroed: bool) -> *mut u8 {
    if !zeroed
        // SAFETY: I1: the heap is the calling thread's.
        && let Some(block) = unsafe { thread::heap().alloc_kept(bytes, align) }
    {
        return block.as_ptr();
    }
    // SAFETY: I1: `with_heap` makes this thread the owner.
    let block = process::with_heap(|heap| unsafe { heap.alloc_slow(bytes, align, zeroed) });
    process::see_to_threads();
    to_pointer(block.flatten())
}

/// What [`GlobalAlloc::dealloc`] does with a block of an ordinary alignment that is not found at once:
/// most often it is the thread's own all the same. Cold, so that it keeps out of the way where it is
/// called; `heap` is the calling thread's.
#[cold]
#[inline(never)]
#[unsafe(link_section = "genesis_mem_slow")]
fn free_otherwise(heap: &HostHeap, block: NonNull<u8>, bytes: usize) {
    if !HostHeap::is_ordinary(bytes, MIN_ALIGN) {
        // Which ordinary alignment was asked for makes no difference.
        return free_elsewhere(heap, block, bytes, MIN_ALIGN);
    }
    // SAFETY: I1: the heap is the calling thread's; the caller gives the block up.
    if !unsafe { heap.free_own(block, bytes) } {
        free_foreign(heap, block, bytes);
    }
}

/// The same for a block that is not the thread's own.
#[inline(never)]
#[unsafe(link_section = "genesis_mem_slow")]
fn free_foreign(heap: &HostHeap, block: NonNull<u8>, bytes: usize) {
    // SAFETY: I1: the heap is the calling thread's; the caller gives the block up.
    if !unsafe { heap.free_foreign(block, bytes) } {
        free_elsewhere(heap, block, bytes, MIN_ALIGN);
    }
}

/// The same for every other block.
#[cold]
#[inline(never)]
#[unsafe(link_section = "genesis_mem_slow")]
fn free_elsewhere(heap: &HostHeap, block: NonNull<u8>, bytes: usize, align: usize) {
    // SAFETY: I1: the heap is the calling thread's; the caller gives the block up.
    if !unsafe { heap.free_larger(block, bytes, align) } {
        free_anywhere(heap, block, bytes, align);
    }
}

/// The same where no first look helps.
#[inline(never)]
#[unsafe(link_section = "genesis_mem_slow")]
fn free_anywhere(heap: &HostHeap, block: NonNull<u8>, bytes: usize, align: usize) {
    // SAFETY: I1: the heap is the calling thread's; the caller gives the block up.
    if !unsafe { heap.free_otherwise(block, bytes, align) } {
        free_slow(block, Some((bytes, align)));
    }
}

/// Frees a block where something is unusual about it.
#[cold]
#[inline(never)]
#[unsafe(link_section = "genesis_mem_slow")]
pub(crate) fn free_slow(block: NonNull<u8>, layout: Option<(usize, usize)>) {
    if let Some((bytes, align)) = layout
        // SAFETY: I1: the heap is the calling thread's; the caller gives the block up.
        && unsafe { thread::heap().free_large_fast(block, bytes, align) }
    {
        return;
    }
    // SAFETY: I1: `with_heap` makes this thread the owner; the caller gives the block up.
    process::with_heap(|heap| unsafe { heap.free_slow(block, layout) });
}

/// Changes the size of a block; null where memory has run out, and the block is as it was.
#[inline(never)]
#[unsafe(link_section = "genesis_mem_slow")]
pub(crate) fn reallocate(
    block: NonNull<u8>,
    old_bytes: Option<usize>,
    align: usize,
    new_bytes: usize,
) -> *mut u8 {
    // SAFETY: I1: `with_heap` makes this thread the owner, who holds the block.
    let block =
        process::with_heap(|heap| unsafe { heap.reallocate(block, old_bytes, align, new_bytes) });
    process::see_to_threads();
    to_pointer(block.flatten())
}

/// The block, or null, as the C-like interfaces have it.
pub(crate) fn to_pointer(block: Option<NonNull<u8>>) -> *mut u8 {
    block.map_or(ptr::null_mut(), NonNull::as_ptr)
}
