//! The main function of every rival's binary: one case, one process, one line of JSON.

use std::alloc::GlobalAlloc;
use std::env;
use std::process::ExitCode;

use serde::{Deserialize, Serialize};

use crate::cases::Case;
use crate::meter::Measured;

/// What a rival's binary prints.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The case's name.
    pub case: String,
    /// The allocator's name.
    pub allocator: String,
    /// What the case cost.
    #[serde(flatten)]
    pub measured: Measured,
}

/// Runs the case that the command line names, on `alloc`, the process's global allocator.
///
/// Arguments are read by hand: a parser would add to the memory and the start-up that are measured.
pub fn main<A: GlobalAlloc + Sync>(allocator: &str, alloc: &'static A) -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let cases = Case::<A>::all();
    let (name, operations) = match arguments[..] {
        ["list"] => {
            cases.iter().for_each(|case| println!("{}", case.name));
            return ExitCode::SUCCESS;
        }
        ["run", name] => (name, None),
        ["run", name, "--operations", count] => (name, Some(count)),
        _ => return usage(allocator, "no such command"),
    };
    let Some(case) = cases.into_iter().find(|case| case.name == name) else {
        return usage(allocator, "no such case");
    };
    let Ok(operations) = operations.map_or(Ok(case.operations), str::parse) else {
        return usage(allocator, "operations must be a number");
    };
    let measured = (case.run)(alloc, operations);
    let report = Report { case: case.name.into(), allocator: allocator.into(), measured };
    println!("{}", serde_json::to_string(&report).expect("a report can be written"));
    ExitCode::SUCCESS
}

fn usage(allocator: &str, problem: &str) -> ExitCode {
    eprintln!("bench-{allocator}: {problem}");
    eprintln!("usage: bench-{allocator} list");
    eprintln!("       bench-{allocator} run CASE [--operations COUNT]");
    ExitCode::from(2)
}
