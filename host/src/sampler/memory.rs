//! The profiler's own memory, mapped from the system: it never asks the allocator that it watches.

use core::{
    fmt,
    marker::PhantomData,
    ops::{Deref, DerefMut},
    ptr::{self, NonNull},
    slice,
    sync::atomic::{
        AtomicPtr, AtomicUsize,
        Ordering::{AcqRel, Acquire, Relaxed},
    },
};

use bytemuck::Zeroable;

use crate::os::{keep_errno, page_bytes};

/// Bytes mapped for the profiler now.
static USED_BYTES: AtomicUsize = AtomicUsize::new(0);

/// Bytes mapped for the profiler now.
pub(super) fn used_bytes() -> usize {
    USED_BYTES.load(Relaxed)
}

/// Has the processor fetch a value while it does something else.
#[inline(always)]
pub(super) fn fetch_early<T>(value: &T) {
    let place: *const T = value;
    // SAFETY: changes no more than what is in the caches.
    unsafe {
        #[cfg(target_arch = "x86_64")]
        core::arch::asm!("prefetcht0 [{}]", in(reg) place,
            options(nostack, readonly, preserves_flags));
        #[cfg(target_arch = "aarch64")]
        core::arch::asm!("prfm pldl1keep, [{}]", in(reg) place,
            options(nostack, readonly, preserves_flags));
    }
}

/// Maps `bytes` bytes, or as many from now on instead of `old_bytes` at `old`, which may move.
///
/// # Safety
/// - `old` is nobody else's mapping of `old_bytes` bytes, which may be none.
unsafe fn map(old: *mut u8, old_bytes: usize, bytes: usize) -> Option<NonNull<u8>> {
    // SAFETY: forwarded; new mappings harm nobody.
    let base = keep_errno(|| unsafe {
        if old_bytes > 0 {
            return libc::mremap(old.cast(), old_bytes, bytes, libc::MREMAP_MAYMOVE);
        }
        let access = libc::PROT_READ | libc::PROT_WRITE;
        let how = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        libc::mmap(ptr::null_mut(), bytes, access, how, -1, 0)
    });
    if base == libc::MAP_FAILED {
        return None;
    }
    USED_BYTES.fetch_add(bytes - old_bytes, Relaxed);
    NonNull::new(base.cast())
}

/// Values in memory of their own, zero at first.
#[derive(Debug)]
pub(super) struct Array<T> {
    base: NonNull<T>,
    count: usize,
    mapped_bytes: usize,
    owned: PhantomData<T>,
}

// SAFETY: the array owns its values.
unsafe impl<T: Send> Send for Array<T> {}

impl<T: Zeroable> Array<T> {
    /// No values, and no memory.
    pub(super) const fn new() -> Self {
        Self { base: NonNull::dangling(), count: 0, mapped_bytes: 0, owned: PhantomData }
    }

    /// At least `count` zeroes: as many as fill the pages; `None` where the system has no memory.
    pub(super) fn zeroed(count: usize) -> Option<Self> {
        let mut array = Self::new();
        array.grow(count).then_some(array)
    }

    /// Adds zeroes until there are at least `count` values; false, and no change, where the system
    /// has no memory.
    #[cold]
    #[inline(never)]
    pub(super) fn grow(&mut self, count: usize) -> bool {
        if count <= self.count {
            return true;
        }
        let page = page_bytes().get();
        let bytes = count.checked_mul(size_of::<T>());
        let Some(bytes) = bytes.and_then(|bytes| bytes.checked_next_multiple_of(page)) else {
            return false;
        };
        // SAFETY: the mapping is this array's.
        let base = unsafe { map(self.base.as_ptr().cast(), self.mapped_bytes, bytes) };
        let Some(base) = base else { return false };
        (self.base, self.mapped_bytes, self.count) = (base.cast(), bytes, bytes / size_of::<T>());
        true
    }
}

impl<T> Deref for Array<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: that many values were mapped, and zeroes are values.
        unsafe { slice::from_raw_parts(self.base.as_ptr(), self.count) }
    }
}

impl<T> DerefMut for Array<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as above, and they are this array's alone.
        unsafe { slice::from_raw_parts_mut(self.base.as_ptr(), self.count) }
    }
}

impl<T> Drop for Array<T> {
    fn drop(&mut self) {
        if self.mapped_bytes > 0 {
            USED_BYTES.fetch_sub(self.mapped_bytes, Relaxed);
            // SAFETY: the mapping is this array's, and ends with it.
            keep_errno(|| unsafe { libc::munmap(self.base.as_ptr().cast(), self.mapped_bytes) });
        }
    }
}

/// Values one after the other, as many as there is memory for.
#[derive(Debug)]
pub(super) struct List<T> {
    values: Array<T>,
    len: usize,
}

impl<T: Zeroable + Copy> List<T> {
    /// No values.
    pub(super) const fn new() -> Self {
        Self { values: Array::new(), len: 0 }
    }

    /// Room for `count` values.
    pub(super) fn with_room(count: usize) -> Option<Self> {
        Some(Self { values: Array::zeroed(count)?, len: 0 })
    }

    /// Adds a value; false where there is no memory.
    pub(super) fn push(&mut self, value: T) -> bool {
        self.extend(slice::from_ref(&value))
    }

    /// Adds values, or none of them where there is no memory.
    #[inline(never)]
    pub(super) fn extend(&mut self, values: &[T]) -> bool {
        let len = self.len + values.len();
        if len > self.values.len() && !self.values.grow(len.max(2 * self.values.len())) {
            return false;
        }
        self.values[self.len..len].copy_from_slice(values);
        self.len = len;
        true
    }

    /// Keeps the first `len` values.
    pub(super) fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }
}

impl<T> Deref for List<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.values[..self.len]
    }
}

impl<T> DerefMut for List<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.values[..self.len]
    }
}

/// Text, as long as there is memory.
#[derive(Debug)]
pub(super) struct Text(pub(super) List<u8>);

impl fmt::Write for Text {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if self.0.extend(text.as_bytes()) { Ok(()) } else { Err(fmt::Error) }
    }
}

/// Values that are mapped once and stay, for any thread to read at any moment.
#[derive(Debug)]
pub(super) struct Fixed<T> {
    base: AtomicPtr<T>,
    count: AtomicUsize,
}

impl<T: Zeroable + Sync> Fixed<T> {
    /// No values yet.
    pub(super) const fn new() -> Self {
        Self { base: AtomicPtr::new(ptr::null_mut()), count: AtomicUsize::new(0) }
    }

    /// Has at least `count` zeroes from now on, unless there are values already; false where the
    /// system has no memory. By one thread at a time.
    pub(super) fn set(&self, count: usize) -> bool {
        if count == 0 || !self.get().is_empty() {
            return true;
        }
        let Some(array) = Array::<T>::zeroed(count) else { return false };
        let array = core::mem::ManuallyDrop::new(array);
        self.base.store(array.base.as_ptr(), Relaxed);
        // Release pairs with the Acquire in `get`.
        self.count.swap(array.count, AcqRel);
        true
    }

    /// The values.
    pub(super) fn get(&self) -> &[T] {
        let count = self.count.load(Acquire);
        match NonNull::new(self.base.load(Relaxed)) {
            // SAFETY: that many were mapped, and stay.
            Some(base) if count > 0 => unsafe { slice::from_raw_parts(base.as_ptr(), count) },
            _ => &[],
        }
    }
}
