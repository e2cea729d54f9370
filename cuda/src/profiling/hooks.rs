//! What the allocator tells its recorder. All of it is cold: callers ask first whether anybody
//! listens, or are on the slow path.
#![forbid(unsafe_code)]

use genesis_mem_profile::{Block as Told, EventKind};

use super::Site;
use crate::{
    arena::QUANTUM_BYTES,
    driver::Driver,
    heap::{Block, Heap},
    ladder::Request,
    shared::Shared,
};

/// Where the recorder keeps a block: by its heap and its node there.
fn slot_of(home: u16, node: u32) -> (usize, u32) {
    (usize::from(home), node)
}

impl<D: Driver> Shared<D> {
    /// A block was allocated: after it was taken, so that its address is nobody else's.
    #[cold]
    #[inline(never)]
    pub(crate) fn tell_alloc(&self, block: Block, at: Site, hit: bool) -> Block {
        let block_bytes = block.bytes.max(1).next_multiple_of(QUANTUM_BYTES);
        let owner = self.heap_at(u32::from(block.user)).stream.0;
        let told = Told { address: block.start.0, bytes: block.bytes, block_bytes, owner };
        self.profile.recorder.alloc(slot_of(block.home, block.node), told, at, hit);
        block
    }

    /// A block was freed: told before its heap is unlocked, so that nobody else can have the
    /// node yet.
    #[cold]
    #[inline(never)]
    pub(crate) fn tell_free(&self, heap: &Heap, node: u32) {
        self.profile.recorder.free((heap.index as usize, node));
    }

    /// A block has another size where it is.
    #[cold]
    #[inline(never)]
    pub(crate) fn tell_resize(&self, block: &Block) {
        let len = self.heap_at(u32::from(block.home)).arena.lock().node(block.node).len;
        let block_bytes = u64::from(len) * QUANTUM_BYTES;
        let recorder = &self.profile.recorder;
        recorder.resize(slot_of(block.home, block.node), block.bytes, block_bytes);
    }

    /// Something happened to the memory of a heap.
    pub(crate) fn tell(&self, kind: EventKind, heap: &Heap, address: u64, bytes: u64) {
        let told = Told { address, bytes, block_bytes: 0, owner: heap.stream.0 };
        self.profile.recorder.note(heap.index as usize, kind, told, None);
    }

    /// Something happened to the whole.
    pub(crate) fn tell_all(&self, kind: EventKind, bytes: u64) {
        let told = Told { address: 0, bytes, block_bytes: 0, owner: 0 };
        self.profile.recorder.note(0, kind, told, None);
    }

    pub(crate) fn tell_out_of_memory(&self, request: Request<'_>, at: Site, free_bytes: u64) {
        let Request { heap, bytes, .. } = request;
        let told = Told { address: 0, bytes, block_bytes: free_bytes, owner: heap.stream.0 };
        self.profile.recorder.note(heap.index as usize, EventKind::OutOfMemory, told, Some(at));
    }
}
