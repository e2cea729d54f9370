//! `genesis-mem demo`: real work on your own files as a picture, its cost on this allocator and on
//! the system's, and a recorded program on the device allocator.

mod files;
mod index;
mod measure;
mod page;
mod rival;

use std::{
    env,
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, bail};
use clap::{Args, Parser};
use genesis_mem_cuda::replay::{self, Replay, ReplayOptions, Trace};
use genesis_mem_host::core::stats::Bytes;
use serde::{Deserialize, Serialize};

use self::{files::Files, index::Summary, measure::Cost};
use crate::{
    exit::{self, Exit},
    progress::progress,
    replay::table::summary,
    snapshot::{Report, grouped, row, table},
};

/// Indexes the files of a folder on all cores, with Genesis Memory as the allocator, and says what
/// that took, beside the same work on the system's allocator.
///
/// The index maps every word to where it stands; it goes through JSON and back. Hidden and ignored
/// files, files that are no text and files above 8 MiB are left out. One more round is recorded by the
/// profiler, as a page for browsers: who held the memory, when, and where it lay. Then the memory
/// requests of a PyTorch program are replayed on the device allocator, on a simulated GPU.
#[derive(Args, Clone, Debug)]
pub struct Demo {
    /// The folder; the repository around the current folder where none is given
    folder: Option<PathBuf>,
    /// How often to do the work
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Write the page to FILE instead of the system's folder for temporary files
    #[arg(long, value_name = "FILE")]
    page: Option<PathBuf>,
    /// Print the results as JSON
    #[arg(long)]
    json: bool,
    /// Write the page and do nothing else: this is how a process of its own is told to
    #[arg(long, hide = true)]
    record_only: bool,
}

/// The work on the system's allocator, for comparison: prints what it took as JSON.
#[derive(Debug, Parser)]
#[command(name = "genesis-mem-demo-system", version)]
struct Alone {
    #[command(flatten)]
    demo: Demo,
}

const PAGE: &str = "A round of the work as a picture, who held the memory, when, and where it lay:";

/// What the work came to, and what it took.
#[derive(Clone, Debug, Deserialize, Serialize)]
struct Done {
    summary: Summary,
    cost: Cost,
}

/// All that the demonstration shows.
#[derive(Debug, Serialize)]
struct Outcome {
    /// A picture of the work, for browsers.
    page: PathBuf,
    folder: PathBuf,
    rounds: u32,
    threads: usize,
    genesis: Done,
    /// Null where its program is not there.
    system: Option<Done>,
    /// At the end of the work, with the last index still in memory.
    snapshot: Report,
    /// A PyTorch program's requests on the device allocator.
    replay: replay::Report,
}

impl Demo {
    /// Does the work on both allocators and prints the results.
    ///
    /// # Errors
    /// The folder cannot be read or holds no text, or the two processes disagree.
    pub(crate) fn run(&self) -> anyhow::Result<Exit> {
        let folder = self.folder()?;
        let page = self.page.clone().unwrap_or_else(page::default_path);
        let page = std::path::absolute(page).context("the current folder is gone")?;
        if self.record_only {
            page::record(&folder, &page)?;
            return Ok(Exit(0));
        }
        page::make(&folder, &page)?;
        if !self.json {
            let page = page.display();
            writeln!(io::stdout(), "{PAGE}\n  xdg-open {page}\n  file://{page}\n")?;
        }
        let (genesis, snapshot) = self.work(&folder)?;
        // The other process starts on files that this one has brought into the system's cache, as
        // this one did by reading them once before.
        let system = rival::run(&folder, self.rounds)?;
        if let Some(system) = &system
            && system.summary != genesis.summary
        {
            bail!("the folder changed meanwhile: the two processes found different words");
        }
        let replay = Replay::new(&Trace::sample(), ReplayOptions::default()).run(|_| ())?;
        let (rounds, threads) = (self.rounds, rayon::current_num_threads());
        let outcome = Outcome { page, folder, rounds, threads, genesis, system, snapshot, replay };
        if self.json {
            writeln!(io::stdout(), "{}", serde_json::to_string(&outcome)?)?;
        } else {
            writeln!(io::stdout(), "{outcome}")?;
        }
        Ok(Exit(0))
    }

    /// The work, and the snapshot at its end.
    fn work(&self, folder: &Path) -> anyhow::Result<(Done, Report)> {
        let files = Files::of(folder, &progress("scan"))?;
        let bar = progress("index");
        bar.set_length(u64::from(self.rounds) * files.paths.len() as u64);
        let mut meter = measure::Meter::start();
        let mut last = None;
        for _ in 0..self.rounds {
            // The last index goes first, as in a program that replaces it.
            drop(last.take());
            last = Some(index::Index::of(&files, &bar, |_| ())?);
            meter.round();
        }
        let snapshot = Report::of(&genesis_mem_host::stats())?;
        let cost = meter.stop();
        bar.finish_and_clear();
        let index = last.context("there is at least one round")?;
        Ok((Done { summary: index.summary(&files), cost }, snapshot))
    }

    fn folder(&self) -> anyhow::Result<PathBuf> {
        let folder = match &self.folder {
            Some(folder) => folder.clone(),
            None => {
                let here = env::current_dir().context("the current folder is gone")?;
                let top = here.ancestors().find(|folder| folder.join(".git").exists());
                top.unwrap_or(&here).to_owned()
            }
        };
        folder.canonicalize().with_context(|| format!("cannot read {}", folder.display()))
    }
}

/// The main function of the program on the system's allocator.
pub fn main_on_system() -> ExitCode {
    let Alone { demo } = Alone::parse();
    let done = demo.folder().and_then(|folder| demo.work(&folder)).and_then(|(done, _)| {
        println!("{}", serde_json::to_string(&done)?);
        Ok(Exit(0))
    });
    exit::report(done)
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Summary { files, bytes, lines, words, different_words, json_bytes } =
            self.genesis.summary;
        writeln!(f, "{}", self.folder.display())?;
        writeln!(
            f,
            "{} files, {}, {} lines, {} words, {} of them different; index of {} as JSON.",
            grouped(files),
            Bytes(bytes),
            grouped(lines),
            grouped(words),
            grouped(different_words),
            Bytes(json_bytes),
        )?;
        writeln!(f, "{} rounds on {} threads.\n", self.rounds, self.threads)?;
        writeln!(f, "{}", self.comparison())?;
        if self.system.is_none() {
            writeln!(f, "{}", rival::MISSING)?;
        }
        let s = &self.snapshot;
        writeln!(f, "\nGenesis Memory at the end of the work, with the last index in memory:")?;
        writeln!(f, "{}\n{}\n{}", s.sums(), s.counts(), s.fragmentation())?;
        writeln!(f, "{}\n", s.rows())?;
        let allocations = grouped(self.replay.allocations);
        writeln!(f, "On a simulated GPU, {allocations} allocations of a program on PyTorch:")?;
        writeln!(f, "{}\n", summary(&self.replay))?;
        write!(f, "{PAGE}\n  xdg-open {}", self.page.display())
    }
}

impl Outcome {
    fn comparison(&self) -> comfy_table::Table {
        let mut table = table(&["allocator", "time a round", "CPU time", "peak resident"]);
        let mut line = |name: &str, cost: &Cost| {
            table.add_row(row([
                name.to_owned(),
                format!("{:.1} ms", cost.median_round_ms),
                format!("{:.1} ms", cost.cpu_ms),
                Bytes(cost.peak_resident_bytes).to_string(),
            ]));
        };
        line("Genesis Memory", &self.genesis.cost);
        if let Some(system) = &self.system {
            line("system", &system.cost);
        }
        table
    }
}
