//! Growth: how large the pieces of new memory are, and where they are mapped.
#![forbid(unsafe_code)]

use std::sync::atomic::Ordering;

use genesis_mem_profile::EventKind;

use crate::{
    arena::QUANTUM_BYTES,
    driver::{Driver, DriverCall, DriverError},
    heap::Heap,
    ladder::Request,
    options::Options,
    pool::{Place, Pool},
    shared::Shared,
};

impl<D: Driver> Shared<D> {
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
        let growth = (peak / 128 / self.granule_bytes * self.granule_bytes)
            .clamp(self.granule_bytes, self.options.growth_bytes.max(self.granule_bytes));
        while want > 0 {
            let piece = self.piece_bytes(pool, peak, request.bytes);
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
    /// The last fifth below the limit is made of smaller pieces, since there they will have to
    /// move.
    fn piece_bytes(&self, pool: &Pool<D>, peak_bytes: u64, request_bytes: u64) -> u64 {
        const LEAST_BYTES: u64 = 4 << 20;
        let wanted = (peak_bytes / 64).max(request_bytes / 8).max(LEAST_BYTES);
        let is_near = pool.limit_bytes.saturating_sub(pool.reserved_bytes) < pool.limit_bytes / 5;
        let Options { piece_bytes, near_piece_bytes, .. } = self.options;
        let most = if is_near { near_piece_bytes.min(piece_bytes) } else { piece_bytes };
        wanted.min(most.min(self.device_bytes / 128)).max(1).next_multiple_of(self.granule_bytes)
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
        pool.counts.creates += 1;
        let memory = pool.insert(id, len);
        self.tell(EventKind::Grow, heap, heap.address(end).0, bytes);
        let mut arena = heap.arena.lock();
        let window = arena.append(len, memory);
        arena.open(end..end + len);
        pool.memory_mut(memory).places.push(Place { heap: heap.index, window });
        Ok(())
    }

    pub(crate) fn check_span(&self, heap: &Heap, end: u32, len: u32) -> Result<(), DriverError> {
        if end.checked_add(len).is_some_and(|end| end <= heap.span) {
            return Ok(());
        }
        heap.full.store(true, Ordering::Relaxed);
        let bytes = u64::from(len) * QUANTUM_BYTES;
        Err(DriverError::OutOfMemory { call: DriverCall::Reserve, bytes })
    }
}
