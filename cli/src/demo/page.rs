//! A picture of the work: one round, recorded by the profiler, as a page for browsers.

use std::{
    env,
    fs::File,
    io::BufWriter,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, ensure};
use genesis_mem_host::{
    profile::{self, model::format::html},
    sampler::{self, Options},
};

use super::{files::Files, index::Index};
use crate::progress::progress;

/// Up to here every block is recorded. Each byte of text makes about half an event.
const FULL_BYTES: u64 = 4 << 20;
/// How many events are kept: of so much text all.
const EVENTS_BYTES: usize = 128 << 20;

/// Where the page goes if nobody says: one file for each user, so that nobody is in another's way.
pub(super) fn default_path() -> PathBuf {
    let user = rustix::process::getuid().as_raw();
    env::temp_dir().join(format!("genesis-mem-demo-{user}.html"))
}

/// Has a process of its own do the work once more and write the page, since recording takes time
/// and memory, which would be measured as well.
pub(super) fn make(folder: &Path, page: &Path) -> anyhow::Result<()> {
    let mut command = Command::new(env::current_exe().context("where am I?")?);
    command.arg("demo").arg(folder).arg("--record-only").arg("--page").arg(page);
    // A recording that was asked for is that of the work which is measured.
    command.env_remove("GENESIS_MEM_PROFILE").stdin(Stdio::null());
    let status = command.status().context("cannot start the process that records the work")?;
    ensure!(status.success(), "there is no page; try another place with --page FILE");
    Ok(())
}

/// Records one round, and writes the page.
pub(super) fn record(folder: &Path, page: &Path) -> anyhow::Result<()> {
    // First, so that nobody waits for an error.
    let file = File::create(page).with_context(|| format!("cannot write {}", page.display()))?;
    let files = Files::of(folder, &progress("scan"))?;
    let bar = progress("record");
    bar.set_length(files.paths.len() as u64);
    sampler::enable(options(files.bytes))?;
    let index = Index::of(&files, &bar, profile::mark)?;
    let recorded = profile::recorded()?;
    sampler::disable();
    bar.finish_and_clear();
    drop(index);
    let bar = progress("names");
    let names = recorded.names(|done, all| {
        bar.set_length(all as u64);
        bar.set_position(done as u64);
    });
    bar.finish_and_clear();
    let title = format!("genesis-mem demo, an index of {}", folder.display());
    let options = html::Options { title, ..Default::default() };
    let (report, recording) = (recorded.report(&names), recorded.recording(&names));
    html::write(&report, &recording, &options, BufWriter::new(file))
        .with_context(|| format!("cannot write {}", page.display()))
}

/// Every block, or of much text so many that the page opens at once.
fn options(text_bytes: u64) -> Options {
    let events_bytes = EVENTS_BYTES;
    match text_bytes {
        ..=FULL_BYTES => Options { events_bytes, ..Options::FULL },
        // A byte of text makes the work allocate about 35: some 70,000 samples.
        _ => Options { interval_bytes: (text_bytes / 2048) as usize, full: false, events_bytes },
    }
}
