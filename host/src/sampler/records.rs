//! What the profiler keeps, laid out as a recording has it.

use bytemuck::{Pod, Zeroable};

/// A sample whose block is live.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub(super) struct Live {
    pub(super) address: u64,
    pub(super) bytes: u64,
    pub(super) block_bytes: u64,
    pub(super) time_ns: u64,
    pub(super) stack: u32,
    pub(super) thread: u32,
    /// Which sums it is in; in a recording, which memory.
    pub(super) usage: u32,
    /// How many blocks it stands for.
    pub(super) weight: f32,
}

/// A live sample in its table, with the next row of its chain; on a cache line of its own.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C, align(64))]
pub(super) struct Row {
    pub(super) live: Live,
    pub(super) next: u32,
    pub(super) reserved: [u32; 3],
}

/// What one thread has done at one place; sums are over what samples stand for.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub(super) struct Usage {
    pub(super) memory: u32,
    pub(super) stack: u32,
    pub(super) thread: u32,
    pub(super) size_class: u32,
    pub(super) total_blocks: f64,
    pub(super) total_bytes: f64,
    pub(super) freed_blocks: f64,
    pub(super) freed_bytes: f64,
    pub(super) short_blocks: f64,
    pub(super) lifetime_ns: f64,
    pub(super) samples: u64,
    pub(super) freed_samples: u64,
    pub(super) reserved: u64,
}

/// One thing that happened.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub(super) struct Happened {
    pub(super) time_ns: u64,
    pub(super) address: u64,
    pub(super) bytes: u64,
    pub(super) block_bytes: u64,
    pub(super) stack: u32,
    pub(super) thread: u32,
    pub(super) kind: u16,
    pub(super) memory: u16,
    pub(super) weight: f32,
}

/// How much memory the process had at some time.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub(super) struct Level {
    pub(super) time_ns: u64,
    pub(super) live_bytes: u64,
    pub(super) allocated_bytes: u64,
    pub(super) reserved_bytes: u64,
}

/// What a stretch of the arena's ground is used for.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub(super) struct Span {
    pub(super) address: u64,
    pub(super) bytes: u64,
    pub(super) used_bytes: u64,
    pub(super) kind: u32,
    pub(super) block_bytes: u32,
}

/// Where the frames of a call stack lie.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub(super) struct Frames {
    pub(super) hash: u64,
    pub(super) start: u32,
    pub(super) count: u32,
}

const _: () = assert!(size_of::<Live>() == 48 && size_of::<Usage>() == 88);
const _: () = assert!(size_of::<Happened>() == 48 && size_of::<Level>() == 32);
const _: () = assert!(size_of::<Span>() == 32 && size_of::<Frames>() == 16);

const _: () = assert!(size_of::<Row>() == 64);

// SAFETY: numbers, valid as zeroes, and no gaps between them: their sizes, checked above, are the sums
// of those of their fields.
unsafe impl Zeroable for Live {}
// SAFETY: as above.
unsafe impl Pod for Live {}
// SAFETY: as above.
unsafe impl Zeroable for Row {}
// SAFETY: as above.
unsafe impl Zeroable for Usage {}
// SAFETY: as above.
unsafe impl Pod for Usage {}
// SAFETY: as above.
unsafe impl Zeroable for Happened {}
// SAFETY: as above.
unsafe impl Pod for Happened {}
// SAFETY: as above.
unsafe impl Zeroable for Level {}
// SAFETY: as above.
unsafe impl Pod for Level {}
// SAFETY: as above.
unsafe impl Zeroable for Span {}
// SAFETY: as above.
unsafe impl Pod for Span {}
// SAFETY: as above.
unsafe impl Zeroable for Frames {}
// SAFETY: as above.
unsafe impl Pod for Frames {}
