//! The work of `genesis-mem demo` on the system allocator; `genesis-mem demo` starts it.

use std::process::ExitCode;

fn main() -> ExitCode {
    genesis_mem_cli::demo::main_on_system()
}
