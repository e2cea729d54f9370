//! The samples that are live, by address: open addressing with linear probing, at most three quarters
//! full.
#![forbid(unsafe_code)]

use core::ops::Range;

use super::{
    memory::{Array, List},
    records::Live,
    shards::{SHARDS, Shard, Shards, hash},
};

/// The table, for who must lock it.
pub(super) static TABLE: Shards<Part> =
    Shards::new([const { Shard::new(Part { slots: Array::new(), len: 0 }) }; SHARDS]);

/// A part of the table; an address of zero is an empty slot.
pub(super) struct Part {
    slots: Array<Live>,
    len: usize,
}

/// How many slots a part starts with.
const SLOTS: usize = 256;

fn hash_of(address: u64) -> u64 {
    // Blocks are aligned to 16 bytes.
    hash(address >> 4)
}

impl Part {
    /// The slots that are used: a power of two, since they wrap.
    fn capacity(&self) -> usize {
        self.slots.len().checked_ilog2().map_or(0, |log2| 1 << log2)
    }

    /// Where an address is, or the free slot where it would be.
    fn find(&self, address: u64) -> usize {
        let mask = self.capacity() - 1;
        let mut slot = hash_of(address) as usize & mask;
        while self.slots[slot].address != address && self.slots[slot].address != 0 {
            slot = (slot + 1) & mask;
        }
        slot
    }

    /// Makes room for one more; false where there is no memory.
    fn make_room(&mut self) -> bool {
        let capacity = self.capacity();
        if (self.len + 1) * 4 <= capacity * 3 {
            return true;
        }
        let Some(slots) = Array::zeroed((capacity * 2).max(SLOTS)) else { return false };
        let old = core::mem::replace(&mut self.slots, slots);
        for live in old[..capacity].iter().filter(|live| live.address != 0) {
            let slot = self.find(live.address);
            self.slots[slot] = *live;
        }
        true
    }

    fn insert(&mut self, live: &Live) -> bool {
        if !self.make_room() {
            return false;
        }
        let slot = self.find(live.address);
        self.len += usize::from(self.slots[slot].address == 0);
        self.slots[slot] = *live;
        true
    }

    fn get_mut(&mut self, address: u64) -> Option<&mut Live> {
        if self.len == 0 {
            return None;
        }
        let slot = self.find(address);
        Some(&mut self.slots[slot]).filter(|live| live.address == address)
    }

    fn remove(&mut self, address: u64) -> Option<Live> {
        let removed = *self.get_mut(address)?;
        let mask = self.capacity() - 1;
        let mut hole = self.find(address);
        let mut slot = hole;
        // What follows moves up, as far as it may: not before where its search begins.
        loop {
            slot = (slot + 1) & mask;
            let live = self.slots[slot];
            if live.address == 0 {
                break;
            }
            let home = hash_of(live.address) as usize & mask;
            if slot.wrapping_sub(home) & mask >= slot.wrapping_sub(hole) & mask {
                self.slots[hole] = live;
                hole = slot;
            }
        }
        self.slots[hole] = Live::default();
        self.len -= 1;
        Some(removed)
    }

    fn iter(&self) -> impl Iterator<Item = &Live> {
        self.slots[..self.capacity()].iter().filter(|live| live.address != 0)
    }
}

fn with<R>(address: u64, f: impl FnOnce(&mut Part) -> R) -> R {
    TABLE.shard(Shards::<Part>::index_of(hash_of(address))).with(f)
}

/// Notes a sample; false where there is no memory.
pub(super) fn insert(live: &Live) -> bool {
    with(live.address, |part| part.insert(live))
}

/// Forgets the sample at `address`, and returns it.
pub(super) fn remove(address: u64) -> Option<Live> {
    with(address, |part| part.remove(address))
}

/// Changes how many bytes the holder of a sample wants; returns it as it was.
pub(super) fn resize(address: u64, bytes: u64) -> Option<Live> {
    with(address, |part| {
        let live = part.get_mut(address)?;
        let before = *live;
        live.bytes = bytes;
        Some(before)
    })
}

/// The address of some sample within a range.
pub(super) fn any_within(range: &Range<u64>) -> Option<u64> {
    TABLE.with_all(|parts| {
        parts
            .iter()
            .find_map(|part| part.iter().map(|live| live.address).find(|at| range.contains(at)))
    })
}

/// All samples, as of one moment; `None` where there is no memory.
pub(super) fn copy() -> Option<List<Live>> {
    TABLE.with_all(|parts| {
        let mut all = List::new();
        parts.iter().all(|part| part.iter().all(|live| all.push(*live))).then_some(all)
    })
}
