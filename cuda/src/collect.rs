//! Giving memory back: all that is free, what has been idle, and at the end everything.
#![forbid(unsafe_code)]

use crate::{
    arena::QUANTUM_BYTES,
    driver::{Driver, DriverError},
    heap::{Heap, PoolId},
    pool::Pool,
    shared::Shared,
};

impl<D: Driver> Shared<D> {
    /// Gives every wholly free piece that `wanted` names back to the device; returns the bytes.
    ///
    /// `wanted` gets the heap and the arena's clock when a part of the piece was last freed. The
    /// caller has made sure that no enqueued work uses those pieces at any of their addresses.
    pub(crate) fn release_free(
        &self,
        pool: &mut Pool<D>,
        keep_bytes: u64,
        wanted: impl Fn(&Pool<D>, &Heap, u32) -> bool,
    ) -> Result<u64, DriverError> {
        let min = (self.granule_bytes / QUANTUM_BYTES) as u32;
        let mut released = 0;
        for heap in self.heaps() {
            let mut windows = Vec::new();
            let mut arena = heap.arena.lock();
            arena.for_each_free_window(min, |node, window| {
                windows.push((arena.node(node).stamp, window));
            });
            windows.retain(|&(stamp, _)| wanted(pool, heap, stamp));
            // The highest addresses first: the arena shrinks from its end.
            windows.sort_by_key(|&(_, window)| core::cmp::Reverse(window));
            let mut free_bytes: u64 = 0;
            arena.for_each_free(|len| free_bytes += u64::from(len) * QUANTUM_BYTES);
            windows.retain(|&(_, window)| {
                let bytes = u64::from(arena.windows()[window as usize].len) * QUANTUM_BYTES;
                let spare = free_bytes >= keep_bytes.saturating_add(bytes);
                free_bytes -= if spare { bytes } else { 0 };
                spare
            });
            for &(_, window) in &windows {
                arena.close(window);
            }
            drop(arena);
            for (_, window) in windows {
                let memory = heap.arena.lock().windows()[window as usize].memory;
                released += self.release_piece(pool, memory)?;
            }
            heap.arena.lock().reset_if_empty();
        }
        Ok(released)
    }

    /// Unmaps a piece everywhere and gives it back. It is a hole at all its addresses.
    fn release_piece(&self, pool: &mut Pool<D>, memory: u32) -> Result<u64, DriverError> {
        let piece = pool.memories[memory as usize].take().expect("a mapped piece exists");
        let mut result = Ok(());
        for place in &piece.places {
            let heap = self.heap_at(place.heap);
            let start = {
                let mut arena = heap.arena.lock();
                arena.unmap(place.window);
                arena.windows()[place.window as usize].start
            };
            result = result.and(self.driver.unmap(heap.address(start), piece.bytes()));
            pool.counts.unmaps += 1;
        }
        result = result.and(self.driver.release(piece.id));
        pool.counts.releases += 1;
        pool.reserved_bytes -= piece.bytes();
        result.map(|()| piece.bytes())
    }

    /// Gives all free memory back. Waits on the CPU for the device.
    pub(crate) fn empty_cache(&self, pool: &mut Pool<D>) -> Result<u64, DriverError> {
        self.synchronize(pool)?;
        self.settle(pool)?;
        self.release_free(pool, 0, |_, heap, _| heap.pool == PoolId::default())
    }

    /// Gives back what no enqueued work uses and nobody has asked for during `idle_frees` frees
    /// of its stream. Never waits.
    pub(crate) fn collect_garbage(
        &self,
        pool: &mut Pool<D>,
        idle_frees: u32,
    ) -> Result<u64, DriverError> {
        self.settle(pool)?;
        let keep_bytes = 0;
        self.release_free(pool, keep_bytes, |pool, heap, stamp| {
            let clock = heap.arena.lock().clock;
            let idle = clock.wrapping_sub(stamp) >= idle_frees;
            heap.pool == PoolId::default() && idle && self.is_passed(pool, heap, stamp)
        })
    }

    /// Gives everything back, live blocks or not. The allocator is going.
    pub(crate) fn tear_down(&self) {
        let mut pool = self.pool();
        // A broken or lost device has nothing left to give back, and must not be asked.
        if self.synchronize(&mut pool).is_err() {
            return;
        }
        for index in 0..pool.memories.len() {
            if pool.memories[index].is_some() {
                let _ = self.release_piece(&mut pool, index as u32);
            }
        }
        for heap in self.heaps() {
            let bytes = u64::from(heap.span) * QUANTUM_BYTES;
            let _ = self.driver.unreserve(heap.base, bytes);
        }
    }
}
