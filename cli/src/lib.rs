//! What `genesis-mem` does, apart from which allocator it runs on: that is for each program.

pub mod demo;
mod exit;
mod progress;
mod recordings;
pub mod replay;
pub mod report;
pub mod run;
mod snapshot;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

pub use self::exit::Exit;

/// Genesis Memory: a memory allocator that shows what it does.
#[derive(Debug, Parser)]
#[command(name = "genesis-mem", version, after_help = exit::HELP)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Demo(demo::Demo),
    Replay(replay::Replay),
    Report(report::Report),
    Run(run::Run),
}

/// Does what the command line says.
pub fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Demo(demo) => demo.run(),
        Command::Replay(replay) => replay.run(),
        Command::Report(report) => report.run(),
        Command::Run(run) => run.run(),
    };
    exit::report(done)
}
