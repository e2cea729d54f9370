//! Benchmarks of Genesis Memory beside its rivals.
//!
//! The cases are written once, generic over the allocator ([`cases`]). Each rival is a binary of
//! its own with its own `#[global_allocator]` (`src/rivals`); it runs one case in a fresh process
//! and prints one line of JSON ([`rival`]). `compare` (`src/compare`) runs the binaries in turn and
//! puts their figures side by side.
//! What single parts of the profiler cost is told by a binary of its own ([`profiler`]).
//! Workloads for whole processes, which take an allocator by `LD_PRELOAD`, are in [`stress`].

pub mod block;
pub mod cases;
pub mod idle;
pub mod meter;
pub mod misuse;
pub mod profiler;
pub mod random;
pub mod rival;
pub mod stress;
pub mod threads;
