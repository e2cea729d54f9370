//! Recordings of the host profiler: found, opened, and their leaks.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use clap::Args;
use genesis_mem_host::{
    core::stats::Bytes,
    profile::{KEPT_BY_RUNTIMES, Names, Recorded, model::Leaks},
};

use crate::progress::progress;

/// How the names of recordings end that the library makes up.
const EXTENSION: &str = "genesis-mem";

/// A recording, and where everything was in the code.
pub(crate) struct Opened {
    pub(crate) recorded: Recorded,
    pub(crate) names: Names,
}

impl Opened {
    /// Opens a recording; says on stderr what is not as it should be.
    pub(crate) fn open(path: &Path) -> anyhow::Result<Self> {
        let recorded = Recorded::open(path).with_context(|| path.display().to_string())?;
        let bar = progress("names");
        let names = recorded.names(|done, all| {
            bar.set_length(all as u64);
            bar.set_position(done as u64);
        });
        bar.finish_and_clear();
        let opened = Self { recorded, names };
        for doubt in opened.doubts() {
            eprintln!("genesis-mem: {}: {doubt}", path.display());
        }
        Ok(opened)
    }

    fn doubts(&self) -> Vec<String> {
        let mut doubts = Vec::new();
        if !self.recorded.is_whole() {
            doubts.push("ends early, as of a program that was killed; the rest is shown".into());
        }
        let header = self.recorded.header();
        if header.lost_samples > 0 {
            let lost = header.lost_samples;
            doubts
                .push(format!("{lost} samples are missing, since the profiler ran out of memory"));
        }
        for file in &self.names.changed {
            doubts.push(format!(
                "{} was changed after the recording: its code is shown by address",
                file.display()
            ));
        }
        doubts
    }

    /// Which program, in a few words.
    pub(crate) fn program(&self) -> String {
        program(&self.recorded)
    }
}

/// The command line, or the process where it is not known.
pub(crate) fn program(recorded: &Recorded) -> String {
    let header = recorded.header();
    match header.command.is_empty() {
        true => format!("process {}", header.pid),
        false => header.command.join(" "),
    }
}

/// How it was recorded.
pub(crate) fn mode(recorded: &Recorded) -> String {
    let header = recorded.header();
    match header.is_full {
        true => "every block".to_owned(),
        false => format!("a sample each {}", Bytes(header.interval_bytes)),
    }
}

/// The recordings of a folder, by name.
pub(crate) fn in_folder(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| folder.display().to_string())?;
    let mut found = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == EXTENSION) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// What counts as a leak.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct LeakOptions {
    /// Leave out leaks through functions, source files, programs or libraries with PATTERN in
    /// their names; may be repeated
    #[arg(long, value_name = "PATTERN", requires = "leaks")]
    pub(crate) leaks_ignore: Vec<String>,
    /// Name also what the runtimes of C, C++ and Rust keep on purpose
    #[arg(long, requires = "leaks")]
    pub(crate) leaks_all: bool,
}

impl LeakOptions {
    /// What was allocated after the program's baseline and is still live.
    pub(crate) fn leaks(&self, opened: &Opened) -> anyhow::Result<Leaks> {
        let mut ignored = self.leaks_ignore.clone();
        if ignored.iter().any(String::is_empty) {
            bail!("--leaks-ignore needs a part of a name; an empty one is in every name");
        }
        if !self.leaks_all {
            ignored.extend(KEPT_BY_RUNTIMES.map(str::to_owned));
        }
        let report = opened.recorded.report(&opened.names);
        let mut leaks = report.leaks_except(opened.recorded.baseline(), &ignored);
        // Nobody asked about these.
        leaks.ignored.retain(|ignored| self.leaks_ignore.contains(&ignored.pattern));
        Ok(leaks)
    }
}
