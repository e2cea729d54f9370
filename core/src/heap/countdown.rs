//! How many allocations of a class are left until one takes the slow path, and how many there were.
//!
//! One word serves both: what was granted less what is left was allocated. So the fast path counts as
//! it would without sampling, and has one comparison more.

use crate::sync::atomic::{
    AtomicI64, AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
    fence,
};

/// Allocations until one is due; below zero, as many too many. Owner only, but for
/// [`left`](Self::left).
#[derive(Debug)]
#[repr(transparent)]
pub(super) struct Countdown(AtomicI64);

impl Countdown {
    pub(super) const fn new() -> Self {
        Self(AtomicI64::new(0))
    }

    /// Counts an allocation.
    #[inline(always)]
    pub(super) fn count(&self) {
        self.0.store(self.left().wrapping_sub(1), Relaxed);
    }

    /// Whether the next allocation is due. Owner only.
    #[inline(always)]
    pub(super) fn is_over(&self) -> bool {
        // Not an atomic read, which the compiler would not fold into the comparison.
        // SAFETY: nobody but the owner writes the word.
        unsafe { *self.0.as_ptr() <= 0 }
    }

    /// Allocations that are left. Any thread.
    pub(super) fn left(&self) -> i64 {
        self.0.load(Relaxed)
    }
}

/// All that a countdown was ever set to: twice that, and odd while it is being set.
#[derive(Debug)]
pub(super) struct Granted(AtomicU64);

/// How often a reader looks again. A heap whose owner a fork has left behind may stay as it is.
const LOOKS: u32 = 1000;

impl Granted {
    pub(super) const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Sets a countdown. Owner only.
    pub(super) fn set(&self, countdown: &Countdown, left: i64) {
        let granted = self.0.load(Relaxed);
        let more = left.wrapping_sub(countdown.left()) as u64;
        self.0.store(granted | 1, Relaxed);
        // Release pairs with the fence in `allocations`: who sees the new countdown sees the mark.
        fence(Release);
        countdown.0.store(left, Relaxed);
        // Release pairs with the Acquire there.
        self.0.store(granted.wrapping_add(more.wrapping_mul(2)), Release);
    }

    /// How many allocations there were. Any thread.
    pub(super) fn allocations(&self, countdown: &Countdown) -> u64 {
        let mut looks = LOOKS;
        loop {
            let granted = self.0.load(Acquire);
            let left = countdown.left();
            // Acquire pairs with the fence in `set`.
            fence(Acquire);
            looks -= 1;
            if granted & 1 == 0 && granted == self.0.load(Relaxed) || looks == 0 {
                return (granted / 2).wrapping_sub(left as u64);
            }
            core::hint::spin_loop();
        }
    }
}
