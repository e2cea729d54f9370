//! What happens to memory, one thing at a time.
#![forbid(unsafe_code)]

use std::fmt;

use crate::StackId;

/// Which kind of memory something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Memory {
    /// Of the host.
    Host,
    /// Of the host, and locked there for transfers.
    Pinned,
    /// Of a device.
    Device,
}

impl Memory {
    /// All kinds.
    pub const ALL: [Self; 3] = [Self::Host, Self::Pinned, Self::Device];

    /// The name, as in files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::Pinned => "pinned",
            Self::Device => "device",
        }
    }

    /// What the owner of a block is called.
    pub const fn owner_name(self) -> &'static str {
        match self {
            Self::Host => "thread",
            Self::Pinned | Self::Device => "stream",
        }
    }
}

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The kinds of event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EventKind {
    /// A block was allocated.
    Alloc {
        /// From a free block at hand.
        hit: bool,
    },
    /// A block was freed. A block that changes its size where it is, is freed and allocated.
    Free,
    /// Memory was taken from the system or the device.
    Grow,
    /// Memory was given back.
    Purge,
    /// Free memory was moved to another address, to be contiguous there.
    Move,
    /// Garbage was collected: bytes given back.
    Collect,
    /// Free memory was made contiguous: bytes of the longest free range.
    Compact,
    /// A request failed: bytes asked for.
    OutOfMemory,
}

impl EventKind {
    /// The name, as in files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Alloc { .. } => "alloc",
            Self::Free => "free",
            Self::Grow => "grow",
            Self::Purge => "purge",
            Self::Move => "move",
            Self::Collect => "collect",
            Self::Compact => "compact",
            Self::OutOfMemory => "out of memory",
        }
    }
}

/// How many blocks an event stands for: one, or more where only some blocks are looked at. Kept to
/// eight binary digits, half a percent, which leaves an event its 48 bytes; sums are made of exact
/// weights elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Weight(u16);

impl Weight {
    /// Of an event that stands for itself.
    pub const ONE: Self = Self::new(1.0);

    /// Of `blocks` blocks, at least one.
    pub const fn new(blocks: f32) -> Self {
        let blocks = if blocks > 1.0 { blocks } else { 1.0 };
        // The upper half of a number in single precision is its sign, exponent and first digits.
        Self((blocks.to_bits().saturating_add(1 << 15) >> 16) as u16)
    }

    /// How many blocks.
    pub const fn blocks(self) -> f32 {
        f32::from_bits((self.0 as u32) << 16)
    }
}

impl Default for Weight {
    fn default() -> Self {
        Self::ONE
    }
}

/// One thing that happened. 48 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// When, by [`clock::now_ns`](crate::clock::now_ns).
    pub time_ns: u64,
    /// Where; zero where no address is concerned.
    pub address: u64,
    /// Bytes concerned; of a block those that were asked for.
    pub bytes: u64,
    /// Bytes of the block itself, rounded up; of an out-of-memory those that nobody holds.
    pub block_bytes: u64,
    /// The stream or thread.
    pub owner: u64,
    /// From where in the code.
    pub stack: StackId,
    /// What happened.
    pub kind: EventKind,
    /// To which memory.
    pub memory: Memory,
    /// How many blocks it stands for.
    pub weight: Weight,
}

const _: () = assert!(size_of::<Event>() == 48);

/// What the program said of itself, as in `epoch 3`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// When.
    pub time_ns: u64,
    /// The program's words.
    pub label: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_kept_to_half_a_percent() {
        assert_eq!((Weight::ONE.blocks(), Weight::new(0.0).blocks()), (1.0, 1.0));
        assert_eq!(Weight::new(f32::NAN), Weight::ONE);
        for blocks in [1.5, 3.3, 1024.7, 32768.5, 1e9] {
            let kept = Weight::new(blocks).blocks();
            assert!((kept / blocks - 1.0).abs() <= 0.005, "{blocks} kept as {kept}");
        }
        assert_eq!(Weight::new(f32::INFINITY).blocks(), f32::INFINITY);
    }
}
