//! Who holds the memory, since when, and from where in the code.
//!
//! One model for memory of every kind, and the files that people's tools open. An allocator feeds
//! a [`Recorder`]; what it knows is read in two forms:
//!
//! * a [`Report`]: what is live now and what was allocated so far, by call site, by size, by
//!   lifetime, and [`Leaks`] against a [`Baseline`];
//! * a [`Recording`]: each event with its time, from which a [`Timeline`] is computed.
//!
//! Several recorders can be read into one report or recording, each with its [`Memory`] as label.
//!
//! ```
//! use genesis_mem_profile::{Block, Memory, Recorder, Report};
//! use std::panic::Location;
//! let recorder = Recorder::new(Memory::Device);
//! recorder.switch(true);
//! let block = Block { address: 0x1000, bytes: 100, block_bytes: 512, owner: 0 };
//! recorder.alloc((0, 0), block, Location::caller(), true);
//! let mut report = Report::now();
//! recorder.read_report(&mut report);
//! assert_eq!((report.live.len(), report.live_bytes()), (1, 100));
//! assert!(report.live[0].location(&report.stacks).contains(".rs:"));
//! ```
//!
//! | module of `format` | opens in |
//! |---|---|
//! | `html` | browsers: one page with everything, no network needed |
//! | `chrome` | Perfetto, chrome://tracing |
//! | `torch` | PyTorch's memory_viz, Python's `pickle` |
//! | `pprof` | pprof, Pyroscope, Parca, Perfetto, speedscope |
//! | `flame` | folded stacks for scripts, SVG for browsers |
//! | `json` | scripts |
//! | `openmetrics` | Prometheus, and whatever reads its text |
//! | `plot` | terminals and browsers |
//!
//! Feature `http` adds an address where Prometheus asks for the statistics.
#![forbid(unsafe_code)]

pub mod clock;
mod diff;
mod event;
#[cfg(feature = "formats")]
pub mod format;
#[cfg(feature = "http")]
pub mod http;
mod leaks;
mod map;
mod recorder;
mod recording;
mod report;
mod stack;
mod summary;
mod timeline;

pub use diff::{Change, Diff};
pub use event::{Event, EventKind, Mark, Memory, Weight};
pub use leaks::{Baseline, Ignored, Known, Leak, Leaks};
pub use map::{Area, AreaState, Segment};
pub use recorder::{Block, Recorder, SHARDS};
pub use recording::{Level, Recording};
pub use report::{Group, Live, Pool, Report, SIZE_CLASSES, Sampling, Usage, size_class_of};
pub use stack::{Call, Frame, Module, StackId, Stacks};
pub use timeline::{Point, Timeline};
