//! The one type parameter of everything above the algorithms.

use core::{fmt, num::NonZeroUsize};

use crate::{backend::HostBackend, event::EventSink, sync::RelaxStrategy};

/// What an arena of host memory is made of.
pub trait Config: Sized + 'static {
    /// Where the blocks come from.
    type Backend: HostBackend;
    /// Where the allocator's own tables come from.
    type Metadata: HostBackend;
    /// Who hears about events.
    type Sink: EventSink;
    /// How to wait for one of the two short locks.
    type Relax: RelaxStrategy;

    /// Addresses to set aside, bytes: at most 2^24 granules. Halved until the backend agrees.
    const REGION_BYTES: usize;
    /// The buddy's unit, bytes: a power of two, at least a page. Classes up to an eighth of it get
    /// slabs of one granule, larger ones slabs of several.
    const GRANULE_BYTES: usize;
    /// The most that the arena grows ahead of need, bytes.
    const GROWTH_BYTES: usize;
    /// The largest block that a slab serves, bytes; larger ones get a span of their own. A slab holds
    /// at least eight blocks, so this bounds what one block can make the arena open.
    const MAX_SLAB_BLOCK_BYTES: usize = 4 * Self::GRANULE_BYTES;
    /// How many heaps the arena can have.
    const MAX_HEAPS: usize;

    /// A number that is hard to guess, to mix links with. Asked once.
    fn secret() -> u64;

    /// Reports a misuse that was stopped. If it returns, the operation has had no effect.
    fn fault(fault: &Fault);

    /// Fails to compile where the constants don't fit together.
    const VALID: () = {
        assert!(Self::GRANULE_BYTES.is_power_of_two() && Self::GRANULE_BYTES >= 1024);
        // Lists of free blocks count to 65,535.
        assert!(Self::GRANULE_BYTES <= 512 * 1024);
        assert!(Self::REGION_BYTES.is_multiple_of(Self::GRANULE_BYTES));
        assert!(Self::REGION_BYTES / Self::GRANULE_BYTES <= 1 << 24);
        assert!(Self::MAX_HEAPS > 0);
    };
}

/// How a pointer or a layout is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FaultKind {
    /// The pointer was not allocated here.
    Foreign,
    /// The memory is free already.
    DoubleFree,
    /// The pointer lies inside a block, not at its start.
    Interior,
    /// The layout given is not the one that the block was allocated with.
    WrongLayout,
    /// A free block was written to: its link leads nowhere.
    UseAfterFree,
}

/// A misuse that was stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Fault {
    /// How it is wrong.
    pub kind: FaultKind,
    /// The pointer concerned.
    pub address: usize,
    /// Size of the block there, bytes; zero where there is none.
    pub block_bytes: usize,
    /// The size that the caller gave, bytes, if it gave one.
    pub given_bytes: Option<NonZeroUsize>,
}

impl Fault {
    /// A fault of `kind` at `address`, in a block of `block_bytes`.
    pub(crate) fn new(kind: FaultKind, address: usize, block_bytes: usize) -> Self {
        Self { kind, address, block_bytes, given_bytes: None }
    }
}

impl FaultKind {
    /// The kind in a few words.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Foreign => "pointer that was not allocated here",
            Self::DoubleFree => "double free, or use of a free block",
            Self::Interior => "pointer into the middle of a block",
            Self::WrongLayout => "layout that is not the block's",
            Self::UseAfterFree => "write to a block after its free",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {:#x}", self.kind.name(), self.address)?;
        if self.block_bytes > 0 {
            write!(f, ", block of {} bytes", self.block_bytes)?;
        }
        if let Some(bytes) = self.given_bytes {
            write!(f, ", {bytes} bytes given")?;
        }
        Ok(())
    }
}

impl core::error::Error for Fault {}
