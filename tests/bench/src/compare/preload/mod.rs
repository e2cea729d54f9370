//! `compare preload`: whole programs with each allocator preloaded.

mod libraries;
mod programs;

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

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
    /// How often each program runs with each allocator; the order alternates within a round.
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
    let mut bench = Bench { work: work.clone(), printed: HashMap::new() };
    let bar =
        cases::progress(u64::from(arguments.rounds) * (programs.len() * libraries.len()) as u64);
    let mut warm = vec![WarmMemory::default(); programs.len()];
    for round in 1..=arguments.rounds {
        for (program, warm) in programs.iter().zip(&mut warm) {
            for library in &libraries {
                bar.set_message(format!("round {round}: {} on {}", program.name, library.name));
                warm.prepare().context("there is too little memory for this program")?;
                match bench.once(program, library) {
                    Ok(outcome) => {
                        warm.learn(outcome.peak_kib);
                        sink.add(&row(round, program, library, &outcome))?;
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

struct Bench {
    work: PathBuf,
    /// What each program printed when it first ran.
    printed: HashMap<&'static str, Vec<u8>>,
}

impl Bench {
    fn once(&mut self, program: &Program, library: &Library) -> Result<Outcome> {
        let output = self.work.join("output");
        let mut command = program.command(&output)?;
        library.give_to(&mut command);
        let companion = program.companion().map(|mut command| command.spawn()).transpose()?;
        let outcome = watch::run(command)
            .with_context(|| format!("{} on {} cannot be watched", program.name, library.name))?;
        if let Some(mut companion) = companion {
            companion.wait()?;
        }
        if !outcome.status.success() {
            bail!("{} on {} failed: {}", program.name, library.name, outcome.status);
        }
        self.check_output(program, library, &output)?;
        Ok(outcome)
    }

    fn check_output(&mut self, program: &Program, library: &Library, output: &Path) -> Result<()> {
        let printed = fs::read(output)?;
        if self.printed.entry(program.name).or_insert_with(|| printed.clone()) != &printed {
            bail!("{} prints something else on {}", program.name, library.name);
        }
        Ok(())
    }
}

fn row(round: u32, program: &Program, library: &Library, outcome: &Outcome) -> Row {
    Row {
        group: program.group.into(),
        round,
        case: program.name.into(),
        allocator: library.name.into(),
        operations: 1,
        cpu_ns_per_op: outcome.cpu_ns as f64,
        wall_ns_per_op: outcome.wall_ns as f64,
        worst_ns_per_op: None,
        minor_faults: outcome.minor_faults,
        peak_kib: outcome.peak_kib,
    }
}
