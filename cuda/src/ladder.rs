//! The slow path: what is tried, in which order, when no free block at hand fits.
//!
//! 1. Blocks whose streams are through come back (`settle`).
//! 2. Holes are filled with memory that is still mapped there: no driver call (`reopen`).
//! 3. Growth, while reserved memory stays close to the peak of live memory (`grow`).
//! 4. A free block of another stream, for which ours waits on the device (`borrow`).
//! 5. Own blocks that other streams still use, likewise (`await_pending`).
//! 6. Wholly free pieces from anywhere, mapped once more behind our last block; what they lack
//!    is grown, up to the limit (`gather`).
//! 7. The same once more, after every other stream has been made to wait for those that still use
//!    its blocks; and at the very last after the CPU has waited for the device.
//!
//! Arena locks are held for arithmetic and for fences, which never block; never while memory is
//! created, mapped or waited for on the CPU.
#![forbid(unsafe_code)]

use std::sync::{MutexGuard, atomic::Ordering};

use spin::mutex::SpinMutexGuard;

use crate::{
    arena::{Arena, QUANTUM_BYTES},
    bins::NONE,
    driver::{Driver, DriverError},
    heap::{Block, Heap, PoolId},
    pool::{Batch, Place, Pool, Progress},
    shared::Shared,
};

/// A request on its way through the ladder.
#[derive(Clone, Copy)]
pub(crate) struct Request<'a> {
    pub(crate) heap: &'a Heap,
    pub(crate) bytes: u64,
    pub(crate) len: u32,
}

/// A wholly free piece: its index, the free node around it, and where it is.
#[derive(Clone, Copy)]
struct Free {
    memory: u32,
    node: u32,
    place: Place,
    len: u32,
    /// Streams that may still use it.
    waits: u64,
}

/// A piece on its way: where it was, and the window that is set aside for it.
struct Moved {
    memory: u32,
    from: Place,
    window: u32,
    start: u32,
}

/// Arenas of all heaps of one pool, locked.
type Arenas<'a> = Vec<(&'a Heap, ArenaGuard<'a>)>;
type ArenaGuard<'a> = SpinMutexGuard<'a, Arena>;

impl<D: Driver> Shared<D> {
    /// Serves a request that found no free block at hand.
    pub(crate) fn slow(
        &self,
        pool: &mut MutexGuard<'_, Pool<D>>,
        request: Request<'_>,
    ) -> Result<Block, Option<DriverError>> {
        pool.counts.misses += 1;
        self.settle(pool).map_err(Some)?;
        match self.climb(pool, request) {
            Ok(Some(block)) => return Ok(block),
            Err(error) if !error.is_out_of_memory() => return Err(Some(error)),
            Ok(None) | Err(_) => {}
        }
        pool.counts.retries += 1;
        let mut taken_back = 0;
        for heap in self.heaps().filter(|heap| heap.pool == request.heap.pool) {
            taken_back += self.await_pending(pool, heap).map_err(Some)?;
        }
        if taken_back > 0
            && let Ok(Some(block)) = self.climb(pool, request)
        {
            return Ok(block);
        }
        pool.counts.cpu_waits += 1;
        self.synchronize(pool).map_err(Some)?;
        self.settle(pool).map_err(Some)?;
        if request.heap.pool != PoolId::default() {
            self.release_all_free(pool, PoolId::default()).map_err(Some)?;
        }
        match self.climb(pool, request) {
            Ok(Some(block)) => Ok(block),
            Ok(None) => Err(None),
            Err(error) => Err(Some(error)),
        }
    }

    /// Steps 2 to 6.
    fn climb(
        &self,
        pool: &mut Pool<D>,
        request: Request<'_>,
    ) -> Result<Option<Block>, DriverError> {
        if let Some(block) = self.fit(request) {
            return Ok(Some(block));
        }
        if let Some(block) = self.reopen(pool, request)? {
            return Ok(Some(block));
        }
        let budget = self.budget(pool, request);
        if pool.reserved_bytes + self.want_bytes(request) <= budget {
            match self.grow(pool, request, self.want_bytes(request), budget) {
                Ok(()) => {
                    if let Some(block) = self.fit(request) {
                        return Ok(Some(block));
                    }
                }
                Err(error) if !error.is_out_of_memory() => return Err(error),
                Err(_) => {}
            }
        }
        if let Some(block) = self.borrow(pool, request)? {
            return Ok(Some(block));
        }
        if self.await_pending(pool, request.heap)? > 0
            && let Some(block) = self.fit(request)
        {
            return Ok(Some(block));
        }
        self.gather(pool, request, budget)
    }

    /// Takes a free block at hand.
    pub(crate) fn fit(&self, request: Request<'_>) -> Option<Block> {
        let Request { heap, bytes, len } = request;
        let (node, start) = {
            let mut arena = heap.arena.lock();
            let node = arena.alloc(len, bytes)?;
            (node, arena.node(node).start)
        };
        Some(self.block(heap, heap, node, start, bytes))
    }

    /// Bytes that reserved memory may reach before free memory is gathered instead.
    fn budget(&self, pool: &mut Pool<D>, request: Request<'_>) -> u64 {
        let (mut live, mut peak, mut active) = (request.bytes, 0, request.heap.bit);
        for heap in self.heaps() {
            let arena = heap.arena.lock();
            live += arena.sums.requested_bytes;
            peak = peak.max(arena.sums.requested_peak_bytes);
            active |= if arena.end() > 0 { heap.bit } else { 0 };
        }
        pool.live_peak_bytes = pool.live_peak_bytes.max(peak).max(live);
        let options = &self.options;
        if pool.live_peak_bytes >= options.apart_bytes {
            self.apart.store(true, Ordering::Relaxed);
        }
        let until = self.device_bytes / 1000 * u64::from(options.slack_until_permille);
        let budget = if pool.reserved_bytes + request.bytes > until {
            pool.limit_bytes
        } else if active.count_ones() > 1 {
            pool.budget_bytes(live, options.slack_streams_permille)
        } else {
            pool.budget_bytes(live, options.slack_permille)
        };
        let budget = budget.min(pool.limit_bytes);
        budget - budget % self.granule_bytes
    }

    /// Bytes of physical memory that could be held: the limit, or what the device has left.
    fn capacity(&self, pool: &Pool<D>) -> Result<u64, DriverError> {
        let free_bytes = self.driver.memory_info()?.free_bytes;
        let capacity = pool.limit_bytes.min(pool.reserved_bytes + free_bytes);
        Ok(capacity - capacity % self.granule_bytes)
    }

    /// New memory that the request needs behind the last free node.
    fn want_bytes(&self, request: Request<'_>) -> u64 {
        let arena = request.heap.arena.lock();
        let at_hand = arena.free_tail().map_or(0, |node| arena.node(node).len);
        (u64::from(request.len.saturating_sub(at_hand)) * QUANTUM_BYTES)
            .next_multiple_of(self.granule_bytes)
    }

    /// Creates `want` bytes and maps them behind the last block, in pieces that are rounded up
    /// as far as `round_to` reserved bytes.
    pub(crate) fn grow(
        &self,
        pool: &mut Pool<D>,
        request: Request<'_>,
        mut want: u64,
        round_to: u64,
    ) -> Result<(), DriverError> {
        let peak = pool.live_peak_bytes.max(request.bytes);
        let piece = self.piece_bytes(peak, request.bytes);
        let growth = (peak / 128 / self.granule_bytes * self.granule_bytes)
            .clamp(self.granule_bytes, self.options.growth_bytes.max(self.granule_bytes));
        while want > 0 {
            let bytes = if want >= piece + piece / 2 {
                piece
            } else if want < growth && pool.reserved_bytes + growth <= round_to {
                growth
            } else {
                want
            };
            self.add_piece(pool, request.heap, bytes)?;
            want = want.saturating_sub(bytes);
        }
        Ok(())
    }

    /// The largest piece to make: small in a small program and on a small device, where one
    /// piece that cannot move is a larger share of the whole, unless the request itself is large.
    fn piece_bytes(&self, peak_bytes: u64, request_bytes: u64) -> u64 {
        const LEAST_BYTES: u64 = 4 << 20;
        let wanted = (peak_bytes / 64).max(request_bytes / 8).max(LEAST_BYTES);
        let most = self.options.piece_bytes.min(self.device_bytes / 128);
        wanted.min(most).max(1).next_multiple_of(self.granule_bytes)
    }

    /// Creates a piece and maps it at the end of the arena.
    fn add_piece(&self, pool: &mut Pool<D>, heap: &Heap, bytes: u64) -> Result<(), DriverError> {
        let len = (bytes / QUANTUM_BYTES) as u32;
        let end = heap.arena.lock().end();
        self.check_span(heap, end, len)?;
        let id = self.driver.create(bytes)?;
        if let Err(error) = self.driver.map(heap.address(end), bytes, id) {
            // If even this fails the piece is kept in mind; the first error is the one to tell.
            let _ = self.release(pool, id);
            return Err(error);
        }
        pool.counts.maps += 1;
        let memory = pool.insert(id, len);
        let mut arena = heap.arena.lock();
        let window = arena.append(len, memory);
        arena.open(window);
        pool.memory_mut(memory).places.push(Place { heap: heap.index, window });
        Ok(())
    }

    fn check_span(&self, heap: &Heap, end: u32, len: u32) -> Result<(), DriverError> {
        if end.checked_add(len).is_some_and(|end| end <= heap.span) {
            return Ok(());
        }
        heap.full.store(true, Ordering::Relaxed);
        let bytes = u64::from(len) * QUANTUM_BYTES;
        Err(DriverError::OutOfMemory { call: crate::driver::DriverCall::Reserve, bytes })
    }

    /// Fills holes with memory that is still mapped there and wholly free elsewhere.
    fn reopen(
        &self,
        pool: &mut Pool<D>,
        request: Request<'_>,
    ) -> Result<Option<Block>, DriverError> {
        let Request { heap, bytes, len } = request;
        let mut arenas = self.arenas(heap);
        let own = position(&arenas, heap);
        if arenas[own].1.holes().next().is_none() {
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

    /// Takes a free block of another stream; ours waits for it on the device.
    fn borrow(
        &self,
        pool: &mut Pool<D>,
        request: Request<'_>,
    ) -> Result<Option<Block>, DriverError> {
        let Request { heap, bytes, len } = request;
        let others = self.heaps().filter(|h| h.pool == heap.pool && h.index != heap.index);
        let fitting = others.filter_map(|h| Some((h.arena.lock().best_fit(len)?.1, h)));
        let Some((_, home)) = fitting.min_by_key(|(len, home)| (*len, home.index)) else {
            return Ok(None);
        };
        let mut arena = home.arena.lock();
        // Another thread may have been quicker; then there is simply nothing to borrow.
        let Some((node, _)) = arena.best_fit(len) else { return Ok(None) };
        let waits = self.waits(pool, home, arena.node(node).stamp);
        self.wait_for(pool, heap, waits)?;
        let node = arena.alloc(len, bytes).expect("it fitted under the same lock");
        pool.counts.borrows += 1;
        Ok(Some(self.block(home, heap, node, arena.node(node).start, bytes)))
    }

    /// Makes the stream of `heap` wait for those that still use blocks of its arena, and takes
    /// these back; returns how many.
    fn await_pending(&self, pool: &mut Pool<D>, heap: &Heap) -> Result<usize, DriverError> {
        let mut arena = heap.arena.lock();
        let in_batches = pool.batches.iter().flat_map(|batch| &batch.nodes);
        let in_batches = in_batches.filter(|(home, ..)| *home == heap.index);
        let waiting: Vec<(u32, u64)> = in_batches
            .map(|&(_, node, mask)| (node, mask))
            .chain(arena.pending.iter().copied())
            .collect();
        self.wait_for(pool, heap, waiting.iter().fold(0, |waits, (_, mask)| waits | mask))?;
        for batch in &mut pool.batches {
            batch.nodes.retain(|(home, ..)| *home != heap.index);
        }
        arena.pending.clear();
        waiting.iter().for_each(|&(node, _)| arena.settle(node));
        Ok(waiting.len())
    }

    /// Maps wholly free pieces once more, behind our last block, with new ones as far as the
    /// budget goes, and beyond it as far as the free pieces do not suffice.
    fn gather(
        &self,
        pool: &mut Pool<D>,
        request: Request<'_>,
        budget: u64,
    ) -> Result<Option<Block>, DriverError> {
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
                return Ok(None);
            }
            let pieces = choose(movable, want - fresh, heap.index);
            moved = self.set_aside(pool, heap, &mut arenas, pieces)?;
        }
        self.map_again(pool, heap, moved)?;
        if fresh > 0 {
            self.grow(pool, request, fresh, 0)?;
        }
        Ok(self.fit(request))
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
    fn free_pieces(&self, pool: &Pool<D>, arenas: &Arenas<'_>) -> Vec<Option<Free>> {
        let mut free = vec![None; pool.memories.len()];
        let min = (self.granule_bytes / QUANTUM_BYTES) as u32;
        for (heap, arena) in arenas {
            arena.for_each_free_window(min, |node, window| {
                let crate::arena::Window { len, memory, .. } = arena.windows()[window as usize];
                let place = Place { heap: heap.index, window };
                let waits = self.waits(pool, heap, arena.node(node).stamp);
                free[memory as usize] = Some(Free { memory, node, place, len, waits });
            });
        }
        free
    }

    /// Locks the arenas of all heaps of the same pool, in order of their index.
    fn arenas(&self, heap: &Heap) -> Arenas<'_> {
        let pool = heap.pool;
        self.heaps().filter(|h| h.pool == pool).map(|h| (h, h.arena.lock())).collect()
    }

    /// Makes the stream of `heap` wait, on the device, for the present end of other streams.
    fn wait_for(&self, pool: &mut Pool<D>, heap: &Heap, streams: u64) -> Result<(), DriverError> {
        for index in bits(streams & !heap.bit) {
            let fence = self.driver.record(pool.streams[index])?;
            self.driver.wait(heap.stream, &fence)?;
            pool.counts.stream_waits += 1;
        }
        Ok(())
    }

    /// The bit of `heap`'s stream, unless it is known to be through with what was freed up to
    /// `stamp`.
    fn waits(&self, pool: &Pool<D>, heap: &Heap, stamp: u32) -> u64 {
        let passed = pool.progress[heap.index as usize].passed;
        if passed.wrapping_sub(stamp) as i32 >= 0 { 0 } else { heap.bit }
    }

    /// Records fences for what was freed since, asks the earlier ones, and takes back what they
    /// let go.
    pub(crate) fn settle(&self, pool: &mut Pool<D>) -> Result<(), DriverError> {
        let mut nodes = Vec::new();
        for heap in self.heaps() {
            let pending = std::mem::take(&mut heap.arena.lock().pending);
            nodes.extend(pending.into_iter().map(|(node, mask)| (heap.index, node, mask)));
        }
        if !nodes.is_empty() {
            let mask = nodes.iter().fold(0, |mask, (.., streams)| mask | streams);
            let fences = bits(mask).map(|index| self.driver.record(pool.streams[index]));
            match fences.collect() {
                Ok(fences) => pool.batches.push_back(Batch { fences, nodes }),
                Err(error) => {
                    for (heap, node, mask) in nodes {
                        self.heap_at(heap).arena.lock().pending.push((node, mask));
                    }
                    return Err(error);
                }
            }
        }
        while let Some(batch) = pool.batches.front_mut() {
            while let Some(fence) = batch.fences.last() {
                if !self.driver.is_passed(fence)? {
                    break;
                }
                batch.fences.pop();
            }
            if !batch.fences.is_empty() {
                break;
            }
            for (heap, node, _) in pool.batches.pop_front().expect("looked at above").nodes {
                self.heap_at(heap).arena.lock().settle(node);
            }
        }
        // With one stream nobody asks how far it is.
        if pool.streams.len() > 1 { self.advance(pool) } else { Ok(()) }
    }

    /// Learns how far each stream is.
    pub(crate) fn advance(&self, pool: &mut Pool<D>) -> Result<(), DriverError> {
        for heap in self.heaps() {
            let clock = heap.arena.lock().clock;
            let Progress { fence, passed } = &mut pool.progress[heap.index as usize];
            if let Some((pending, stamp)) = fence
                && self.driver.is_passed(pending)?
            {
                (*passed, *fence) = (*stamp, None);
            }
            if fence.is_none() && *passed != clock {
                let new = self.driver.record(heap.stream)?;
                if self.driver.is_passed(&new)? {
                    *passed = clock;
                } else {
                    *fence = Some((new, clock));
                }
            }
        }
        Ok(())
    }

    /// Waits on the CPU for every stream that has a heap.
    pub(crate) fn synchronize(&self, pool: &mut Pool<D>) -> Result<(), DriverError> {
        let clocks: Vec<u32> = self.heaps().map(|heap| heap.arena.lock().clock).collect();
        for &stream in &pool.streams {
            self.driver.synchronize(stream)?;
        }
        for (progress, clock) in pool.progress.iter_mut().zip(clocks) {
            *progress = Progress { fence: None, passed: clock };
        }
        Ok(())
    }
}

fn position(arenas: &Arenas<'_>, heap: &Heap) -> usize {
    arenas.iter().position(|(h, _)| h.index == heap.index).expect("a heap is in its pool")
}

/// Takes the memory of a wholly free window out of use.
fn close(arenas: &mut Arenas<'_>, place: Place) {
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
fn choose(mut free: Vec<Free>, short_bytes: u64, own: u32) -> Vec<Free> {
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

/// The positions of the bits set in `mask`.
pub(crate) fn bits(mut mask: u64) -> impl Iterator<Item = usize> {
    core::iter::from_fn(move || {
        let bit = mask.trailing_zeros();
        (mask != 0).then(|| {
            mask &= mask - 1;
            bit as usize
        })
    })
}
