//! A program or library on disk: the names and lines of its code.
#![forbid(unsafe_code)]

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use addr2line::Loader;
use genesis_mem_profile::Frame;
use object::{Object, ObjectSegment};

use super::names::demangled;

/// Where separate debug information lies, by build id.
const DEBUG_FOLDER: &str = "/usr/lib/debug";

/// What is known of a file.
pub(super) struct Image {
    /// In hexadecimal digits.
    pub(super) build_id: String,
    /// Offset in the file, length, and address in the program's own terms, of what is mapped.
    segments: Vec<(u64, u64, u64)>,
    /// Of the file itself.
    names: Loader,
    /// Of its separate debug information.
    debug: Option<Loader>,
}

/// Why there are no names.
pub(super) enum NoImage {
    /// It is not there, or no program.
    Unreadable,
    /// It was written after the recording.
    Changed,
}

impl Image {
    /// Reads what `path` says of itself, unless it was changed after a time of day;
    /// zero where that is not known.
    pub(super) fn open(path: &Path, recorded_ns: u64) -> Result<Self, NoImage> {
        let modified = fs::metadata(path).and_then(|file| file.modified());
        let recorded = SystemTime::UNIX_EPOCH + Duration::from_nanos(recorded_ns);
        if recorded_ns > 0 && modified.is_ok_and(|modified| modified > recorded) {
            return Err(NoImage::Changed);
        }
        let file = fs::read(path).map_err(|_| NoImage::Unreadable)?;
        let object = object::File::parse(&*file).map_err(|_| NoImage::Unreadable)?;
        let segments = object.segments().map(|segment| {
            let (offset, bytes) = segment.file_range();
            (offset, bytes, segment.address())
        });
        let build_id = object.build_id().ok().flatten().unwrap_or(&[]);
        let build_id = build_id.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let names = Loader::new(path).map_err(|_| NoImage::Unreadable)?;
        let has_lines = names.get_section_range(b".debug_info").is_some();
        let debug = match has_lines {
            true => None,
            false => debug_file(&build_id).and_then(|path| debug_loader(&path)),
        };
        Ok(Self { segments: segments.collect(), build_id, names, debug })
    }

    /// The address in the program's own terms of what lies at an offset of the file.
    pub(super) fn address_of(&self, offset: u64) -> Option<u64> {
        self.segments.iter().find_map(|&(start, bytes, address)| {
            let into = offset.checked_sub(start)?;
            (into < bytes).then(|| address.wrapping_add(into))
        })
    }

    /// The frames at an address in the program's own terms, the innermost first: more than one
    /// where calls were inlined. Nothing where nothing is known. Files have the path that
    /// `file_name` makes of theirs.
    pub(super) fn frames(
        &self,
        address: u64,
        module: &str,
        file_name: impl Fn(&str) -> String,
    ) -> Vec<Frame> {
        let mut found = Vec::new();
        for loader in self.debug.iter().chain([&self.names]) {
            lines(loader, address, &file_name, &mut found);
            if found.is_empty()
                && let Some(symbol) = loader.find_symbol(address)
            {
                let function = demangled(symbol).into_owned();
                found.push(Frame { function, file: module.to_owned(), line: 0 });
            }
            if !found.is_empty() {
                break;
            }
        }
        found
    }
}

/// What the debug information says; a function without a name there has that of its symbol.
fn lines(
    loader: &Loader,
    address: u64,
    file_name: impl Fn(&str) -> String,
    found: &mut Vec<Frame>,
) {
    let Ok(mut frames) = loader.find_frames(address) else { return };
    while let Ok(Some(frame)) = frames.next() {
        let raw = frame.function.as_ref().and_then(|function| function.raw_name().ok());
        let raw = raw.as_deref().or_else(|| loader.find_symbol(address));
        let function = raw.map_or_else(String::new, |raw| demangled(raw).into_owned());
        let at = frame.location;
        let file = at.as_ref().and_then(|at| at.file).map_or_else(String::new, &file_name);
        let line = at.and_then(|at| at.line).unwrap_or(0);
        if !function.is_empty() || line > 0 {
            found.push(Frame { function, file, line });
        }
    }
}

/// `/usr/lib/debug/.build-id/ab/cdef….debug`
fn debug_file(build_id: &str) -> Option<PathBuf> {
    let (folder, name) = build_id.split_at_checked(2)?;
    let path = Path::new(DEBUG_FOLDER).join(".build-id").join(folder).join(format!("{name}.debug"));
    path.exists().then_some(path)
}

/// With the part that it shares with others, where it names one.
fn debug_loader(path: &Path) -> Option<Loader> {
    let file = fs::read(path).ok()?;
    let object = object::File::parse(&*file).ok()?;
    let shared = object.gnu_debugaltlink().ok().flatten();
    let shared = shared.and_then(|(name, _)| std::str::from_utf8(name).ok().map(PathBuf::from));
    let shared = shared.map(|name| path.parent().unwrap_or(path).join(name));
    let both = shared.filter(|shared| shared.exists());
    let both = both.and_then(|shared| Loader::new_with_sup(path, Some(shared)).ok());
    both.or_else(|| Loader::new(path).ok())
}
