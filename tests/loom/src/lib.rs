//! What the models share: a slab of a few blocks with its remote list.
//!
//! The lists and the pool are those that ship; loom runs each model under many schedules, with the
//! values that the orderings allow a load to see. It reduces the schedules by the last access to
//! each word alone, and so can miss some that differ: a pass is evidence within a model's bounds,
//! not a proof. So each model has a broken twin, which loom must catch.
//!
//! With no bound on preemptions (`LOOM_MAX_PREEMPTIONS=all ./run.sh`) all models together take
//! under a second on two cores, once built.
#![cfg(genesis_loom)]

use std::{array, ptr::NonNull};

use genesis_mem_core::{
    free_blocks::{FreeBlock, Key, Link},
    remote::RemoteList,
};

/// How the links are written.
pub const KEY: Key = Key::new(1 << 20, 1 << 63 | 0x5eed);

/// Where the block of an index lies, bytes.
pub const fn offset_bytes(index: usize) -> usize {
    index * size_of::<FreeBlock>()
}

/// `N` blocks, a remote list, and the link by which a parked slab goes back to its heap.
#[derive(Debug)]
pub struct Slab<const N: usize> {
    blocks: [FreeBlock; N],
    /// The blocks that others freed.
    pub remote: RemoteList,
    /// The slab's place in the list of those handed back.
    pub link: FreeBlock,
}

// SAFETY: the models share slabs on purpose; loom reports every unordered access to a block.
unsafe impl<const N: usize> Sync for Slab<N> {}
// SAFETY: as above.
unsafe impl<const N: usize> Send for Slab<N> {}

impl<const N: usize> Slab<N> {
    /// All blocks in use, the slab not parked.
    #[expect(clippy::new_without_default, reason = "built inside a model only")]
    pub fn new() -> Self {
        Self {
            blocks: array::from_fn(|_| FreeBlock::new()),
            remote: RemoteList::new(),
            link: FreeBlock::new(),
        }
    }

    /// The block of an index.
    pub fn block(&self, index: usize) -> NonNull<FreeBlock> {
        NonNull::from(&self.blocks[index])
    }

    /// The indices of the blocks from `link` on. They must be the caller's.
    pub fn walk(&self, mut link: Link) -> Vec<usize> {
        let mut indices = Vec::new();
        while link != Link::END {
            assert_eq!(link.offset_bytes() % size_of::<FreeBlock>(), 0, "between two blocks");
            let index = link.offset_bytes() / size_of::<FreeBlock>();
            assert!(indices.len() < N, "a chain without an end");
            indices.push(index);
            // SAFETY: the model under test claims that the chain is the caller's; loom checks it.
            link = unsafe { self.blocks[index].next(KEY) };
        }
        indices
    }

    /// Drains the remote list and walks what came home.
    pub fn drain(&self) -> Vec<usize> {
        let chain = self.remote.drain();
        let indices = self.walk(chain.first());
        assert_eq!(indices.len(), chain.count() as usize, "the count is that of the chain");
        indices
    }

    /// Frees the block of an index from afar. True: the slab was parked.
    pub fn push(&self, index: usize) -> bool {
        // SAFETY: each model frees each block once.
        unsafe { self.remote.push(self.block(index), offset_bytes(index), KEY) }
    }

    /// Hands the parked slab back to its heap.
    pub fn hand_back(&self, returned: &RemoteList) {
        // SAFETY: whoever found the flag has the link, as the model claims and loom checks.
        let _ = unsafe { returned.push(NonNull::from(&self.link), 0, KEY) };
    }

    /// Takes the slab from those handed back, and writes its link as its owner may then do.
    pub fn take_back(&self, returned: &RemoteList) -> bool {
        let count = returned.drain().count();
        assert!(count <= 1, "a slab comes back once");
        if count == 1 {
            self.reuse_link();
        }
        count == 1
    }

    /// Writes the link, as the owner of a slab that is not parked may do.
    pub fn reuse_link(&self) {
        // SAFETY: the owner has the link, as the model claims and loom checks.
        unsafe { self.link.set_next(Link::END, KEY) };
    }
}
