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
//! A device without virtual memory management has a shorter one, in `plain.rs`.
//!
//! Arena locks are held for arithmetic and for fences, which never block; never while memory is
//! created, mapped or waited for on the CPU.
#![forbid(unsafe_code)]

use std::sync::atomic::Ordering;

use crate::{
    arena::QUANTUM_BYTES,
    driver::{Driver, DriverError, MemoryKind},
    heap::{Block, Heap, PoolId},
    pool::Pool,
    shared::Shared,
};

/// A request on its way through the ladder.
#[derive(Clone, Copy)]
pub(crate) struct Request<'a> {
    pub(crate) heap: &'a Heap,
    pub(crate) bytes: u64,
    pub(crate) len: u32,
}

impl<D: Driver> Shared<D> {
    /// Serves a request that found no free block at hand.
    pub(crate) fn slow(
        &self,
        pool: &mut Pool<D>,
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
        if self.await_all_pending(pool, request.heap.pool).map_err(Some)? > 0
            && let Ok(Some(block)) = self.climb(pool, request)
        {
            return Ok(block);
        }
        pool.counts.cpu_waits += 1;
        self.drain(pool).map_err(Some)?;
        if request.heap.pool != PoolId::default() {
            self.release_all_free(pool, PoolId::default()).map_err(Some)?;
        }
        let climbed = match self.climb(pool, request) {
            Ok(None) if self.plain => self.climb_last(pool, request),
            climbed => climbed,
        };
        match climbed {
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
        let budget = self.budget(pool, request);
        if self.plain {
            return self.climb_plain(pool, request, budget);
        }
        let affordable = pool.reserved_bytes + self.want_bytes(request) <= budget
            || self.is_first_granule(pool, request);
        // How far other streams are matters only where their memory may be taken.
        if self.streams.iter().nth(1).is_some()
            && (!affordable || request.heap.arena.lock().has_holes())
        {
            self.advance(pool)?;
        }
        if let Some(block) = self.reopen(pool, request)? {
            return Ok(Some(block));
        }
        if affordable {
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
        // What other streams have freed but still share is worth a wait on the device, too.
        if self.await_all_pending(pool, request.heap.pool)? > 0
            && let Some(block) = self.borrow(pool, request)?
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
    pub(crate) fn budget(&self, pool: &mut Pool<D>, request: Request<'_>) -> u64 {
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
    pub(crate) fn capacity(&self, pool: &Pool<D>) -> Result<u64, DriverError> {
        let free_bytes = self.driver.memory_info()?.free_bytes;
        let capacity = pool.limit_bytes.min(pool.reserved_bytes + free_bytes);
        Ok(capacity - capacity % self.granule_bytes)
    }

    /// Whether a stream is about to get its first memory, for a block that a granule holds twice.
    /// One granule a stream is worth more than its weight: without it a stream of small blocks
    /// would borrow, and wait for another, at every turn.
    fn is_first_granule(&self, pool: &Pool<D>, request: Request<'_>) -> bool {
        request.bytes <= self.granule_bytes / 2
            && pool.reserved_bytes + self.granule_bytes <= pool.limit_bytes
            && request.heap.arena.lock().end() == 0
    }

    /// New memory that the request needs behind the last free node.
    pub(crate) fn want_bytes(&self, request: Request<'_>) -> u64 {
        let arena = request.heap.arena.lock();
        let at_hand = arena.free_tail().map_or(0, |node| arena.node(node).len);
        (u64::from(request.len.saturating_sub(at_hand)) * QUANTUM_BYTES)
            .next_multiple_of(self.granule_bytes)
    }

    /// Takes a free block of another stream; ours waits for it on the device.
    pub(crate) fn borrow(
        &self,
        pool: &mut Pool<D>,
        request: Request<'_>,
    ) -> Result<Option<Block>, DriverError> {
        let Request { heap, bytes, len } = request;
        let others = self.heaps().filter(|h| h.pool == heap.pool && h.index != heap.index);
        let fitting = others.filter_map(|h| {
            let arena = h.arena.lock();
            let (node, len) = arena.best_fit(len)?;
            let waits = self.waits(pool, h, arena.node(node).stamp);
            pool.may_wait(heap.bit, waits).then_some((len, h))
        });
        let Some((_, home)) = fitting.min_by_key(|(len, home)| (*len, home.index)) else {
            return Ok(None);
        };
        let mut arena = home.arena.lock();
        // Another thread may have been quicker; then there is simply nothing to borrow.
        let Some((node, _)) = arena.best_fit(len) else { return Ok(None) };
        let waits = self.waits(pool, home, arena.node(node).stamp);
        if !pool.may_wait(heap.bit, waits) {
            return Ok(None);
        }
        self.wait_for(pool, heap, waits)?;
        let node = arena.alloc(len, bytes).expect("it fitted under the same lock");
        pool.counts.borrows += 1;
        Ok(Some(self.block(home, heap, node, arena.node(node).start, bytes)))
    }

    /// The same for all heaps of a pool.
    fn await_all_pending(&self, pool: &mut Pool<D>, id: PoolId) -> Result<usize, DriverError> {
        let mut taken_back = 0;
        for heap in self.heaps().filter(|heap| heap.pool == id) {
            taken_back += self.await_pending(pool, heap)?;
        }
        Ok(taken_back)
    }

    /// Makes the stream of `heap` wait for those that still use blocks of its arena, and takes
    /// these back; returns how many.
    pub(crate) fn await_pending(
        &self,
        pool: &mut Pool<D>,
        heap: &Heap,
    ) -> Result<usize, DriverError> {
        if self.driver.memory_kind() == MemoryKind::PinnedHost {
            return Ok(0);
        }
        let mut arena = heap.arena.lock();
        let captured = pool.captured;
        let may_wait = |mask: u64| (mask | heap.bit) & captured == 0;
        let in_batches = pool.batches.iter().flat_map(|batch| &batch.nodes);
        let in_batches =
            in_batches.filter(|(home, _, mask)| *home == heap.index && may_wait(*mask));
        let waiting: Vec<(u32, u64)> = in_batches
            .map(|&(_, node, mask)| (node, mask))
            .chain(arena.pending.iter().copied().filter(|(_, mask)| may_wait(*mask)))
            .collect();
        self.wait_for(pool, heap, waiting.iter().fold(0, |waits, (_, mask)| waits | mask))?;
        for batch in &mut pool.batches {
            batch.nodes.retain(|(home, _, mask)| *home != heap.index || !may_wait(*mask));
        }
        arena.pending.retain(|(_, mask)| !may_wait(*mask));
        waiting.iter().for_each(|&(node, _)| arena.settle(node));
        Ok(waiting.len())
    }
}
