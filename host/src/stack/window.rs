//! The part of the stack that may be read.

use core::sync::atomic::Ordering::Relaxed;

use super::machine;

/// The unit in which readability is asked for; no system has smaller pages.
const PAGE_BYTES: usize = 4096;
/// What lies below the stack pointer and is not overwritten by signal handlers: at the very end of a
/// function, registers that it has taken back are still found there.
const RED_ZONE_BYTES: usize = 128;
/// How large a frame may be on a stack that is not the thread's own.
const FRAME_BYTES: usize = 1 << 20;
/// How far below what is known of its stack a thread's stack pointer is looked for.
const REACH_BYTES: usize = 16 << 20;

/// Addresses that can be read: all of the thread's own stack from the stack pointer up, or on any
/// other stack (of a coroutine, of a signal handler) what the walk has come to.
///
/// A thread's own stack stays mapped as long as the thread lives, so that is looked up once. Other
/// stacks may go at any time, so they are looked at in each walk.
#[derive(Debug)]
pub(super) struct Window {
    start: usize,
    end: usize,
    is_own: bool,
}

impl Window {
    /// The window from a stack pointer up, and a little below.
    #[inline(always)]
    pub(super) fn from(sp: usize) -> Self {
        let start = sp.saturating_sub(RED_ZONE_BYTES);
        match own_stack(sp) {
            Some((low, end)) => Self { start: start.max(low), end, is_own: true },
            None => Self { start, end: start, is_own: false },
        }
    }

    /// Whether this is the thread's own stack.
    #[inline(always)]
    pub(super) fn is_own(&self) -> bool {
        self.is_own
    }

    /// The word at `address`; `None` where that lies outside, or is not aligned.
    #[inline(always)]
    pub(super) fn read(&mut self, address: usize) -> Option<usize> {
        let is_inside = address >= self.start && address < self.end;
        if !address.is_multiple_of(size_of::<usize>()) || !is_inside && !self.widen(address) {
            return None;
        }
        // SAFETY: the page is mapped and stays so while the stack is in use; the word is aligned,
        // so it ends where its page does at the latest. It may change at any time.
        Some(unsafe { (address as *const usize).read_volatile() })
    }

    /// Lets the window go on to `address`, if all can be read up to there.
    #[cold]
    fn widen(&mut self, address: usize) -> bool {
        if self.is_own || address < self.start || address.saturating_sub(self.end) > FRAME_BYTES {
            return false;
        }
        while self.end <= address {
            let page = page_of(self.end);
            if !machine::is_readable(page) {
                return false;
            }
            self.end = page + PAGE_BYTES;
        }
        true
    }
}

fn page_of(address: usize) -> usize {
    address & !(PAGE_BYTES - 1)
}

/// What can be read of the thread's own stack and where that ends, if `sp` points into it.
///
/// The thread's two words are the lowest address of its stack that is known to be readable, and the
/// end. The lowest bit of the first says that there is nothing below.
#[inline]
fn own_stack(sp: usize) -> Option<(usize, usize)> {
    let [low, end] = machine::thread_words();
    let (low, end) = (low.load(Relaxed), end.load(Relaxed));
    if sp >= low && sp < end { Some((low, end)) } else { find_own_stack(sp) }
}

#[cold]
fn find_own_stack(sp: usize) -> Option<(usize, usize)> {
    let [low_word, end_word] = machine::thread_words();
    if end_word.load(Relaxed) == 0 {
        // Stacks of threads hold the thread's control block, above all frames.
        let top = if machine::is_first_thread() {
            machine::main_stack_end().unwrap_or(0)
        } else {
            machine::thread_pointer()
        };
        low_word.store(page_of(top), Relaxed);
        end_word.store(page_of(top) + PAGE_BYTES, Relaxed);
    }
    let (mut low, end) = (low_word.load(Relaxed), end_word.load(Relaxed));
    if sp >= end || low & 1 != 0 || low.saturating_sub(sp) > REACH_BYTES {
        return (sp >= low && sp < end).then_some((low, end));
    }
    // Downwards, since a thread's stack has no gap, and other stacks have one above them.
    while low > sp {
        if !machine::is_readable(low - PAGE_BYTES) {
            low |= 1;
            break;
        }
        low -= PAGE_BYTES;
    }
    low_word.store(low, Relaxed);
    (sp >= low).then_some((low, end))
}
