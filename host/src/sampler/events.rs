//! The events of the recent past: a ring that any thread writes to without a lock, at any moment.
#![forbid(unsafe_code)]

use core::sync::atomic::{
    AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
    fence,
};

use super::{memory::Fixed, records::Happened};

/// What kind of event it is, as a recording has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub(super) enum Kind {
    /// A sampled allocation for which no block was at hand.
    Miss = 0,
    /// One for which there was one.
    Hit = 1,
    /// A sampled block is free.
    Free = 2,
    /// More memory is reserved.
    Grow = 3,
    /// Pages were given back.
    Purge = 4,
    /// An allocation failed.
    OutOfMemory = 8,
}

/// What a slot says that is being written.
pub(super) const NOTHING: Happened = Happened {
    time_ns: 0,
    address: 0,
    bytes: 0,
    block_bytes: 0,
    stack: 0,
    thread: 0,
    kind: 0,
    memory: 0,
    weight: 0.0,
};

const WORDS: usize = size_of::<Happened>() / 8;

/// An event's words. The first, its time, is zero while the others are being written.
type Slot = [AtomicU64; WORDS];

static RING: Fixed<Slot> = Fixed::new();
/// How many events there were; their places follow from it.
static COUNT: AtomicU64 = AtomicU64::new(0);

/// Makes room for `bytes` bytes of events, unless there is some already; false where there is no
/// memory. By one thread at a time.
pub(super) fn make_room(bytes: usize) -> bool {
    RING.set(bytes / size_of::<Slot>())
}

/// Adds an event; the oldest one gives way. Its time is not zero.
pub(super) fn add(event: &Happened) {
    let ring = RING.get();
    if ring.is_empty() {
        return;
    }
    let slot = &ring[(COUNT.fetch_add(1, Relaxed) % ring.len() as u64) as usize];
    let words: &[u64; WORDS] = bytemuck::cast_ref(event);
    slot[0].store(0, Relaxed);
    // Release pairs with the fence in `read`.
    fence(Release);
    for (place, &word) in slot.iter().zip(words).skip(1) {
        place.store(word, Relaxed);
    }
    // Release pairs with the Acquire in `read`.
    slot[0].store(words[0], Release);
}

/// Reads a slot; an event that is being written has the time zero, and says nothing.
fn read(slot: &Slot) -> Happened {
    let mut words = [0; WORDS];
    words[0] = slot[0].load(Acquire);
    for (word, place) in words.iter_mut().zip(slot).skip(1) {
        *word = place.load(Relaxed);
    }
    // Acquire pairs with the fence in `add`.
    fence(Acquire);
    let is_whole = words[0] != 0 && words[0] == slot[0].load(Relaxed);
    if is_whole { bytemuck::cast(words) } else { NOTHING }
}

/// Which events there are now: how many were lost, and the places of the others.
pub(super) fn all() -> (u64, impl ExactSizeIterator<Item = Happened>) {
    let ring = RING.get();
    let count = COUNT.load(Relaxed);
    let kept = count.min(ring.len() as u64);
    let lost = count - kept;
    let place = move |index: usize| (lost + index as u64) % ring.len().max(1) as u64;
    (lost, (0..kept as usize).map(move |index| read(&ring[place(index) as usize])))
}
