//! Which of the rows of a table has some content: open addressing with linear probing, at most three
//! quarters full. Rows are never taken out.
#![forbid(unsafe_code)]

use super::memory::Array;

/// How many slots an index starts with.
const SLOTS: usize = 256;

/// Leads from hashes to rows, which are kept elsewhere.
pub(super) struct Index {
    /// Numbers of rows, from one; zero is an empty slot.
    slots: Array<u32>,
}

impl Index {
    pub(super) const fn new() -> Self {
        Self { slots: Array::new() }
    }

    /// The slots that are used: a power of two, since they wrap.
    fn capacity(&self) -> usize {
        self.slots.len().checked_ilog2().map_or(0, |log2| 1 << log2)
    }

    /// Makes room for a row beside `rows` that there are, whose hashes `hash_of` knows; false where
    /// there is no memory.
    pub(super) fn make_room(&mut self, rows: usize, hash_of: impl Fn(usize) -> u64) -> bool {
        let capacity = self.capacity();
        if (rows + 1) * 4 <= capacity * 3 {
            return true;
        }
        let Some(slots) = Array::zeroed((capacity * 2).max(SLOTS)) else { return false };
        self.slots = slots;
        for row in 0..rows {
            let slot = self.slot_of(hash_of(row), |_| false);
            self.slots[slot] = row as u32 + 1;
        }
        true
    }

    /// The slot of the row with that hash that `is_it`, or the empty one where it would be.
    fn slot_of(&self, hash: u64, is_it: impl Fn(usize) -> bool) -> usize {
        let mask = self.capacity() - 1;
        let mut slot = hash as usize & mask;
        while self.slots[slot] != 0 && !is_it(self.slots[slot] as usize - 1) {
            slot = (slot + 1) & mask;
        }
        slot
    }

    /// The row with that hash that `is_it`. There is room for one more.
    pub(super) fn find(&self, hash: u64, is_it: impl Fn(usize) -> bool) -> Option<usize> {
        (self.slots[self.slot_of(hash, is_it)] as usize).checked_sub(1)
    }

    /// Adds a row that is not there yet. There is room for it.
    pub(super) fn add(&mut self, hash: u64, row: usize) {
        let slot = self.slot_of(hash, |_| false);
        self.slots[slot] = row as u32 + 1;
    }
}
