//! Building an allocator.
#![forbid(unsafe_code)]

use crate::{
    DeviceAllocator, Options, SizeError,
    driver::{Driver, DriverError},
    parse_size,
};

/// Options, one by one; [`build`](Self::build) or
/// [`build_on`](Self::build_on) makes the allocator.
///
/// ```
/// use genesis_mem_cuda::{Builder, sim::{SimDriver, SimOptions}};
/// let driver = SimDriver::new(SimOptions::default());
/// let allocator = Builder::new().memory_fraction(0.9).cache_size("2GB")?.build_on(driver)?;
/// assert_eq!(allocator.memory_stats().reserved_bytes.current, 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
#[must_use = "a builder does nothing until it builds"]
pub struct Builder(Options);

impl Builder {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Holds at most this share of the device; 0 to 1.
    pub fn memory_fraction(mut self, fraction: f64) -> Self {
        self.0.memory_fraction = fraction.clamp(0.0, 1.0);
        self
    }

    /// Holds at most this many bytes.
    pub fn limit_bytes(mut self, bytes: u64) -> Self {
        self.0.limit_bytes = bytes;
        self
    }

    /// Keeps at most this much free memory, as in `"2GB"`, when garbage is collected.
    ///
    /// # Errors
    /// The text is no size.
    pub fn cache_size(mut self, size: &str) -> Result<Self, SizeError> {
        self.0.cache_bytes = parse_size(size)?;
        Ok(self)
    }

    /// Lets reserved memory exceed the peak of live memory by this many thousandths, with one
    /// stream and with several, before it is gathered from elsewhere.
    pub fn slack_permille(mut self, one_stream: u32, several: u32) -> Self {
        (self.0.slack_permille, self.0.slack_streams_permille) = (one_stream, several);
        self
    }

    /// Whether transfers go through page-locked host memory; see
    /// [`DeviceAllocator::enable_pinned_memory`].
    pub fn enable_pinned_memory(mut self, enabled: bool) -> Self {
        self.0.pinned_memory = enabled;
        self
    }

    /// Whether to take note of who holds the memory from the beginning; see
    /// [`DeviceAllocator::enable_profiling`].
    pub fn enable_profiling(mut self, enabled: bool) -> Self {
        self.0.profiling = enabled;
        self
    }

    /// All options at once.
    pub fn options(mut self, options: Options) -> Self {
        self.0 = options;
        self
    }

    /// An allocator on `driver`.
    ///
    /// # Errors
    /// The device does not answer.
    pub fn build_on<D: Driver>(self, driver: D) -> Result<DeviceAllocator<D>, DriverError> {
        DeviceAllocator::with_driver(driver, self.0)
    }
}
