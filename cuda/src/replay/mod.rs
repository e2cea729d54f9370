//! Replaying allocation traces: what would this allocator have needed?
mod run;
mod timed;
mod trace;
pub use run::{Replay, ReplayError, ReplayOptions, Report};
pub use trace::{Event, Trace, TraceError};
