//! What the pool asks of a device: the only trait with the driver's words in it.
//!
//! [`SimDriver`](crate::sim::SimDriver) answers in a deterministic simulation, `CudarcDriver` on
//! a GPU. The pool above is the same code for both.
#![forbid(unsafe_code)]

use std::fmt;

pub use crate::transfer::Transfer;
pub use genesis_mem_core::backend::DevicePtr;

/// The driver of allocators and buffers that name none: a GPU where the feature `cudarc` is on,
/// and the simulated device otherwise.
#[cfg(feature = "cudarc")]
pub type DefaultDriver = crate::cudarc::CudarcDriver;
/// The driver of allocators and buffers that name none: the simulated device, since the feature
/// `cudarc` is off.
#[cfg(not(feature = "cudarc"))]
pub type DefaultDriver = crate::sim::SimDriver;

/// A stream, by the driver's own handle. Zero is the default stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct StreamId(pub u64);

/// A piece of physical memory, by the driver's own handle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct PhysicalId(pub u64);

/// How much memory a device has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryInfo {
    /// Bytes that nobody holds now, other processes included.
    pub free_bytes: u64,
    /// Bytes in all.
    pub total_bytes: u64,
}

/// Whose memory a driver hands out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum MemoryKind {
    /// The device's, used in the order of streams alone.
    #[default]
    Device,
    /// The host's, page-locked. The CPU uses it too, in no stream's order: a block that streams
    /// use is free only once the CPU has seen them pass.
    PinnedHost,
}

/// A call to the driver, for messages and for counting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DriverCall {
    /// Opening the driver and its device.
    Open,
    /// Asking how much memory there is.
    MemoryInfo,
    /// Reserving addresses.
    Reserve,
    /// Giving addresses back.
    Unreserve,
    /// Creating physical memory.
    Create,
    /// Giving physical memory back.
    Release,
    /// Mapping physical memory at an address.
    Map,
    /// Making a mapping accessible.
    SetAccess,
    /// Taking a mapping away.
    Unmap,
    /// Plain allocation.
    Alloc,
    /// Plain free.
    Free,
    /// Recording a fence on a stream.
    Record,
    /// Asking whether a fence has been passed.
    Query,
    /// Making a stream wait for a fence.
    Wait,
    /// Waiting on the CPU.
    Synchronize,
    /// Page-locking host memory.
    RegisterHost,
    /// Undoing that.
    UnregisterHost,
    /// Copying or setting memory.
    Copy,
}

impl DriverCall {
    /// The number of kinds, for tables indexed by kind.
    pub const COUNT: usize = Self::Copy as usize + 1;

    /// The call in plain words.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Open => "open the device",
            Self::MemoryInfo => "ask for free memory",
            Self::Reserve => "reserve addresses",
            Self::Unreserve => "give addresses back",
            Self::Create => "create physical memory",
            Self::Release => "give physical memory back",
            Self::Map => "map memory",
            Self::SetAccess => "set access rights",
            Self::Unmap => "unmap memory",
            Self::Alloc => "allocate memory",
            Self::Free => "free memory",
            Self::Record => "record a fence",
            Self::Query => "query a fence",
            Self::Wait => "wait for a fence",
            Self::Synchronize => "synchronize a stream",
            Self::RegisterHost => "page-lock host memory",
            Self::UnregisterHost => "unlock host memory",
            Self::Copy => "copy memory",
        }
    }
}

/// Why a driver call failed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DriverError {
    /// The device has no memory left for the request.
    OutOfMemory {
        /// What was asked.
        call: DriverCall,
        /// For how many bytes.
        bytes: u64,
    },
    /// The device is gone; nothing on it can be used or freed any more.
    DeviceLost {
        /// What was asked.
        call: DriverCall,
        /// The driver's code.
        code: i32,
    },
    /// An earlier kernel broke the context: every later call fails until the process ends.
    Sticky {
        /// What was asked.
        call: DriverCall,
        /// The driver's code.
        code: i32,
    },
    /// The driver refused an argument.
    InvalidValue {
        /// What was asked.
        call: DriverCall,
        /// The address or handle concerned, or zero.
        address: u64,
        /// The size concerned, or zero.
        bytes: u64,
    },
    /// The device or driver cannot do this.
    NotSupported {
        /// What was asked.
        call: DriverCall,
    },
    /// No driver library is installed, or it lacks functions.
    NoDriver {
        /// What is missing.
        reason: String,
    },
    /// A device with this number does not exist.
    NoDevice {
        /// The number asked for.
        ordinal: usize,
    },
    /// Anything else.
    Other {
        /// What was asked.
        call: DriverCall,
        /// The driver's code.
        code: i32,
    },
}

impl DriverError {
    /// Whether the device cannot be used any more: no call may follow, not even a free.
    pub const fn is_fatal(&self) -> bool {
        matches!(self, Self::DeviceLost { .. } | Self::Sticky { .. })
    }

    /// Whether other memory being given back could make the call succeed.
    pub const fn is_out_of_memory(&self) -> bool {
        matches!(self, Self::OutOfMemory { .. })
    }
}

impl fmt::Display for DriverError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OutOfMemory { call, bytes } => {
                write!(f, "cannot {} for {bytes} bytes: the device is full", call.name())
            }
            Self::DeviceLost { call, code } => write!(
                f,
                "cannot {}: the device is lost (code {code}); restart the process",
                call.name()
            ),
            Self::Sticky { call, code } => write!(
                f,
                "cannot {}: an earlier kernel failed (code {code}) and the context is unusable; \
                 find the kernel with compute-sanitizer and restart the process",
                call.name()
            ),
            Self::InvalidValue { call, address, bytes } => {
                write!(f, "cannot {}: invalid value ({bytes} bytes at {address:#x})", call.name())
            }
            Self::NotSupported { call } => {
                write!(f, "cannot {}: not supported by this device or driver", call.name())
            }
            Self::NoDriver { reason } => {
                write!(f, "no CUDA driver: {reason}; install the NVIDIA driver")
            }
            Self::NoDevice { ordinal } => {
                write!(f, "no CUDA device number {ordinal}; look at CUDA_VISIBLE_DEVICES")
            }
            Self::Other { call, code } => write!(f, "cannot {} (code {code})", call.name()),
        }
    }
}

impl std::error::Error for DriverError {}

/// Which calls the capture of a stream forbids to a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CaptureMode {
    /// Calls that could disturb a capture of any thread.
    Global,
    /// Calls that could disturb a capture of this thread.
    ThreadLocal,
    /// None.
    Relaxed,
}

/// The result of a driver call.
pub type DriverResult<T> = Result<T, DriverError>;

/// A device as the pool sees it. Any thread may call.
///
/// Addresses and sizes given to [`create`](Self::create), [`map`](Self::map) and their inverses
/// are multiples of [`granularity_bytes`](Self::granularity_bytes). One piece of physical memory
/// may be mapped at several addresses at once.
pub trait Driver: Send + Sync + 'static {
    /// A point in a stream's timeline. Dropping it makes no promise about the stream.
    type Fence: Send + Sync;
    /// How programs hold a stream.
    type Stream: Clone + Send + Sync;
    /// What a buffer remembers of its uses on other streams.
    type Uses: Default + Send + Sync;

    /// The stream's handle, which stays valid as long as the driver lives.
    fn stream_id(&self, stream: &Self::Stream) -> StreamId;

    /// Called before a [`DeviceBuffer`](crate::DeviceBuffer) gives its block back, with what its
    /// uses on other streams have left behind: makes `stream` come after them.
    fn end_of_use(&self, stream: StreamId, uses: &Self::Uses);

    /// Whose memory this is.
    fn memory_kind(&self) -> MemoryKind {
        MemoryKind::Device
    }

    /// The unit of physical memory, bytes, a power of two.
    fn granularity_bytes(&self) -> u64;

    /// How much memory the device has.
    ///
    /// # Errors
    /// The device is lost or broken.
    fn memory_info(&self) -> DriverResult<MemoryInfo>;

    /// Reserves `bytes` of addresses.
    ///
    /// # Errors
    /// There are none, or the device has no virtual memory management
    /// ([`DriverError::NotSupported`]); use [`alloc`](Self::alloc) then.
    fn reserve(&self, bytes: u64) -> DriverResult<DevicePtr>;

    /// Gives reserved addresses back; nothing is mapped there.
    ///
    /// # Errors
    /// The range was not reserved, or something is mapped there.
    fn unreserve(&self, at: DevicePtr, bytes: u64) -> DriverResult<()>;

    /// Creates physical memory, mapped nowhere.
    ///
    /// # Errors
    /// [`DriverError::OutOfMemory`] where the device is full.
    fn create(&self, bytes: u64) -> DriverResult<PhysicalId>;

    /// Gives physical memory back, once it is mapped nowhere.
    ///
    /// # Errors
    /// The handle is unknown.
    fn release(&self, memory: PhysicalId) -> DriverResult<()>;

    /// Maps all `bytes` of `memory` at `at` and makes them readable and writable.
    ///
    /// # Errors
    /// The range is not reserved or already mapped; nothing has changed.
    fn map(&self, at: DevicePtr, bytes: u64, memory: PhysicalId) -> DriverResult<()>;

    /// Takes one mapping away. The caller knows that no enqueued work still uses it.
    ///
    /// # Errors
    /// Nothing is mapped there.
    fn unmap(&self, at: DevicePtr, bytes: u64) -> DriverResult<()>;

    /// Allocates without virtual memory management.
    ///
    /// # Errors
    /// [`DriverError::OutOfMemory`] where the device is full.
    fn alloc(&self, bytes: u64) -> DriverResult<DevicePtr>;

    /// Frees what [`alloc`](Self::alloc) gave. The caller knows that no enqueued work uses it.
    ///
    /// # Errors
    /// The address is unknown.
    fn free(&self, at: DevicePtr) -> DriverResult<()>;

    /// Records a fence at the present end of `stream`.
    ///
    /// # Errors
    /// The stream is gone or the device unusable.
    fn record(&self, stream: StreamId) -> DriverResult<Self::Fence>;

    /// Whether everything before the fence has happened. Never blocks.
    ///
    /// # Errors
    /// The device is unusable.
    fn is_passed(&self, fence: &Self::Fence) -> DriverResult<bool>;

    /// Makes all later work of `stream` wait for the fence, on the device: the CPU goes on.
    ///
    /// # Errors
    /// The stream is gone or the device unusable.
    fn wait(&self, stream: StreamId, fence: &Self::Fence) -> DriverResult<()>;

    /// Waits on the CPU until all work of `stream` is done.
    ///
    /// # Errors
    /// The stream is gone or the device unusable.
    fn synchronize(&self, stream: StreamId) -> DriverResult<()>;

    /// Sets which calls a capture forbids to this thread; returns what was set before. Drivers
    /// without graphs have nothing to do.
    ///
    /// # Errors
    /// The device is unusable.
    fn exchange_capture_mode(&self, mode: CaptureMode) -> DriverResult<CaptureMode> {
        Ok(mode)
    }

    /// Page-locks `bytes` of host memory at `address`, so that transfers need no staging copy.
    ///
    /// # Errors
    /// The system refuses to lock that much.
    fn register_host(&self, address: usize, bytes: usize) -> DriverResult<()>;

    /// Undoes [`register_host`](Self::register_host).
    ///
    /// # Errors
    /// The address was not registered.
    fn unregister_host(&self, address: usize) -> DriverResult<()>;
}
