//! The samples that are live, by address: rows, and chains of them from hashes of their addresses.
//! Neighbours in memory have theirs on one cache line, and rows that came free are used first, since
//! programs use what is near and what is recent.
#![forbid(unsafe_code)]

use core::ops::Range;

use super::{
    memory::{Array, List, fetch_early},
    records::{Live, Row},
    shards::{SHARDS, Shard, Shards, hash},
};

/// The table, for who must lock it.
pub(super) static TABLE: Shards<Part> = Shards::new([const { Shard::new(Part::EMPTY) }; SHARDS]);

/// A part of the table. Rows are counted from one, zero is none.
pub(super) struct Part {
    /// The first row of each chain.
    heads: Array<u32>,
    rows: Array<Row>,
    /// How many rows were used so far, now or before.
    touched: usize,
    /// The first of those that are not used now.
    unused: u32,
    len: usize,
}

/// How many chains and rows a part starts with.
const CHAINS: usize = 1024;
const ROWS: usize = 64;

/// Addresses that share a chain differ below this bit; those that share a cache line of heads below
/// the other one; and a part below the last.
const CHAIN_SHIFT: u32 = 6;
const LINE_SHIFT: u32 = 10;
const PART_SHIFT: u32 = 16;

/// Which chain, of a power of two.
fn chain_of(address: u64) -> usize {
    let within_line = (1 << (LINE_SHIFT - CHAIN_SHIFT)) - 1;
    (hash(address >> LINE_SHIFT) ^ (address >> CHAIN_SHIFT & within_line)) as usize
}

impl Part {
    const EMPTY: Self =
        Self { heads: Array::new(), rows: Array::new(), touched: 0, unused: 0, len: 0 };

    /// The chains that are used: a power of two.
    fn chains(&self) -> usize {
        self.heads.len().checked_ilog2().map_or(0, |log2| 1 << log2)
    }

    fn head_mut(&mut self, address: u64) -> &mut u32 {
        let chain = chain_of(address) & (self.chains() - 1);
        &mut self.heads[chain]
    }

    /// Makes room for one more; false where there is no memory.
    #[inline]
    fn make_room(&mut self) -> bool {
        let has_room =
            self.len < self.chains() && (self.unused != 0 || self.touched < self.rows.len());
        has_room || self.grow()
    }

    #[cold]
    fn grow(&mut self) -> bool {
        if self.unused == 0
            && self.touched == self.rows.len()
            && !self.rows.grow((2 * self.touched).max(ROWS))
        {
            return false;
        }
        let chains = self.chains();
        if self.len < chains {
            return true;
        }
        let Some(heads) = Array::zeroed((4 * chains).max(CHAINS)) else { return false };
        self.heads = heads;
        for row in 0..self.touched {
            let address = self.rows[row].live.address;
            if address != 0 {
                let head = self.head_mut(address);
                let next = core::mem::replace(head, row as u32 + 1);
                self.rows[row].next = next;
            }
        }
        true
    }

    /// Notes a sample, at an address where there is none; false where there is no memory.
    pub(super) fn insert(&mut self, live: &Live) -> bool {
        if !self.make_room() {
            return false;
        }
        let row = match self.unused {
            0 => {
                self.touched += 1;
                self.touched
            }
            unused => unused as usize,
        };
        self.unused = self.rows[row - 1].next;
        let next = core::mem::replace(self.head_mut(live.address), row as u32);
        self.rows[row - 1].live = *live;
        self.rows[row - 1].next = next;
        self.len += 1;
        true
    }

    /// The row before that of an address in its chain, zero where that is the first; and its own.
    fn find(&mut self, address: u64) -> Option<(u32, u32)> {
        if self.len == 0 {
            return None;
        }
        let (mut before, mut row) = (0, *self.head_mut(address));
        while row != 0 {
            let Row { live, next, .. } = &self.rows[row as usize - 1];
            if live.address == address {
                return Some((before, row));
            }
            (before, row) = (row, *next);
        }
        None
    }

    /// The sample at `address`.
    pub(super) fn get_mut(&mut self, address: u64) -> Option<&mut Live> {
        let (_, row) = self.find(address)?;
        Some(&mut self.rows[row as usize - 1].live)
    }

    /// Has the sample that came last of those in a chain fetched, which [`remove`](Self::remove) looks
    /// at first.
    #[inline(always)]
    pub(super) fn fetch_early(&mut self, address: u64) {
        if self.len > 0 {
            let row = *self.head_mut(address);
            if let Some(row) = self.rows.get((row as usize).wrapping_sub(1)) {
                fetch_early(row);
            }
        }
    }

    /// Forgets the sample at `address`, and returns it.
    pub(super) fn remove(&mut self, address: u64) -> Option<Live> {
        let (before, row) = self.find(address)?;
        let removed = self.rows[row as usize - 1];
        match before {
            0 => *self.head_mut(address) = removed.next,
            before => self.rows[before as usize - 1].next = removed.next,
        }
        let place = &mut self.rows[row as usize - 1];
        place.live.address = 0;
        place.next = core::mem::replace(&mut self.unused, row);
        self.len -= 1;
        Some(removed.live)
    }

    fn iter(&self) -> impl Iterator<Item = &Live> {
        self.rows[..self.touched].iter().map(|row| &row.live).filter(|live| live.address != 0)
    }
}

/// Runs `f` on the part of the table that an address belongs to. What `f` adds to the sums meanwhile is
/// added before anybody else looks at both.
pub(super) fn with<R>(address: u64, f: impl FnOnce(&mut Part) -> R) -> R {
    TABLE.shard(Shards::<Part>::index_of(hash(address >> PART_SHIFT))).with(f)
}

/// The address of some sample within a range.
pub(super) fn any_within(range: &Range<u64>) -> Option<u64> {
    TABLE.with_all(|parts| {
        parts
            .iter()
            .find_map(|part| part.iter().map(|live| live.address).find(|at| range.contains(at)))
    })
}

/// All samples, and their sums, as of one moment; `None` where there is no memory.
pub(super) fn copy<S>(sums: impl FnOnce() -> Option<S>) -> Option<(List<Live>, S)> {
    TABLE.with_all(|parts| {
        let mut all = List::new();
        let is_copied = parts.iter().all(|part| part.iter().all(|live| all.push(*live)));
        if is_copied { Some((all, sums()?)) } else { None }
    })
}

#[cfg(all(test, feature = "std"))]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn what_was_noted_is_found_until_it_is_removed() {
        let mut part = Part::EMPTY;
        let mut known = HashMap::new();
        let mut random = 1_u64;
        for time_ns in 1..200_000 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            // Dense at first, then pages, then more and more live ones.
            let shift = if time_ns < 50_000 { 4 } else { 12 };
            let address = (1 + (random >> 40) % (1 + time_ns / 4)) << shift;
            match known.remove(&address) {
                Some(noted) => {
                    assert_eq!(part.remove(address).map(|live| live.time_ns), Some(noted))
                }
                None => {
                    assert!(part.get_mut(address).is_none() && part.remove(address).is_none());
                    assert!(part.insert(&Live { address, time_ns, ..Live::default() }));
                    known.insert(address, time_ns);
                }
            }
        }
        assert!(known.len() > 5_000 && part.len == known.len());
        assert!(part.touched < 2 * known.len(), "rows are used again");
        let all: HashMap<u64, u64> = part.iter().map(|live| (live.address, live.time_ns)).collect();
        assert_eq!(all, known);
    }
}
