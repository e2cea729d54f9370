//! What every backend promises, asked of each.

use std::{num::NonZeroUsize, ptr::NonNull};

use genesis_mem_core::{
    arena::Arena,
    backend::{Backend, Capabilities, Contents, HostBackend, Region},
    config::FaultKind,
    event::NoSink,
    heap::Heap,
    static_backend::StaticBackend,
};
use genesis_mem_host::os::OsMemory;
use genesis_mem_tests::{
    backend::{FaultingBackend, REFUSED},
    config::{Large, Lent, TestConfig, take_faults},
};

fn nonzero(bytes: usize) -> NonZeroUsize {
    NonZeroUsize::new(bytes).unwrap()
}

/// Reserves, commits, writes, purges, moves and releases, and checks every promise on the way.
fn conforms<B: HostBackend>(backend: &B) {
    let page = backend.page_bytes().get();
    assert!(page.is_power_of_two());
    assert!(B::CAPABILITIES.contains(Capabilities::HOST_ACCESSIBLE));
    let has = |capability| B::CAPABILITIES.contains(capability);
    for align in [page, 8 * page, 64 * page] {
        let bytes = 16 * page;
        let region = backend.reserve(nonzero(bytes), nonzero(align)).unwrap();
        assert!(region.base().addr().get().is_multiple_of(align));
        assert!(region.bytes().get() >= bytes);
        // SAFETY: ranges of the region, page aligned; only what is committed is touched, and it is
        // the test's alone.
        unsafe {
            let at = |offset: usize| region.base().add(offset);
            let contents = backend.commit(&region, page..9 * page).unwrap();
            if contents == Contents::Zeroed {
                assert!((page..9 * page).all(|offset| at(offset).read() == 0));
            }
            assert!(contents == Contents::Zeroed || !has(Capabilities::ZEROED));
            (page..9 * page).for_each(|offset| at(offset).write(offset as u8 | 1));
            purge(backend, &region, 2 * page..4 * page, at);
            let moved = backend.remap(&region, 5 * page..7 * page, 2 * page);
            assert_eq!(moved.is_ok(), has(Capabilities::REMAP));
            if moved.is_ok() {
                let came =
                    (0..2 * page).all(|o| at(2 * page + o).read() == (5 * page + o) as u8 | 1);
                assert!(came, "the contents have moved");
                assert!((5 * page..7 * page).all(|offset| at(offset).read() == 0));
                at(5 * page).write(1);
            }
            assert!((7 * page..9 * page).all(|offset| at(offset).read() == offset as u8 | 1));
            backend.release(region).unwrap();
        }
    }
    let whole = backend.reserve(nonzero(isize::MAX as usize / page * page), nonzero(page));
    assert!(whole.is_err(), "nobody has that much");
}

/// # Safety
/// - The range is committed and the test's.
unsafe fn purge<B: HostBackend>(
    backend: &B,
    region: &Region<NonNull<u8>>,
    range: std::ops::Range<usize>,
    at: impl Fn(usize) -> NonNull<u8>,
) {
    // SAFETY: forwarded.
    unsafe {
        let purged = backend.purge(region, range.clone());
        assert_eq!(purged.is_ok(), B::CAPABILITIES.contains(Capabilities::PURGE));
        if purged.is_ok() && B::CAPABILITIES.contains(Capabilities::ZEROED) {
            assert!(range.clone().all(|offset| at(offset).read() == 0), "purged reads as zero");
        }
        // Its addresses stay usable.
        range.for_each(|offset| at(offset).write(7));
    }
}

#[test]
fn memory_of_the_system_conforms() {
    conforms(&OsMemory);
}

#[test]
fn lent_memory_conforms() {
    let backend: &'static StaticBackend = Box::leak(Box::new(StaticBackend::empty()));
    let nothing = backend.reserve(nonzero(1), nonzero(1));
    assert!(nothing.is_err(), "nothing was lent yet");
    assert!(backend.lend(Box::leak(vec![0xee; 64 * 1024].into_boxed_slice())));
    assert!(!backend.lend(Box::leak(vec![0; 16].into_boxed_slice())), "once only");
    conforms(&backend);
}

#[test]
fn the_tests_own_backends_conform() {
    conforms(&FaultingBackend::<true>::new());
    conforms(&FaultingBackend::<false>::new());
}

#[test]
fn the_tests_backend_refuses_as_told() {
    let backend = FaultingBackend::<true>::new();
    backend.fail_after(1);
    let page = nonzero(4096);
    let region = backend.reserve(page, page).unwrap();
    let refused = backend.reserve(page, page).unwrap_err();
    assert_eq!((refused.code, refused.bytes, backend.refusals()), (REFUSED, 4096, 1));
    assert!(backend.reserve(page, page).is_ok(), "once");
    backend.fail_from(0);
    assert!((0..3).all(|_| backend.reserve(page, page).is_err()));
    backend.stop_failing();
    // SAFETY: nothing lives there.
    unsafe { backend.release(region).unwrap() };
}

#[test]
fn a_move_that_fails_leaves_the_target_usable() {
    let page = 4096;
    let region = OsMemory.reserve(nonzero(64 * page), nonzero(page)).unwrap();
    // SAFETY: ranges of the region, of which the first half is committed and the test's.
    unsafe {
        OsMemory.commit(&region, 0..32 * page).unwrap();
        let at = |offset: usize| region.base().add(offset);
        (0..32 * page).step_by(page).for_each(|offset| at(offset).write(9));
        // The source reaches over two kinds of memory, which the system does not move as one.
        let moved = OsMemory.remap(&region, 28 * page..36 * page, 8 * page);
        let kept = (28 * page..32 * page).step_by(page).all(|offset| at(offset).read() == 9);
        assert!(moved.is_ok() || kept, "what was not moved is still there");
        (8 * page..16 * page).for_each(|offset| at(offset).write(1));
        OsMemory.release(region).unwrap();
    }
}

#[test]
fn zeroes_are_a_heap_that_stands_for_none() {
    // SAFETY: what is tested: every field is valid as zeroes.
    let heap: Box<Heap<Large>> = unsafe { Box::new_zeroed().assume_init() };
    assert!(heap.is_none());
    let mut data = [0u64; 2];
    let block = NonNull::from(&mut data).cast();
    // SAFETY: the heap is this test's.
    unsafe {
        for bytes in [0, 8, 1000, 8192, 8193, 1 << 18, 1 << 30] {
            assert_eq!(heap.alloc_fast(bytes, 8), None);
            assert_eq!(heap.alloc_otherwise(bytes, 8), None);
        }
        assert!(!heap.free_fast(block, 0) && !heap.free_fast(block, 16));
        assert!(!heap.free_larger(block, 10_000, 8) && !heap.free_otherwise(block, 10_000, 8));
        assert!(!heap.free_unsized_fast(block.as_ptr()));
        assert_eq!(heap.reallocate_fast(block, Some(16), 8, 32), None);
    }
}

/// All links of a slab have one upper half, by which a free block is told from data.
#[test]
fn double_frees_show_on_both_sides_of_a_multiple_of_4_gib() {
    let (backend, metadata, _) = Lent::backends();
    let arena = Box::leak(Box::new(Arena::<Lent>::new(backend, metadata, NoSink)));
    // SAFETY: the arena neither moves nor ends.
    let heap = unsafe { arena.adopt_heap_unbound().unwrap().as_ref() };
    // Of slabs that would lie across.
    const BYTES: usize = 4000;
    // SAFETY: this thread is the owner, and each block is given up.
    unsafe {
        let blocks: Vec<_> = std::iter::from_fn(|| heap.alloc_any(BYTES, 8)).collect();
        let high = |block: &NonNull<u8>| block.addr().get() >> 32;
        assert!(blocks.iter().map(high).min() < blocks.iter().map(high).max(), "across");
        take_faults();
        for &block in &blocks {
            heap.free_any(block, BYTES, 8);
            assert!(take_faults().is_empty(), "a live block");
            heap.free_any(block, BYTES, 8);
            assert_eq!(take_faults().first().map(|fault| fault.kind), Some(FaultKind::DoubleFree));
        }
        assert_eq!(heap.alloc_any(BYTES, 8).map(|_| ()), Some(()));
    }
}
