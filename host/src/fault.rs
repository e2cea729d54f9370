//! What happens on a wrong pointer: one line on stderr, and the end of the program.
//!
//! Nothing here allocates, locks or unwinds.

use core::fmt::{self, Write};

use genesis_mem_core::config::Fault;

/// Text for stderr, in a piece of the stack.
pub(crate) struct Line {
    bytes: [u8; 512],
    len: usize,
}

impl Line {
    pub(crate) const fn new() -> Self {
        Self { bytes: [0; 512], len: 0 }
    }

    /// Writes the text to `descriptor`; what cannot be written is lost.
    pub(crate) fn send(&self, descriptor: i32) {
        let mut rest = &self.bytes[..self.len];
        while !rest.is_empty() {
            // SAFETY: the slice is readable.
            let written = unsafe { libc::write(descriptor, rest.as_ptr().cast(), rest.len()) };
            match usize::try_from(written) {
                Ok(written) if written > 0 => rest = &rest[written.min(rest.len())..],
                _ => return,
            }
        }
    }
}

impl Write for Line {
    /// Cuts what doesn't fit.
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = &mut self.bytes[self.len..];
        let len = text.len().min(room.len());
        room[..len].copy_from_slice(&text.as_bytes()[..len]);
        self.len += len;
        Ok(())
    }
}

/// Says `message` on stderr in one line.
pub(crate) fn say(message: fmt::Arguments<'_>) {
    let mut line = Line::new();
    let _ = writeln!(line, "genesis-mem: {message}");
    line.send(libc::STDERR_FILENO);
}

/// Reports a misuse and aborts: what it would have corrupted is still whole.
#[cold]
pub(crate) fn abort_on(fault: &Fault) -> ! {
    say(format_args!("{fault}"));
    // SAFETY: no preconditions.
    unsafe { libc::abort() }
}
