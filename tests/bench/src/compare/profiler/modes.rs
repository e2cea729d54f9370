//! The ways in which a workload is profiled, or not.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

/// One way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// Genesis Memory with its profiler switched off.
    Off,
    /// Genesis Memory with a sample each 512 KiB, the default.
    Sampled,
    /// Genesis Memory with every allocation recorded.
    Full,
    /// The C library's allocator, unprofiled: what the other profilers are measured against.
    Glibc,
    /// heaptrack's library on the C library's allocator, which only records.
    Heaptrack,
    /// valgrind's dhat, which runs the program on a processor of its own making.
    Dhat,
}

impl Mode {
    /// Those that run with each workload, in this order.
    pub(super) const EACH: [Self; 5] =
        [Self::Off, Self::Sampled, Self::Full, Self::Glibc, Self::Heaptrack];

    /// What tables and files call it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Sampled => "sampled",
            Self::Full => "full",
            Self::Glibc => "glibc",
            Self::Heaptrack => "heaptrack",
            Self::Dhat => "dhat",
        }
    }

    /// The same allocator without a profiler.
    pub(super) fn base(self) -> Self {
        match self {
            Self::Off | Self::Sampled | Self::Full => Self::Off,
            Self::Glibc | Self::Heaptrack | Self::Dhat => Self::Glibc,
        }
    }

    /// Whether it takes so much longer than its base that fewer runs must do.
    pub(super) fn is_slow(self) -> bool {
        matches!(self, Self::Full | Self::Heaptrack | Self::Dhat)
    }

    pub(super) fn is_ours(self) -> bool {
        self.base() == Self::Off
    }

    /// What stands before the program's name.
    pub(super) fn wrapper(self) -> &'static [&'static str] {
        match self {
            Self::Dhat => &["valgrind", "--tool=dhat", "--dhat-out-file=/dev/null"],
            _ => &[],
        }
    }
}

/// What the modes need, and where what they record goes for as long as it is wanted.
#[derive(Debug)]
pub(super) struct Tools {
    /// The library of Genesis Memory.
    pub(super) genesis: PathBuf,
    /// heaptrack's.
    pub(super) heaptrack: PathBuf,
    /// A folder, emptied before each run.
    pub(super) recordings: PathBuf,
}

impl Tools {
    /// Has a process run in this mode; `preload` where the allocator is not part of it already.
    pub(super) fn prepare(&self, command: &mut Command, mode: Mode, preload: bool) {
        // What is measured depends on the mode alone.
        for suffix in ["", "_FULL", "_INTERVAL", "_EVENTS"] {
            command.env_remove(format!("GENESIS_MEM_PROFILE{suffix}"));
        }
        command.env_remove("LD_PRELOAD");
        if mode.is_ours() && preload {
            command.env("LD_PRELOAD", &self.genesis);
        }
        match mode {
            Mode::Off | Mode::Glibc | Mode::Dhat => {}
            Mode::Sampled => {
                command.env("GENESIS_MEM_PROFILE", &self.recordings);
            }
            Mode::Full => {
                command.env("GENESIS_MEM_PROFILE", &self.recordings);
                command.env("GENESIS_MEM_PROFILE_FULL", "1");
            }
            Mode::Heaptrack => {
                command.env("LD_PRELOAD", &self.heaptrack);
                command.env("DUMP_HEAPTRACK_OUTPUT", self.recordings.join("heaptrack"));
            }
        }
    }

    /// Empties the folder of recordings.
    ///
    /// # Errors
    /// When the file system refuses.
    pub(super) fn clear(&self) -> io::Result<()> {
        if self.recordings.exists() {
            fs::remove_dir_all(&self.recordings)?;
        }
        fs::create_dir_all(&self.recordings)
    }

    /// Whether a run in this mode has left what it should: without, there was nothing to measure.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub(super) fn has_recorded(&self, mode: Mode) -> io::Result<bool> {
        let records = matches!(mode, Mode::Sampled | Mode::Full | Mode::Heaptrack);
        Ok(!records || has_bytes(&self.recordings)?)
    }
}

fn has_bytes(folder: &Path) -> io::Result<bool> {
    for entry in fs::read_dir(folder)? {
        if entry?.metadata()?.len() > 0 {
            return Ok(true);
        }
    }
    Ok(false)
}
