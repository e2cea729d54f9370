//! `compare instructions`: instructions per operation, counted by callgrind.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};
use comfy_table::Table;
use serde::{Deserialize, Serialize};

use crate::rivals::{Choice, Rival};
use crate::rows::{self, Sink};
use crate::{cases, child, machine, report};

/// The cases that stand for the paths that every program takes.
const CORE: [&str; 8] = [
    "pair_16b",
    "pair_1k",
    "pair_32k",
    "pair_const",
    "batch_lifo",
    "batch_fifo",
    "random_1k_10k",
    "vec_100",
];

/// Two runs of different length: their difference leaves out start-up, filling and emptying.
const OPERATIONS: [u64; 2] = [20_000, 70_000];

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    choice: Choice,
    /// Fail where a count is missing or above the one in this file, written by an earlier run.
    #[arg(long, value_name = "CSV")]
    check: Option<PathBuf>,
    /// How far above it may be.
    #[arg(long, default_value_t = 2.0)]
    tolerance_percent: f64,
    /// Where `instructions.csv` is written; made if it does not exist.
    #[arg(long, default_value = "results")]
    out: PathBuf,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Count {
    pub(crate) case: String,
    pub(crate) allocator: String,
    pub(crate) instructions_per_op: f64,
}

/// Counts, writes `instructions.csv`, prints the table, and checks it against an earlier file.
///
/// # Errors
/// When valgrind is missing, results cannot be written, or a count is above its limit or missing
/// where there is one. An allocator that does not run under valgrind is named and left out.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let limits = match &arguments.check {
        Some(path) => rows::read::<Count>(path)?.1,
        None => Vec::new(),
    };
    let rivals = arguments.choice.find()?;
    fs::create_dir_all(&arguments.out)?;
    let csv = arguments.out.join("instructions.csv");
    let mut sink = Sink::create(&csv, &machine::header("instructions per operation"))?;
    let mut counts = Vec::new();
    let bar = cases::progress((rivals.len() * CORE.len()) as u64);
    for rival in &rivals {
        for case in CORE {
            bar.set_message(format!("{case} on {}", rival.name));
            match per_operation(rival, case) {
                Ok(instructions_per_op) => {
                    let (case, allocator) = (case.to_owned(), rival.name.clone());
                    counts.push(Count { case, allocator, instructions_per_op });
                    sink.add(counts.last().expect("one was just added"))?;
                }
                Err(problem) => bar.suspend(|| eprintln!("{problem:#}")),
            }
            bar.inc(1);
        }
    }
    bar.finish_and_clear();
    println!("{}", table(&rivals, &counts));
    println!("Raw results: {}", csv.display());
    let chosen = |limit: &Count| rivals.iter().any(|rival| rival.name == limit.allocator);
    let limits: Vec<_> = limits.into_iter().filter(chosen).collect();
    check(&counts, &limits, arguments.tolerance_percent)
}

/// Instructions of one operation of a case, by callgrind.
///
/// # Errors
/// When valgrind is missing or the binary does not run under it.
pub(crate) fn per_operation(rival: &Rival, case: &str) -> Result<f64> {
    let [few, many] = OPERATIONS;
    let difference = count(rival, case, many)? as f64 - count(rival, case, few)? as f64;
    Ok(difference / (many - few) as f64)
}

fn count(rival: &Rival, case: &str, operations: u64) -> Result<u64> {
    let mut command = Command::new("valgrind");
    command.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]).arg(&rival.binary);
    command.args(["run", case, "--operations", &operations.to_string()]);
    child::limit_time(&mut command);
    let output = command.output().context("cannot run valgrind: is it installed?")?;
    let log = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        bail!("{case} on {} does not run under valgrind ({})", rival.name, output.status);
    }
    log.lines()
        .find_map(|line| line.split_once("Collected :"))
        .and_then(|(_, count)| count.trim().parse().ok())
        .with_context(|| format!("callgrind told no count for {case} on {}", rival.name))
}

fn table(rivals: &[Rival], counts: &[Count]) -> Table {
    let names: Vec<String> = rivals.iter().map(|rival| rival.name.clone()).collect();
    let mut table = report::new_table("instructions per operation", &names);
    for case in CORE {
        let cell = |rival: &Rival| {
            let wanted = |count: &&Count| count.case == case && count.allocator == rival.name;
            let count = counts.iter().find(wanted);
            count.map_or("-".into(), |count| format!("{:.1}", count.instructions_per_op))
        };
        table.add_row([vec![case.to_owned()], rivals.iter().map(cell).collect()].concat());
    }
    table
}

/// Compares with the limits, each of which must have its count; a count without a limit passes.
fn check(counts: &[Count], limits: &[Count], tolerance_percent: f64) -> Result<()> {
    let mut above = Vec::new();
    for limit in limits {
        let same = |count: &&Count| limit.case == count.case && limit.allocator == count.allocator;
        let Some(count) = counts.iter().find(same) else {
            above.push(format!("{} on {}: not counted", limit.case, limit.allocator));
            continue;
        };
        let most = limit.instructions_per_op * (1.0 + tolerance_percent / 100.0);
        if count.instructions_per_op > most {
            above.push(format!(
                "{} on {}: {:.1} instructions, {:.1} before",
                count.case, count.allocator, count.instructions_per_op, limit.instructions_per_op
            ));
        }
    }
    if !above.is_empty() {
        bail!("more than {tolerance_percent} % above the recorded counts:\n{}", above.join("\n"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(case: &str, instructions_per_op: f64) -> Count {
        Count { case: case.into(), allocator: "genesis".into(), instructions_per_op }
    }

    #[test]
    fn only_a_count_beyond_the_tolerance_fails() {
        let limits = [count("a", 100.0)];
        assert!(check(&[count("a", 101.9), count("b", 1e9)], &limits, 2.0).is_ok());
        let error = check(&[count("a", 102.1)], &limits, 2.0).expect_err("beyond 2 %");
        assert!(error.to_string().contains("102.1"), "{error}");
        let error = check(&[count("b", 1.0)], &limits, 2.0).expect_err("no count for a limit");
        assert!(error.to_string().contains("not counted"), "{error}");
    }
}
