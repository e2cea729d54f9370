//! The functions that allocate and free. Each is as the C standard has it, else as glibc has it.
//!
//! Every block is aligned to 16 bytes. A size of zero gets a block of its own; sizes above
//! `PTRDIFF_MAX` fail with `ENOMEM`.

use core::{
    ffi::{c_int, c_void},
    ptr::{self, NonNull},
};

use genesis_mem_host::{c, os::page_bytes};

use crate::errno::{fail, or_no_memory};

/// A block of at least `bytes` bytes, or null and `ENOMEM`.
#[unsafe(no_mangle)]
pub extern "C" fn malloc(bytes: usize) -> *mut c_void {
    match c::at_hand(bytes, c::MIN_ALIGN) {
        Some(block) => block.as_ptr().cast(),
        None => malloc_slow(bytes),
    }
}

/// Apart, and called last, so that the fast path keeps no stack.
#[cold]
#[inline(never)]
extern "C" fn malloc_slow(bytes: usize) -> *mut c_void {
    or_no_memory(c::allocate(bytes))
}

/// Gives a block back; null is nothing. Keeps `errno`.
///
/// # Safety
/// - `block` is null or a live block, and nobody uses it any more. Most violations end the program.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn free(block: *mut c_void) {
    // SAFETY: forwarded.
    unsafe { c::free(block.cast()) }
}

/// As [`free`]; an old name.
///
/// # Safety
/// - As for [`free`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cfree(block: *mut c_void) {
    // SAFETY: forwarded.
    unsafe { c::free(block.cast()) }
}

/// As [`free`] (C23); the size is not needed.
///
/// # Safety
/// - As for [`free`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn free_sized(block: *mut c_void, _bytes: usize) {
    // SAFETY: forwarded.
    unsafe { c::free(block.cast()) }
}

/// As [`free`] (C23); alignment and size are not needed.
///
/// # Safety
/// - As for [`free`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn free_aligned_sized(block: *mut c_void, _align: usize, _bytes: usize) {
    // SAFETY: forwarded.
    unsafe { c::free(block.cast()) }
}

/// A block for `count` elements of `bytes` bytes, all zero, or null and `ENOMEM`.
#[unsafe(no_mangle)]
pub extern "C" fn calloc(count: usize, bytes: usize) -> *mut c_void {
    match count.checked_mul(bytes) {
        Some(bytes) => or_no_memory(c::allocate_zeroed(bytes)),
        None => fail(libc::ENOMEM),
    }
}

/// Changes the size of a block, which may move. Null and `ENOMEM`: the block is as it was.
///
/// Of null it is `malloc`. To zero bytes it frees the block and returns null, as in glibc.
///
/// # Safety
/// - `block` is null or a live block; after success nobody uses it under its old address.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn realloc(block: *mut c_void, bytes: usize) -> *mut c_void {
    match NonNull::new(block.cast()) {
        None => malloc(bytes),
        // SAFETY: forwarded.
        Some(held) if bytes != 0 && unsafe { c::resize_in_place(held, bytes) } => block,
        // SAFETY: forwarded.
        Some(held) => unsafe { realloc_slow(held, bytes) },
    }
}

/// Apart, and called last, as [`malloc_slow`] is.
///
/// # Safety
/// - As for [`realloc`].
#[inline(never)]
unsafe extern "C" fn realloc_slow(block: NonNull<u8>, bytes: usize) -> *mut c_void {
    if bytes == 0 {
        // SAFETY: forwarded.
        unsafe { c::free(block.as_ptr()) };
        return ptr::null_mut();
    }
    // SAFETY: forwarded.
    or_no_memory(unsafe { c::resize(block, bytes) })
}

/// As [`realloc`], for `count` elements of `bytes` bytes; null and `ENOMEM` where the product
/// overflows.
///
/// # Safety
/// - As for [`realloc`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn reallocarray(
    block: *mut c_void,
    count: usize,
    bytes: usize,
) -> *mut c_void {
    match count.checked_mul(bytes) {
        // SAFETY: forwarded.
        Some(bytes) => unsafe { realloc(block, bytes) },
        None => fail(libc::ENOMEM),
    }
}

/// A block at a multiple of `align`; null and `EINVAL` where `align` is no power of two, null and
/// `ENOMEM` without memory. As C17 has it, `bytes` need not be a multiple of `align`.
#[unsafe(no_mangle)]
pub extern "C" fn aligned_alloc(align: usize, bytes: usize) -> *mut c_void {
    if !align.is_power_of_two() {
        return fail(libc::EINVAL);
    }
    or_no_memory(c::allocate_aligned(bytes, align))
}

/// Puts a block at a multiple of `align` into `*result`.
///
/// Returns `EINVAL` where `align` is no power of two or no multiple of a pointer's size, `ENOMEM`
/// without memory; `errno` and `*result` are as they were then.
///
/// # Safety
/// - `result` is writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn posix_memalign(
    result: *mut *mut c_void,
    align: usize,
    bytes: usize,
) -> c_int {
    if !align.is_power_of_two() || align < size_of::<*mut c_void>() {
        return libc::EINVAL;
    }
    let block = c::allocate_aligned(bytes, align);
    if block.is_null() {
        return libc::ENOMEM;
    }
    // SAFETY: forwarded.
    unsafe { *result = block.cast() };
    0
}

/// A block at a multiple of `align`, which is rounded up to a power of two, as in glibc; null and
/// `EINVAL` where that overflows, null and `ENOMEM` without memory.
#[unsafe(no_mangle)]
pub extern "C" fn memalign(align: usize, bytes: usize) -> *mut c_void {
    match align.checked_next_power_of_two() {
        Some(align) => or_no_memory(c::allocate_aligned(bytes, align)),
        None => fail(libc::EINVAL),
    }
}

/// A block at the start of a page, or null and `ENOMEM`.
#[unsafe(no_mangle)]
pub extern "C" fn valloc(bytes: usize) -> *mut c_void {
    or_no_memory(c::allocate_aligned(bytes, page_bytes().get()))
}

/// Whole pages, or null and `ENOMEM`.
#[unsafe(no_mangle)]
pub extern "C" fn pvalloc(bytes: usize) -> *mut c_void {
    match bytes.checked_next_multiple_of(page_bytes().get()) {
        Some(bytes) => valloc(bytes),
        None => fail(libc::ENOMEM),
    }
}

/// How many bytes the block holds: at least what was asked for, and all may be used. Of null, zero.
///
/// # Safety
/// - `block` is null or a live block.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn malloc_usable_size(block: *mut c_void) -> usize {
    // SAFETY: forwarded.
    NonNull::new(block.cast()).map_or(0, |block| unsafe { c::usable_bytes(block) })
}
