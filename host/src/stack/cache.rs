//! Rules that were worked out before.
#![forbid(unsafe_code)]

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::rule::Rule;

const PAIRS: usize = 1 << 13;

/// Rules by address of instruction, shared by all threads and by signal handlers without a lock.
///
/// An entry is the rule, and the key mixed with the rule: of two halves that do not belong
/// together, the key comes out as another one.
pub(super) static RULES: Cache = Cache { pairs: [const { Pair([Entry::EMPTY; 2]) }; PAIRS] };

#[derive(Debug)]
pub(super) struct Cache {
    pairs: [Pair; PAIRS],
}

/// Never across two cache lines.
#[derive(Debug)]
#[repr(align(32))]
struct Pair([Entry; 2]);

#[derive(Debug)]
struct Entry {
    mixed: AtomicU64,
    rule: AtomicU64,
}

impl Entry {
    #[expect(clippy::declare_interior_mutable_const, reason = "initialises the array")]
    const EMPTY: Self = Self { mixed: AtomicU64::new(0), rule: AtomicU64::new(0) };

    #[inline(always)]
    fn get(&self, key: u64) -> Option<Rule> {
        let rule = self.rule.load(Relaxed);
        (self.mixed.load(Relaxed) ^ rule == key).then_some(Rule(rule))
    }

    fn put(&self, key: u64, rule: Rule) {
        self.mixed.store(key ^ rule.0, Relaxed);
        self.rule.store(rule.0, Relaxed);
    }
}

impl Cache {
    /// The rule of an instruction. `salt` stands for the module that the address is in.
    #[inline(always)]
    pub(super) fn get(&self, address: usize, salt: u64) -> Option<Rule> {
        let Pair([first, second]) = &self.pairs[index(address)];
        let key = address as u64 ^ salt;
        first.get(key).or_else(|| second.get(key))
    }

    /// Keeps a rule, at the cost of the older one of its pair.
    pub(super) fn put(&self, address: usize, salt: u64, rule: Rule) {
        let Pair([first, second]) = &self.pairs[index(address)];
        let older = first.rule.load(Relaxed);
        second.put(first.mixed.load(Relaxed) ^ older, Rule(older));
        first.put(address as u64 ^ salt, rule);
    }
}

/// The upper bits of a product depend on all of the address.
#[inline(always)]
fn index(address: usize) -> usize {
    ((address as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 51) as usize % PAIRS
}
