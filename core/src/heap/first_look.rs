//! Whether a free looks at the current slab of its class before it looks the slab up.
//!
//! The look costs little and mostly finds the block, where what was allocated last is freed first.
//! Where blocks are freed in any order it finds some, and the processor, which cannot tell which,
//! loses more by guessing wrong than a look can gain. So a heap stops looking while too many blocks
//! are elsewhere: no size is small enough for it then.
#![forbid(unsafe_code)]

use core::cell::Cell;

use super::Heap;
use crate::config::Config;

/// So many frees elsewhere, among so many frees in all, make a judgement due.
const ELSEWHERE: u32 = 64;
const FREES: u64 = 2048;
/// The first look ends when more than one free in so many finds its block elsewhere, and begins
/// again at half of that.
const MISSING_SHARE: u64 = 16;

/// What the judgement is based on; owner only.
#[derive(Debug)]
pub(super) struct FirstLook {
    /// Frees since about the last judgement but one whose block was in no current slab, as far as
    /// noted: when such a slab tells of them, or becomes current.
    elsewhere: Cell<u32>,
    /// How many of those are not enough yet to make a judgement due, but for [`ELSEWHERE`]: adding up all
    /// frees takes longer than a free.
    put_off: Cell<u32>,
    /// How many frees of all classes there had been by then.
    frees_then: Cell<u64>,
}

impl FirstLook {
    /// Nothing known: zeroes.
    pub(super) const fn new() -> Self {
        Self { elsewhere: Cell::new(0), put_off: Cell::new(0), frees_then: Cell::new(0) }
    }

    /// So many blocks were freed that are in no current slab.
    pub(super) fn note_elsewhere(&self, blocks: u32) {
        self.elsewhere.set(self.elsewhere.get().saturating_add(blocks));
    }
}

impl<C: Config> Heap<C> {
    /// Decides whether the first look is worth it, if `is_due` or there is news enough.
    pub(super) fn judge_first_look(&self, is_due: bool) {
        let look = &self.first_look;
        if !is_due && look.elsewhere.get() < look.put_off.get().saturating_add(ELSEWHERE) {
            return;
        }
        let frees =
            self.classes.0.iter().map(|class| class.bin.frees.get()).fold(0, u64::wrapping_add);
        let since = frees.wrapping_sub(look.frees_then.get());
        if since < FREES {
            look.put_off.set(look.elsewhere.get());
            return;
        }
        look.put_off.set(0);
        let share = if self.looks_first() { MISSING_SHARE } else { 2 * MISSING_SHARE };
        self.look_first(u64::from(look.elsewhere.get()) * share <= since);
        // What is known grows less important, but not at once: it is noted in lumps.
        look.elsewhere.set(look.elsewhere.get() / 2);
        look.frees_then.set(frees.wrapping_sub(since / 2));
    }

    /// Begins or ends the first look.
    pub(super) fn look_first(&self, is_on: bool) {
        self.first_look_bytes.set(if is_on { Self::TABLED_BYTES } else { 0 });
    }

    /// Whether there is a first look.
    #[inline(always)]
    pub(super) fn looks_first(&self) -> bool {
        self.first_look_bytes.get() != 0
    }
}
