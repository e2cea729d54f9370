//! A slab over bits, as a device has it, beside an ordered set.

use std::collections::BTreeSet;

use genesis_mem_core::{free_blocks::Bits, slab::Slab};

use crate::ops::Op;

/// Runs a program on a slab: allocations take a block, frees and reallocations give one back.
///
/// # Panics
/// Where the slab hands out a block twice, or not the lowest, or loses one.
pub fn run(blocks: u32, program: impl IntoIterator<Item = Op>) {
    let mut words = vec![0; Bits::words(blocks)];
    let slab = Slab::new(Bits::all_free(&mut words, blocks), blocks);
    let mut free: BTreeSet<u32> = (0..blocks).collect();
    let mut live = Vec::new();
    for op in program {
        match op {
            Op::Alloc { .. } => {
                let block = slab.alloc();
                assert_eq!(block, free.pop_first(), "the lowest free block");
                live.extend(block);
            }
            Op::Free { block, .. } | Op::Realloc { block, .. } if !live.is_empty() => {
                let index = usize::from(block) % live.len();
                let block = live.swap_remove(index);
                // SAFETY: taken from this slab, and given back once.
                unsafe { slab.free(block) };
                free.insert(block);
            }
            _ => {}
        }
        assert_eq!(slab.capacity() as usize, free.len() + live.len());
    }
    // SAFETY: as above.
    live.iter().for_each(|block| unsafe {
        slab.free(*block);
    });
    let all = std::iter::from_fn(|| slab.alloc()).count();
    assert_eq!(all, blocks as usize, "every block comes back");
}
