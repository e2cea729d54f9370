//! Tables that many threads use at a time: parts, each behind its own short lock.

use core::mem;

use genesis_mem_core::sync::Lock;

use crate::os::Yield;

/// How many parts a table has.
pub(super) const SHARDS: usize = 1 << SHARD_BITS;
pub(super) const SHARD_BITS: u32 = 4;

/// A part of a table, on cache lines of its own.
#[repr(align(128))]
pub(super) struct Shard<T>(Lock<T, Yield>);

impl<T> Shard<T> {
    pub(super) const fn new(value: T) -> Self {
        Self(Lock::new(value))
    }

    /// Runs `f` on the part, which nobody else uses meanwhile.
    #[inline]
    pub(super) fn with<R>(&self, f: impl FnOnce(&mut T) -> R) -> R {
        f(&mut self.0.lock())
    }

    /// Has nobody use the part until [`unlock`](Self::unlock): for a fork.
    pub(super) fn lock(&self) {
        mem::forget(self.0.lock());
    }

    /// # Safety
    /// - The calling thread has called [`lock`](Self::lock).
    pub(super) unsafe fn unlock(&self) {
        // SAFETY: forwarded.
        unsafe { self.0.force_unlock() };
    }
}

/// The parts of a table. None of them is ever waited for by who has another, but in order.
pub(super) struct Shards<T>([Shard<T>; SHARDS]);

impl<T> Shards<T> {
    pub(super) const fn new(shards: [Shard<T>; SHARDS]) -> Self {
        Self(shards)
    }

    /// The part that a hash belongs to, by its number; the lower bits are left for its own use.
    pub(super) const fn index_of(hash: u64) -> usize {
        (hash >> (u64::BITS - SHARD_BITS)) as usize
    }

    pub(super) fn shard(&self, index: usize) -> &Shard<T> {
        &self.0[index % SHARDS]
    }

    /// Has nobody use any part until [`unlock`](Self::unlock).
    pub(super) fn lock(&self) {
        self.0.iter().for_each(Shard::lock);
    }

    /// # Safety
    /// - As for [`Shard::unlock`].
    pub(super) unsafe fn unlock(&self) {
        // SAFETY: forwarded.
        self.0.iter().for_each(|shard| unsafe { shard.unlock() });
    }

    /// Runs `f` on all parts, one after the other, while nobody uses any.
    pub(super) fn with_all<R>(&self, f: impl FnOnce([&mut T; SHARDS]) -> R) -> R {
        let mut guards = self.0.each_ref().map(|shard| shard.0.lock());
        f(guards.each_mut().map(|guard| &mut **guard))
    }
}

/// Spreads a number over all bits (Fibonacci hashing: the high ones are the best).
pub(super) const fn hash(number: u64) -> u64 {
    let mixed = (number ^ (number >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9)
}
