//! What the allocator tells whoever listens; nothing at all where nobody does.
#![forbid(unsafe_code)]

/// One thing that happened; fixed size, no strings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Event {
    /// What happened.
    pub kind: EventKind,
    /// The address it happened to, as a number; zero where none applies.
    pub address: usize,
    /// How many bytes it concerned.
    pub bytes: usize,
    /// The heap, thread or stream that did it.
    pub owner: usize,
}

impl Event {
    /// An event of `kind` on `bytes` bytes at `address`, done by `owner`.
    pub const fn new(kind: EventKind, address: usize, bytes: usize, owner: usize) -> Self {
        Self { kind, address, bytes, owner }
    }
}

/// The kinds of event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EventKind {
    /// A span went to a heap, to be cut into blocks or as one large block.
    SpanTaken,
    /// A span came back to the pool.
    SpanReturned,
    /// A slab that stays in use has free blocks whose pages can be given back.
    BlocksOffered,
    /// The pool grew: more of the region was committed.
    Grow,
    /// Pages of a free span, or of free blocks in a slab, were given back; the addresses stay.
    Purge,
    /// A request failed: the backend or a limit refused.
    OutOfMemory,
}

/// An allocation that was sampled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Sample {
    /// Where the block starts, as a number.
    pub address: usize,
    /// What its holder asked for, bytes.
    pub bytes: usize,
    /// What it takes, bytes: [`EventSink::draw`] was asked with this number.
    pub block_bytes: usize,
    /// Whether a block was at hand: without sampling, no slow path would have been taken.
    pub is_hit: bool,
}

/// Receives events. Only slow paths report, so a sink costs the fast paths nothing.
pub trait EventSink: Sync {
    /// `false` removes every call at compile time.
    const ENABLED: bool;

    /// Takes note of `event`. Must neither allocate from the allocator that reports nor block.
    fn record(&self, event: Event);

    /// Whether allocations may be sampled; `false` removes all of it at compile time.
    ///
    /// Each heap counts down the allocations of each size class. Where the count is over, one
    /// allocation takes the slow path; if sampling is on by then, it is a sample. Samples lie in slabs
    /// of their own, so that frees of other blocks have nothing to look up.
    const SAMPLES: bool = false;

    /// Which sampling is on: zero for none, and another number each time that it was switched, which
    /// heaps take note of on their next slow path.
    fn sampling(&self) -> u32 {
        0
    }

    /// How many allocations of blocks of `block_bytes` bytes pass before the next that takes the slow
    /// path; `random` is a uniformly distributed number to draw it from. For large blocks zero says to
    /// sample, and any other number not to.
    fn draw(&self, _block_bytes: usize, _random: u64) -> u64 {
        1 << 32
    }

    /// Takes note of a sampled allocation, on the thread that asks for it. Like all that follows, it
    /// must not allocate from the allocator that reports.
    fn sample_taken(&self, _sample: &Sample) {}

    /// A sampled block, which starts at `address`, is free, or about to be.
    fn sample_freed(&self, _address: usize) {}

    /// The holder of a sampled block wants it to be `bytes` bytes long, for which it has room.
    fn sample_resized(&self, _address: usize, _bytes: usize) {}

    /// An allocation of `bytes` bytes was to be sampled, and there was no memory to do so.
    fn sample_missed(&self, _bytes: usize) {}
}

/// Nobody listens.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoSink;

impl EventSink for NoSink {
    const ENABLED: bool = false;

    #[inline(always)]
    fn record(&self, _event: Event) {}
}
