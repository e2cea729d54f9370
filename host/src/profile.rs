//! Who holds the host's memory, since when, and from where in the code.
//!
//! The profiler of the allocator notes call stacks; where and how it does is told in
//! `docs/profiling.md`. What it notes is read here, by [`Recorded`] from a file that any program
//! on Genesis Memory has written.
#![forbid(unsafe_code)]

mod error;
mod image;
mod kept;
mod maps;
mod names;
mod recorded;
mod records;
mod rounding;
mod sections;
mod segments;
mod symbols;

pub use genesis_mem_profile as model;

pub use self::{
    error::ReadError,
    kept::KEPT_BY_RUNTIMES,
    recorded::{Names, Recorded},
    records::Header,
};
