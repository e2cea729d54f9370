//! Who holds the host's memory, since when, and from where in the code.
//!
//! The [`sampler`](crate::sampler) notes call stacks; here they are read: of this process, or by
//! [`Recorded`] from a file that any program on Genesis Memory has written.
//!
//! ```
//! use genesis_mem_host::{Genesis, profile};
//!
//! #[global_allocator]
//! static ALLOC: Genesis = Genesis::new();
//!
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let recording = profile::record()?; // each block from here on
//!     profile::baseline(); // what is live now is kept on purpose
//!     profile::mark("epoch 1");
//!     let kept = vec![1_u8; 1 << 20];
//!     let leaks = profile::check_leaks()?;
//!     assert!(leaks.bytes() >= 1 << 20);
//!     println!("{}\n{leaks}", profile::get_report()?.summary());
//!     drop(recording);
//!     assert!(profile::get_timeline()?.peak().live_bytes >= 1 << 20);
//!     drop(kept);
//!     Ok(())
//! }
//! ```
//!
//! Names need the debug information of the program (`debug = "line-tables-only"` in its Cargo
//! profile suffices) and take a moment to look up, the first time above all.
#![forbid(unsafe_code)]

mod error;
mod image;
mod kept;
mod maps;
mod moment;
mod names;
mod own;
mod recorded;
mod records;
mod rounding;
mod sections;
mod segments;
mod symbols;

pub use genesis_mem_profile as model;

#[cfg(feature = "formats")]
pub use self::own::plot;
pub use self::{
    error::ReadError,
    kept::KEPT_BY_RUNTIMES,
    own::{
        RecordGuard, baseline, check_leaks, enable_profiling, get_large_allocations, get_report,
        get_timeline, is_profiling, mark, record, recorded, recording,
    },
    recorded::{Names, Recorded},
    records::Header,
};
