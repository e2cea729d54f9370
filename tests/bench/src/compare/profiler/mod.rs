//! `compare profiler`: what it costs to profile a program, switched off, by samples and in full.

mod costs;
mod modes;
mod table;

use std::alloc::System;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use genesis_mem_bench::cases::Case;
use genesis_mem_bench::rival::Report;
use glob::Pattern;
use indicatif::ProgressBar;

use self::modes::{Mode, Tools};
use crate::child::WarmMemory;
use crate::preload::programs::{self, Program};
use crate::preload::{self, Bench};
use crate::rivals::{Rival, beside_this_binary};
use crate::rows::{self, Row, Sink};
use crate::{cases, machine};

/// The cases beside the programs, and the part of their work that is done unprofiled or sampled, and
/// in the slow modes: less for pairs, whose peak does not depend on how many they are.
const CASES: [(&str, u64, u64); 5] =
    [("pair_16b", 4, 40), ("pair_64b", 4, 40), ("pair_1k", 4, 40), ("json", 1, 1), ("btree", 1, 1)];
/// What dhat runs, once: it takes a minute where others take a second.
const DHAT_PROGRAM: &str = "lua";

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// How often each workload runs unprofiled and sampled; the order alternates within a round.
    #[arg(long, default_value_t = 5)]
    rounds: u32,
    /// How often it runs in the slow modes, which record each allocation.
    #[arg(long, default_value_t = 2)]
    slow_rounds: u32,
    /// Only the workloads whose names match one of these, for example `python*,pair_*`.
    #[arg(long, default_value = "*", value_delimiter = ',')]
    programs: Vec<Pattern>,
    /// One round of few workloads, in short: to see that it works, the figures are worth little.
    #[arg(long)]
    quick: bool,
    /// The library of Genesis Memory.
    #[arg(long, default_value = "../../target/preload/libgenesis_mem.so")]
    genesis: PathBuf,
    /// heaptrack's library.
    #[arg(long, default_value = "/usr/lib/heaptrack/libheaptrack_preload.so")]
    heaptrack: PathBuf,
    /// What the programs work on.
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/programs"))]
    scripts: PathBuf,
    /// Where `profiler.csv`, `profiler-costs.csv` and `profiler.md` are written.
    #[arg(long, default_value = "results")]
    out: PathBuf,
}

/// Measures, writes the rows and the single costs as CSV and both as tables, and prints these.
///
/// # Errors
/// When a binary or library is missing, nothing could be run, or results cannot be written. A run that
/// fails, or that prints something else than the first one did, is named and left out.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let work = std::env::temp_dir().join(format!("genesis-mem-bench-{}", std::process::id()));
    fs::create_dir_all(&work)?;
    let mut header = machine::header("what profiling costs");
    let profilers = machine::packages(&["heaptrack", "valgrind"]);
    header.insert(header.len() - 2, format!("profilers: {profilers}"));
    let measured = measure(arguments, &work, &header);
    fs::remove_dir_all(&work)?;
    measured?;
    let bin_dir = beside_this_binary()?;
    let costs = costs::measure(&bin_dir, arguments.quick)?;
    let mut sink = Sink::create(&arguments.out.join("profiler-costs.csv"), &header)?;
    costs.iter().try_for_each(|cost| sink.add(cost))?;
    let csv = arguments.out.join("profiler.csv");
    let (header, rows) = rows::read::<Row>(&csv)?;
    if rows.is_empty() {
        bail!("no workload could be run");
    }
    let text = table::render(&header, &rows, &costs);
    fs::write(arguments.out.join("profiler.md"), &text)?;
    println!("{text}\nRaw results: {}", csv.display());
    Ok(())
}

fn measure(arguments: &Arguments, work: &Path, header: &[String]) -> Result<()> {
    let found = |path: &Path| {
        path.canonicalize().with_context(|| format!("there is no {}", path.display()))
    };
    let tools = Tools {
        genesis: found(&arguments.genesis)?,
        heaptrack: arguments.heaptrack.clone(),
        recordings: work.join("recordings"),
    };
    let mut workloads = Workload::all(arguments, work)?;
    workloads.retain(|workload| arguments.wants(workload.name()));
    if workloads.is_empty() {
        bail!("no workload has such a name");
    }
    let modes = Mode::EACH.into_iter().filter(|&mode| {
        let is_there = mode != Mode::Heaptrack || tools.heaptrack.is_file();
        if !is_there {
            eprintln!("heaptrack is left out, there is no {}", tools.heaptrack.display());
        }
        is_there
    });
    let modes: Vec<Mode> = modes.collect();
    let (rounds, slow_rounds) =
        if arguments.quick { (1, 1) } else { (arguments.rounds, arguments.slow_rounds) };
    fs::create_dir_all(&arguments.out)?;
    let mut sink = Sink::create(&arguments.out.join("profiler.csv"), header)?;
    let bar = cases::progress(u64::from(rounds) * (workloads.len() * modes.len()) as u64);
    let mut runner = Runner { bench: Bench::new(work), tools, quick: arguments.quick };
    let mut warm = vec![WarmMemory::default(); workloads.len()];
    for round in 1..=rounds {
        for (workload, warm) in workloads.iter().zip(&mut warm) {
            let dhat = round == 1 && workload.name() == DHAT_PROGRAM && !arguments.quick;
            for mode in modes.iter().copied().chain(dhat.then_some(Mode::Dhat)) {
                if !mode.is_slow() || round <= slow_rounds {
                    warm.prepare().context("there is too little memory for this workload")?;
                    runner.run(workload, mode, round, &bar).map_or(Ok(()), |row| {
                        warm.learn(row.peak_kib);
                        sink.add(&row)
                    })?;
                }
                bar.inc(1);
            }
        }
    }
    bar.finish_and_clear();
    Ok(())
}

impl Arguments {
    fn wants(&self, name: &str) -> bool {
        const QUICK: [&str; 5] = ["python json", "lua", "gcc", "pair_16b", "btree"];
        let matches = self.programs.iter().any(|pattern| pattern.matches(name));
        matches && (!self.quick || QUICK.contains(&name))
    }
}

/// What is profiled.
enum Workload {
    /// A program with the allocator preloaded.
    Program(Program),
    /// A case in the binaries of Genesis Memory and of the C library's allocator.
    Case { case: Case<System>, divisors: [u64; 2], ours: Rival, system: Rival },
}

impl Workload {
    fn all(arguments: &Arguments, work: &Path) -> Result<Vec<Self>> {
        let bin_dir = beside_this_binary()?;
        let rival =
            |name: &str| Rival { name: name.into(), binary: bin_dir.join(format!("bench-{name}")) };
        let programs = programs::real(&arguments.scripts.canonicalize()?, work);
        let mut all: Vec<Self> = programs.into_iter().map(Self::Program).collect();
        for case in Case::<System>::all() {
            let divisors = CASES.iter().find(|it| it.0 == case.name).map(|it| [it.1, it.2]);
            let (ours, system) = (rival("genesis"), rival("system"));
            all.extend(divisors.map(|divisors| Self::Case { case, divisors, ours, system }));
        }
        Ok(all)
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Program(program) => program.name,
            Self::Case { case, .. } => case.name,
        }
    }
}

struct Runner {
    bench: Bench,
    tools: Tools,
    quick: bool,
}

impl Runner {
    /// The row of one run; nothing, and a word on stderr, where it failed.
    fn run(
        &mut self,
        workload: &Workload,
        mode: Mode,
        round: u32,
        bar: &ProgressBar,
    ) -> Option<Row> {
        bar.set_message(format!("round {round}: {}, {}", workload.name(), mode.name()));
        match self.once(workload, mode, round) {
            Ok(row) => Some(row),
            Err(problem) => {
                bar.suspend(|| eprintln!("{problem:#}"));
                None
            }
        }
    }

    fn once(&mut self, workload: &Workload, mode: Mode, round: u32) -> Result<Row> {
        let Self { bench, tools, quick } = self;
        tools.clear()?;
        let row = match workload {
            Workload::Program(program) => {
                let prepare = |command: &mut _| tools.prepare(command, mode, true);
                let outcome = bench.once(program, mode.name(), mode.wrapper(), prepare)?;
                preload::row(round, program, mode.name(), &outcome)
            }
            Workload::Case { case, divisors, ours, system } => {
                let divisor = divisors[usize::from(mode.is_slow())] * if *quick { 5 } else { 1 };
                let operations = (case.operations / divisor).max(1).to_string();
                let words = ["run", case.name, "--operations", &operations];
                let binary = if mode.is_ours() { ours } else { system };
                let prepare = |command: &mut _| tools.prepare(command, mode, false);
                let report = binary.ask_prepared::<Report>(&words, prepare)?;
                Row { allocator: mode.name().into(), ..cases::row(round, report) }
            }
        };
        if !tools.has_recorded(mode)? {
            bail!("{}, {}: nothing was recorded", workload.name(), mode.name());
        }
        Ok(row)
    }
}
