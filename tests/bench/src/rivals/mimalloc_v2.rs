//! The cases on mimalloc v2, as the `mimalloc` crate bundles it.

use std::process::ExitCode;

use mimalloc::MiMalloc;

#[global_allocator]
static ALLOC: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    genesis_mem_bench::rival::main("mimalloc-v2", &ALLOC)
}
