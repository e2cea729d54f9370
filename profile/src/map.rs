//! Where everything lies: mapped memory, and the blocks in it.
#![forbid(unsafe_code)]

use crate::{Memory, StackId};

/// What a part of a segment is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AreaState {
    /// A live block.
    Live,
    /// A block that was freed and that others may still use.
    Pending,
    /// Free.
    Free,
}

/// A part of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Area {
    /// The first address.
    pub address: u64,
    /// Bytes.
    pub bytes: u64,
    /// Of a live block, the bytes that were asked for; zero otherwise.
    pub requested_bytes: u64,
    /// What it is.
    pub state: AreaState,
    /// From where a live block was allocated.
    pub stack: StackId,
}

/// Contiguous memory in use: its areas lie one behind the other, without gaps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Which memory.
    pub memory: Memory,
    /// The stream or thread.
    pub owner: u64,
    /// The private pool, or zero.
    pub pool: u32,
    /// The first address.
    pub address: u64,
    /// In order of address.
    pub areas: Vec<Area>,
}

impl Segment {
    /// Bytes of all areas.
    pub fn bytes(&self) -> u64 {
        self.areas.iter().map(|area| area.bytes).sum()
    }

    /// Bytes of the areas in a state.
    pub fn bytes_in(&self, state: AreaState) -> u64 {
        self.areas.iter().filter(|area| area.state == state).map(|area| area.bytes).sum()
    }
}
