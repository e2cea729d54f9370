//! What can go wrong, with its numbers.
#![forbid(unsafe_code)]

use std::fmt;

use genesis_mem_core::stats::{Bytes, Snapshot};

use crate::driver::{DevicePtr, DriverError, MemoryKind};

/// A request that cannot be served.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum AllocError {
    /// There is not enough memory, after everything free has been collected.
    OutOfMemory(Box<OutOfMemory>),
    /// More bytes than an arena can ever hold.
    TooLarge {
        /// What was asked for.
        requested_bytes: u64,
        /// The most that can be.
        largest_bytes: u64,
    },
    /// More streams, or streams in private pools, than an allocator can tell apart.
    TooManyStreams {
        /// How many there can be.
        most: usize,
    },
    /// The driver refused something that is no matter of memory.
    Driver(DriverError),
}

/// The state in which a request could not be served. Its `Debug` leaves the snapshot out.
#[derive(Clone)]
#[non_exhaustive]
pub struct OutOfMemory {
    /// Whose memory it is; what is said of a device below is the host's then.
    pub kind: MemoryKind,
    /// Bytes asked for.
    pub requested_bytes: u64,
    /// The limit on reserved memory, bytes.
    pub limit_bytes: u64,
    /// Memory of the device, bytes.
    pub device_bytes: u64,
    /// Bytes of it that nobody holds.
    pub device_free_bytes: u64,
    /// Physical memory that the allocator holds, bytes.
    pub reserved_bytes: u64,
    /// Bytes of live blocks.
    pub allocated_bytes: u64,
    /// The largest free block, bytes.
    pub largest_free_bytes: u64,
    /// Who holds most of it: by call site where profiling is on, by block otherwise.
    pub holders: Vec<Holder>,
    /// Everything else.
    pub snapshot: Snapshot,
}

/// Somebody who holds memory when there is not enough.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Holder {
    /// All live blocks of a call site.
    Site {
        /// File and line.
        location: String,
        /// How many blocks.
        blocks: u64,
        /// Their bytes.
        bytes: u64,
    },
    /// One live block.
    Block {
        /// Its address.
        address: DevicePtr,
        /// Bytes that were asked for.
        bytes: u64,
    },
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Site { location, blocks, bytes } => {
                let blocks = if *blocks == 1 { "one block" } else { &format!("{blocks} blocks") };
                write!(f, "{location} ({} in {blocks})", Bytes(*bytes))
            }
            Self::Block { address, bytes } => write!(f, "{} at {:#x}", Bytes(*bytes), address.0),
        }
    }
}

impl fmt::Display for AllocError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OutOfMemory(error) => error.fmt(f),
            Self::TooLarge { requested_bytes, largest_bytes } => {
                write!(f, "cannot allocate {requested_bytes} bytes: the most is {largest_bytes}")
            }
            Self::TooManyStreams { most } => write!(
                f,
                "more than {most} streams and private pools allocate; share streams or use \
                 another allocator"
            ),
            Self::Driver(error) => error.fmt(f),
        }
    }
}

impl fmt::Debug for OutOfMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OutOfMemory")
            .field("kind", &self.kind)
            .field("requested_bytes", &self.requested_bytes)
            .field("limit_bytes", &self.limit_bytes)
            .field("device_bytes", &self.device_bytes)
            .field("device_free_bytes", &self.device_free_bytes)
            .field("reserved_bytes", &self.reserved_bytes)
            .field("allocated_bytes", &self.allocated_bytes)
            .field("largest_free_bytes", &self.largest_free_bytes)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for OutOfMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let others = self
            .device_bytes
            .saturating_sub(self.device_free_bytes)
            .saturating_sub(self.reserved_bytes);
        let (memory, owner) = match self.kind {
            MemoryKind::Device => ("device", "device"),
            MemoryKind::PinnedHost => ("page-locked", "host"),
        };
        write!(
            f,
            "out of {memory} memory: {} bytes requested; {} live in {} reserved of a limit of {}, \
             largest free block {}; of the {owner}'s {} bytes {} are free and {} are held by others",
            self.requested_bytes,
            self.allocated_bytes,
            self.reserved_bytes,
            self.limit_bytes,
            self.largest_free_bytes,
            self.device_bytes,
            self.device_free_bytes,
            others
        )?;
        let room_bytes = self.limit_bytes.saturating_sub(self.reserved_bytes);
        let advice = if self.kind == MemoryKind::PinnedHost && self.requested_bytes <= room_bytes {
            "the system or the driver refuses to lock more: look at the memory limit of the \
             container or session, `ulimit -l` and `ulimit -v`, or drop some buffers"
        } else if self.requested_bytes <= self.limit_bytes.saturating_sub(self.allocated_bytes) {
            "live blocks are scattered: free some, or allocate the large ones first"
        } else {
            "free some blocks or raise the limit"
        };
        write!(f, "; {advice}")?;
        write_holders(f, &self.holders)
    }
}

/// The first of them, and how to learn more.
fn write_holders(f: &mut fmt::Formatter<'_>, holders: &[Holder]) -> fmt::Result {
    const SHOWN: usize = 3;
    let Some(first) = holders.first() else { return Ok(()) };
    let by_site = matches!(first, Holder::Site { .. });
    f.write_str(if by_site { "; held most by " } else { "; the largest blocks: " })?;
    for (index, holder) in holders.iter().take(SHOWN).enumerate() {
        write!(f, "{}{holder}", if index > 0 { ", " } else { "" })?;
    }
    f.write_str(if by_site { "" } else { "; enable_profiling(true) tells who allocated them" })
}

/// Without a source: the message of [`AllocError::Driver`] is the driver error's own, and a report of
/// the whole chain would say it twice.
impl std::error::Error for AllocError {}

impl From<DriverError> for AllocError {
    fn from(error: DriverError) -> Self {
        Self::Driver(error)
    }
}

/// A free that was refused; nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FreeError {
    /// The block came from another allocator.
    WrongAllocator {
        /// Its address.
        address: DevicePtr,
    },
    /// No live block starts here: it was freed before, or never allocated.
    NotLive {
        /// The address.
        address: DevicePtr,
    },
}

impl fmt::Display for FreeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WrongAllocator { address } => {
                write!(f, "the block at {:#x} belongs to another allocator", address.0)
            }
            Self::NotLive { address } => {
                write!(f, "no live block at {:#x}: freed twice, or never allocated", address.0)
            }
        }
    }
}

impl std::error::Error for FreeError {}
