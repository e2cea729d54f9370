//! Moving free memory: back into holes where it is still mapped, or to the end of an arena, where
//! its pieces are mapped once more.
#![forbid(unsafe_code)]

use std::ops::Range;

use genesis_mem_profile::EventKind;

use crate::{
    arena::QUANTUM_BYTES,
    driver::{Driver, DriverError},
    free_ranges::{Arenas, Free, FreeRanges},
    heap::{Block, Heap},
    ladder::Request,
    plan::{Piece, Planner, best_run},
    pool::{Place, Pool},
    shared::Shared,
};

/// A piece on its way: which of its bytes move, where they were, and the window that is set aside.
struct Moved {
    piece: Piece,
    from: Vec<(Place, Range<u32>)>,
    window: u32,
    start: u32,
}

impl<D: Driver> Shared<D> {
    /// Fills a hole with memory that is still mapped there and free elsewhere.
    pub(crate) fn reopen(
        &self,
        pool: &mut Pool<D>,
        request: Request<'_>,
    ) -> Result<Option<Block>, DriverError> {
        let Request { heap, bytes, len } = request;
        let mut arenas = self.arenas(heap);
        if !arenas.own().has_holes() {
            return Ok(None);
        }
        let free = self.free_ranges(pool, &arenas, self.granule_len());
        let Some(run) = best_run(&arenas, &free, len) else { return Ok(None) };
        self.wait_for(
            pool,
            heap,
            run.iter().fold(0, |waits, (piece, _)| waits | free.waits(piece)),
        )?;
        for (piece, window) in run {
            for part in free.within(&piece) {
                arenas.close(&part);
            }
            let start = arenas.own().windows()[window as usize].start;
            arenas.own_mut().open(start + piece.range.start..start + piece.range.end);
            let here = Place { heap: heap.index, window };
            pool.memory_mut(piece.memory).assign(piece.range, here);
            pool.counts.moves += 1;
            pool.counts.moves_back += 1;
        }
        let arena = arenas.own_mut();
        let node = arena.alloc(len, bytes).expect("the run is long enough");
        Ok(Some(self.block(heap, heap, node, arena.node(node).start, bytes)))
    }

    /// Maps free pieces once more, behind our last block, with new ones as far as the budget
    /// goes, and beyond it as far as the free pieces do not suffice.
    pub(crate) fn gather(
        &self,
        pool: &mut Pool<D>,
        request: Request<'_>,
        budget: u64,
    ) -> Result<Option<Block>, DriverError> {
        let gathered = self.gather_behind(pool, request, budget)?;
        Ok(if gathered { self.fit(request) } else { None })
    }

    /// The same, where the memory is wanted just there. Returns whether there was enough.
    pub(crate) fn gather_behind(
        &self,
        pool: &mut Pool<D>,
        request: Request<'_>,
        budget: u64,
    ) -> Result<bool, DriverError> {
        let heap = request.heap;
        let capacity = self.capacity(pool)?;
        let (fresh_bytes, moved);
        {
            let mut arenas = self.arenas(heap);
            let free = self.free_ranges(pool, &arenas, self.granule_len());
            let room = |bytes: u64| bytes.saturating_sub(pool.reserved_bytes);
            let planner = Planner::new(pool, &arenas, &free, request.len);
            let plan = planner.plan(room(budget.min(capacity)), room(capacity), self.granule_bytes);
            let Some(plan) = plan else { return Ok(false) };
            fresh_bytes = plan.fresh_bytes;
            moved = self.set_aside(pool, heap, &mut arenas, &free, plan.pieces)?;
        }
        self.map_again(pool, heap, moved)?;
        if fresh_bytes > 0 {
            self.grow(pool, request, fresh_bytes, 0)?;
        }
        Ok(true)
    }

    /// Moves all wholly free pieces of `heap` behind its last block, unless they are one free
    /// range already.
    pub(crate) fn gather_own(&self, pool: &mut Pool<D>, heap: &Heap) -> Result<(), DriverError> {
        let moved;
        {
            let mut arenas = self.arenas(heap);
            let tail = arenas.own().free_tail();
            let free = self.free_ranges(pool, &arenas, self.granule_len());
            let own = |part: &Free| part.place.heap == heap.index && Some(part.node) != tail;
            let wholes = || free.wholes(pool).filter(|parts| parts.iter().all(own));
            let mut nodes: Vec<u32> = wholes().flatten().map(|part| part.node).collect();
            nodes.dedup();
            if nodes.is_empty() || (nodes.len() == 1 && tail.is_none()) {
                return Ok(());
            }
            let pieces = wholes().map(Piece::of).collect();
            moved = self.set_aside(pool, heap, &mut arenas, &free, pieces)?;
        }
        self.map_again(pool, heap, moved)
    }

    /// Takes pieces out of use where they are, and sets windows aside for them at the end of our
    /// arena. Our stream waits for those that may still use them.
    fn set_aside(
        &self,
        pool: &mut Pool<D>,
        heap: &Heap,
        arenas: &mut Arenas<'_>,
        free: &FreeRanges,
        pieces: Vec<Piece>,
    ) -> Result<Vec<Moved>, DriverError> {
        let len = pieces.iter().map(|piece| pool.memory(piece.memory).len).sum();
        self.check_span(heap, arenas.own().end(), len)?;
        self.wait_for(pool, heap, pieces.iter().fold(0, |waits, p| waits | free.waits(p)))?;
        let set_aside = |piece: Piece| {
            let parts = free.within(&piece);
            let from = parts.map(|part| (part.place, arenas.close(&part))).collect();
            let arena = arenas.own_mut();
            let start = arena.end();
            let window = arena.append(pool.memory(piece.memory).len, piece.memory);
            Moved { piece, from, window, start }
        };
        Ok(pieces.into_iter().map(set_aside).collect())
    }

    /// Maps each piece at the window set aside for it, and makes what moves usable there. Pieces
    /// that cannot be mapped go back to where they were.
    fn map_again(
        &self,
        pool: &mut Pool<D>,
        heap: &Heap,
        moved: Vec<Moved>,
    ) -> Result<(), DriverError> {
        let mut failed = None;
        for Moved { piece: Piece { memory, range }, from, window, start } in moved {
            let (id, bytes) = (pool.memory(memory).id, pool.memory(memory).bytes());
            if failed.is_none() {
                failed = self.driver.map(heap.address(start), bytes, id).err();
            }
            if failed.is_some() {
                heap.arena.lock().unmap(window);
                for (place, range) in from {
                    self.heap_at(place.heap).arena.lock().open(range);
                }
                continue;
            }
            pool.counts.maps += 1;
            pool.counts.moves += 1;
            self.tell(EventKind::Move, heap, heap.address(start).0, bytes);
            let (piece, here) = (pool.memory_mut(memory), Place { heap: heap.index, window });
            piece.places.push(here);
            piece.assign(range.clone(), here);
            heap.arena.lock().open(start + range.start..start + range.end);
        }
        failed.map_or(Ok(()), Err)
    }

    /// Quanta of a granule.
    pub(crate) fn granule_len(&self) -> u32 {
        (self.granule_bytes / QUANTUM_BYTES) as u32
    }
}
