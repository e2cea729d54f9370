//! What each thread's last walk came through. Most of a stack is as it was when the thread allocated
//! before: a walk that comes to a frame of the last one need only look whether the words beyond are
//! those that it read then.
#![forbid(unsafe_code)]

use genesis_mem_core::sync::Lock;

use super::{Found, machine, module::Module, walk::Walk};
use crate::os::Yield;

/// How many frames are kept, and how many new ones on top of them.
const KEPT: usize = 104;
const NEW: usize = 88;
const ROOM: usize = KEPT + NEW;
/// How many frames beyond those that are kept are walked through before they are kept instead.
const BEYOND: usize = 16;

/// The last walks of some threads; of those that share a place, the one that came last. Whoever finds
/// it in use, such as a signal handler, does without.
static LAST: [Lock<Last, Yield>; 16] = [const { Lock::new(Last::NONE) }; 16];

/// Bytes of memory that the last walks take.
pub(super) const BYTES: usize = size_of_val(&LAST);

/// A frame, and where the words were read that led to it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame {
    pub(super) at: usize,
    pub(super) sp: usize,
    pub(super) fp: usize,
    /// Where its program counter was saved.
    pub(super) place: usize,
    /// Where its frame pointer was saved; zero where that was still in the register.
    pub(super) fp_place: usize,
}

impl Frame {
    const NONE: Self = Self { at: 0, sp: 0, fp: 0, place: 0, fp_place: 0 };

    /// Whether all callers are the same as well, if the words are that lead to them.
    fn is_at(&self, other: &Self) -> bool {
        self.at == other.at && self.sp == other.sp && self.fp == other.fp
    }
}

#[derive(Debug)]
struct Last {
    /// The thread, by its pointer.
    thread: usize,
    /// The kept ones, the outermost first; and at the end the new ones of a walk that goes on.
    frames: [Frame; ROOM],
    kept: usize,
    /// Whether the outermost has no caller.
    is_whole: bool,
    /// Which modules that may go the frames are in: some address, and the salt.
    modules: [(usize, u64); 4],
}

/// Walks on from `walk`, along the thread's last walk where that is possible; false where it is not,
/// and nothing has changed.
#[inline]
pub(super) fn follow(walk: &mut Walk, found: &mut Found<'_>) -> bool {
    if !walk.is_on_own_stack() {
        return false;
    }
    let thread = machine::thread_pointer();
    let place = (thread as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 60;
    let Some(mut last) = LAST[place as usize % LAST.len()].try_lock() else { return false };
    if last.thread != thread {
        last.forget();
        last.thread = thread;
    }
    last.follow(walk, found);
    true
}

impl Last {
    const NONE: Self = Self {
        thread: 0,
        frames: [Frame::NONE; ROOM],
        kept: 0,
        is_whole: false,
        modules: [(0, 0); 4],
    };

    fn forget(&mut self) {
        (self.kept, self.is_whole, self.modules) = (0, false, [(0, 0); 4]);
    }

    #[inline]
    fn follow(&mut self, walk: &mut Walk, found: &mut Found<'_>) {
        let (mut new, mut candidates) = (0, self.kept);
        // Whether all frames so far are kept.
        let mut is_exact = true;
        while found.wants_more() {
            let Some(frame) = walk.step() else {
                self.keep(0, new, is_exact && walk.is_over());
                return;
            };
            found.add(&frame);
            is_exact = is_exact && walk.is_exact() && new < NEW && self.notes_module(walk);
            if is_exact {
                new += 1;
                self.frames[ROOM - new] = frame;
            }
            while candidates > 0 && self.frames[candidates - 1].sp < frame.sp {
                candidates -= 1;
            }
            if candidates > 0 && self.frames[candidates - 1].is_at(&frame) {
                let unlike = self.first_unlike(candidates - 1, walk);
                if unlike == 0 {
                    return self.go_on_from(candidates, new, is_exact, walk, found);
                }
                candidates = unlike - 1;
            }
        }
        self.keep(0, new, false);
    }

    /// How many of the outermost `count` frames are left where words begin to be others; zero where
    /// all are the same.
    #[inline]
    fn first_unlike(&mut self, count: usize, walk: &mut Walk) -> usize {
        let is_there = |&(address, salt): &(usize, u64)| {
            salt == 0 || walk.knows(salt) || Module::of(address).is_some_and(|it| it.salt == salt)
        };
        if !self.modules.iter().all(is_there) {
            self.forget();
            return 1;
        }
        let mut frames = self.frames[..count].iter();
        frames.rposition(|frame| !walk.leads_to(frame)).map_or(0, |index| index + 1)
    }

    /// Adds the outer frames to what was found, of which the innermost was reached.
    #[inline]
    fn go_on_from(
        &mut self,
        reached: usize,
        new: usize,
        is_exact: bool,
        walk: &mut Walk,
        found: &mut Found<'_>,
    ) {
        for frame in self.frames[..reached - 1].iter().rev() {
            if !found.wants_more() {
                break;
            }
            found.add(frame);
        }
        let mut beyond = 0;
        if found.wants_more() && !self.is_whole {
            walk.resume(&self.frames[0]);
            while found.wants_more()
                && let Some(frame) = walk.step()
            {
                found.add(&frame);
                beyond += 1;
            }
        }
        if beyond > BEYOND {
            self.forget();
        } else if is_exact {
            self.keep(reached - 1, new, self.is_whole);
        } else {
            self.kept = reached;
        }
    }

    /// Keeps the outermost `old` frames and the new ones.
    #[inline]
    fn keep(&mut self, old: usize, new: usize, is_whole: bool) {
        let dropped = (old + new).saturating_sub(KEPT);
        let mut old = old;
        if dropped > 0 {
            // Some more, so that this is not done each time.
            let gone = old.min(dropped.max(KEPT / 2));
            self.frames.copy_within(gone..old, 0);
            old -= gone;
        }
        for index in 0..new {
            self.frames[old + index] = self.frames[ROOM - new + index];
        }
        self.kept = old + new;
        self.is_whole = is_whole && dropped == 0;
    }

    /// Notes the module that the walk is in, if that may go; false where there are too many.
    #[inline]
    fn notes_module(&mut self, walk: &Walk) -> bool {
        let (address, salt) = walk.module_that_may_go();
        salt == 0
            || self.modules.iter().any(|&(_, known)| known == salt)
            || self.modules.iter_mut().find(|(_, known)| *known == 0).is_some_and(|place| {
                *place = (address, salt);
                true
            })
    }
}
