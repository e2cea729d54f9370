//! The cases on snmalloc.

use std::process::ExitCode;

use snmalloc_rs::SnMalloc;

#[global_allocator]
static ALLOC: SnMalloc = SnMalloc;

fn main() -> ExitCode {
    genesis_mem_bench::rival::main("snmalloc", &ALLOC)
}
