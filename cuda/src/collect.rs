//! Giving memory back: all that is free, what has been idle, and at the end everything.
#![forbid(unsafe_code)]

use std::sync::atomic::Ordering;

use genesis_mem_profile::EventKind;

use crate::{
    arena::QUANTUM_BYTES,
    bins::NONE,
    driver::{DevicePtr, Driver, DriverError, PhysicalId},
    heap::{Heap, PoolId},
    pool::{Place, Pool},
    shared::Shared,
    upkeep::Upkeep,
};

impl<D: Driver> Shared<D> {
    /// Gives wholly free pieces back, at most `most_bytes`, those first that were freed least
    /// recently; returns the bytes. A piece counts for the heap in which its beginning is usable.
    ///
    /// `wanted` gets the arena's clock when a part of the piece was last freed. The caller has
    /// made sure that no enqueued work uses those pieces at any of their addresses.
    fn release_free(
        &self,
        pool: &mut Pool<D>,
        heap: &Heap,
        mut most_bytes: u64,
        wanted: impl Fn(&Heap, u32) -> bool,
    ) -> Result<u64, DriverError> {
        let mut pieces = Vec::new();
        {
            let mut arenas = self.arenas(heap);
            let free = self.free_ranges(pool, &arenas, 1);
            let clock = arenas.own().clock;
            let mut wholes: Vec<_> = free
                .wholes(pool)
                .filter(|parts| parts[0].place.heap == heap.index)
                .filter(|parts| {
                    parts.iter().all(|part| wanted(self.heap_at(part.place.heap), part.stamp))
                })
                .collect();
            wholes.sort_by_key(|parts| std::cmp::Reverse(clock.wrapping_sub(parts[0].stamp)));
            for parts in wholes {
                let bytes = pool.memory(parts[0].memory).bytes();
                if bytes <= most_bytes {
                    most_bytes -= bytes;
                    pieces.push(parts[0].memory);
                    for part in parts {
                        arenas.close(part);
                    }
                }
            }
        }
        let (mut released, mut failed) = (0, None);
        for memory in pieces {
            match self.release_piece(pool, memory) {
                Ok(bytes) => released += bytes,
                Err(error) => drop(failed.get_or_insert(error)),
            }
        }
        heap.arena.lock().reset_if_empty();
        failed.map_or(Ok(released), Err)
    }

    /// Unmaps a piece everywhere and gives it back; it is a hole at all its addresses. If it
    /// cannot be unmapped it is free again at the address that is left last.
    pub(crate) fn release_piece(
        &self,
        pool: &mut Pool<D>,
        memory: u32,
    ) -> Result<u64, DriverError> {
        if self.plain {
            let bytes = pool.memory(memory).bytes();
            return self.free_piece(pool, memory).map(|()| bytes);
        }
        let piece = pool.memory_mut(memory);
        let (bytes, len, first) = (piece.bytes(), piece.len, piece.places[0]);
        piece.assign(0..len, first);
        let start_of = |place: Place| {
            self.heap_at(place.heap).arena.lock().windows()[place.window as usize].start
        };
        while let Some(&place) = pool.memory(memory).places.last() {
            let heap = self.heap_at(place.heap);
            if let Err(error) = self.driver.unmap(heap.address(start_of(place)), bytes) {
                let start = start_of(first);
                self.heap_at(first.heap).arena.lock().open(start..start + len);
                return Err(error);
            }
            heap.arena.lock().unmap(place.window);
            pool.memory_mut(memory).places.pop();
            pool.counts.unmaps += 1;
        }
        let id = pool.remove(memory);
        let heap = self.heap_at(first.heap);
        self.tell(EventKind::Purge, heap, heap.address(start_of(first)).0, bytes);
        self.release(pool, id).map(|()| bytes)
    }

    /// Gives back a piece that is mapped nowhere, or keeps it in mind for another try.
    pub(crate) fn release(&self, pool: &mut Pool<D>, id: PhysicalId) -> Result<(), DriverError> {
        pool.orphans.push(id);
        while let Some(&id) = pool.orphans.last() {
            self.driver.release(id)?;
            pool.counts.releases += 1;
            pool.orphans.pop();
        }
        Ok(())
    }

    /// Gives all free memory of one pool back. Waits on the CPU for the device.
    pub(crate) fn empty_cache(&self, pool: &mut Pool<D>, id: PoolId) -> Result<u64, DriverError> {
        self.drain(pool)?;
        let released = self.release_all_free(pool, id)?;
        self.tell_all(EventKind::Collect, released);
        Ok(released)
    }

    /// The same, and lets the next who asks have the pool if it is a private one and empty: heaps,
    /// of which there are not many, are used again with it.
    pub(crate) fn drop_pool(&self, pool: &mut Pool<D>, id: PoolId) -> Result<u64, DriverError> {
        let released = self.empty_cache(pool, id)?;
        let mut heaps = self.heaps().filter(|heap| heap.pool == id);
        let is_empty = heaps.all(|heap| heap.arena.lock().end() == 0);
        if is_empty && id != PoolId::default() && !pool.dropped.contains(&id) {
            pool.dropped.push(id);
        }
        Ok(released)
    }

    /// The same, where the caller has waited already.
    pub(crate) fn release_all_free(
        &self,
        pool: &mut Pool<D>,
        id: PoolId,
    ) -> Result<u64, DriverError> {
        // Once more: what has been settled since is out of use now, and what other threads free
        // meanwhile is not.
        self.synchronize(pool)?;
        let out_of_use = out_of_use(pool);
        let mut released = 0;
        for heap in self.heaps().filter(|heap| heap.pool == id) {
            released += self.release_free(pool, heap, u64::MAX, &out_of_use)?;
        }
        Ok(released)
    }

    /// Gives back as much as has not been needed in a while, and what the cache holds beyond its
    /// size, as far as no enqueued work uses it. Never waits.
    pub(crate) fn collect_garbage(&self, pool: &mut Pool<D>) -> Result<u64, DriverError> {
        self.collect(pool, |_, heap| heap.arena.lock().idle_bytes(self.options.idle_frees))
    }

    /// The same, with `idle_bytes` of each heap of the ordinary pool.
    pub(crate) fn collect(
        &self,
        pool: &mut Pool<D>,
        mut idle_bytes: impl FnMut(&mut Upkeep, &Heap) -> u64,
    ) -> Result<u64, DriverError> {
        self.settle(pool)?;
        self.advance(pool)?;
        let heaps = || self.heaps().filter(|heap| heap.pool == PoolId::default());
        let mut free_bytes = 0;
        for heap in heaps() {
            let add = |len| free_bytes += u64::from(len) * QUANTUM_BYTES;
            heap.arena.lock().for_each_free(add);
        }
        let mut excess_bytes = free_bytes.saturating_sub(pool.cache_bytes);
        let out_of_use = out_of_use(pool);
        let mut released = 0;
        for heap in heaps() {
            let most_bytes = idle_bytes(&mut pool.upkeep, heap).max(excess_bytes);
            let gone = if most_bytes < self.granule_bytes {
                0
            } else {
                self.release_free(pool, heap, most_bytes, &out_of_use)?
            };
            excess_bytes = excess_bytes.saturating_sub(gone);
            released += gone;
        }
        self.tell_all(EventKind::Collect, released);
        Ok(released)
    }

    /// Moves each heap's wholly free pieces behind its last block, into one free range.
    pub(crate) fn compact(&self, pool: &mut Pool<D>) -> Result<(), DriverError> {
        self.settle(pool)?;
        if self.plain {
            return Ok(());
        }
        // A graph knows its addresses: nothing is gained by moving what it has freed.
        for heap in self.heaps().filter(|heap| heap.pool == PoolId::default()) {
            self.gather_own(pool, heap)?;
        }
        let largest = self.heaps().map(|heap| heap.arena.lock().largest_free_bytes()).max();
        self.tell_all(EventKind::Compact, largest.unwrap_or(0));
        Ok(())
    }

    /// Makes heaps that ran out of addresses usable again, where all their memory has moved
    /// elsewhere; those of private pools stay, since graphs use their addresses. Waits on the CPU
    /// for the device.
    pub(crate) fn reclaim_addresses(&self, pool: &mut Pool<D>) -> Result<(), DriverError> {
        self.synchronize(pool)?;
        let ordinary = self.heaps().filter(|heap| heap.pool == PoolId::default());
        for heap in ordinary.filter(|heap| heap.full.load(Ordering::Relaxed)) {
            let windows = {
                let arena = heap.arena.lock();
                if arena.is_hollow() { arena.windows().to_vec() } else { continue }
            };
            for (index, window) in windows.iter().enumerate().filter(|(_, w)| w.memory != NONE) {
                let bytes = u64::from(window.len) * QUANTUM_BYTES;
                self.driver.unmap(heap.address(window.start), bytes)?;
                pool.counts.unmaps += 1;
                let gone = Place { heap: heap.index, window: index as u32 };
                pool.memory_mut(window.memory).leave(gone);
                heap.arena.lock().unmap(gone.window);
            }
            heap.arena.lock().reset_if_empty();
            heap.full.store(false, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Gives everything back, live blocks or not. The allocator is going.
    ///
    /// Each call gets a second chance, but on a broken or lost device: it has nothing left to give
    /// back, and `guard.rs` keeps it from being asked.
    pub(crate) fn tear_down(&self) {
        let mut pool = self.pool();
        if self.synchronize(&mut pool).or_else(|_| self.synchronize(&mut pool)).is_err() {
            return;
        }
        if self.plain {
            for piece in std::mem::take(&mut pool.memories).into_iter().flatten() {
                let free = || self.driver.free(DevicePtr(piece.id.0));
                let _ = free().or_else(|_| free());
            }
            return;
        }
        for piece in std::mem::take(&mut pool.memories).into_iter().flatten() {
            for place in &piece.places {
                let heap = self.heap_at(place.heap);
                let start = heap.arena.lock().windows()[place.window as usize].start;
                let unmap = || self.driver.unmap(heap.address(start), piece.bytes());
                let _ = unmap().or_else(|_| unmap());
            }
            let _ = self.release(&mut pool, piece.id);
        }
        while let Some(id) = pool.orphans.pop() {
            let _ = self.driver.release(id);
        }
        for heap in self.heaps() {
            let bytes = u64::from(heap.span) * QUANTUM_BYTES;
            let unreserve = || self.driver.unreserve(heap.base, bytes);
            let _ = unreserve().or_else(|_| unreserve());
        }
    }
}

/// Whether a heap's stream is known to be through with what was freed up to a stamp.
fn out_of_use<D: Driver>(pool: &Pool<D>) -> impl Fn(&Heap, u32) -> bool + use<D> {
    let passed: Vec<u32> = pool.progress.iter().map(|progress| progress.passed).collect();
    move |heap, stamp| passed[heap.index as usize].wrapping_sub(stamp) as i32 >= 0
}
