//! The cases on rpmalloc.

use std::process::ExitCode;

use rpmalloc::RpMalloc;

#[global_allocator]
static ALLOC: RpMalloc = RpMalloc;

fn main() -> ExitCode {
    genesis_mem_bench::rival::main("rpmalloc", &ALLOC)
}
