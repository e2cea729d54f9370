//! Memory changes hands in the order of the streams: wrong order is wrong data.

use std::sync::mpsc;

use genesis_mem_cuda::Block;

use super::{Device, STREAMS, finish};
use crate::common::Random;

pub(crate) const GRANULES: u64 = 24;

pub(crate) fn one_stream_reuses_without_waiting<D: Device>(device: D) {
    let (allocator, stream) = (device.allocator(), device.stream(0));
    let first = device.filled(device.granules(4), stream, 0);
    let at = first.ptr();
    device.free(first);
    let before = allocator.counts();
    for value in 1..20 {
        let block = device.filled(device.granules(4), stream, value);
        assert_eq!(block.ptr(), at, "what is free is used again");
        assert!(value % 4 > 0 || device.holds(&block, stream, value));
        device.free(block);
    }
    assert_eq!(allocator.counts(), before, "the fast path needs nobody");
    finish(device);
}

/// Two thirds of the memory goes to and fro, with a queue behind it each time.
pub(crate) fn memory_changes_hands_in_order<D: Device>(device: D) {
    let allocator = device.allocator();
    let kept = device.filled(device.granules(4), device.stream(2), 5);
    for round in 0..12 {
        let on = device.stream(round % 2);
        let block = device.filled(device.granules(16), on, 100 + round as u32);
        (0..5).for_each(|_| device.fill(&block, on, 100 + round as u32));
        // Looking at it would wait; the next owner must come after all of this by itself.
        assert!(round % 3 > 0 || device.holds(&block, on, 100 + round as u32), "round {round}");
        device.free(block);
        let next = device.stream((round + 1) % 2);
        let block = device.filled(device.granules(16), next, 200);
        assert!(device.holds(&block, next, 200), "round {round}");
        device.free(block);
    }
    assert!(device.holds(&kept, device.stream(2), 5));
    device.free(kept);
    assert!(allocator.counts().stream_waits > 0, "a stream waited for the other");
    assert_eq!(allocator.counts().cpu_waits, 0, "and the CPU for none");
    finish(device);
}

pub(crate) fn a_block_used_on_two_streams_waits_for_both<D: Device>(device: D) {
    let (allocator, own, other) = (device.allocator(), device.stream(0), device.stream(1));
    for round in 0..8 {
        // Used on the other stream alone: nothing of this is in our own stream's order.
        let mut block = allocator.alloc(device.granules(16), own).expect("there is memory for it");
        allocator.record_stream(&mut block, other).expect("few streams");
        device.order(own, other);
        (0..6).for_each(|_| device.fill(&block, other, round));
        device.free(block);
        let again = device.filled(device.granules(16), own, 50 + round);
        assert!(device.holds(&again, own, 50 + round), "round {round}");
        // Once the other stream is through, too.
        let last = device.filled(512, other, 1);
        assert!(device.holds(&last, other, 1));
        assert!(device.holds(&again, own, 50 + round), "round {round}: overwritten late");
        device.free(last);
        device.free(again);
    }
    finish(device);
}

pub(crate) fn threads_with_a_stream_each<D: Device>(device: D) {
    let (sender, receiver) = mpsc::sync_channel::<Block>(4);
    std::thread::scope(|scope| {
        for on in 0..STREAMS {
            let (device, sender, stream) = (&device, sender.clone(), device.stream(on));
            scope.spawn(move || {
                let mut random = Random(on as u64 * 77 + 5);
                let mut live: Vec<(Block, u32)> = Vec::new();
                for value in 0..120 {
                    if live.len() < 3 && random.below(3) > 0 {
                        let bytes = random.below(device.granules(1)) / 4 * 4 + 4;
                        live.push((device.filled(bytes, stream, value), value));
                    } else if let Some((block, value)) = live.pop() {
                        assert!(device.holds(&block, stream, value));
                        match random.below(4) {
                            0 => sender.send(block).expect("the receiver is there"),
                            _ => device.free(block),
                        }
                    }
                }
                live.into_iter().for_each(|(block, _)| device.free(block));
            });
        }
        drop(sender);
        for block in receiver {
            device.free(block);
        }
    });
    finish(device);
}
