//! A caching allocator for GPU memory on CUDA's virtual memory management: less memory and fewer
//! driver calls at once.
//!
//! Address space is nearly free, physical memory is not. Each stream gets a large range of
//! addresses, blocks are placed in it by best fit, and physical memory is mapped under it in
//! pieces. A piece that is wholly free can be mapped once more, elsewhere, where a request needs
//! contiguous room; the old mapping is kept, and going back to it costs no driver call. Since
//! nothing is unmapped on the way, nobody ever has to wait for the GPU on the CPU: whoever gets
//! memory comes after its last user in the order of the streams.
//!
//! ```
//! use genesis_mem_cuda::{Builder, DeviceBuffer, driver::StreamId, sim::{SimDriver, SimOptions}};
//! let device = SimDriver::new(SimOptions::default());
//! let allocator = Builder::new().memory_fraction(0.9).build_on(device)?;
//! let buffer = DeviceBuffer::<f32, _>::new(&allocator, 1000, &StreamId(0))?;
//! assert_eq!(allocator.memory_stats().requested_bytes.current, 4000);
//! drop(buffer);
//! assert_eq!(allocator.memory_stats().requested_bytes.current, 0);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # The life of an allocation
//!
//! 1. [`alloc`](DeviceAllocator::alloc) finds the heap of the stream and takes the best fit among
//!    its free ranges, under a lock that nobody holds for long: no driver call, no event query.
//! 2. Where nothing fits, the slow path climbs the ladder in `ladder.rs`: blocks that other
//!    streams are through with, holes whose memory is free elsewhere, growth, another stream's
//!    free block, pieces from anywhere, growth to the limit.
//! 3. [`free`](DeviceAllocator::free) joins the block with its free neighbours at once. If other
//!    streams used it, it waits aside until one fence for a whole batch has been passed.
//!
//! On a device without virtual memory management blocks come from pieces that are allocated
//! whole, by size, as other caching allocators have them; nothing moves then.
//!
//! # Transfers
//!
//! [`DeviceBuffer::copy_from_host`] and [`copy_to_host`](DeviceBuffer::copy_to_host) copy from and
//! to ordinary memory, through page-locked pieces where
//! [`enable_pinned_memory`](DeviceAllocator::enable_pinned_memory) is on. A [`PinnedBuffer`] is
//! page-locked itself, from a [`PinnedPool`]: copies from and to it go on while the CPU does.
//! [`DriverLock`] locks pages for the collections of `genesis-mem-host`.
//!
//! # What is proved where
//!
//! On the simulated device ([`sim`]): no overlap, no reuse before its order, no use of unmapped
//! memory, no leak; random programs, every driver call failing once, any lag, and recorded traces
//! of real programs ([`replay`]). On any driver library, a stand-in included: that memory which
//! moves keeps what is live. Only a GPU can show the cost of the driver's calls.
mod allocator;
mod arena;
mod bins;
mod buffer;
mod builder;
mod capture;
mod collect;
mod copy;
#[cfg(feature = "cudarc")]
pub mod cudarc;
pub mod driver;
mod error;
mod extend;
mod fences;
mod free_ranges;
mod gather;
mod grow;
mod guard;
mod heap;
mod ladder;
#[cfg(feature = "formats")]
mod metrics;
mod options;
mod pinned;
mod plain;
mod plan;
mod pool;
mod profiling;
#[cfg(feature = "replay")]
pub mod replay;
mod shared;
pub mod sim;
mod sizes;
mod stats;
mod streams;
mod transfer;
mod upkeep;
mod vec;

pub use allocator::DeviceAllocator;
pub use buffer::DeviceBuffer;
pub use builder::Builder;
pub use capture::Capture;
pub use copy::CopyError;
pub use error::{AllocError, FreeError, Holder, OutOfMemory};
pub use genesis_mem_profile as profile;
pub use heap::{Block, PoolId};
pub use options::Options;
pub use pinned::{DriverLock, PinnedBuffer, PinnedPool};
pub use pool::Counts;
pub use profiling::RecordGuard;
pub use sizes::{SizeError, parse_size};
pub use vec::DeviceVec;

/// Its examples are tests.
#[cfg(all(doctest, feature = "cudarc"))]
#[doc = include_str!("../../docs/device.md")]
struct Guide;
