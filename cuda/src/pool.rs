//! The physical side: which pieces of memory there are, where each is mapped, and what is waited
//! for. One per allocator, behind the lock of the slow path.
#![forbid(unsafe_code)]

use std::{collections::VecDeque, ops::Range};

use crate::{
    arena::QUANTUM_BYTES,
    driver::{Driver, PhysicalId},
    heap::PoolId,
    upkeep::Upkeep,
};

/// A window: the heap it is in, and its index there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) heap: u32,
    pub(crate) window: u32,
}

/// A part of a piece, from where the part before it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Part {
    end: u32,
    /// The place at which its bytes are usable.
    place: u32,
}

/// One piece of physical memory: mapped at all its places, each byte usable at one of them.
#[derive(Debug)]
pub(crate) struct Memory {
    pub(crate) id: PhysicalId,
    pub(crate) len: u32,
    pub(crate) places: Vec<Place>,
    /// Ends ascend, the last is `len`; neighbours differ in place.
    parts: Vec<Part>,
}

impl Memory {
    /// Makes a range of the piece usable at `place`, and only there.
    pub(crate) fn assign(&mut self, range: Range<u32>, place: Place) {
        let place = self.places.iter().position(|known| *known == place);
        let place = place.expect("a piece knows its places") as u32;
        let mut parts: Vec<Part> = Vec::with_capacity(self.parts.len() + 2);
        let mut push = |end: u32, place: u32| match parts.last_mut() {
            Some(last) if end <= last.end => {}
            Some(last) if last.place == place => last.end = end,
            _ if end > 0 => parts.push(Part { end, place }),
            _ => {}
        };
        for &Part { end, place: was } in &self.parts {
            push(end.min(range.start), was);
            if end > range.start {
                push(end.min(range.end), place);
                push(end, was);
            }
        }
        self.parts = parts;
    }

    /// Forgets a place at which no byte is usable.
    pub(crate) fn leave(&mut self, gone: Place) {
        let Some(at) = self.places.iter().position(|place| *place == gone) else { return };
        self.places.remove(at);
        for part in &mut self.parts {
            debug_assert_ne!(part.place as usize, at, "nothing is usable there");
            part.place -= u32::from(part.place as usize > at);
        }
    }

    /// The parts in order: each range, and the place at which it is usable.
    pub(crate) fn parts(&self) -> impl Iterator<Item = (Range<u32>, Place)> {
        let mut start = 0;
        self.parts.iter().map(move |part| {
            let range = start..part.end;
            start = part.end;
            (range, self.places[part.place as usize])
        })
    }

    pub(crate) fn bytes(&self) -> u64 {
        u64::from(self.len) * QUANTUM_BYTES
    }
}

/// Freed blocks that become reusable once all of `fences` are passed.
pub(crate) struct Batch<F> {
    pub(crate) fences: Vec<F>,
    /// Heap, node, and the streams that may still use it.
    pub(crate) nodes: Vec<(u32, u32, u64)>,
}

/// How far a stream is known to be, by the clock of its arena.
pub(crate) struct Progress<F> {
    /// A fence on the way, and the clock when it was recorded.
    pub(crate) fence: Option<(F, u32)>,
    /// Everything freed up to here is no longer in use.
    pub(crate) passed: u32,
}

/// Counts of the slow path.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counts {
    /// Mappings of physical memory made.
    pub maps: u64,
    /// Mappings taken away.
    pub unmaps: u64,
    /// Pieces of physical memory created.
    pub creates: u64,
    /// Pieces given back.
    pub releases: u64,
    /// Pieces allocated on a device without virtual memory management.
    pub allocs: u64,
    /// Of these, pieces freed.
    pub frees: u64,
    /// Pieces that moved to another address.
    pub moves: u64,
    /// Of these, moves back to an address where the piece was still mapped: without a call.
    pub moves_back: u64,
    /// Blocks taken from another stream's arena.
    pub borrows: u64,
    /// Times that a stream was made to wait for another, on the device.
    pub stream_waits: u64,
    /// Times that the CPU waited for the device, because memory was short.
    pub cpu_waits: u64,
    /// Times that everything free was collected before a request was given up or served.
    pub retries: u64,
    /// Allocations that found no free block at hand.
    pub misses: u64,
    /// Requests that failed.
    pub failures: u64,
}

/// See the module.
pub(crate) struct Pool<D: Driver> {
    pub(crate) memories: Vec<Option<Memory>>,
    /// Entries of `memories` that are `None`.
    unused: Vec<u32>,
    /// Pieces that are mapped nowhere and could not be given back yet.
    pub(crate) orphans: Vec<PhysicalId>,
    pub(crate) reserved_bytes: u64,
    pub(crate) reserved_peak_bytes: u64,
    pub(crate) live_peak_bytes: u64,
    pub(crate) limit_bytes: u64,
    pub(crate) cache_bytes: u64,
    pub(crate) batches: VecDeque<Batch<D::Fence>>,
    pub(crate) progress: Vec<Progress<D::Fence>>,
    pub(crate) pools: u32,
    /// Private pools that are empty and given up.
    pub(crate) dropped: Vec<PoolId>,
    pub(crate) counts: Counts,
    /// Bits of the streams that are being captured.
    pub(crate) captured: u64,
    pub(crate) upkeep: Upkeep,
}

impl<D: Driver> Pool<D> {
    pub(crate) fn new(limit_bytes: u64, cache_bytes: u64) -> Self {
        Self {
            memories: Vec::new(),
            unused: Vec::new(),
            orphans: Vec::new(),
            reserved_bytes: 0,
            reserved_peak_bytes: 0,
            live_peak_bytes: 0,
            limit_bytes,
            cache_bytes,
            batches: VecDeque::new(),
            progress: Vec::new(),
            pools: 1,
            dropped: Vec::new(),
            counts: Counts::default(),
            captured: 0,
            upkeep: Upkeep::new(),
        }
    }

    pub(crate) fn memory(&self, index: u32) -> &Memory {
        self.memories[index as usize].as_ref().expect("a mapped piece exists")
    }

    pub(crate) fn memory_mut(&mut self, index: u32) -> &mut Memory {
        self.memories[index as usize].as_mut().expect("a mapped piece exists")
    }

    /// Takes note of a new piece.
    pub(crate) fn insert(&mut self, id: PhysicalId, len: u32) -> u32 {
        let parts = vec![Part { end: len, place: 0 }];
        let memory = Memory { id, len, places: Vec::with_capacity(1), parts };
        self.upkeep.grown();
        self.reserved_bytes += memory.bytes();
        self.reserved_peak_bytes = self.reserved_peak_bytes.max(self.reserved_bytes);
        match self.unused.pop() {
            Some(index) => {
                self.memories[index as usize] = Some(memory);
                index
            }
            None => {
                self.memories.push(Some(memory));
                self.memories.len() as u32 - 1
            }
        }
    }

    /// Forgets a piece that is mapped nowhere any more.
    pub(crate) fn remove(&mut self, index: u32) -> PhysicalId {
        let piece = self.memories[index as usize].take().expect("a piece exists until now");
        self.unused.push(index);
        self.reserved_bytes -= piece.bytes();
        piece.id
    }

    /// Bytes that reserved memory may reach while free memory can be gathered instead.
    ///
    /// Beside the slack there are 8 MiB, or 1/64 of a small program's peak, without which the
    /// granule would make every growth of a small program a search. A program whose sizes keep
    /// changing could go on gathering for ever; the slack doubles and trebles, up to fivefold,
    /// each time that all memory, in pieces of 16 MiB, has moved once.
    pub(crate) fn budget_bytes(&self, live_bytes: u64, slack_permille: u32) -> u64 {
        const MOST: u64 = 4;
        let peak = self.live_peak_bytes.max(live_bytes);
        let slack = peak / 1000 * u64::from(slack_permille) + (peak / 64).min(8 << 20);
        let moves = self.counts.maps - self.counts.creates.min(self.counts.maps);
        let rounds = moves / (self.reserved_bytes / (16 << 20) + 256);
        peak + slack * (1 + rounds.min(MOST))
    }
}
