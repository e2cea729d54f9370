//! Why there is no socket.
#![forbid(unsafe_code)]

use core::fmt;

use super::path::MOST_BYTES;

/// Why the statistics cannot be served at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ServeError {
    /// The path is longer than that of a socket can be.
    TooLong {
        /// Bytes of the path.
        bytes: usize,
    },
    /// Somebody answers there.
    InUse,
    /// There is something else at the path.
    NotASocket,
    /// The directory for `auto` belongs to somebody else or is open to others.
    NotPrivate,
    /// The system refused.
    System {
        /// The call that failed.
        call: &'static str,
        /// Its `errno`.
        code: i32,
    },
}

impl fmt::Display for ServeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong { bytes } => write!(
                f,
                "{bytes} bytes are too long for the path of a socket, which has {MOST_BYTES} at most"
            ),
            Self::InUse => f.write_str(
                "another process answers there; a directory, or %p in the path, has room for all",
            ),
            Self::NotASocket => f.write_str(
                "there is something else than a socket; remove it, or name another path",
            ),
            Self::NotPrivate => f.write_str(
                "the directory is not this user's alone; remove it, or name another path",
            ),
            Self::System { call: call @ ("bind" | "mkdir"), code } => {
                write!(f, "{call} failed (error {code}); is the directory there and writable?")
            }
            Self::System { call, code } => write!(f, "{call} failed (error {code})"),
        }
    }
}

impl core::error::Error for ServeError {}
