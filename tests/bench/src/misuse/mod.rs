//! Wrong acts, one a process: what a program may do to an allocator that it should not.
//!
//! The process announces the act on stdout, commits it, says that it is over, and then looks for
//! damage ([`probe`]): two live blocks that overlap, or one that somebody else has written to. Whoever
//! started it tells from these lines, stderr and the exit status what the allocator made of the act.
//! The acts are written once, over [`GlobalAlloc`]: with `System` under `LD_PRELOAD` they are C's.

mod acts;
mod list;
mod places;
mod probe;

use std::alloc::GlobalAlloc;

pub use self::list::{Act, Given, Offset, Place, Target, Verb, Way, Wrong};
use self::places::Page;
use self::probe::Probe;

/// Said right before the act.
pub const ACT: &str = "act";
/// Said right after it, by a process that is still there.
pub const DONE: &str = "done";
/// Said where no damage was found.
pub const SOUND: &str = "sound";
/// Said, with a reason behind it, where damage was found.
pub const CORRUPTED: &str = "corrupted";
/// Said instead of [`ACT`] where the freed block has gone to somebody else by then: to free it again
/// would not be wrong in a way that any allocator could see.
pub const REUSED: &str = "reused";

/// How long an act and its aftermath may take before the process counts as hung.
const LIMIT_SECONDS: u32 = 6;

/// Commits the act called `name`, and does not come back.
///
/// # Errors
/// When there is no such act.
pub fn run<A: GlobalAlloc + Sync>(alloc: &'static A, name: &str) -> Result<String, &'static str> {
    let act = Act::all().into_iter().find(|act| act.name() == name).ok_or("no such act")?;
    // SAFETY: both calls only set limits of this process.
    unsafe {
        libc::alarm(LIMIT_SECONDS);
        let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        libc::setrlimit(libc::RLIMIT_CORE, &raw const none);
    }
    let (mut probe, stack) = (Probe::new(alloc), Page::new());
    let result = acts::commit(&mut probe, &act, &stack);
    say(DONE);
    probe.hold(result, act.given_bytes());
    match probe.aftermath(act.bytes, act.given_bytes()) {
        Ok(()) => say(SOUND),
        Err(damage) => say(damage.line()),
    }
    end()
}

/// Writes a line without allocating.
fn say(line: &str) {
    for text in [line, "\n"] {
        // SAFETY: the text is readable. A line that is lost shows in the outcome.
        unsafe { libc::write(libc::STDOUT_FILENO, text.as_ptr().cast(), text.len()) };
    }
}

/// Ends the process at once: destructors and exit hooks would use the allocator again.
fn end() -> ! {
    // SAFETY: no preconditions.
    unsafe { libc::_exit(0) }
}
