//! The allocator as C sees it: sizes at allocation, none at the free. The preloaded library puts
//! its names on these; they set no `errno`, which is the names' business.

use core::{
    alloc::Layout,
    ops::Range,
    ptr::{self, NonNull},
    sync::atomic::Ordering::Relaxed,
};

use crate::{
    genesis::{alloc_otherwise, free_slow, reallocate},
    process, thread,
};

/// The alignment of every block that asks for none, bytes.
pub const MIN_ALIGN: usize = 16;

/// A block of at least `bytes` bytes, or null. Zero bytes get a block of their own.
#[inline]
pub fn allocate(bytes: usize) -> *mut u8 {
    allocate_aligned(bytes, MIN_ALIGN)
}

/// A block as of [`allocate_aligned`], if one is at hand; `None` says to call that. For names whose
/// fast path is to end without a call.
#[inline(always)]
pub fn at_hand(bytes: usize, align: usize) -> Option<NonNull<u8>> {
    // SAFETY: I1: the heap is the calling thread's.
    unsafe { thread::heap().alloc_fast(bytes, align) }
}

/// A block of at least `bytes` bytes at a multiple of `align`, a power of two, or null.
#[inline]
pub fn allocate_aligned(bytes: usize, align: usize) -> *mut u8 {
    match at_hand(bytes, align) {
        Some(block) => block.as_ptr(),
        None => alloc_otherwise(thread::heap(), bytes, align),
    }
}

/// A block of at least `bytes` bytes, all zero, or null.
#[inline]
pub fn allocate_zeroed(bytes: usize) -> *mut u8 {
    match Layout::from_size_align(bytes, MIN_ALIGN) {
        // SAFETY: a size of zero is served as well.
        Ok(layout) => unsafe { core::alloc::GlobalAlloc::alloc_zeroed(&crate::Genesis, layout) },
        Err(_) => ptr::null_mut(),
    }
}

/// Gives a block back; null is nothing.
///
/// # Safety
/// - `block` is null or a live block of this allocator, and nobody uses it any more.
#[inline]
pub unsafe fn free(block: *mut u8) {
    // SAFETY: I1: the heap is the calling thread's; the caller gives the block up.
    if !unsafe { thread::heap().free_unsized_fast(block) } {
        free_otherwise(block);
    }
}

/// The same for what is not in a slab of the thread's own, or in a long one.
#[cold]
#[inline(never)]
fn free_otherwise(block: *mut u8) {
    let Some(block) = NonNull::new(block) else { return };
    // SAFETY: I1: the heap is the calling thread's; the caller of `free` gives the block up.
    if !unsafe { thread::heap().free_unsized_otherwise(block) } {
        free_slow(block, None);
    }
}

/// Whether a block can be one of `bytes` bytes where it is: then it is. For names whose fast path is to
/// end without a call.
///
/// # Safety
/// - `block` is a live block of this allocator.
#[inline(always)]
pub unsafe fn resize_in_place(block: NonNull<u8>, bytes: usize) -> bool {
    // SAFETY: I1: the heap is the calling thread's, who holds the block.
    unsafe { thread::heap().resize_in_place(block, None, MIN_ALIGN, bytes) }
}

/// Changes the size of a block, which moves where it must; null and no change where memory has run
/// out.
///
/// # Safety
/// - `block` is a live block of this allocator; after success nobody uses it under its old
///   address.
pub unsafe fn resize(block: NonNull<u8>, bytes: usize) -> *mut u8 {
    // SAFETY: I1: the heap is the calling thread's, who holds the block.
    match unsafe { thread::heap().reallocate_fast(block, None, MIN_ALIGN, bytes) } {
        Some(block) => block.as_ptr(),
        None => reallocate(block, None, MIN_ALIGN, bytes),
    }
}

/// How many bytes a live block holds: at least what was asked for.
///
/// # Safety
/// - `block` is a live block of this allocator.
#[inline]
pub unsafe fn usable_bytes(block: NonNull<u8>) -> usize {
    // SAFETY: I1: the heap is the calling thread's; the caller holds the block.
    unsafe { thread::heap().usable_bytes_fast(block) }.unwrap_or_else(|| usable_bytes_slow(block))
}

/// The same where something is unusual about the block.
#[cold]
#[inline(never)]
fn usable_bytes_slow(block: NonNull<u8>) -> usize {
    // SAFETY: I1: `with_heap` makes this thread the owner; the caller holds the block.
    process::with_heap(|heap| unsafe { heap.usable_bytes(block) }).flatten().unwrap_or(0)
}

/// Whether a block lies in memory of this allocator.
pub fn owns(block: NonNull<u8>) -> bool {
    process::arena().contains(block.addr().get())
}

/// Says that frees don't name sizes from now on, so that requested bytes are an estimate, and reads
/// the options if memory was asked for before there was an environment. To be called once, when the
/// library is loaded, with the addresses of its code, which is left out of call stacks.
pub fn start(code: &Range<usize>) {
    process::UNSIZED.store(true, Relaxed);
    crate::sampler::set_own_code(code);
    crate::options::read(process::arena());
    crate::serve::poke();
}
