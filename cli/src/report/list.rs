//! The recordings of a folder.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use anyhow::bail;
use genesis_mem_host::{
    core::stats::Bytes,
    profile::{Names, Recorded},
};

use crate::{
    progress::progress,
    recordings::{in_folder, mode, program},
    snapshot::{grouped, row, table},
};

/// Characters of a command line that are shown.
const COMMAND: usize = 60;

/// Each recording with what it holds; those that cannot be read with the reason.
pub(super) struct Recordings(Vec<(PathBuf, Result<Entry, String>)>);

struct Entry {
    program: String,
    pid: u64,
    mode: String,
    live_bytes: u64,
    total_blocks: u64,
}

impl Entry {
    fn read(path: &Path) -> Result<Self, String> {
        let recorded = Recorded::open(path).map_err(|error| error.to_string())?;
        // Sums need no names.
        let report = recorded.report(&Names::default());
        let program = program(&recorded);
        let program = match program.char_indices().nth(COMMAND) {
            Some((end, _)) => format!("{}…", &program[..end]),
            None => program,
        };
        Ok(Self {
            program,
            pid: recorded.header().pid,
            mode: mode(&recorded),
            live_bytes: report.live_bytes(),
            total_blocks: report.total().total_blocks,
        })
    }
}

impl Recordings {
    pub(super) fn read(folder: &Path) -> anyhow::Result<Self> {
        let paths = in_folder(folder)?;
        if paths.is_empty() {
            bail!(
                "{} has no recordings; make one with\n  genesis-mem run --profile {0} -- PROGRAM",
                folder.display()
            );
        }
        let bar = progress("read");
        bar.set_length(paths.len() as u64);
        let read = paths.into_iter().map(|path| {
            bar.inc(1);
            let entry = Entry::read(&path);
            (path, entry)
        });
        let read = read.collect();
        bar.finish_and_clear();
        Ok(Self(read))
    }

    /// Those that can be read.
    pub(super) fn paths(&self) -> impl Iterator<Item = &Path> {
        self.0.iter().filter(|(_, entry)| entry.is_ok()).map(|(path, _)| &**path)
    }
}

impl fmt::Display for Recordings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = table(&["recording", "program", "process", "held", "allocations", "of"]);
        for (path, entry) in &self.0 {
            let Ok(entry) = entry else { continue };
            table.add_row(row([
                path.display().to_string(),
                entry.program.clone(),
                entry.pid.to_string(),
                Bytes(entry.live_bytes).to_string(),
                grouped(entry.total_blocks),
                entry.mode.clone(),
            ]));
        }
        writeln!(f, "{table}")?;
        for (path, entry) in &self.0 {
            if let Err(reason) = entry {
                writeln!(f, "{}: {reason}", path.display())?;
            }
        }
        match self.paths().next() {
            Some(path) => {
                writeln!(f, "\nLook at one of them: genesis-mem report {}", path.display())
            }
            None => Ok(()),
        }
    }
}
