//! The main function of every rival's binary: one case, one process, one line of JSON.

use std::alloc::GlobalAlloc;
use std::env;
use std::process::ExitCode;

use serde::{Deserialize, Serialize};

use crate::cases::Case;
use crate::extras;
use crate::meter::Measured;
use crate::misuse;

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
        ["idle"] => Ok(json(&extras::idle(alloc))),
        ["misuse", act] => misuse::run(alloc, act),
        ["scaling"] => Ok(json(&extras::scaling(alloc))),
        _ => Err("no such command"),
    };
    match answer {
        Ok(text) => {
            println!("{text}");
            ExitCode::SUCCESS
        }
        Err(problem) => {
            eprintln!("bench-{allocator}: {problem}");
            eprintln!("usage: bench-{allocator} list|run CASE [--operations COUNT]|idle|scaling");
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
    let measured = (case.run)(alloc, operations.map_err(|_| "the count must be a number")?);
    Ok(json(&Report { case: name.into(), allocator: allocator.into(), measured }))
}

fn json(result: &impl Serialize) -> String {
    serde_json::to_string(result).expect("a result can be written")
}
