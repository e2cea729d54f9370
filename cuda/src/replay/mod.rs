//! Replaying allocation traces: what would this allocator have needed?
//!
//! A [`Trace`] is read from a recording of a real program: a text of one event a line, or a memory
//! snapshot that PyTorch wrote. A [`Replay`] asks the allocator for the same memory in the same
//! order, on the simulated device or on a GPU, and makes a [`Report`].
//!
//! ```
//! use genesis_mem_cuda::replay::{Replay, ReplayOptions, Trace};
//! let trace = Trace::parse("two", "a 1 4096 0\na 2 100 0\nf 1\nf 2\n".as_bytes())?;
//! let report = Replay::new(&trace, ReplayOptions::default()).run(|_| ())?;
//! assert_eq!((report.peak_live_bytes, report.out_of_memory), (4196, false));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
mod device;
mod error;
mod pickle;
mod player;
mod report;
mod run;
mod smallest;
mod snapshot;
mod text;
mod timed;
mod timing;
mod trace;

pub use device::Device;
pub use error::{Position, ReplayError, TraceError};
pub use report::{Point, Report};
pub use run::{Replay, ReplayOptions};
pub use trace::{Event, Trace};
