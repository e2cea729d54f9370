//! Resizing in place: into the free neighbour, beyond the last block by mapping more behind it, or
//! down, which frees the end.
#![forbid(unsafe_code)]

use crate::{
    arena::QUANTUM_BYTES,
    driver::{Driver, DriverError},
    heap::{Block, Heap},
    ladder::Request,
    shared::Shared,
};

impl<D: Driver> Shared<D> {
    /// Makes the block hold `bytes` where it is, if that can be had.
    pub(crate) fn extend(&self, block: &mut Block, bytes: u64) -> bool {
        let heap = self.heap_at(u32::from(block.home));
        let Ok(len) = u32::try_from(bytes.max(1).div_ceil(QUANTUM_BYTES)) else { return false };
        // What lies behind a borrowed block is in another stream's order.
        if block.home != block.user || block.owner != self.owner {
            return false;
        }
        let mut extended = {
            let mut arena = heap.arena.lock();
            // The end of a block that other streams use is not theirs to give back yet.
            let is_shared = block.streams & !heap.bit != 0;
            let least = if is_shared { arena.node(block.node).len } else { 0 };
            arena.extend(block.node, len.max(least), bytes)
        };
        // Blocks that outgrow the arena of small ones had better move; plain pieces end where
        // they end.
        let outgrown = heap.small && bytes > self.options.small_bytes;
        if !extended && !self.plain && !outgrown {
            // An error is the next allocation's to tell.
            extended = self.extend_behind(heap, block.node, len, bytes).unwrap_or(false);
        }
        if extended {
            block.bytes = bytes;
            if self.profile.is_on() {
                self.tell_resize(block);
            }
        }
        extended
    }

    /// Brings memory behind the last block of an arena, by growth or from elsewhere, if that is
    /// `node`, and lets it grow into it.
    #[cold]
    fn extend_behind(
        &self,
        heap: &Heap,
        node: u32,
        len: u32,
        bytes: u64,
    ) -> Result<bool, DriverError> {
        let mut pool = self.pool();
        let more = {
            let arena = heap.arena.lock();
            let more = len.saturating_sub(arena.node(node).len);
            if !arena.is_last_block(node) || more >= heap.span - arena.end() {
                return Ok(false);
            }
            more
        };
        let request = Request { heap, bytes: u64::from(more) * QUANTUM_BYTES, len: more };
        let budget = self.budget(&mut pool, request);
        let want = self.want_bytes(request);
        if pool.reserved_bytes + want <= budget {
            self.grow(&mut pool, request, want, budget)?;
        } else {
            self.settle(&mut pool)?;
            self.gather_behind(&mut pool, request, budget)?;
        }
        // Somebody else may have been quicker; then the memory is simply at hand.
        Ok(heap.arena.lock().extend(node, len, bytes))
    }
}
