//! The cases on Genesis Memory, as it comes.

use std::process::ExitCode;

use genesis_mem_host::Genesis;

#[global_allocator]
static ALLOC: Genesis = Genesis::new();

fn main() -> ExitCode {
    genesis_mem_bench::rival::main("genesis", &ALLOC)
}
