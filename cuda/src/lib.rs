//! A caching allocator for GPU memory on CUDA's virtual memory management.
pub mod allocator;
mod arena;
mod bins;
mod buffer;
mod builder;
mod collect;
#[cfg(feature = "cudarc")]
pub mod cudarc;
pub mod driver;
pub mod error;
mod heap;
mod ladder;
mod options;
mod pool;
#[cfg(feature = "replay")]
pub mod replay;
mod shared;
pub mod sim;
mod sizes;
mod stats;

pub use allocator::DeviceAllocator;
pub use buffer::DeviceBuffer;
pub use builder::Builder;
pub use error::{AllocError, FreeError, OutOfMemory};
pub use heap::{Block, PoolId};
pub use options::Options;
pub use pool::Counts;
pub use sizes::{SizeError, parse_size};
