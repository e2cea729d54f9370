//! Every call of the backend is refused once, and from there on: allocations fail, nothing is lost,
//! and when the backend serves again, so does the allocator.

use genesis_mem_core::{arena::Refusal, config::Config};
use genesis_mem_tests::{
    backend::REFUSED,
    config::{Dirty, Large, SampledLarge, SampledSmall, Small, TestConfig, take_faults},
    heaps::Heaps,
    ops::Op,
};

/// A long program without refusals of its own.
fn program() -> Vec<Op> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let codes = std::iter::from_fn(|| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        Some((state ^ state >> 29).to_le_bytes())
    });
    let ops = codes.map(Op::decode).filter(|op| {
        !matches!(
            op,
            Op::Fail { .. } | Op::Limit { .. } | Op::Misuse { .. } | Op::ReleaseAll { .. }
        )
    });
    ops.take(400).collect()
}

fn run<C: TestConfig>(refuse: impl Fn(&Heaps<C>)) {
    let mut heaps = Heaps::<C>::new();
    refuse(&heaps);
    for op in program() {
        heaps.apply(op);
    }
    heaps.check();
    heaps.handle().stop_failing();
    // The region may be full, or half as long as usual.
    for _ in 0..100 {
        heaps.apply(Op::Free { heap: 2, block: 0, sized: true });
    }
    assert!(heaps.alloc(0, 100, 8, false).is_some(), "it serves again");
    let large = heaps.alloc(1, 3 * C::GRANULE_BYTES, 8, true);
    assert!(
        large.is_some(),
        "{:?} {:?}",
        heaps.arena().last_refusal(),
        heaps.arena().snapshot(true)
    );
    heaps.check();
    heaps.finish();
}

fn calls<C: TestConfig>() -> u64 {
    let mut heaps = Heaps::<C>::new();
    program().into_iter().for_each(|op| heaps.apply(op));
    heaps.handle().calls()
}

fn refuse_each<C: TestConfig>() {
    let calls = calls::<C>();
    assert!(calls > 10, "only {calls} calls to refuse");
    for call in 0..calls {
        run::<C>(|heaps| heaps.handle().fail_after(call));
        run::<C>(|heaps| heaps.handle().fail_from(call));
    }
}

#[test]
fn any_call_may_be_refused_in_a_small_arena() {
    refuse_each::<Small>();
}

#[test]
fn any_call_may_be_refused_over_dirty_memory() {
    refuse_each::<Dirty>();
}

#[test]
fn any_call_may_be_refused_in_a_large_arena() {
    refuse_each::<Large>();
}

#[test]
fn any_call_may_be_refused_where_allocations_are_sampled() {
    refuse_each::<SampledSmall>();
    refuse_each::<SampledLarge>();
}

#[test]
fn a_refusal_of_the_backend_is_kept_with_its_numbers() {
    let mut heaps = Heaps::<Small>::new();
    assert!(heaps.alloc(0, 16, 8, false).is_some());
    heaps.handle().fail_from(0);
    while heaps.alloc(0, 4096, 8, false).is_some() {}
    let Some(Refusal::Backend(error)) = heaps.arena().last_refusal() else {
        panic!("{:?}", heaps.arena().last_refusal())
    };
    assert_eq!(error.code, REFUSED);
    assert!(error.bytes > 0 && error.to_string().contains(&error.bytes.to_string()));
    assert!(heaps.arena().snapshot(true).failures > 0);
    heaps.finish();
}

#[test]
fn a_full_region_says_so_and_serves_again_after_frees() {
    let mut heaps = Heaps::<Small>::new();
    while heaps.alloc(0, 8192, 8, false).is_some() {}
    let refusal = heaps.arena().last_refusal();
    assert!(
        matches!(refusal, Some(Refusal::Region { region_bytes, .. }) if region_bytes == 2 << 20)
    );
    let s = heaps.arena().snapshot(true);
    assert!(s.allocated_bytes.current * 100 >= s.reserved_bytes.current * 85, "well filled");
    for block in 0..64 {
        heaps.apply(Op::Free { heap: 0, block: block * 3, sized: true });
    }
    assert!(heaps.alloc(0, 8192, 8, false).is_some());
    heaps.check();
    heaps.finish();
}

#[test]
fn a_limit_holds_to_the_byte_and_can_be_raised() {
    let mut heaps = Heaps::<Small>::new();
    let limit_bytes = 50 * 4096 + 123;
    heaps.arena().set_limit(limit_bytes);
    while heaps.alloc(0, 1000, 8, false).is_some() {}
    let s = heaps.arena().snapshot(true);
    assert_eq!(s.reserved_bytes.current, 50 * 4096, "whole granules below the limit");
    assert_eq!(s.limit_bytes, limit_bytes as u64);
    let Some(Refusal::Limit { limit_bytes: said, reserved_bytes, needed_bytes }) =
        heaps.arena().last_refusal()
    else {
        panic!("{:?}", heaps.arena().last_refusal())
    };
    assert_eq!((said, reserved_bytes), (limit_bytes, 50 * 4096));
    assert!(needed_bytes > 0);
    heaps.arena().set_limit(60 * 4096);
    assert!(heaps.alloc(0, 1000, 8, false).is_some());
    heaps.check();
    heaps.finish();
    assert_eq!(take_faults(), []);
}

#[test]
fn an_alignment_that_the_region_lacks_is_refused_not_broken() {
    let mut heaps = Heaps::<Small>::new();
    // The tables are reserved, the aligned region is not, the region that only granules align is.
    heaps.handle().fail_after(1);
    assert!(heaps.alloc(0, 100, 8, false).is_some());
    // The model checks the alignment of whatever is served.
    for align in (12..22).map(|bits| 1 << bits) {
        heaps.alloc(0, 100, align, false);
    }
    assert!(heaps.alloc(0, 100, 4096, false).is_some());
    assert_eq!(heaps.alloc(0, 100, 1 << 21, false), None);
    heaps.finish();
}

#[test]
fn what_one_heap_keeps_serves_another_before_a_request_fails() {
    let mut heaps = Heaps::<Large>::new();
    let bytes = 20 * Large::GRANULE_BYTES;
    heaps.alloc(1, bytes, 8, false).expect("room for the first");
    let reserved = heaps.arena().snapshot(true).reserved_bytes.current as usize;
    heaps.apply(Op::Free { heap: 1, block: 0, sized: true });
    let s = heaps.arena().snapshot(true);
    assert_eq!((s.large.allocated_bytes, s.large.requested_bytes), (0, 0), "kept is free");
    assert!(s.cached_bytes.current >= bytes as u64, "{:?}", s.cached_bytes);
    heaps.apply(Op::Limit { granules: (reserved / Large::GRANULE_BYTES) as u16 });
    // Another length, so that it is not what the other heap looks for, and most of what there is.
    let other = reserved - 4 * Large::GRANULE_BYTES;
    assert!(heaps.alloc(2, other, 8, false).is_some(), "{:?}", heaps.arena().last_refusal());
    heaps.check();
    heaps.finish();
}
