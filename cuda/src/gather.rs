//! Moving pieces of memory: back into holes where they are still mapped, or to the end of an
//! arena, where they are mapped once more.
#![forbid(unsafe_code)]

use spin::mutex::SpinMutexGuard;

use crate::{
    arena::{Arena, QUANTUM_BYTES, Window},
    bins::NONE,
    driver::{Driver, DriverError},
    heap::{Block, Heap},
    ladder::Request,
    pool::{Place, Pool},
    shared::Shared,
};

/// A wholly free piece: its index, the free node around it, and where it is.
#[derive(Clone, Copy)]
pub(crate) struct Free {
    pub(crate) memory: u32,
    node: u32,
    pub(crate) place: Place,
    len: u32,
    /// Streams that may still use it.
    pub(crate) waits: u64,
}

/// A piece on its way: where it was, and the window that is set aside for it.
struct Moved {
    memory: u32,
    from: Place,
    window: u32,
    start: u32,
}

/// Arenas of all heaps of one pool, locked.
pub(crate) type Arenas<'a> = Vec<(&'a Heap, ArenaGuard<'a>)>;
type ArenaGuard<'a> = SpinMutexGuard<'a, Arena>;

impl<D: Driver> Shared<D> {
    /// Fills holes with memory that is still mapped there and wholly free elsewhere.
    pub(crate) fn reopen(
        &self,
        pool: &mut Pool<D>,
        request: Request<'_>,
    ) -> Result<Option<Block>, DriverError> {
        let Request { heap, bytes, len } = request;
        let mut arenas = self.arenas(heap);
        let own = position(&arenas, heap);
        if !arenas[own].1.has_holes() {
            return Ok(None);
        }
        let free = self.free_pieces(pool, &arenas);
        let Some(run) = best_run(&arenas[own], &free, len) else { return Ok(None) };
        let pieces = || run.iter().filter_map(|&(memory, _)| free[memory as usize]);
        self.wait_for(pool, heap, pieces().fold(0, |waits, piece| waits | piece.waits))?;
        for &(memory, window) in &run {
            close(&mut arenas, pool.memory(memory).place());
            let here = Place { heap: heap.index, window };
            let piece = pool.memory_mut(memory);
            let known = piece.places.iter().position(|place| *place == here);
            piece.current = known.expect("a hole's memory knows its window");
            arenas[own].1.open(window);
            pool.counts.moves += 1;
            pool.counts.moves_back += 1;
        }
        let arena = &mut arenas[own].1;
        let node = arena.alloc(len, bytes).expect("the run is long enough");
        Ok(Some(self.block(heap, heap, node, arena.node(node).start, bytes)))
    }

    /// Maps wholly free pieces once more, behind our last block, with new ones as far as the
    /// budget goes, and beyond it as far as the free pieces do not suffice.
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
        let fresh;
        let moved;
        {
            let mut arenas = self.arenas(heap);
            let own = position(&arenas, heap);
            let tail = arenas[own].1.free_tail();
            let at_hand = tail.map_or(0, |node| arenas[own].1.node(node).len);
            let short = u64::from(request.len.saturating_sub(at_hand)) * QUANTUM_BYTES;
            let want = short.next_multiple_of(self.granule_bytes);
            let free = self.free_pieces(pool, &arenas);
            let mut movable: Vec<Free> = free.into_iter().flatten().collect();
            movable.retain(|piece| piece.place.heap != heap.index || Some(piece.node) != tail);
            let movable_bytes = movable.iter().map(|piece| u64::from(piece.len)).sum::<u64>();
            let lacking = want.saturating_sub(movable_bytes * QUANTUM_BYTES);
            let affordable = budget.min(capacity).saturating_sub(pool.reserved_bytes);
            fresh = affordable.min(want).max(lacking);
            if pool.reserved_bytes + fresh > capacity {
                return Ok(false);
            }
            let pieces = choose(movable, want - fresh, heap.index);
            moved = self.set_aside(pool, heap, &mut arenas, pieces)?;
        }
        self.map_again(pool, heap, moved)?;
        if fresh > 0 {
            self.grow(pool, request, fresh, 0)?;
        }
        Ok(true)
    }

    /// Maps each piece at the window set aside for it, and makes it usable there. Pieces that
    /// cannot be mapped go back to where they were.
    fn map_again(
        &self,
        pool: &mut Pool<D>,
        heap: &Heap,
        moved: Vec<Moved>,
    ) -> Result<(), DriverError> {
        let mut failed = None;
        for Moved { memory, from, window, start } in moved {
            let (id, bytes) = (pool.memory(memory).id, pool.memory(memory).bytes());
            if failed.is_none() {
                failed = self.driver.map(heap.address(start), bytes, id).err();
            }
            if failed.is_some() {
                heap.arena.lock().unmap(window);
                self.heap_at(from.heap).arena.lock().open(from.window);
                continue;
            }
            pool.counts.maps += 1;
            pool.counts.moves += 1;
            let piece = pool.memory_mut(memory);
            piece.current = piece.places.len();
            piece.places.push(Place { heap: heap.index, window });
            heap.arena.lock().open(window);
        }
        failed.map_or(Ok(()), Err)
    }

    /// Moves all wholly free pieces of `heap` behind its last block, unless they are one free
    /// range already.
    pub(crate) fn gather_own(&self, pool: &mut Pool<D>, heap: &Heap) -> Result<(), DriverError> {
        let moved;
        {
            let mut arenas = self.arenas(heap);
            let own = position(&arenas, heap);
            let tail = arenas[own].1.free_tail();
            let mut pieces: Vec<Free> =
                self.free_pieces(pool, &arenas).into_iter().flatten().collect();
            pieces.retain(|piece| piece.place.heap == heap.index && Some(piece.node) != tail);
            let in_one = pieces.windows(2).all(|two| two[0].node == two[1].node);
            if pieces.is_empty() || (in_one && tail.is_none()) {
                return Ok(());
            }
            moved = self.set_aside(pool, heap, &mut arenas, pieces)?;
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
        pieces: Vec<Free>,
    ) -> Result<Vec<Moved>, DriverError> {
        let own = position(arenas, heap);
        let len = pieces.iter().map(|piece| piece.len).sum();
        self.check_span(heap, arenas[own].1.end(), len)?;
        self.wait_for(pool, heap, pieces.iter().fold(0, |waits, piece| waits | piece.waits))?;
        let set_aside = |piece: Free| {
            close(arenas, piece.place);
            let arena = &mut arenas[own].1;
            let window = arena.append(piece.len, piece.memory);
            let start = arena.windows()[window as usize].start;
            Moved { memory: piece.memory, from: piece.place, window, start }
        };
        Ok(pieces.into_iter().map(set_aside).collect())
    }

    /// All wholly free pieces, by index.
    pub(crate) fn free_pieces(&self, pool: &Pool<D>, arenas: &Arenas<'_>) -> Vec<Option<Free>> {
        let mut free = vec![None; pool.memories.len()];
        let min = (self.granule_bytes / QUANTUM_BYTES) as u32;
        for (heap, arena) in arenas {
            arena.for_each_free_window(min, |node, window| {
                let Window { len, memory, .. } = arena.windows()[window as usize];
                let place = Place { heap: heap.index, window };
                let waits = self.waits(pool, heap, arena.node(node).stamp);
                free[memory as usize] = Some(Free { memory, node, place, len, waits });
            });
        }
        free
    }

    /// Locks the arenas of all heaps of the same pool, in order of their index.
    pub(crate) fn arenas(&self, heap: &Heap) -> Arenas<'_> {
        let pool = heap.pool;
        self.heaps().filter(|h| h.pool == pool).map(|h| (h, h.arena.lock())).collect()
    }
}

fn position(arenas: &Arenas<'_>, heap: &Heap) -> usize {
    arenas.iter().position(|(h, _)| h.index == heap.index).expect("a heap is in its pool")
}

/// Takes the memory of a wholly free window out of use.
pub(crate) fn close(arenas: &mut Arenas<'_>, place: Place) {
    let (_, arena) = arenas
        .iter_mut()
        .find(|(heap, _)| heap.index == place.heap)
        .expect("pieces stay within their pool");
    arena.close(place.window);
}

/// The windows to open in own holes so that the request fits, moving the fewest bytes.
fn best_run(
    own: &(&Heap, ArenaGuard<'_>),
    free: &[Option<Free>],
    need: u32,
) -> Option<Vec<(u32, u32)>> {
    let (heap, arena) = own;
    let mut best: Option<(u32, core::ops::Range<usize>)> = None;
    for hole in arena.holes() {
        let (before, after) = arena.free_neighbours(hole);
        let len_of = |node: Option<u32>| node.map_or(0, |node| arena.node(node).len);
        let range = arena.windows_in(arena.node(hole).start, arena.node(hole).end());
        let usable = |index: usize| {
            let memory = arena.windows()[index].memory;
            let piece = if memory == NONE { None } else { free[memory as usize] };
            piece.is_some_and(|piece| {
                let beside = Some(piece.node) == before || Some(piece.node) == after;
                piece.place.heap != heap.index || !beside
            })
        };
        for first in range.clone() {
            let mut have = if first == range.start { len_of(before) } else { 0 };
            let mut moved = 0;
            for last in first..range.end {
                let twice = (first..last)
                    .any(|i| arena.windows()[i].memory == arena.windows()[last].memory);
                if !usable(last) || twice {
                    break;
                }
                moved += arena.windows()[last].len;
                have += arena.windows()[last].len;
                let behind = if last + 1 == range.end { len_of(after) } else { 0 };
                if best.as_ref().is_some_and(|(least, _)| moved >= *least) {
                    break;
                }
                if have + behind >= need {
                    best = Some((moved, first..last + 1));
                    break;
                }
            }
        }
    }
    let (_, run) = best?;
    Some(run.map(|i| (arena.windows()[i].memory, i as u32)).collect())
}

/// The fewest pieces that hold `short_bytes`: one that is large enough, the smallest such, or
/// else the largest and so on. All of them where they are too small together.
pub(crate) fn choose(mut free: Vec<Free>, short_bytes: u64, own: u32) -> Vec<Free> {
    free.sort_by_key(|piece| (piece.len, piece.place.heap != own, piece.place.window));
    let mut short = short_bytes.div_ceil(QUANTUM_BYTES);
    let mut chosen = Vec::new();
    while short > 0 {
        if let Some(enough) = free.iter().position(|piece| u64::from(piece.len) >= short) {
            chosen.push(free.remove(enough));
            break;
        }
        let Some(largest) = free.pop() else { break };
        short -= u64::from(largest.len);
        chosen.push(largest);
    }
    chosen
}
