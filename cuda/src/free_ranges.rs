//! Which memory is free: the arenas of a pool, locked, and the pieces behind their free nodes.
#![forbid(unsafe_code)]

use std::ops::Range;

use spin::mutex::SpinMutexGuard;

use crate::{
    arena::Arena,
    driver::Driver,
    heap::Heap,
    plan::Piece,
    pool::{Place, Pool},
    shared::Shared,
};

/// The arenas of all heaps of one pool, locked in the order of their index.
pub(crate) struct Arenas<'a> {
    heaps: Vec<(&'a Heap, SpinMutexGuard<'a, Arena>)>,
    own: usize,
}

impl<'a> Arenas<'a> {
    /// The heap that asks.
    pub(crate) fn heap(&self) -> &'a Heap {
        self.heaps[self.own].0
    }

    /// Its arena.
    pub(crate) fn own(&self) -> &Arena {
        &self.heaps[self.own].1
    }

    pub(crate) fn own_mut(&mut self) -> &mut Arena {
        &mut self.heaps[self.own].1
    }

    /// Takes a free part of a piece out of use; returns its range in the arena.
    pub(crate) fn close(&mut self, part: &Free) -> Range<u32> {
        let (_, arena) = self
            .heaps
            .iter_mut()
            .find(|(heap, _)| heap.index == part.place.heap)
            .expect("pieces stay within their pool");
        let start = arena.windows()[part.place.window as usize].start;
        let range = start + part.range.start..start + part.range.end;
        arena.close(range.clone());
        range
    }
}

/// A free part of a piece of memory.
#[derive(Clone, Debug)]
pub(crate) struct Free {
    pub(crate) memory: u32,
    /// In the piece, quanta.
    pub(crate) range: Range<u32>,
    /// Where it is usable.
    pub(crate) place: Place,
    /// The free node around it.
    pub(crate) node: u32,
    /// When a part of that node was last freed, by its arena's clock.
    pub(crate) stamp: u32,
    /// Streams that may still use it.
    pub(crate) waits: u64,
}

/// Free parts, in order of their piece and of their place in it.
pub(crate) struct FreeRanges(Vec<Free>);

impl FreeRanges {
    /// The free parts of one piece.
    fn of(&self, memory: u32) -> &[Free] {
        let first = self.0.partition_point(|part| part.memory < memory);
        let count = self.0[first..].partition_point(|part| part.memory == memory);
        &self.0[first..first + count]
    }

    /// The free parts of `piece`, cut to its range.
    pub(crate) fn within(&self, piece: &Piece) -> impl Iterator<Item = Free> {
        let Range { start, end } = piece.range;
        self.of(piece.memory).iter().filter_map(move |part| {
            let range = part.range.start.max(start)..part.range.end.min(end);
            (!range.is_empty()).then(|| Free { range, ..part.clone() })
        })
    }

    /// Whether all of `piece` is free.
    pub(crate) fn covers(&self, piece: &Piece) -> bool {
        self.within(piece).map(|part| part.range.len()).sum::<usize>() == piece.range.len()
    }

    /// Streams that may still use `piece`.
    pub(crate) fn waits(&self, piece: &Piece) -> u64 {
        self.within(piece).fold(0, |waits, part| waits | part.waits)
    }

    /// The parts of each piece that is wholly free.
    pub(crate) fn wholes<D: Driver>(&self, pool: &Pool<D>) -> impl Iterator<Item = &[Free]> {
        let pieces = self.0.chunk_by(|one, two| one.memory == two.memory);
        pieces.filter(|parts| {
            let len = parts.iter().map(|part| part.range.len()).sum::<usize>();
            len == pool.memory(parts[0].memory).len as usize
        })
    }

    /// All parts.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Free> {
        self.0.iter()
    }
}

impl<D: Driver> Shared<D> {
    /// Locks the arenas of all heaps of the same pool.
    pub(crate) fn arenas<'a>(&'a self, heap: &'a Heap) -> Arenas<'a> {
        let pool = self.heaps().filter(|other| other.pool == heap.pool);
        let heaps: Vec<_> = pool.map(|heap| (heap, heap.arena.lock())).collect();
        let own = heaps.iter().position(|(other, _)| other.index == heap.index);
        Arenas { heaps, own: own.expect("a heap is in its pool") }
    }

    /// The memory behind free nodes of at least `min_len` quanta, as far as the heap that asks may
    /// wait for its last users. A piece whose bytes are usable
    /// at several places is found to be wholly free only if none of its parts is in a node
    /// smaller than that.
    pub(crate) fn free_ranges(
        &self,
        pool: &Pool<D>,
        arenas: &Arenas<'_>,
        min_len: u32,
    ) -> FreeRanges {
        let mut free = Vec::new();
        let own = arenas.heap().bit;
        for (heap, arena) in &arenas.heaps {
            arena.for_each_free_range(min_len, |node, window, range| {
                let memory = arena.windows()[window as usize].memory;
                let place = Place { heap: heap.index, window };
                let stamp = arena.node(node).stamp;
                let waits = self.waits(pool, heap, stamp);
                if pool.may_wait(own, waits) {
                    free.push(Free { memory, range, place, node, stamp, waits });
                }
            });
        }
        free.sort_unstable_by_key(|part| (part.memory, part.range.start));
        FreeRanges(free)
    }
}
