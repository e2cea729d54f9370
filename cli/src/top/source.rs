//! A program that tells its statistics at a socket, and what the kernel knows of it.

use std::{
    fs,
    io::{self, Read},
    net::Shutdown,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use rustix::net::sockopt::socket_peercred;
use serde::Deserialize;

use crate::snapshot::Report;

/// How long a program may take to answer; one that is stopped does not.
const PATIENCE: Duration = Duration::from_millis(500);

/// Where a program answers.
#[derive(Debug)]
pub(crate) struct Source {
    path: PathBuf,
    /// The number of the process.
    pub(crate) process: u32,
    command: String,
}

/// What is known at one moment.
#[derive(Debug)]
pub(super) struct Sample {
    pub(super) taken: Instant,
    pub(super) report: Report,
    /// Physical memory of the whole process, if the kernel says so.
    pub(super) resident_bytes: Option<u64>,
    /// Who holds the most; empty where the program does not profile.
    pub(super) sites: Vec<Site>,
}

/// A call site.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Site {
    pub(super) location: String,
    pub(super) live_bytes: u64,
    #[serde(default)]
    pub(super) live_blocks: u64,
}

/// The line that a program answers with.
#[derive(Deserialize)]
struct Answer {
    #[serde(flatten)]
    report: Report,
    #[serde(default)]
    sites: Vec<Site>,
}

impl Source {
    /// The program that listens at `path` now.
    pub(super) fn at(path: &Path) -> io::Result<Self> {
        let stream = UnixStream::connect(path)?;
        let process = socket_peercred(&stream)?.pid.as_raw_nonzero().get() as u32;
        Ok(Self { path: path.to_owned(), process, command: command_of(process) })
    }

    /// What the program is called, for people.
    pub(super) fn name(&self) -> String {
        format!("{} (process {})", self.command, self.process)
    }

    /// The short name of the program.
    pub(crate) fn program(&self) -> String {
        words_of(self.process, "comm", '\n')
    }

    /// Whether the process is there, and no mere remainder of one.
    pub(super) fn is_alive(&self) -> bool {
        let state = fs::read_to_string(format!("/proc/{}/stat", self.process));
        state.is_ok_and(|state| {
            // The name in brackets may have brackets.
            !state.rsplit(") ").next().unwrap_or_default().starts_with(['Z', 'X'])
        })
    }

    /// What the program answers now.
    pub(crate) fn text(&self) -> anyhow::Result<String> {
        let answer = || -> io::Result<String> {
            let mut stream = UnixStream::connect(&self.path)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            // There is nothing more to be asked.
            stream.shutdown(Shutdown::Write)?;
            let mut text = String::new();
            stream.read_to_string(&mut text)?;
            Ok(text)
        };
        answer().with_context(|| format!("{} does not answer", self.path.display()))
    }

    /// What is known now.
    pub(super) fn sample(&self) -> anyhow::Result<Sample> {
        let text = self.text()?;
        let Ok(Answer { report, sites }) = serde_json::from_str(&text) else {
            bail!("what {} answers is not the statistics of Genesis Memory", self.path.display());
        };
        let resident_bytes = resident_bytes(self.process);
        Ok(Sample { taken: Instant::now(), report, resident_bytes, sites })
    }
}

/// The command line of a process, or its short name where that is a secret.
pub(super) fn command_of(process: u32) -> String {
    let command = words_of(process, "cmdline", '\0');
    if command.is_empty() { words_of(process, "comm", '\n') } else { command }
}

/// What a file about a process says, in one line.
fn words_of(process: u32, file: &str, end: char) -> String {
    let text = fs::read(format!("/proc/{process}/{file}")).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    // What a program calls itself must not move the cursor.
    let seen = |c: char| if c.is_control() { ' ' } else { c };
    text.trim_end_matches(end).chars().map(seen).collect()
}

fn resident_bytes(process: u32) -> Option<u64> {
    let field = |file: &str, name: &str| {
        let text = fs::read_to_string(format!("/proc/{process}/{file}")).ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
        Some(kib * 1024)
    };
    // The first is exact, and for those who may trace the process.
    field("smaps_rollup", "Rss:").or_else(|| field("status", "VmRSS:"))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A line as the library writes it, with `allocations` of 64 bytes of which some are live.
    pub(in crate::top) fn line(allocations: u64, live: u64) -> String {
        use genesis_mem_host::core::stats::{ClassStats, Level, Snapshot};
        let mut s = Snapshot::default();
        let mut row = ClassStats::default();
        (row.block_bytes, row.allocations, row.frees) = (64, allocations, allocations - live);
        (row.allocated_bytes, row.requested_bytes) = (live * 64, live * 48);
        s.classes[3] = row;
        (s.large.allocations, s.large.allocated_bytes, s.large.requested_bytes) =
            (2, 4 << 20, 4_000_000);
        let allocated_bytes = live * 64 + (4 << 20);
        s.allocated_bytes = Level::new(allocated_bytes, 9 << 20);
        s.requested_bytes = Level::new(live * 48 + 4_000_000, 8 << 20);
        (s.cached_bytes, s.reserved_bytes) = (Level::new(1 << 20, 0), Level::new(16 << 20, 0));
        (s.largest_free_bytes, s.limit_bytes) = (768 << 10, 64 << 20);
        (s.allocations, s.frees) = (allocations + 2, allocations - live);
        (s.cache_hits, s.cache_misses, s.remote_frees) = (allocations, 2, 5);
        let mut text = String::new();
        s.write_json(&mut text).unwrap();
        text
    }

    pub(in crate::top) fn sample(text: &str, taken: Instant) -> Sample {
        let Answer { report, sites } = serde_json::from_str(text).unwrap();
        Sample { taken, report, resident_bytes: Some(21 << 20), sites }
    }

    #[test]
    fn sites_are_read_where_there_are_any() {
        let plain = line(10, 5);
        assert!(sample(&plain, Instant::now()).sites.is_empty());
        let sites = r#","sites":[{"location":"main.rs:7","live_bytes":4096,"more":1}]}"#;
        let with = format!("{}{sites}", plain.strip_suffix('}').unwrap());
        let found = sample(&with, Instant::now());
        assert_eq!((&*found.sites[0].location, found.sites[0].live_bytes), ("main.rs:7", 4096));
        assert_eq!(found.report.allocations, 12);
    }

    #[test]
    fn the_kernel_knows_this_process() {
        let process = std::process::id();
        assert!(resident_bytes(process).unwrap() > 1 << 20);
        assert!(!command_of(process).is_empty());
        assert_eq!(resident_bytes(u32::MAX), None);
    }
}
