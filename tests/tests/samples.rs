//! What becomes of sampled blocks, one kind of call at a time.

use std::{ptr::NonNull, sync::atomic::Ordering::Relaxed};

use genesis_mem_core::{
    arena::Arena,
    config::{Config, FaultKind},
    heap::Heap,
};
use genesis_mem_tests::{
    config::{SampledLarge, TestConfig, take_faults},
    samples::{Sampling, TestSink},
};

type TestArena = Arena<SampledLarge>;
type TestHeap = Heap<SampledLarge>;

fn arena() -> &'static TestArena {
    let (backend, metadata, _handle) = SampledLarge::backends();
    Box::leak(Box::new(Arena::new(backend, metadata, Sampling::default())))
}

fn alloc(heap: &TestHeap, bytes: usize) -> NonNull<u8> {
    // SAFETY: the heap is this thread's.
    unsafe { heap.alloc_any(bytes, 16) }.expect("there is memory")
}

fn is_sample(arena: &TestArena, block: NonNull<u8>) -> bool {
    arena.sink().live().iter().any(|sample| sample.address == block.addr().get())
}

/// A block that is, or is not, sampled.
fn find(arena: &TestArena, heap: &TestHeap, bytes: usize, sampled: bool) -> NonNull<u8> {
    let mut tries = (0..1000).map(|_| alloc(heap, bytes));
    tries.find(|&block| is_sample(arena, block) == sampled).expect("both come up")
}

#[test]
fn a_share_of_the_allocations_is_sampled_and_all_are_counted() {
    let arena = arena();
    let heap = arena.adopt_heap().unwrap();
    for bytes in [16, 100, 8192, 60_000, 300_000] {
        let taken = arena.sink().taken.load(Relaxed);
        let allocations = arena.snapshot(true).allocations;
        for _ in 0..5000 {
            let block = alloc(heap, bytes);
            // SAFETY: the block is this thread's.
            unsafe { heap.free_any(block, bytes, 16) };
        }
        let share = (arena.sink().taken.load(Relaxed) - taken) as f64 / 5000.0;
        // A mean of (0 + 1 + 2 + 0 + 1) / 5 pass between two; of large ones, two in five are.
        let expected = if bytes > 262_144 { 0.4 } else { 1.0 / 1.8 };
        assert!((share - expected).abs() < 0.05, "{share} of the blocks of {bytes} bytes");
        assert_eq!(arena.snapshot(true).allocations - allocations, 5000);
    }
    assert_eq!(arena.sink().live(), []);
    arena.sink().switch();
    // Each class hears of it at the latest when its countdown is over.
    (0..10).for_each(|_| _ = alloc(heap, 16));
    let taken = arena.sink().taken.load(Relaxed);
    (0..1000).for_each(|_| _ = alloc(heap, 16));
    assert_eq!(arena.sink().taken.load(Relaxed), taken, "sampling is off");
    let misses = arena.snapshot(true).cache_misses;
    for _ in 0..1000 {
        let block = alloc(heap, 16);
        // SAFETY: the block is this thread's.
        unsafe { heap.free_any(block, 16, 16) };
    }
    assert_eq!(arena.snapshot(true).cache_misses, misses, "a block is at hand each time");
    arena.snapshot(true).check().unwrap();
}

#[test]
fn wrong_frees_of_samples_are_stopped() {
    let arena = arena();
    let heap = arena.adopt_heap().unwrap();
    for bytes in [64, 20_000, 1 << 20] {
        let block = find(arena, heap, bytes, true);
        // SAFETY: the misuse is the point; the heap is this thread's.
        unsafe {
            heap.free_any(block.add(16), bytes, 16);
            heap.free_any(block, 3 * bytes, 16);
            assert!(is_sample(arena, block), "still live");
            heap.free_slow(block.add(16), None);
            assert_eq!(heap.usable_bytes(block), Some(TestHeap::block_bytes_for(bytes, 16)));
            assert!(!heap.free_unsized_fast(block.as_ptr()));
            heap.free_slow(block, None);
            assert!(!is_sample(arena, block));
            heap.free_any(block, bytes, 16);
        }
        let kinds: Vec<_> = take_faults().iter().map(|fault| fault.kind).collect();
        use FaultKind::{DoubleFree, Interior, WrongLayout};
        assert_eq!(kinds, [Interior, WrongLayout, Interior, DoubleFree], "{bytes} bytes");
    }
}

#[test]
fn reallocation_leaves_nothing_behind() {
    let arena = arena();
    let heap = arena.adopt_heap().unwrap();
    for (bytes, new_bytes) in [(100, 110), (100, 1000), (1000, 90), (1000, 1 << 20), (1 << 20, 50)]
    {
        for (sampled, old_bytes) in [(true, Some(bytes)), (true, None), (false, Some(bytes))] {
            let block = find(arena, heap, bytes, sampled);
            let others = arena.sink().live().len() - usize::from(sampled);
            // SAFETY: the block is this thread's.
            unsafe {
                block.write_bytes(0x5a, bytes);
                let moved = heap.reallocate(block, old_bytes, 16, new_bytes).unwrap();
                let contents = std::slice::from_raw_parts(moved.as_ptr(), bytes.min(new_bytes));
                assert!(contents.iter().all(|&byte| byte == 0x5a));
                let live = arena.sink().live();
                let sample = live.iter().find(|sample| sample.address == moved.addr().get());
                assert!(sample.is_none_or(|sample| sample.bytes == new_bytes), "{sample:?}");
                heap.free_any(moved, new_bytes, 16);
            }
            assert_eq!(arena.sink().live().len(), others);
        }
    }
    assert_eq!(take_faults(), []);
}

#[test]
fn large_blocks_are_drawn_again_when_they_grow_in_place() {
    let arena = arena();
    let heap = arena.adopt_heap().unwrap();
    let (mut bytes, mut seen) = (1 << 20, [0, 0]);
    let mut block = alloc(heap, bytes);
    for _ in 0..200 {
        bytes += SampledLarge::GRANULE_BYTES;
        // SAFETY: the block is this thread's.
        let grown = unsafe { heap.reallocate(block, None, 16, bytes) }.unwrap();
        assert_eq!(grown, block, "there is room behind it");
        block = grown;
        seen[usize::from(is_sample(arena, block))] += 1;
    }
    assert!(seen[0] > 50 && seen[1] > 30, "{seen:?}");
}

#[test]
fn heaps_that_are_dropped_whole_have_no_samples() {
    let arena = arena();
    // SAFETY: the heap is this thread's, and its blocks are not used.
    unsafe {
        let heap = arena.adopt_empty_heap().unwrap();
        for bytes in [16, 20_000, 1 << 20] {
            (0..20).for_each(|_| _ = alloc(heap.as_ref(), bytes));
        }
        assert_eq!(arena.sink().taken.load(Relaxed), 0);
        arena.drop_heap(heap);
    }
    // The next owner of that heap samples again.
    let heap = arena.adopt_heap().unwrap();
    assert!(is_sample(arena, find(arena, heap, 16, true)));
}

#[test]
fn samples_of_zeroed_memory_are_zero_and_aligned_ones_aligned() {
    let arena = arena();
    let heap = arena.adopt_heap().unwrap();
    for align in [16, 64, 4096, 65_536] {
        let mut samples = 0;
        for _ in 0..40 {
            // SAFETY: the heap is this thread's; the block is as long as that.
            unsafe {
                let block = heap.alloc_zeroed(1000, align).unwrap();
                let contents = std::slice::from_raw_parts(block.as_ptr(), 1000);
                assert!(contents.iter().all(|&byte| byte == 0));
                assert!(block.addr().get().is_multiple_of(align));
                samples += usize::from(is_sample(arena, block));
                block.write_bytes(0xff, 1000);
                heap.free_any(block, 1000, align);
            }
        }
        assert!(samples > 5, "{samples} at {align}");
    }
    assert_eq!(arena.sink().live(), []);
}
