//! Call stacks of the running thread, for the profiler.
//!
//! A frame is left by the rule that its module's `.eh_frame` has for the instruction, since code is
//! mostly compiled without frame pointers, and a walk along those of a mixed stack skips callers
//! without a trace. Where there is no table (code that was compiled at run time, systems whose C
//! library cannot find a module without a lock) the frame pointer is followed, as long as what it
//! leads to follows a call.
//!
//! Most of a stack is as it was in the walk before, so that is kept for a few threads: a walk goes on
//! along it where it may.
//!
//! Nothing here allocates, waits, or reads what is not mapped, so it works in signal handlers and on
//! any stack. It takes 640 bytes of that, or 8 KiB where a rule is new. Rules are worked
//! out once per instruction, and kept.
//!
//! What cannot be told ends the walk, and what was found until then stays: code in the middle of
//! aligning its stack that a signal interrupted, and on aarch64 whatever a signal interrupted before
//! it had saved its return address.

mod cache;
mod image;
mod last;
mod machine;
mod module;
mod rule;
mod walk;
mod window;

use self::{last::Frame, walk::Walk};

/// Bytes of memory that the table of rules, and what is kept of walks, take once all is in use.
pub const TABLE_BYTES: usize = size_of_val(&cache::RULES) + last::BYTES;

/// How many frames are passed over in search of the first one that is wanted.
const MAX_SKIPPED: usize = 64;

/// Lets [`capture`] find the tables of libraries, besides those of the module that this code is in.
/// To be called once, and not from a signal handler.
pub fn prepare() {
    machine::look_for_find_object();
    module::look_for_lasting();
}

/// The stack pointer where this is called, for [`capture`].
#[inline(always)]
pub fn here() -> usize {
    machine::registers().sp
}

/// Fills `frames` with the calling thread's return addresses, innermost first, and returns how many.
///
/// The first is that of the function whose stack pointer [`here`] gave as `above`: calls that it has
/// made itself are left out, however deep. With zero, the first is in the caller of this function.
///
/// An address is that of the instruction after a call; where a signal interrupted a function, one
/// byte past the start of the instruction. So one less is always in the instruction.
#[inline(never)]
pub fn capture(frames: &mut [usize], above: usize) -> usize {
    let mut walk = Walk::from(machine::registers());
    let mut found = Found { frames, above, count: 0, skipped: 0 };
    if !last::follow(&mut walk, &mut found) {
        while found.wants_more()
            && let Some(frame) = walk.step()
        {
            found.add(&frame);
        }
    }
    found.count
}

/// What a walk has come through, as far as it is wanted.
struct Found<'a> {
    frames: &'a mut [usize],
    above: usize,
    count: usize,
    skipped: usize,
}

impl Found<'_> {
    #[inline(always)]
    fn wants_more(&self) -> bool {
        self.count < self.frames.len() && self.skipped < MAX_SKIPPED
    }

    #[inline(always)]
    fn add(&mut self, frame: &Frame) {
        if self.count > 0 || frame.place >= self.above {
            // What to say of a frame: its return address, or one byte into an interrupted instruction.
            self.frames[self.count] = frame.at.wrapping_add(1);
            self.count += 1;
        } else {
            self.skipped += 1;
        }
    }
}
