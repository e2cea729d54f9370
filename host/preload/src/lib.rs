//! `libgenesis_mem.so`: the allocation functions of C, on Genesis Memory.
//!
//! ```text
//! cargo build --profile preload -p genesis-mem-preload
//! LD_PRELOAD=target/preload/libgenesis_mem.so PROGRAM
//! ```
//!
//! C++'s `operator new` and `delete` call these. A wrong pointer ends the program with one line on
//! stderr. With `GENESIS_MEM_STATS_FILE=PATH` the statistics are written when the program ends.
//!
//! In profile `preload` the library is without the standard library, whose panics and thread-local
//! values would allocate inside `malloc`.
#![cfg_attr(panic = "abort", no_std)]

mod ends;
mod errno;
pub mod malloc;
mod out;
pub mod report;

/// A bug in the allocator: nothing sensible can follow.
#[cfg(panic = "abort")]
#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    use core::fmt::Write;

    let mut out = out::Out::<512>::to(libc::STDERR_FILENO);
    let _ = writeln!(out, "genesis-mem: {info}");
    out.flush();
    // SAFETY: no preconditions.
    unsafe { libc::abort() }
}
