//! What single parts of the profiler cost: instructions while it is off, a sample, a recording.

use std::path::Path;

use anyhow::Result;
use genesis_mem_bench::profiler::Costs;
use serde::{Deserialize, Serialize};

use crate::instructions::{self, Count};
use crate::rivals::Rival;
use crate::rows;

/// What was counted at commit 55ac429, the last one before there was a profiler.
const BEFORE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/instructions-before-profiler.csv");
/// The cases whose instructions are counted.
const COUNTED: [&str; 4] = ["pair_16b", "pair_1k", "pair_const", "random_1k_10k"];

/// A figure and what it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Cost {
    pub(super) figure: String,
    pub(super) value: f64,
    pub(super) unit: String,
}

impl Cost {
    fn new(figure: impl Into<String>, value: f64, unit: &str) -> Self {
        Self { figure: figure.into(), value, unit: unit.into() }
    }
}

/// Measures all of them, a few runs only where `quick`. What needs valgrind is named and left out where
/// that is not installed.
///
/// # Errors
/// When a binary is missing or fails, or the earlier counts cannot be read.
pub(super) fn measure(bin_dir: &Path, quick: bool) -> Result<Vec<Cost>> {
    let ours = Rival { name: "genesis".into(), binary: bin_dir.join("bench-genesis") };
    let before = rows::read::<Count>(Path::new(BEFORE))?.1;
    let mut all = Vec::new();
    for case in COUNTED {
        match instructions::per_operation(&ours, case) {
            Ok(count) => all.extend(instructions_of(case, count, &before)),
            Err(problem) => eprintln!("{problem:#}"),
        }
    }
    let profiler = Rival { name: "profiler".into(), binary: bin_dir.join("bench-profiler") };
    let runs = if quick { "20" } else { "200" };
    let it = profiler.ask::<Costs>(&["--runs", runs])?;
    let samples = it.dumped_samples;
    all.extend([
        Cost::new("a call stack of 32 frames", it.capture_ns, "ns"),
        Cost::new("a sample of 32 frames, with its free", it.sample_ns, "ns"),
        Cost::new("a pair with 32 frames in full mode", it.full_pair_ns, "ns"),
        Cost::new(format!("a recording of {samples} live samples"), it.dump_ms, "ms"),
        Cost::new("its size", it.dump_bytes as f64 / f64::from(1 << 20), "MiB"),
        Cost::new(format!("estimates of {} runs: mean error", it.runs), it.bias_percent, "%"),
        Cost::new(
            "estimates off by at most 2/√samples: 95 or more are expected",
            it.near_percent,
            "% of the runs",
        ),
    ]);
    Ok(all)
}

/// A count, and beside it the one before there was a profiler: what else has changed since is in it too.
fn instructions_of(case: &str, count: f64, before: &[Count]) -> Vec<Cost> {
    const UNIT: &str = "instructions";
    let before = before.iter().find(|before| before.case == case).map(|before| {
        let figure = format!("{case}, before there was a profiler (commit 55ac429)");
        Cost::new(figure, before.instructions_per_op, UNIT)
    });
    [Cost::new(format!("{case}, profiler off"), count, UNIT)].into_iter().chain(before).collect()
}
