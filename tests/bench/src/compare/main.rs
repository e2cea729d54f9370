//! `compare`: runs the allocators' binaries in turn and puts their figures side by side.

mod cases;
mod child;
mod idle;
mod instructions;
mod machine;
mod misuse;
mod overview;
mod preload;
mod profiler;
mod report;
mod rivals;
mod rows;
mod summary;
mod threads;
mod watch;

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, Parser, Subcommand};

/// Compares allocators: CPU time, peak resident memory and instructions, case by case.
#[derive(Debug, Parser)]
#[command(name = "compare", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the cases in every allocator's binary found beside this one.
    Cases(cases::Arguments),
    /// Count instructions per operation with valgrind's callgrind, start-up left out.
    Instructions(instructions::Arguments),
    /// Measure the memory that an idle process keeps.
    Idle(idle::Arguments),
    /// Commit wrong acts, such as double frees, and tell what came of each.
    Misuse(misuse::Arguments),
    /// Run whole programs with every allocator preloaded.
    Preload(preload::Arguments),
    /// Measure what the profiler costs, switched off, sampling and recording everything.
    Profiler(profiler::Arguments),
    /// Measure many threads on few processors, what idle ones hold, and how well two scale.
    Threads(threads::Arguments),
    /// Sum up what all files of results say, target by target.
    Summary(overview::Arguments),
    /// Render the tables of a CSV file that an earlier run wrote.
    Report {
        /// The file.
        csv: PathBuf,
        #[command(flatten)]
        output: Output,
    },
}

/// What the figures are set against, and where they go.
#[derive(Debug, Args)]
struct Output {
    /// The allocator that counts as 1.
    #[arg(long, default_value = "mimalloc")]
    baseline: String,
    /// Where CSV files and tables are written; made if it does not exist.
    #[arg(long, default_value = "results")]
    out: PathBuf,
}

fn main() -> Result<()> {
    match Arguments::parse().command {
        Command::Cases(arguments) => cases::run(&arguments),
        Command::Instructions(arguments) => instructions::run(&arguments),
        Command::Idle(arguments) => idle::run(&arguments),
        Command::Misuse(arguments) => misuse::run(&arguments),
        Command::Preload(arguments) => preload::run(&arguments),
        Command::Profiler(arguments) => profiler::run(&arguments),
        Command::Summary(arguments) => overview::run(&arguments),
        Command::Threads(arguments) => threads::run(&arguments),
        Command::Report { csv, output } => {
            let name = csv.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            report::publish(&name, &csv, &output)
        }
    }
}
