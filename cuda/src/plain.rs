//! Plain mode: devices without virtual memory management.
//!
//! Pieces come from plain allocation, each at an address of its own, and go back whole: nothing
//! moves. Heaps, blocks, fences and statistics are the same as otherwise. The arena's positions
//! stay what they are; a piece is a window like any other, with a quantum behind it that nobody
//! can use, so that free blocks of two pieces never merge. A table tells where each piece is.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;

use genesis_mem_profile::EventKind;

use crate::{
    arena::QUANTUM_BYTES,
    bins::NONE,
    driver::{DevicePtr, Driver, DriverCall, DriverError, PhysicalId},
    heap::{Block, Heap},
    ladder::Request,
    plan::choose,
    pool::{Place, Pool},
    shared::Shared,
};

/// The piece that small blocks share.
const SMALL_PIECE_BYTES: u64 = 2 << 20;
/// The piece that medium blocks share.
const MEDIUM_PIECE_BYTES: u64 = 20 << 20;
/// The largest block that shares a piece.
const MEDIUM_BYTES: u64 = 10 << 20;

/// Where the pieces of an arena are: positions to addresses and back.
#[derive(Debug, Default)]
pub(crate) struct Table {
    /// Position to address.
    addresses: BTreeMap<u32, u64>,
    /// Address to position and length, quanta.
    positions: BTreeMap<u64, (u32, u32)>,
}

impl Table {
    /// The address of a position within a piece.
    pub(crate) fn address(&self, position: u32) -> DevicePtr {
        let found = self.addresses.range(..=position).next_back();
        let (start, address) = found.expect("the position is in a piece");
        DevicePtr(address + u64::from(position - start) * QUANTUM_BYTES)
    }

    /// The position of an address, if it is in a piece.
    pub(crate) fn position(&self, address: DevicePtr) -> Option<u32> {
        let (start, (position, len)) = self.positions.range(..=address.0).next_back()?;
        let offset = (address.0 - start) / QUANTUM_BYTES;
        (offset < u64::from(*len)).then(|| position + offset as u32)
    }

    /// Bytes of all pieces.
    pub(crate) fn bytes(&self) -> u64 {
        self.positions.values().map(|(_, len)| u64::from(*len) * QUANTUM_BYTES).sum()
    }

    fn insert(&mut self, position: u32, len: u32, address: DevicePtr) {
        self.addresses.insert(position, address.0);
        self.positions.insert(address.0, (position, len));
    }

    fn remove(&mut self, address: DevicePtr) {
        if let Some((position, _)) = self.positions.remove(&address.0) {
            self.addresses.remove(&position);
        }
    }
}

/// Whether a device has no virtual memory management: asked by reserving a granule.
pub(crate) fn is_plain(driver: &impl Driver) -> Result<bool, DriverError> {
    let bytes = driver.granularity_bytes();
    match driver.reserve(bytes) {
        Ok(at) => driver.unreserve(at, bytes).map(|()| false),
        Err(DriverError::NotSupported { .. }) => Ok(true),
        Err(error) => Err(error),
    }
}

impl<D: Driver> Shared<D> {
    /// The ladder of this mode: growth while little is free, then blocks of other streams, then
    /// growth to the limit.
    pub(crate) fn climb_plain(
        &self,
        pool: &mut Pool<D>,
        request: Request<'_>,
        budget: u64,
    ) -> Result<Option<Block>, DriverError> {
        // A piece that is not full yet is no waste, one a heap.
        let slack = MEDIUM_PIECE_BYTES * self.heaps().count() as u64;
        if pool.reserved_bytes + request.bytes <= budget + slack
            && let Some(block) = self.grow_plain(pool, request)?
        {
            return Ok(Some(block));
        }
        if let Some(block) = self.borrow(pool, request)? {
            return Ok(Some(block));
        }
        if self.await_pending(pool, request.heap)? > 0
            && let Some(block) = self.fit(request)
        {
            return Ok(Some(block));
        }
        self.grow_plain(pool, request)
    }

    /// The last rung, after the CPU has waited: wholly free pieces make room for a new one, as
    /// few as suffice by their sizes, or all of them.
    pub(crate) fn climb_last(
        &self,
        pool: &mut Pool<D>,
        request: Request<'_>,
    ) -> Result<Option<Block>, DriverError> {
        // What has been settled since the first wait is out of use after the second.
        self.synchronize(pool)?;
        let needed = pool.reserved_bytes + self.exact_bytes(request);
        let lacking = needed.saturating_sub(self.capacity(pool)?);
        for most in [lacking, u64::MAX] {
            if self.free_pieces_for(pool, request.heap, most)? > 0
                && let Some(block) = self.grow_plain(pool, request)?
            {
                return Ok(Some(block));
            }
        }
        Ok(None)
    }

    /// Gives wholly free pieces of at least `bytes` back, as far as there are, and returns how
    /// many.
    fn free_pieces_for(
        &self,
        pool: &mut Pool<D>,
        heap: &Heap,
        bytes: u64,
    ) -> Result<usize, DriverError> {
        let chosen = {
            let mut arenas = self.arenas(heap);
            let free = self.free_ranges(pool, &arenas, self.granule_len());
            let unused = free.wholes(pool).filter(|parts| parts[0].waits == 0).collect();
            let len = u32::try_from(bytes.div_ceil(QUANTUM_BYTES)).unwrap_or(u32::MAX);
            let chosen = choose(unused, len, heap.index);
            for part in chosen.iter().flat_map(|piece| free.within(piece)) {
                arenas.close(&part);
            }
            chosen
        };
        let mut failed = None;
        for piece in &chosen {
            if let Err(error) = self.release_piece(pool, piece.memory) {
                failed.get_or_insert(error);
            }
        }
        self.heaps().for_each(|heap| heap.arena.lock().reset_if_empty());
        failed.map_or(Ok(chosen.len()), Err)
    }

    /// Allocates a piece in which the request fits, shared with others where the limit and the
    /// device allow, and serves it from there.
    fn grow_plain(
        &self,
        pool: &mut Pool<D>,
        request: Request<'_>,
    ) -> Result<Option<Block>, DriverError> {
        let exact = self.exact_bytes(request);
        let shared = match request.bytes {
            0..=SMALL_PIECE_BYTES if request.heap.small => SMALL_PIECE_BYTES,
            0..=MEDIUM_BYTES if !request.heap.small => MEDIUM_PIECE_BYTES,
            _ => exact,
        };
        let shared = shared.next_multiple_of(self.granule_bytes).max(exact);
        let mut sizes = vec![shared, exact];
        sizes.dedup();
        for bytes in sizes {
            if pool.reserved_bytes + bytes > pool.limit_bytes {
                continue;
            }
            match self.add_plain(pool, request.heap, bytes) {
                Ok(()) => return Ok(self.fit(request)),
                Err(error) if error.is_out_of_memory() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// The smallest piece for a request.
    fn exact_bytes(&self, request: Request<'_>) -> u64 {
        (u64::from(request.len) * QUANTUM_BYTES).next_multiple_of(self.granule_bytes)
    }

    /// Allocates a piece, in a window that its like has left or at the end of the arena.
    fn add_plain(&self, pool: &mut Pool<D>, heap: &Heap, bytes: u64) -> Result<(), DriverError> {
        let len = (bytes / QUANTUM_BYTES) as u32;
        let (end, dead) = {
            let arena = heap.arena.lock();
            (arena.end(), arena.dead(len))
        };
        if dead.is_none() {
            self.check_span(heap, end, len + 1)?;
        }
        let address = self.driver.alloc(bytes)?;
        if !address.0.is_multiple_of(QUANTUM_BYTES) {
            self.driver.free(address)?;
            let call = DriverCall::Alloc;
            return Err(DriverError::InvalidValue { call, address: address.0, bytes });
        }
        pool.counts.allocs += 1;
        let memory = pool.insert(PhysicalId(address.0), len);
        self.tell(EventKind::Grow, heap, address.0, bytes);
        let mut arena = heap.arena.lock();
        let window = match dead {
            Some(window) => {
                arena.revive(window, memory);
                window
            }
            None => {
                let window = arena.append(len, memory);
                // The barrier: a hole that is never opened.
                arena.append(1, NONE);
                window
            }
        };
        if let Some(table) = &heap.table {
            table.lock().insert(arena.windows()[window as usize].start, len, address);
        }
        let start = arena.windows()[window as usize].start;
        arena.open(start..start + len);
        pool.memory_mut(memory).places.push(Place { heap: heap.index, window });
        Ok(())
    }

    /// Frees a closed piece. If it cannot be freed it is open again.
    pub(crate) fn free_piece(&self, pool: &mut Pool<D>, memory: u32) -> Result<(), DriverError> {
        let address = DevicePtr(pool.memory(memory).id.0);
        let (len, Place { heap, window }) =
            (pool.memory(memory).len, pool.memory(memory).places[0]);
        let heap = self.heap_at(heap);
        if let Err(error) = self.driver.free(address) {
            let mut arena = heap.arena.lock();
            let start = arena.windows()[window as usize].start;
            arena.open(start..start + len);
            return Err(error);
        }
        pool.counts.frees += 1;
        pool.remove(memory);
        self.tell(EventKind::Purge, heap, address.0, u64::from(len) * QUANTUM_BYTES);
        heap.arena.lock().unmap(window);
        if let Some(table) = &heap.table {
            table.lock().remove(address);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_and_addresses_name_each_other() {
        let mut table = Table::default();
        table.insert(0, 8, DevicePtr(1 << 40));
        table.insert(9, 4, DevicePtr(1 << 30));
        assert_eq!(table.bytes(), 12 * QUANTUM_BYTES);
        for position in (0..8).chain(9..13) {
            assert_eq!(table.position(table.address(position)), Some(position));
        }
        assert_eq!(table.address(10), DevicePtr((1 << 30) + QUANTUM_BYTES));
        for nowhere in [0, (1 << 30) - 1, (1 << 30) + 4 * QUANTUM_BYTES, (1 << 40) + 4096] {
            assert_eq!(table.position(DevicePtr(nowhere)), None, "{nowhere:#x}");
        }
        table.remove(DevicePtr(1 << 40));
        assert_eq!(table.position(DevicePtr(1 << 40)), None);
        assert_eq!(table.bytes(), 4 * QUANTUM_BYTES);
    }
}
