//! The host allocator of Genesis Memory.
//!
//! ```
//! use genesis_mem_host::Genesis;
//!
//! #[global_allocator]
//! static ALLOC: Genesis = Genesis::new();
//!
//! let numbers: Vec<u64> = (0..1000).collect();
//! let snapshot = genesis_mem_host::stats();
//! assert!(snapshot.allocated_bytes.current >= 8000);
//! # drop(numbers);
//! ```
//!
//! [`Genesis`] is the allocator of a whole program, [`Heap`] one for a purpose that is dropped
//! whole, and [`Pinned`] one whose memory is page-locked for transfers to a device. The allocator
//! runs without the standard library; feature `std`, on by default, adds what needs it.
#![cfg_attr(not(any(feature = "std", test)), no_std)]

#[cfg(not(all(
    target_os = "linux",
    target_pointer_width = "64",
    any(target_arch = "x86_64", target_arch = "aarch64")
)))]
compile_error!(
    "genesis-mem-host supports Linux on x86_64 and aarch64. On other systems, use \
     `genesis-mem-core` with a backend of your own, or the system's allocator."
);

mod background;
pub mod c;
mod collections;
mod fault;
mod genesis;
mod heap;
pub mod options;
pub mod os;
mod pinned;
mod process;
#[cfg(feature = "profile")]
pub mod profile;
mod purger;
pub mod sampler;
mod serve;
mod sink;
#[doc(hidden)]
pub mod stack;
mod thread;

pub use genesis_mem_core as core;
pub use genesis_mem_core::stats::Snapshot;

pub use self::{
    genesis::Genesis,
    heap::Heap,
    pinned::{AtLimit, Mlock, PageLock, PinError, Pinned},
    process::{regions, reset_peaks, set_limit, stats, trim},
    serve::{ServeError, serve, stop_serving},
};
