//! The example of the guide: its recording names the line that grows.

use std::{env, process::Command};

use genesis_mem_host::profile::{Recorded, model::Usage};

/// Where the line of the example is that never forgets.
fn line_that_grows() -> usize {
    let source = include_str!("../examples/who_grows.rs");
    source.lines().position(|line| line.contains("seen.push(")).expect("it is there") + 1
}

#[test]
fn a_recording_names_the_line_that_grows() {
    let test = env::current_exe().expect("a test has a path");
    let built = test.ancestors().nth(2).expect("tests lie in a folder").join("examples/who_grows");
    if !built.is_file() {
        // `cargo test` builds it unless it is told to build one test alone.
        println!("skipped: {} is not built", built.display());
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("grows.genesis-mem");
    let variables =
        [("GENESIS_MEM_PROFILE_INTERVAL", "16KiB"), ("GENESIS_MEM_PROFILE_EVENTS", "64MiB")];
    let mut command = Command::new(built);
    let output = command.env("GENESIS_MEM_PROFILE", &file).envs(variables).output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    let recorded = Recorded::open(&file).unwrap();
    assert!(recorded.is_whole() && recorded.header().lost_events == 0);
    let names = recorded.names(|_, _| {});
    let (peak_ns, peak_bytes) = recorded.peak();
    let report = recorded.report_at(&names, peak_ns);
    let site = report.by_live_bytes()[0];
    let expected = format!("who_grows.rs:{}", line_that_grows());
    assert!(report.stacks.location(site.key.1).ends_with(&expected), "{}", report.summary());
    // A path of each visitor, and the list with it; of 900 samples.
    let about = |estimate: u64, truth: u64| estimate.abs_diff(truth) * 5 < truth;
    assert!(about(site.usage.live_blocks(), 200_000), "{}", report.summary());
    assert!(about(report.live_bytes(), peak_bytes), "{}", report.summary());
    let early = recorded.report_at(&names, peak_ns / 2 + recorded.header().begin_ns / 2);
    let early = early.by_live_bytes()[0].usage;
    assert!(early.live_blocks() < Usage::live_blocks(&site.usage), "it grew");
}
