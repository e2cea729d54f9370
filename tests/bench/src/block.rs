//! Blocks taken straight from an allocator, as a collection would take them.

use std::alloc::{GlobalAlloc, Layout, handle_alloc_error};
use std::hint::black_box;

/// The alignment of all blocks here: that of most Rust types.
const ALIGN_BYTES: usize = 8;

/// A live block and its size; freed by [`Block::give`], leaked when dropped.
#[derive(Debug)]
pub struct Block {
    start: *mut u8,
    bytes: u32,
}

// SAFETY: a block has one owner, and memory from a global allocator may be freed by any thread.
unsafe impl Send for Block {}

impl Block {
    /// Allocates `bytes`, at least 8, and writes the first word.
    #[inline(always)]
    pub fn take<A: GlobalAlloc>(alloc: &A, bytes: usize) -> Self {
        let layout = layout(bytes);
        // SAFETY: the layout has a size, as every caller asks for 8 bytes or more.
        let start = unsafe { alloc.alloc(layout) };
        Self::touched(start, layout)
    }

    /// Allocates `bytes` zeroed, at least 8, and writes the first word.
    #[inline(always)]
    pub fn take_zeroed<A: GlobalAlloc>(alloc: &A, bytes: usize) -> Self {
        let layout = layout(bytes);
        // SAFETY: the layout has a size, as every caller asks for 8 bytes or more.
        let start = unsafe { alloc.alloc_zeroed(layout) };
        Self::touched(start, layout)
    }

    #[inline(always)]
    fn touched(start: *mut u8, layout: Layout) -> Self {
        if start.is_null() {
            handle_alloc_error(layout);
        }
        // The compiler may no longer know that the block is unused, so it cannot leave it out.
        let start = black_box(start);
        // SAFETY: the block holds at least one word and is aligned for it.
        unsafe { start.cast::<u64>().write(layout.size() as u64) };
        Self { start, bytes: layout.size() as u32 }
    }

    /// Frees the block.
    ///
    /// # Safety
    /// It came from this allocator.
    #[inline(always)]
    pub unsafe fn give<A: GlobalAlloc>(self, alloc: &A) {
        // SAFETY: the block is live, being owned, with the layout that it was taken with; that it
        // is this allocator's is the caller's promise.
        unsafe { alloc.dealloc(self.start, layout(self.bytes as usize)) };
    }

    /// Frees the block, with a size that the caller remembered.
    ///
    /// # Safety
    /// It came from this allocator, and with this size.
    #[inline(always)]
    pub unsafe fn give_as<A: GlobalAlloc>(self, alloc: &A, bytes: usize) {
        // SAFETY: as in `give`; that the layout is the block's is the caller's promise.
        unsafe { alloc.dealloc(self.start, layout(bytes)) };
    }

    /// How many bytes were asked for.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes as usize
    }

    /// Where the block begins.
    #[must_use]
    pub fn start(&self) -> *mut u8 {
        self.start
    }
}

#[inline(always)]
fn layout(bytes: usize) -> Layout {
    // SAFETY: the alignment is a power of two, and no case asks for more than a few MiB.
    unsafe { Layout::from_size_align_unchecked(bytes, ALIGN_BYTES) }
}

/// Hides a size from the compiler, as the sizes in a program are hidden.
#[inline(always)]
#[must_use]
pub fn opaque(bytes: usize) -> usize {
    black_box(bytes)
}
