//! The cases on the operating system's allocator.

use std::process::ExitCode;

use std::alloc::System;

#[global_allocator]
static ALLOC: System = System;

fn main() -> ExitCode {
    genesis_mem_bench::rival::main("system", &ALLOC)
}
