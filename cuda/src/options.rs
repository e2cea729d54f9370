//! What can be set when an allocator is built; every default is one for all programs.
#![forbid(unsafe_code)]

/// Options of a [`DeviceAllocator`](crate::DeviceAllocator).
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "replay", derive(serde::Deserialize), serde(default, deny_unknown_fields))]
#[non_exhaustive]
pub struct Options {
    /// The most physical memory to hold, as a share of the device.
    pub memory_fraction: f64,
    /// The most physical memory to hold, bytes; `u64::MAX` for what the fraction says.
    pub limit_bytes: u64,
    /// The most free memory to keep, bytes; what is beyond is given back by garbage collection.
    pub cache_bytes: u64,
    /// Reserved memory may exceed the peak of live memory by this much, in thousandths, before
    /// free memory is gathered from elsewhere instead of growing.
    pub slack_permille: u32,
    /// The same where several streams allocate: memory of one can serve another only if it
    /// waits, so independence is worth more memory.
    pub slack_streams_permille: u32,
    /// The slack holds while less than this part of the device is reserved, in thousandths:
    /// beyond it nobody else has much use for the rest, and gathering early costs room later.
    pub slack_until_permille: u32,
    /// Blocks of at most this many bytes are kept apart from larger ones.
    pub small_bytes: u64,
    /// They are kept apart once this many bytes are live; a small program shares one arena.
    pub apart_bytes: u64,
    /// The largest piece of physical memory, bytes. Large pieces need fewer driver calls; small
    /// ones are wholly free more often, and only those can move. Small programs and devices get
    /// smaller ones.
    pub piece_bytes: u64,
    /// The same for the last fifth below the limit, bytes.
    pub near_piece_bytes: u64,
    /// Garbage is what no allocation has needed during this many frees on its stream. The pool
    /// looks for it by itself as often, in the next power of two.
    pub idle_frees: u32,
    /// The least time between two such looks, milliseconds.
    pub idle_ms: u32,
    /// Growth is rounded up to this many bytes where the slack allows.
    pub growth_bytes: u64,
    /// Whether transfers between ordinary host memory and buffers go through page-locked memory.
    pub pinned_memory: bool,
    /// The most host memory to page-lock for them, bytes, and never more than half of it.
    pub pinned_limit_bytes: u64,
    /// Whether to take note of who holds the memory from the beginning; see
    /// [`DeviceAllocator::enable_profiling`](crate::DeviceAllocator::enable_profiling).
    pub profiling: bool,
    /// Addresses to set aside for a stream, bytes.
    pub span_bytes: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            memory_fraction: 1.0,
            limit_bytes: u64::MAX,
            cache_bytes: u64::MAX,
            slack_permille: 17,
            slack_streams_permille: 50,
            slack_until_permille: 500,
            small_bytes: 1 << 20,
            apart_bytes: 1 << 30,
            piece_bytes: 36 << 20,
            near_piece_bytes: 20 << 20,
            idle_frees: 100_000,
            idle_ms: 1000,
            growth_bytes: 8 << 20,
            pinned_memory: false,
            pinned_limit_bytes: u64::MAX,
            profiling: false,
            span_bytes: 1 << 40,
        }
    }
}
