//! `compare preload`: whole programs with each allocator preloaded.

mod libraries;
pub(crate) mod programs;

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use glob::Pattern;

pub(crate) use self::libraries::Library;
use self::programs::Program;
use crate::child::WarmMemory;
use crate::rows::{Row, Sink};
use crate::watch::{self, Outcome};
use crate::{Output, cases, machine, report, rivals};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// How often each program runs with each allocator; each round begins with another one.
    #[arg(long, default_value_t = 5)]
    rounds: u32,
    /// Only the programs whose names match one of these, for example `python*,larson`.
    #[arg(long, default_value = "*", value_delimiter = ',')]
    programs: Vec<Pattern>,
    /// Only these allocators, separated by commas; by default all that are found.
    #[arg(long, value_delimiter = ',')]
    allocators: Vec<String>,
    /// The library of Genesis Memory.
    #[arg(long, default_value = "target/preload/libgenesis_mem.so")]
    genesis: PathBuf,
    /// Where `preload-rivals.sh` has built the rivals.
    #[arg(long, default_value = "target/rivals")]
    rivals: PathBuf,
    /// What the programs work on.
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/programs"))]
    scripts: PathBuf,
    #[command(flatten)]
    output: Output,
}

/// Runs the programs, writes `preload.csv` row by row, and then its tables.
///
/// # Errors
/// When no program is found or results cannot be written. A run that fails, or that prints something
/// else than the first one did, is named and left out.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let libraries = Library::find(&arguments.genesis, &arguments.rivals, &arguments.allocators);
    if libraries.is_empty() {
        bail!("none of these allocators was found");
    }
    let work = std::env::temp_dir().join(format!("genesis-mem-bench-{}", std::process::id()));
    fs::create_dir_all(&work)?;
    let mut programs = programs::real(&arguments.scripts.canonicalize()?, &work);
    programs.extend(programs::stress(&rivals::beside_this_binary()?)?);
    programs.retain(|program| arguments.programs.iter().any(|it| it.matches(program.name)));
    if programs.is_empty() {
        bail!("no program has such a name");
    }
    fs::create_dir_all(&arguments.output.out)?;
    let csv = arguments.output.out.join("preload.csv");
    let mut sink = Sink::create(&csv, &machine::header("programs under LD_PRELOAD"))?;
    let mut bench = Bench::new(&work);
    let bar =
        cases::progress(u64::from(arguments.rounds) * (programs.len() * libraries.len()) as u64);
    let mut warm = vec![WarmMemory::default(); programs.len()];
    for round in 1..=arguments.rounds {
        for (program, warm) in programs.iter().zip(&mut warm) {
            // Not counted: the first run of a program pays for what the one before has left in the caches.
            warm.prepare().context("there is too little memory for this program")?;
            let _ = bench.once(program, "nothing", &[], |it| {
                it.env_remove("LD_PRELOAD");
            });
            for library in cases::in_turn(&libraries, round) {
                bar.set_message(format!("round {round}: {} on {}", program.name, library.name));
                warm.prepare().context("there is too little memory for this program")?;
                match bench.once(program, library.name, &[], |it| library.give_to(it)) {
                    Ok(outcome) => {
                        warm.learn(outcome.peak_kib);
                        sink.add(&row(round, program, library.name, &outcome))?;
                    }
                    Err(problem) => bar.suspend(|| eprintln!("{problem:#}")),
                }
                bar.inc(1);
            }
        }
    }
    bar.finish_and_clear();
    fs::remove_dir_all(&work)?;
    report::publish("preload", &csv, &arguments.output)
}

/// Runs programs, and sees to it that they always print the same.
pub(crate) struct Bench {
    work: PathBuf,
    /// What each program printed when it first ran.
    printed: HashMap<&'static str, Vec<u8>>,
}

impl Bench {
    /// `work` is a folder for what they print.
    pub(crate) fn new(work: &Path) -> Self {
        Self { work: work.to_path_buf(), printed: HashMap::new() }
    }

    /// Runs a program once, behind `wrapper` and as `prepare` has it; `name` tells how in errors.
    ///
    /// # Errors
    /// When it cannot be run, fails, or prints something else than the first time.
    pub(crate) fn once(
        &mut self,
        program: &Program,
        name: &str,
        wrapper: &[&str],
        prepare: impl FnOnce(&mut Command),
    ) -> Result<Outcome> {
        let output = self.work.join("output");
        let mut command = program.command(wrapper, &output)?;
        prepare(&mut command);
        let companion = program.companion().map(|mut command| command.spawn()).transpose()?;
        let outcome = watch::run(command)
            .with_context(|| format!("{} on {name} cannot be watched", program.name))?;
        if let Some(mut companion) = companion {
            companion.wait()?;
        }
        if !outcome.status.success() {
            bail!("{} on {name} failed: {}", program.name, outcome.status);
        }
        let printed = fs::read(output)?;
        if self.printed.entry(program.name).or_insert_with(|| printed.clone()) != &printed {
            bail!("{} prints something else on {name}", program.name);
        }
        Ok(outcome)
    }
}

/// The row of one run, of a program on the allocator, or in the mode, of that name.
pub(crate) fn row(round: u32, program: &Program, name: &str, outcome: &Outcome) -> Row {
    Row {
        group: program.group.into(),
        round,
        case: program.name.into(),
        allocator: name.into(),
        operations: 1,
        cpu_ns_per_op: outcome.cpu_ns as f64,
        wall_ns_per_op: outcome.wall_ns as f64,
        worst_ns_per_op: None,
        minor_faults: outcome.minor_faults,
        peak_kib: outcome.peak_kib,
    }
}
