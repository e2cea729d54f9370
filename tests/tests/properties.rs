//! Random programs on every subject; a failure prints the shortest program that still fails, and
//! its seed goes to `proptest-regressions`.

use genesis_mem_tests::{
    buddies, classes,
    config::{Dirty, Large, Lent, SampledLarge, SampledSmall, Small},
    heaps::Heaps,
    ops::Op,
    slabs,
};
use proptest::{collection::vec, prelude::*};

/// A program of up to that many operations.
fn program(operations: usize) -> impl Strategy<Value = Vec<Op>> {
    vec(any::<[u8; Op::BYTES]>().prop_map(Op::decode), 0..operations)
}

/// Cases where `PROPTEST_CASES` says nothing.
fn cases(usual: u32) -> ProptestConfig {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|text| text.parse().ok());
    ProptestConfig { cases: cases.unwrap_or(usual), ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(cases(800))]

    #[test]
    fn small_arenas_agree_with_the_model(program in program(200)) {
        Heaps::<Small>::new().run(program);
    }

    #[test]
    fn arenas_over_dirty_memory_agree_with_the_model(program in program(200)) {
        Heaps::<Dirty>::new().run(program);
    }

    #[test]
    fn arenas_that_sample_agree_with_the_model(program in program(200)) {
        Heaps::<SampledSmall>::new().run(program.clone());
        Heaps::<SampledLarge>::new().run(program);
    }

    #[test]
    fn arenas_with_granules_of_64_kib_agree_with_the_model(program in program(200)) {
        Heaps::<Large>::new().run(program);
    }
}

proptest! {
    #![proptest_config(cases(60))]

    /// Fewer, since lent memory never comes back.
    #[test]
    fn arenas_over_lent_memory_agree_with_the_model(program in program(200)) {
        Heaps::<Lent>::new().run(program);
    }
}

proptest! {
    #![proptest_config(cases(1000))]

    #[test]
    fn buddies_and_span_pools_agree_with_the_model(
        capacity in 1u32..600,
        program in program(120),
    ) {
        buddies::run(capacity, program);
    }

    #[test]
    fn slabs_of_bits_agree_with_a_set(blocks in 1u32..300, program in program(300)) {
        slabs::run(blocks, program);
    }

    #[test]
    fn size_classes_keep_their_promises(program in program(300)) {
        program.into_iter().for_each(classes::check);
    }
}
