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
    /// A sampled allocation.
    Alloc,
    /// The free of a sampled allocation.
    Free,
}

/// Receives events. Only slow paths report, so a sink costs the fast paths nothing.
pub trait EventSink: Sync {
    /// `false` removes every call at compile time.
    const ENABLED: bool;

    /// Takes note of `event`. Must neither allocate from the allocator that reports nor block.
    fn record(&self, event: Event);
}

/// Nobody listens.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoSink;

impl EventSink for NoSink {
    const ENABLED: bool = false;

    #[inline(always)]
    fn record(&self, _event: Event) {}
}
