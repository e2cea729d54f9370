//! Whatever the allocator does, live blocks keep what is in them.

use genesis_mem_cuda::{AllocError, Block};

use super::{Device, STREAMS, finish};
use crate::common::Random;

pub(crate) const GRANULES: u64 = 64;

/// Blocks of two granules with patterns; every second one is freed.
fn scattered<D: Device>(device: &D) -> Vec<(Block, u32)> {
    let stream = device.stream(0);
    let blocks = (0..32).map(|i| (device.filled(device.granules(2), stream, i), i));
    let (kept, gone): (Vec<_>, Vec<_>) =
        blocks.collect::<Vec<_>>().into_iter().partition(|(_, i)| i % 2 == 1);
    gone.into_iter().for_each(|(block, _)| device.free(block));
    kept
}

fn check<D: Device>(device: &D, blocks: &[(Block, u32)]) {
    for (block, value) in blocks {
        assert!(device.holds(block, device.stream(0), *value), "block {value}");
    }
}

pub(crate) fn live_blocks_survive_moves<D: Device>(device: D) {
    let (allocator, stream) = (device.allocator(), device.stream(0));
    let blocks = scattered(&device);
    for round in 0..3 {
        let big = device.filled(device.granules(32), stream, 1000 + round);
        check(&device, &blocks);
        assert!(device.holds(&big, stream, 1000 + round));
        device.free(big);
    }
    assert!(allocator.counts().moves > 0, "free memory was not in one piece");
    assert_eq!(allocator.counts().cpu_waits, 0);
    blocks.into_iter().for_each(|(block, _)| device.free(block));
    finish(device);
}

pub(crate) fn compaction_keeps_what_is_live<D: Device>(device: D) {
    let blocks = scattered(&device);
    let reserved = device.allocator().reserved_bytes();
    assert_eq!(device.allocator().compact(), Ok(device.granules(32)));
    assert_eq!(device.allocator().reserved_bytes(), reserved, "no memory was added");
    let all = device.filled(device.granules(32), device.stream(0), 77);
    check(&device, &blocks);
    assert!(device.holds(&all, device.stream(0), 77));
    device.free(all);
    blocks.into_iter().for_each(|(block, _)| device.free(block));
    finish(device);
}

pub(crate) fn a_block_grows_in_place_with_its_contents<D: Device>(device: D) {
    let (allocator, stream) = (device.allocator(), device.stream(0));
    allocator.preallocate_on(device.granules(8), stream).expect("there is memory for it");
    let mut block = device.filled(4096, stream, 1);
    let at = block.ptr();
    assert!(allocator.resize_in_place(&mut block, device.granules(3)));
    assert_eq!((block.ptr(), block.bytes()), (at, device.granules(3)));
    device.fill(&block, stream, 2);
    let next = device.filled(4096, stream, 3);
    assert!(!allocator.resize_in_place(&mut block, device.granules(5)), "another block is there");
    assert!(allocator.resize_in_place(&mut block, 4096), "smaller is always possible");
    assert!(device.holds(&block, stream, 2) && device.holds(&next, stream, 3));
    device.free(block);
    device.free(next);
    finish(device);
}

pub(crate) fn random_programs_keep_their_contents<D: Device>(device: D) {
    let mut random = Random(7);
    let mut live: Vec<(Block, usize, u32)> = Vec::new();
    for value in 0..600 {
        let on = random.below(STREAMS as u64) as usize;
        match random.below(20) {
            0..10 => {
                let bytes = (random.below(device.granules(8)) / 4 + 1) * 4;
                match device.allocator().alloc(bytes, device.stream(on)) {
                    Ok(block) => {
                        device.fill(&block, device.stream(on), value);
                        live.push((block, on, value));
                    }
                    Err(AllocError::OutOfMemory(_)) => {
                        live.drain(..live.len() / 2).for_each(|(block, on, value)| {
                            assert!(device.holds(&block, device.stream(on), value));
                            device.free(block);
                        })
                    }
                    Err(error) => panic!("{error}"),
                }
            }
            10..19 if !live.is_empty() => {
                let (block, on, value) = live.swap_remove(random.below(live.len() as u64) as usize);
                // Not looking at it leaves the stream busy with it when it is freed.
                if random.below(2) == 0 {
                    assert!(device.holds(&block, device.stream(on), value));
                }
                device.free(block);
            }
            _ => match random.below(3) {
                0 => drop(device.allocator().compact().expect("the device answers")),
                1 => drop(device.allocator().collect_garbage().expect("the device answers")),
                _ => drop(device.allocator().empty_cache().expect("the device answers")),
            },
        }
    }
    for (block, on, value) in live {
        assert!(device.holds(&block, device.stream(on), value));
        device.free(block);
    }
    finish(device);
}
