//! `compare cases`: every case with every allocator, in alternating rounds.

use std::alloc::System;
use std::fs;

use anyhow::{Context, Result, bail};
use genesis_mem_bench::cases::Case;
use genesis_mem_bench::rival::Report;
use glob::Pattern;
use indicatif::{ProgressBar, ProgressStyle};

use crate::child::WarmMemory;
use crate::rivals::Choice;
use crate::rows::{Row, Sink};
use crate::{Output, machine, report};

/// The group that these rows belong to.
pub(crate) const GROUP: &str = "Rust cases";

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// How often each case runs with each allocator; each round begins with another one.
    #[arg(long, default_value_t = 5)]
    rounds: u32,
    /// Only the cases whose names match one of these, for example `pair_*,json`.
    #[arg(long, default_value = "*", value_delimiter = ',')]
    cases: Vec<Pattern>,
    /// Do only this part of the work, to try things out: the figures are worth nothing.
    #[arg(long, default_value_t = 1, value_name = "DIVISOR")]
    divide: u64,
    #[command(flatten)]
    choice: Choice,
    #[command(flatten)]
    output: Output,
}

/// Runs the cases, writes `cases.csv` row by row, and then its tables.
///
/// # Errors
/// When no binary or no case is found, or results cannot be written. A run that fails is named and
/// left out.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let rivals = arguments.choice.find()?;
    let mut cases = Case::<System>::all();
    cases.retain(|case| arguments.cases.iter().any(|pattern| pattern.matches(case.name)));
    if cases.is_empty() {
        bail!("no case has such a name; `bench-system list` tells them");
    }
    fs::create_dir_all(&arguments.output.out)?;
    let csv = arguments.output.out.join("cases.csv");
    let mut sink = Sink::create(&csv, &machine::header(GROUP))?;
    let runs = u64::from(arguments.rounds) * (cases.len() * rivals.len()) as u64;
    let bar = progress(runs);
    let mut warm = vec![WarmMemory::default(); cases.len()];
    for round in 1..=arguments.rounds {
        for (case, warm) in cases.iter().zip(&mut warm) {
            for rival in in_turn(&rivals, round) {
                bar.set_message(format!("round {round}: {} on {}", case.name, rival.name));
                let operations = (case.operations / arguments.divide.max(1)).max(1);
                warm.prepare().context("there is too little memory for this case")?;
                let operations = operations.to_string();
                let words = ["run", case.name, "--operations", &operations];
                match rival.ask::<Report>(&words) {
                    Ok(report) => {
                        warm.learn(report.measured.peak_kib);
                        sink.add(&row(round, report))?;
                    }
                    Err(problem) => bar.suspend(|| eprintln!("{problem:#}")),
                }
                bar.inc(1);
            }
        }
    }
    bar.finish_and_clear();
    report::publish("cases", &csv, &arguments.output)
}

/// All of `items`, beginning with another one in each round: whoever comes first finds the processor's caches
/// full of something else.
pub(crate) fn in_turn<T>(items: &[T], round: u32) -> impl Iterator<Item = &T> {
    let (later, first) = items.split_at((round as usize).saturating_sub(1) % items.len().max(1));
    first.iter().chain(later)
}

/// A bar that says what runs and how long it will take.
pub(crate) fn progress(runs: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{wide_bar} {pos}/{len}, {eta} left\n{msg}");
    ProgressBar::new(runs).with_style(style.expect("the template is valid"))
}

/// The row of one run.
pub(crate) fn row(round: u32, report: Report) -> Row {
    let Report { case, allocator, measured } = report;
    Row {
        group: GROUP.into(),
        round,
        case,
        allocator,
        operations: measured.operations,
        cpu_ns_per_op: measured.cpu_ns_per_op,
        wall_ns_per_op: measured.wall_ns_per_op,
        worst_ns_per_op: measured.worst_ns_per_op,
        minor_faults: measured.minor_faults,
        peak_kib: measured.peak_kib,
    }
}
