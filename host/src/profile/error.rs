//! Why a recording cannot be read.
#![forbid(unsafe_code)]

use std::{error::Error, fmt, io, path::PathBuf};

/// Why a recording cannot be read.
#[derive(Debug)]
#[non_exhaustive]
pub enum ReadError {
    /// The file cannot be opened or read.
    Io {
        /// Which.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// It does not begin as a recording does.
    NotARecording,
    /// It is of another version of the format.
    Version {
        /// Which.
        found: u32,
    },
    /// It ends before its header does: nothing of it is whole.
    Truncated {
        /// How long it is, bytes.
        bytes: u64,
    },
    /// It contradicts itself.
    Broken {
        /// The section.
        section: &'static str,
        /// Where in the section, bytes from its beginning.
        offset: u64,
        /// What is wrong there.
        reason: &'static str,
    },
    /// The profiler of this process did not write what it knows.
    Unwritten {
        /// What it says.
        reason: String,
    },
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { path, source } => write!(f, "cannot read {}: {source}", path.display()),
            Self::NotARecording => f.write_str(
                "this is no recording of the host profiler; GENESIS_MEM_PROFILE=FILE has the \
                 library write one",
            ),
            Self::Version { found } => write!(
                f,
                "this recording has version {found} of the format, and version 1 can be read; use \
                 the genesis-mem that came with the library"
            ),
            Self::Truncated { bytes } => write!(
                f,
                "this recording ends after {bytes} bytes, before anything in it is whole; was the \
                 program killed or the disk full while it was written?"
            ),
            Self::Broken { section, offset, reason } => write!(
                f,
                "this recording is damaged: {reason}, at byte {offset} of section {section}; \
                 record again"
            ),
            Self::Unwritten { reason } => write!(f, "the profiler gave no recording: {reason}"),
        }
    }
}

impl Error for ReadError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}
