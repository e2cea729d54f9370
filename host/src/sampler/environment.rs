//! The profiler's options in the environment, and the recording that is written when the program ends.

use core::{
    ffi::{CStr, c_char},
    fmt::{self, Write},
    sync::atomic::{
        AtomicBool,
        Ordering::{AcqRel, Relaxed},
    },
};

use super::{Options, enable, os, shards::Shard, write_recording};
use crate::{
    fault::say,
    options::{parse_bytes, refuse, variable},
};

const NAME: &CStr = c"GENESIS_MEM_PROFILE";

/// Where the recording goes: the value of the variable, made absolute.
static TARGET: Shard<Path> = Shard::new(Path::new());
/// Whether other processes write there, too: then this one adds its number to the name.
static IS_SHARED: AtomicBool = AtomicBool::new(false);

/// A path, always with room for a zero at its end.
struct Path {
    bytes: [u8; libc::PATH_MAX as usize],
    len: usize,
    /// The process that the path was made in.
    pid: u32,
}

impl Path {
    const fn new() -> Self {
        Self { bytes: [0; libc::PATH_MAX as usize], len: 0, pid: 0 }
    }

    fn text(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    /// Adds text; false, and no change, where it has no room.
    fn push(&mut self, text: &[u8]) -> bool {
        let len = self.len + text.len();
        let is_added = len < self.bytes.len();
        if is_added {
            self.bytes[self.len..len].copy_from_slice(text);
            self.bytes[len] = 0;
            self.len = len;
        }
        is_added
    }

    fn as_c(&self) -> &CStr {
        CStr::from_bytes_until_nul(&self.bytes).unwrap_or_default()
    }
}

impl Write for Path {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if self.push(text.as_bytes()) { Ok(()) } else { Err(fmt::Error) }
    }
}

/// Switches the profiler on if the environment says so. Not in programs that run with another user's
/// rights.
pub(crate) fn read() {
    // SAFETY: no preconditions.
    if unsafe { libc::getauxval(libc::AT_SECURE) } != 0 {
        return;
    }
    let Some(target) = variable(NAME) else { return };
    let mut options = match variable(c"GENESIS_MEM_PROFILE_FULL") {
        None | Some(b"0") => Options::SAMPLED,
        Some(b"1") => Options::FULL,
        Some(text) => {
            refuse("GENESIS_MEM_PROFILE_FULL", text, "0 or 1");
            Options::SAMPLED
        }
    };
    let size = |name: &CStr, least: usize| {
        let text = variable(name)?;
        let bytes = parse_bytes(text).filter(|&bytes| bytes >= least);
        if bytes.is_none() {
            refuse(name.to_str().unwrap_or_default(), text, "a size such as 512KiB or 4MB");
        }
        bytes
    };
    if let Some(bytes) = size(c"GENESIS_MEM_PROFILE_INTERVAL", 1) {
        options.interval_bytes = bytes;
    }
    if let Some(bytes) = size(c"GENESIS_MEM_PROFILE_EVENTS", 0) {
        options.events_bytes = bytes;
    }
    let is_set = TARGET.with(|path| set_target(path, target));
    if !is_set {
        return refuse("GENESIS_MEM_PROFILE", target, "a shorter path");
    }
    if let Err(error) = enable(options) {
        return say(format_args!("no profile: {error}"));
    }
    // SAFETY: the function fits the signature, and stays.
    unsafe { libc::atexit(write_at_exit) };
}

/// Makes the target absolute, since the program may go elsewhere; false where it is too long.
fn set_target(path: &mut Path, target: &[u8]) -> bool {
    path.pid = os::processes().0;
    path.len = 0;
    if !target.starts_with(b"/") {
        let mut folder = [0; libc::PATH_MAX as usize];
        // SAFETY: the buffer is writable for that many bytes. Allocates nothing.
        let found = unsafe { libc::getcwd(folder.as_mut_ptr().cast::<c_char>(), folder.len()) };
        let folder = CStr::from_bytes_until_nul(&folder).unwrap_or_default().to_bytes();
        // Without the folder's name the path stays relative.
        if !(found.is_null() || path.push(folder) && path.push(b"/")) {
            return false;
        }
    }
    IS_SHARED.store(os::parent_has(NAME, target), Relaxed);
    path.push(target)
}

extern "C" fn write_at_exit() {
    static DONE: AtomicBool = AtomicBool::new(false);
    if DONE.swap(true, AcqRel) {
        return;
    }
    let mut path = Path::new();
    if !TARGET.with(|target| name_file(&mut path, target)) {
        return say(format_args!("no profile: the path is too long"));
    }
    if let Err(error) = write_recording(path.as_c()) {
        let name = path.as_c().to_str().unwrap_or("(not UTF-8)");
        say(format_args!("no profile in {name}: {error}"));
    }
}

/// Where this process writes: `PROGRAM.PID.genesis-mem` in a folder, else the target with each `%p`
/// replaced by the process's number; where there is none, and other processes write there as well,
/// with the number at the end.
fn name_file(path: &mut Path, target: &Path) -> bool {
    let (pid, _) = os::processes();
    if os::is_folder(target.as_c()) || target.text().ends_with(b"/") {
        os::make_folder(target.as_c());
        return path.push(target.text())
            && path.push(b"/")
            && path.push(os::program_name())
            && write!(path, ".{pid}.genesis-mem").is_ok();
    }
    let mut rest = target.text();
    let mut has_number = false;
    while let [first, after @ ..] = rest {
        let is_kept = if let Some(after) = rest.strip_prefix(b"%p") {
            (rest, has_number) = (after, true);
            write!(path, "{pid}").is_ok()
        } else {
            rest = after;
            path.push(&[*first])
        };
        if !is_kept {
            return false;
        }
    }
    let is_alone = target.pid == pid && !IS_SHARED.load(Relaxed);
    has_number || is_alone || write!(path, ".{pid}").is_ok()
}
