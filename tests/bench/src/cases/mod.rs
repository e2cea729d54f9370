//! The cases: one table, in the order in which reports list them.

mod batches;
mod pairs;
mod programs;
mod threads;
mod vectors;
mod working_set;

use std::alloc::GlobalAlloc;

pub(crate) use self::working_set::{WorkingSet, up_to_1_kib};
use crate::meter::Measured;

/// The time unit that suits a case's figures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Nanoseconds.
    Ns,
    /// Microseconds.
    Us,
    /// Milliseconds.
    Ms,
}

impl Unit {
    /// The unit's symbol.
    #[must_use]
    pub fn symbol(self) -> &'static str {
        match self {
            Self::Ns => "ns",
            Self::Us => "µs",
            Self::Ms => "ms",
        }
    }

    /// Nanoseconds in one of this unit.
    #[must_use]
    pub fn ns(self) -> f64 {
        match self {
            Self::Ns => 1.0,
            Self::Us => 1e3,
            Self::Ms => 1e6,
        }
    }
}

/// One piece of work that every allocator does alike.
#[derive(Debug)]
pub struct Case<A: 'static> {
    /// What a person types.
    pub name: &'static str,
    /// What a report says.
    pub title: &'static str,
    /// The unit of its figures.
    pub unit: Unit,
    /// How many operations a measurement takes: fixed, so that peaks compare.
    pub operations: u64,
    /// Does at least this many operations, each counted as documented with the case.
    pub run: fn(&'static A, u64) -> Measured,
}

impl<A: GlobalAlloc + Sync> Case<A> {
    const fn new(
        name: &'static str,
        title: &'static str,
        unit: Unit,
        operations: u64,
        run: fn(&'static A, u64) -> Measured,
    ) -> Self {
        Self { name, title, unit, operations, run }
    }

    /// All cases, for the allocator `A`.
    ///
    /// Cases that call an allocator directly use the one that they are given; those that stand for
    /// programs use the process's global allocator, which must be the same.
    #[must_use]
    pub fn all() -> Vec<Self> {
        use Unit::{Ms, Ns, Us};
        const M: u64 = 1_000_000;
        const KIB: usize = 1 << 10;
        const MIB: usize = 1 << 20;
        vec![
            Self::new("pair_16b", "pair 16 B", Ns, 40 * M, pairs::opaque::<A, 16>),
            Self::new("pair_64b", "pair 64 B", Ns, 40 * M, pairs::opaque::<A, 64>),
            Self::new("pair_256b", "pair 256 B", Ns, 40 * M, pairs::opaque::<A, 256>),
            Self::new("pair_1k", "pair 1 KiB", Ns, 30 * M, pairs::opaque::<A, KIB>),
            Self::new("pair_4k", "pair 4 KiB", Ns, 20 * M, pairs::opaque::<A, { 4 * KIB }>),
            Self::new("pair_32k", "pair 32 KiB", Ns, 10 * M, pairs::opaque::<A, { 32 * KIB }>),
            Self::new("pair_256k", "pair 256 KiB", Ns, 2 * M, pairs::opaque::<A, { 256 * KIB }>),
            Self::new("pair_4m", "pair 4 MiB", Ns, M / 5, pairs::opaque::<A, { 4 * MIB }>),
            Self::new("pair_const", "pair 64 B, const size", Ns, 40 * M, pairs::constant::<A, 64>),
            Self::new("batch_lifo", "1000 × 64 B, last first", Ns, 20 * M, batches::last_first),
            Self::new("batch_fifo", "1000 × 64 B, first first", Ns, 20 * M, batches::first_first),
            Self::new("batch_100k", "100,000 × 64 B", Ns, 15 * M, batches::many),
            Self::new("batch_1k", "1000 × 1 KiB", Ns, 10 * M, batches::kibibytes),
            Self::new("random_10k", "random sizes, 10k live", Ns, 10 * M, working_set::mixed_10k),
            Self::new(
                "random_1k_10k",
                "random ≤ 1 KiB, 10k live",
                Ns,
                12 * M,
                working_set::small_10k,
            ),
            Self::new("random_1k_1m", "random ≤ 1 KiB, 1M live", Ns, 3 * M, working_set::small_1m),
            Self::new("producer_64b", "producer/consumer 64 B", Ns, 12 * M, threads::producer_64b),
            Self::new(
                "producer_mixed",
                "producer/consumer mixed",
                Ns,
                8 * M,
                threads::producer_mixed,
            ),
            Self::new("two_threads", "two threads, local", Ns, 12 * M, threads::two_local),
            Self::new("thread_spawn", "thread spawn + 64 blocks", Us, 6_000, threads::spawn),
            Self::new("vec_100", "Vec push to 100", Ns, M, vectors::push::<100>),
            Self::new("vec_10k", "Vec push to 10k", Us, 20_000, vectors::push::<10_000>),
            Self::new("vec_10m", "Vec push to 10M", Ms, 6, vectors::push::<10_000_000>),
            Self::new("zeroed_4k", "zeroed 4 KiB", Ns, 4 * M, vectors::zeroed::<A, { 4 * KIB }>),
            Self::new("zeroed_1m", "zeroed 1 MiB", Us, 15_000, vectors::zeroed::<A, MIB>),
            Self::new("json", "serde_json, 100k objects", Ms, 2, programs::json),
            Self::new("btree", "BTreeMap of strings, per item", Ns, M / 2, programs::btree),
            Self::new("rayon", "rayon strings, per item", Ns, 3 * M / 5, programs::rayon_strings),
            Self::new("regex", "regex compile × 5", Ms, 150, programs::regexes),
        ]
    }
}

#[cfg(test)]
mod tests {
    use std::alloc::System;
    use std::collections::HashSet;

    use super::Case;

    static SYSTEM: System = System;

    #[test]
    fn there_are_29_cases_with_names_of_their_own() {
        let names: HashSet<_> = Case::<System>::all().into_iter().map(|case| case.name).collect();
        assert_eq!(names.len(), 29);
    }

    #[test]
    fn every_case_runs_and_counts_what_it_did() {
        for case in Case::<System>::all() {
            let operations = (case.operations / 1_000).max(1);
            let measured = (case.run)(&SYSTEM, operations);
            assert!(measured.operations >= operations, "{}: {measured:?}", case.name);
            assert!(measured.wall_ns_per_op > 0.0, "{}: {measured:?}", case.name);
            assert!(measured.peak_kib > 0, "{}: {measured:?}", case.name);
        }
    }
}
