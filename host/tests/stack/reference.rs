//! The system's unwinder.

use std::ffi::{c_int, c_void};

use genesis_mem_host::stack;

#[repr(C)]
struct Context(c_void);

unsafe extern "C" {
    fn _Unwind_Backtrace(
        call: extern "C" fn(*mut Context, *mut c_void) -> c_int,
        data: *mut c_void,
    ) -> c_int;
    fn _Unwind_GetIPInfo(context: *mut Context, before: *mut c_int) -> usize;
}

/// Addresses without an allocation, for use in signal handlers.
pub(crate) struct Frames {
    addresses: [usize; 256],
    count: usize,
}

impl Frames {
    pub(crate) fn get(&self) -> &[usize] {
        &self.addresses[..self.count]
    }

    /// Whether a part of the others starts with these.
    pub(crate) fn starts(&self, others: &Self) -> bool {
        let first = |start: &[usize]| start.first() == self.get().first();
        let mut tails = (0..others.count).map(|start| &others.get()[start..]);
        tails.find(|tail| first(tail)).is_some_and(|tail| tail.starts_with(self.get()))
    }

    /// By the system.
    #[inline(never)]
    pub(crate) fn of_system() -> Self {
        let mut frames = Self { addresses: [0; 256], count: 0 };
        extern "C" fn add(context: *mut Context, frames: *mut c_void) -> c_int {
            // SAFETY: the pointer below, which nobody else uses meanwhile.
            let frames = unsafe { &mut *frames.cast::<Frames>() };
            let mut before = 0;
            // SAFETY: the context is the unwinder's.
            let address = unsafe { _Unwind_GetIPInfo(context, &mut before) };
            if address == 0 || frames.count == frames.addresses.len() {
                return 5;
            }
            frames.addresses[frames.count] = address + before as usize;
            frames.count += 1;
            0
        }
        // SAFETY: `add` gets what it expects.
        unsafe { _Unwind_Backtrace(add, (&raw mut frames).cast()) };
        frames
    }

    /// By ours, from the caller of the function with `above` on.
    #[inline(never)]
    pub(crate) fn of_ours(count: usize, above: usize) -> Self {
        let mut frames = Self { addresses: [0; 256], count: 0 };
        frames.count = stack::capture(&mut frames.addresses[..count], above);
        frames
    }
}

/// Captures both ways and returns how many frames there are, at most `frames`; or what differs.
#[inline(never)]
pub(crate) fn compare(frames: usize) -> Result<usize, (Frames, Frames)> {
    let ours = Frames::of_ours(frames, stack::here());
    let system = Frames::of_system();
    let Some(first) = ours.get().first() else { return Ok(0) };
    let start = system.get().iter().position(|address| address == first);
    let expected = start.map(|start| &system.get()[start..]);
    let expected = expected.map(|expected| &expected[..expected.len().min(frames)]);
    if expected == Some(ours.get()) { Ok(ours.count) } else { Err((ours, system)) }
}

/// Compares, and returns how many frames there are.
///
/// # Panics
/// The two differ.
#[inline(never)]
pub(crate) fn both(frames: usize) -> usize {
    match compare(frames) {
        Ok(count) => count,
        Err((ours, system)) => panic!("ours {:#x?}\nsystem {:#x?}", ours.get(), system.get()),
    }
}

/// The same, of more than a few frames.
///
/// # Panics
/// The two differ, or there are hardly any.
#[inline(never)]
pub(crate) fn assert_same(frames: usize) {
    assert!(both(frames) > 5);
}
