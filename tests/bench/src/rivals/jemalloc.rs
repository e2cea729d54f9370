//! The cases on jemalloc.

use std::process::ExitCode;

use tikv_jemallocator::Jemalloc;

#[global_allocator]
static ALLOC: Jemalloc = Jemalloc;

fn main() -> ExitCode {
    genesis_mem_bench::rival::main("jemalloc", &ALLOC)
}
