//! `genesis-mem`, which runs on the allocator that it shows.

use std::process::ExitCode;

use genesis_mem_host::Genesis;

#[global_allocator]
static ALLOC: Genesis = Genesis::new();

fn main() -> ExitCode {
    genesis_mem_cli::main()
}
