//! One of the stress workloads on the C library's `malloc`, or whatever is preloaded in its place.

use std::process::ExitCode;

use genesis_mem_bench::stress::WORKLOADS;

fn main() -> ExitCode {
    let name = std::env::args().nth(1).unwrap_or_default();
    let Some((_, workload)) = WORKLOADS.iter().find(|workload| workload.0 == name) else {
        let names: Vec<&str> = WORKLOADS.iter().map(|workload| workload.0).collect();
        eprintln!("usage: bench-stress WORKLOAD, one of {}", names.join(", "));
        return ExitCode::from(2);
    };
    println!("{name}: {}", workload(1));
    ExitCode::SUCCESS
}
