//! Which files there are to index.

use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

use anyhow::bail;
use ignore::WalkBuilder;
use indicatif::ProgressBar;

/// Files above this are data, not text that somebody wrote.
const MAX_BYTES: u64 = 8 << 20;

/// The text files of a folder, in the order of their names.
pub(super) struct Files {
    pub(super) paths: Vec<PathBuf>,
    pub(super) bytes: u64,
}

impl Files {
    /// Finds them, and reads each once, so that the system has them at hand.
    ///
    /// # Errors
    /// There are none.
    pub(super) fn of(folder: &Path, bar: &ProgressBar) -> anyhow::Result<Self> {
        let (mut paths, mut bytes) = (Vec::new(), 0);
        let mut buffer = vec![0; 64 * 1024];
        for entry in WalkBuilder::new(folder).sort_by_file_path(Path::cmp).build() {
            // What cannot be read is left out, as by every tool of this kind.
            let Ok(entry) = entry else { continue };
            if !entry.file_type().is_some_and(|kind| kind.is_file()) {
                continue;
            }
            bar.inc(1);
            if let Some(length) = text_bytes(entry.path(), &mut buffer) {
                bytes += length;
                paths.push(entry.into_path());
            }
        }
        bar.finish_and_clear();
        if paths.is_empty() {
            bail!("there is no text file in {}", folder.display());
        }
        Ok(Self { paths, bytes })
    }
}

/// The length of the file, if it is text: without a zero byte.
fn text_bytes(path: &Path, buffer: &mut [u8]) -> Option<u64> {
    let mut file = File::open(path).ok()?;
    if file.metadata().ok()?.len() > MAX_BYTES {
        return None;
    }
    let mut bytes = 0;
    loop {
        let read = file.read(buffer).ok()?;
        if read == 0 {
            return Some(bytes);
        }
        if buffer[..read].contains(&0) {
            return None;
        }
        bytes += read as u64;
    }
}
