//! The main function of every rival's binary: one case, one process, one line of JSON.

use std::alloc::GlobalAlloc;
use std::env;
use std::process::ExitCode;

use serde::{Deserialize, Serialize};

use crate::cases::Case;
use crate::idle;
use crate::meter::Measured;
use crate::misuse;
use crate::threads;

const NO_NUMBER: &str = "the count must be a number";

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

/// Does what the command line says, on `alloc`, the process's global allocator.
///
/// Arguments are read by hand: a parser would add to the memory and the start-up that are measured.
pub fn main<A: GlobalAlloc + Sync>(allocator: &str, alloc: &'static A) -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let answer = match arguments[..] {
        ["list"] => {
            Ok(Case::<A>::all().iter().map(|case| case.name).collect::<Vec<_>>().join("\n"))
        }
        ["run", name] => run(allocator, alloc, name, None),
        ["run", name, "--operations", count] => run(allocator, alloc, name, Some(count)),
        ["idle", name] => idle(alloc, name),
        ["misuse", act] => misuse::run(alloc, act),
        ["scaling"] => Ok(json(&threads::scaling(alloc))),
        ["threads", name, count] => threads(alloc, name, count),
        ["idle-threads", count] => {
            count.parse().map_err(|_| NO_NUMBER).map(|count| json(&threads::idle(alloc, count)))
        }
        _ => Err("no such command"),
    };
    match answer {
        Ok(text) => {
            println!("{text}");
            ExitCode::SUCCESS
        }
        Err(problem) => {
            eprintln!("bench-{allocator}: {problem}");
            eprintln!(
                "usage: bench-{allocator} list|run CASE [--operations COUNT]|idle SHAPE|misuse ACT|\
                 scaling|threads SHAPE COUNT|idle-threads COUNT"
            );
            ExitCode::from(2)
        }
    }
}

fn run<A: GlobalAlloc + Sync>(
    allocator: &str,
    alloc: &'static A,
    name: &str,
    operations: Option<&str>,
) -> Result<String, &'static str> {
    let case = Case::<A>::all().into_iter().find(|case| case.name == name);
    let case = case.ok_or("no such case")?;
    let operations = operations.map_or(Ok(case.operations), str::parse);
    let measured = (case.run)(alloc, operations.map_err(|_| NO_NUMBER)?);
    Ok(json(&Report { case: name.into(), allocator: allocator.into(), measured }))
}

fn idle<A: GlobalAlloc + Sync>(alloc: &'static A, name: &str) -> Result<String, &'static str> {
    let shape = idle::shapes::<A>().into_iter().find(|shape| shape.0 == name);
    shape.map(|(_, shape)| json(&idle::measure(alloc, shape))).ok_or("no such shape")
}

fn threads<A: GlobalAlloc + Sync>(
    alloc: &'static A,
    name: &str,
    count: &str,
) -> Result<String, &'static str> {
    let count = count.parse().ok().filter(|&count| count > 0).ok_or(NO_NUMBER)?;
    threads::measure(alloc, name, count).map(|busy| json(&busy)).ok_or("no such shape")
}

fn json(result: &impl Serialize) -> String {
    serde_json::to_string(result).expect("a result can be written")
}
