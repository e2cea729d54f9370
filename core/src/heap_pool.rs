//! Heaps without an owner: those of ended threads, which the next thread adopts whole.
//!
//! Heaps are immortal, so a remote free that comes late always finds its slab and its heap. The
//! lock orders what the last owner did before what the next one does.

use core::{cell::Cell, ptr::NonNull};

use crate::sync::{Lock, RelaxStrategy, Spin};

/// Something that can wait in a [`HeapPool`].
///
/// # Safety
/// - `link` always returns the same cell, which nobody else uses.
pub unsafe trait Pooled {
    /// The link to the next in the pool.
    fn link(&self) -> &Cell<Option<NonNull<Self>>>;
}

/// A stack of heaps that nobody owns.
#[derive(Debug)]
pub struct HeapPool<H, R = Spin> {
    top: Lock<Option<NonNull<H>>, R>,
}

// SAFETY: one owner: a heap in the pool belongs to the pool, and the lock hands it over.
unsafe impl<H, R> Sync for HeapPool<H, R> {}
// SAFETY: as above; the pool has no thread affinity.
unsafe impl<H, R> Send for HeapPool<H, R> {}

impl<H: Pooled, R: RelaxStrategy> HeapPool<H, R> {
    /// No heaps.
    #[cfg(not(genesis_loom))]
    pub const fn new() -> Self {
        Self { top: Lock::new(None) }
    }

    /// No heaps.
    #[cfg(genesis_loom)]
    pub fn new() -> Self {
        Self { top: Lock::new(None) }
    }

    /// Takes a heap: the caller is its owner from now on.
    pub fn adopt(&self) -> Option<NonNull<H>> {
        let mut top = self.top.lock();
        let heap = (*top)?;
        // SAFETY: I3: heaps are immortal.
        *top = unsafe { heap.as_ref() }.link().take();
        Some(heap)
    }

    /// Leaves a heap to whoever comes next.
    ///
    /// # Safety
    /// - The caller owns the heap, which is immortal, and doesn't touch it from now on.
    pub unsafe fn orphan(&self, heap: NonNull<H>) {
        let mut top = self.top.lock();
        // SAFETY: I3: heaps are immortal.
        unsafe { heap.as_ref() }.link().set(*top);
        *top = Some(heap);
    }

    /// The lock, for whoever must hold it across a fork.
    #[cfg(not(genesis_loom))]
    pub(crate) fn lock(&self) -> &Lock<Option<NonNull<H>>, R> {
        &self.top
    }
}

impl<H: Pooled, R: RelaxStrategy> Default for HeapPool<H, R> {
    fn default() -> Self {
        Self::new()
    }
}
