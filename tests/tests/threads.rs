//! Heaps of one arena under real threads.

use std::{
    ptr::NonNull,
    sync::{
        atomic::{AtomicBool, AtomicU32, Ordering::Relaxed},
        mpsc,
    },
    thread,
};

use genesis_mem_core::{arena::Arena, heap::Heap};
use genesis_mem_tests::{
    backend::FaultingBackend,
    config::{Large, SampledLarge, SampledSmall, Small, TestConfig, Wide, take_faults},
    model::{Blocks, Live},
    ops::Op,
    samples::TestSink,
};

/// An arena that outlives the threads of a test, and the test.
fn arena<C: TestConfig>() -> (&'static Arena<C>, FaultingBackend<true>) {
    let (backend, metadata, handle) = C::backends();
    (Box::leak(Box::new(Arena::new(backend, metadata, C::Sink::default()))), handle)
}

/// A block on its way to another thread.
struct Sent(Live);

// SAFETY: whoever receives a block owns it.
unsafe impl Send for Sent {}

fn alloc<C: TestConfig>(
    heap: &Heap<C>,
    bytes: usize,
    align: usize,
    zeroed: bool,
) -> Option<NonNull<u8>> {
    // SAFETY: the caller's thread adopted the heap.
    unsafe { if zeroed { heap.alloc_zeroed(bytes, align) } else { heap.alloc_any(bytes, align) } }
}

/// A heap, which may take a moment where every heap there can be is being swept.
fn adopt<C: TestConfig>(arena: &'static Arena<C>) -> &'static Heap<C> {
    for _ in 0..1_000_000 {
        if let Some(heap) = arena.adopt_heap() {
            return heap;
        }
        thread::yield_now();
    }
    panic!("no heap for a thread");
}

/// Carries out a program; frees by an odd heap number go to the next thread, which frees the block.
fn work<C: TestConfig>(
    arena: &'static Arena<C>,
    program: impl Iterator<Item = Op>,
    next: &mpsc::Sender<Sent>,
    mine: &mpsc::Receiver<Sent>,
) {
    let mut heap = adopt(arena);
    let mut blocks = Blocks::default();
    for op in program {
        match op {
            Op::Alloc { bytes, align, zeroed, .. } => {
                if let Some(block) = alloc(heap, bytes.min(300_000), align, zeroed) {
                    // SAFETY: the block is new.
                    unsafe { blocks.insert(block, bytes.min(300_000), align, zeroed) };
                }
            }
            Op::Free { heap: to, block, .. } => {
                let Some(live) = blocks.pick(block) else { continue };
                // SAFETY: the block is live, and is given up or away.
                unsafe {
                    blocks.remove(live.address);
                    if to % 2 == 0 {
                        heap.free_any(live.address, live.bytes, live.align);
                    } else {
                        next.send(Sent(live)).unwrap();
                    }
                }
            }
            Op::Realloc { block, bytes, .. } => {
                let Some(live) = blocks.pick(block) else { continue };
                let bytes = bytes.min(300_000);
                // SAFETY: the block is live.
                unsafe {
                    let moved = heap.reallocate(live.address, Some(live.bytes), live.align, bytes);
                    moved.into_iter().for_each(|moved| blocks.resize(&live, moved, bytes));
                }
            }
            Op::Orphan { .. } => {
                // SAFETY: the heap is this thread's, which adopts another or the same.
                unsafe { arena.orphan_heap(NonNull::from(heap)) };
                heap = adopt(arena);
            }
            // SAFETY: the heap is this thread's.
            Op::Collect { .. } => unsafe { heap.collect() },
            Op::CollectOrphans => arena.collect_orphans(),
            Op::Tick => arena.tick(),
            Op::Purge { age_ticks } => {
                arena.purge(age_ticks);
            }
            _ => {}
        }
        receive(heap, mine.try_iter());
    }
    while let Some(live) = blocks.pick(0) {
        // SAFETY: the block is live.
        unsafe {
            blocks.remove(live.address);
            heap.free_any(live.address, live.bytes, live.align);
        }
    }
    // SAFETY: the heap is this thread's, which ends.
    unsafe { arena.orphan_heap(NonNull::from(heap)) };
}

fn receive<C: TestConfig>(heap: &Heap<C>, blocks: impl Iterator<Item = Sent>) {
    for Sent(live) in blocks {
        // SAFETY: the sender gave the block away. Its whole length is this thread's now.
        unsafe {
            live.address.write_bytes(0xdd, live.bytes);
            heap.free_any(live.address, live.bytes, live.align);
        }
    }
}

fn random(seed: u64) -> impl Iterator<Item = Op> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    std::iter::from_fn(move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        Some(Op::decode((state ^ state >> 31).to_le_bytes()))
    })
}

/// Threads in a ring, each with a program of its own; at the end nothing is live and nothing lost.
fn ring<C: TestConfig>(threads: usize, steps: usize) {
    let (arena, _handle) = arena::<C>();
    let (senders, receivers): (Vec<_>, Vec<_>) = (0..threads).map(|_| mpsc::channel()).unzip();
    let running: Vec<_> = receivers
        .into_iter()
        .enumerate()
        .map(|(index, mine)| {
            let next = senders[(index + 1) % threads].clone();
            thread::spawn(move || {
                work(arena, random(index as u64 + 1).take(steps), &next, &mine);
                drop(next);
                // What arrives late is freed by a heap adopted late.
                let heap = adopt(arena);
                receive(heap, mine.iter());
                // SAFETY: the heap is this thread's, which ends.
                unsafe { arena.orphan_heap(NonNull::from(heap)) };
                assert_eq!(take_faults(), []);
            })
        })
        .collect();
    drop(senders);
    running.into_iter().for_each(|thread| thread.join().unwrap());
    arena.collect_orphans();
    // A sweep may send home what an earlier one had passed.
    arena.collect_orphans();
    arena.collect_samples();
    assert_eq!(arena.sink().live(), [], "samples are lost");
    let s = arena.snapshot(true);
    s.check().unwrap();
    assert_eq!(s.allocations, s.frees);
    assert_eq!((s.allocated_bytes.current, s.requested_bytes.current), (0, 0));
    assert_eq!(s.active_bytes.current, 0, "spans are lost");
    assert!(s.remote_frees > 0);
}

#[test]
fn a_heap_is_left_as_it_was_until_somebody_adopts_it_or_it_is_swept() {
    let (arena, _handle) = arena::<Large>();
    let pair = |heap: &Heap<Large>| {
        // SAFETY: the heap is this thread's, and the block is given up.
        unsafe { heap.free_any(heap.alloc_any(64, 8).unwrap(), 64, 8) };
    };
    let heap = adopt(arena);
    pair(heap);
    // SAFETY: the heap is this thread's, and not used after.
    let leave = |heap: &Heap<Large>| unsafe { arena.orphan_heap(NonNull::from(heap)) };
    leave(heap);
    let again = adopt(arena);
    assert!(std::ptr::eq(heap, again));
    let misses = arena.snapshot(false).cache_misses;
    pair(again);
    assert_eq!(arena.snapshot(false).cache_misses, misses, "its slab is at hand");
    leave(again);
    assert!(arena.snapshot(true).active_bytes.current > 0 && arena.has_dirt());
    arena.collect_orphans();
    assert_eq!(arena.snapshot(true).active_bytes.current, 0);

    // Of many that are left at once, most are swept at once.
    let heaps: Vec<_> = (0..20).map_while(|_| arena.adopt_heap()).collect();
    heaps.iter().for_each(|heap| pair(heap));
    let before = arena.snapshot(true).active_bytes.current;
    let held = before / heaps.len() as u64;
    heaps.iter().for_each(|heap| leave(heap));
    assert!(arena.snapshot(true).active_bytes.current <= 4 * held && heaps.len() > 4);
}

#[test]
fn threads_that_free_each_others_blocks_lose_nothing() {
    ring::<Large>(4, 15_000);
}

#[test]
fn the_same_where_memory_is_short() {
    ring::<Small>(4, 8_000);
}

#[test]
fn the_same_with_samples() {
    ring::<SampledLarge>(4, 15_000);
    ring::<SampledSmall>(4, 8_000);
}

#[test]
#[ignore = "a minute; run it where threads were touched"]
fn the_same_for_long() {
    ring::<Large>(6, 400_000);
    ring::<Small>(6, 400_000);
}

#[test]
fn a_purge_under_way_fails_no_request() {
    let (arena, _handle) = arena::<Large>();
    arena.set_limit(16 << 20);
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Relaxed) {
                arena.purge(0);
            }
        });
        let heap = arena.adopt_heap().unwrap();
        let mut failures = 0;
        for step in 0..3_000_usize {
            let bytes = (9 << 20) + step % 7 * 65_536;
            match alloc(heap, bytes, 16, false) {
                // SAFETY: the block is this thread's.
                Some(block) => unsafe {
                    block.write(1);
                    heap.free_any(block, bytes, 16);
                },
                None => failures += 1,
            }
        }
        done.store(true, Relaxed);
        assert_eq!(failures, 0, "a little more than half of the limit was in use");
    });
}

#[test]
fn a_purge_of_blocks_under_way_fails_no_request() {
    const BYTES: usize = 64 << 10;
    let (arena, _handle) = arena::<Large>();
    arena.set_limit(16 << 20);
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Relaxed) {
                arena.purge(0);
            }
        });
        let heap = arena.adopt_heap().unwrap();
        let mut failures = 0;
        let mut blocks: Vec<Option<NonNull<u8>>> = vec![None; 228];
        for step in 0..20_000_usize {
            let index = step * 7919 % blocks.len();
            let stamp = index as u8 ^ 0x5a;
            // SAFETY: the blocks are this thread's, and as long as that.
            unsafe {
                if let Some(block) = blocks[index].take() {
                    for offset in (0..BYTES).step_by(4096) {
                        assert_eq!(block.add(offset).read(), stamp, "purged while live");
                    }
                    heap.free_any(block, BYTES, 16);
                }
                blocks[index] = alloc(heap, BYTES, 16, false);
                match blocks[index] {
                    Some(block) => block.write_bytes(stamp, BYTES),
                    None => failures += 1,
                }
            }
        }
        for block in blocks.into_iter().flatten() {
            // SAFETY: as above.
            unsafe { heap.free_any(block, BYTES, 16) };
        }
        done.store(true, Relaxed);
        assert_eq!(failures, 0, "nine in ten of the blocks that there is room for were live");
    });
    arena.purge(0);
    let s = arena.snapshot(true);
    s.check().unwrap();
    assert!(s.purged_bytes > 0 && s.allocated_bytes.current == 0, "{s}");
}

#[test]
fn more_slabs_than_a_count_holds_come_back() {
    // 70,000 slabs of one owner, full, each unparked by another thread before the owner looks.
    const SLABS: usize = 70_000;
    let (arena, _handle) = arena::<Wide>();
    let owner = arena.adopt_heap().unwrap();
    let blocks: Vec<_> = (0..SLABS * 8)
        .map(|_| Sent(unsafe_live(alloc(owner, 512, 16, false).expect("1 GiB is enough"))))
        .collect();
    let freed = AtomicU32::new(0);
    thread::scope(|scope| {
        let (freed, blocks) = (&freed, &blocks);
        // The borrow is fine for a thread: only addresses are read.
        struct Shared<'a>(&'a [Sent]);
        // SAFETY: the addresses are read by one thread, which owns the blocks from now on.
        unsafe impl Send for Shared<'_> {}
        let shared = Shared(blocks);
        scope.spawn(move || {
            let Shared(blocks) = { shared };
            let heap = arena.adopt_heap().unwrap();
            for Sent(live) in blocks {
                // SAFETY: given to this thread.
                unsafe { heap.free_any(live.address, 512, 16) };
                freed.fetch_add(1, Relaxed);
            }
            // SAFETY: the heap is this thread's, which ends.
            unsafe { arena.orphan_heap(NonNull::from(heap)) };
        });
    });
    // SAFETY: the heap is this thread's.
    unsafe { owner.collect() };
    let s = arena.snapshot(true);
    s.check().unwrap();
    assert_eq!(s.frees, u64::from(freed.load(Relaxed)));
    assert_eq!(s.active_bytes.current, 0, "slabs are lost");
}

/// A block of 512 bytes that nobody writes to.
fn unsafe_live(address: NonNull<u8>) -> Live {
    let mut blocks = Blocks::default();
    // SAFETY: the block is new, and 512 bytes long.
    unsafe { blocks.insert(address, 512, 16, false) }
}
