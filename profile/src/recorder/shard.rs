//! A part of what a recorder knows: live blocks, and sums by call site, owner and size.
#![forbid(unsafe_code)]

use std::{panic::Location, ptr};

use rustc_hash::FxHashMap;

use super::{Block, ring::Ring};
use crate::{
    Frame, Live, Memory, StackId, Stacks, Usage,
    report::{SHORT_NS, size_class_of},
};

/// Of a slot whose block is not known.
const NO_ROW: u32 = u32::MAX;

/// A live block.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub(super) address: u64,
    pub(super) bytes: u64,
    pub(super) block_bytes: u64,
    since_ns: u64,
    row: u32,
}

const EMPTY: Entry = Entry { address: 0, bytes: 0, block_bytes: 0, since_ns: 0, row: NO_ROW };

/// The address of a location, the owner and the size class.
type Key = (usize, u64, u8);

#[derive(Debug, Default)]
pub(super) struct Shard {
    /// By slot.
    blocks: Vec<Entry>,
    rows: Vec<Usage>,
    row_ids: FxHashMap<Key, u32>,
    sites: Vec<&'static Location<'static>>,
    site_ids: FxHashMap<usize, StackId>,
    pub(super) ring: Ring,
    pub(super) live_bytes: u64,
    pub(super) allocated_bytes: u64,
}

impl Shard {
    /// The number of a call site in this shard: its place in `sites`, from one.
    pub(super) fn site(&mut self, at: &'static Location<'static>) -> StackId {
        let next = StackId(self.sites.len() as u32 + 1);
        let id = *self.site_ids.entry(ptr::from_ref(at).addr()).or_insert(next);
        if id == next {
            self.sites.push(at);
        }
        id
    }

    fn row(&mut self, at: Option<&'static Location<'static>>, owner: u64, bytes: u64) -> u32 {
        let size_class = size_class_of(bytes);
        let key = (at.map_or(0, |at| ptr::from_ref(at).addr()), owner, size_class);
        if let Some(&row) = self.row_ids.get(&key) {
            return row;
        }
        let stack = at.map_or(StackId::UNKNOWN, |at| self.site(at));
        self.add_row(key, stack)
    }

    fn add_row(&mut self, key: Key, stack: StackId) -> u32 {
        let (_, owner, size_class) = key;
        let row = self.rows.len() as u32;
        self.rows.push(Usage { owner, size_class, stack, ..Usage::default() });
        self.row_ids.insert(key, row);
        row
    }

    fn block(&self, slot: u32) -> Option<Entry> {
        self.blocks.get(slot as usize).copied().filter(|entry| entry.row != NO_ROW)
    }

    pub(super) fn knows(&self, slot: u32) -> bool {
        self.block(slot).is_some()
    }

    /// Takes note of a live block; returns the number of its call site.
    pub(super) fn insert(
        &mut self,
        slot: u32,
        block: Block,
        at: Option<&'static Location<'static>>,
        since_ns: u64,
    ) -> StackId {
        let Block { address, bytes, block_bytes, owner } = block;
        let row = self.row(at, owner, bytes);
        let entry = Entry { address, bytes, block_bytes, since_ns, row };
        if let Some(seeded) = self.block(slot) {
            // It was found in the heap before its allocation was told.
            self.uncount(seeded);
        }
        if slot as usize >= self.blocks.len() {
            self.blocks.resize(slot as usize + 1, EMPTY);
        }
        self.blocks[slot as usize] = entry;
        self.count(entry);
        self.rows[row as usize].stack
    }

    fn count(&mut self, entry: Entry) {
        let row = &mut self.rows[entry.row as usize];
        row.total_blocks += 1;
        row.total_bytes += entry.bytes;
        self.live_bytes += entry.bytes;
        self.allocated_bytes += entry.block_bytes;
    }

    /// As if it had never been.
    fn uncount(&mut self, entry: Entry) {
        let row = &mut self.rows[entry.row as usize];
        row.total_blocks -= 1;
        row.total_bytes -= entry.bytes;
        self.live_bytes -= entry.bytes;
        self.allocated_bytes -= entry.block_bytes;
    }

    /// Forgets a live block; returns it with its owner and the number of its call site.
    pub(super) fn remove(&mut self, slot: u32, now_ns: u64) -> Option<(Entry, u64, StackId)> {
        let entry = self.block(slot)?;
        self.blocks[slot as usize] = EMPTY;
        let row = &mut self.rows[entry.row as usize];
        row.freed_blocks += 1;
        row.freed_bytes += entry.bytes;
        if entry.since_ns > 0 {
            let lifetime_ns = now_ns.saturating_sub(entry.since_ns);
            row.lifetime_ns += lifetime_ns;
            row.short_blocks += u64::from(lifetime_ns < SHORT_NS);
        }
        self.live_bytes -= entry.bytes;
        self.allocated_bytes -= entry.block_bytes;
        Some((entry, row.owner, row.stack))
    }

    /// Gives a live block another size, as if it had always had it; returns what it was, as
    /// [`remove`](Self::remove) does.
    pub(super) fn resize(
        &mut self,
        slot: u32,
        bytes: u64,
        block_bytes: u64,
    ) -> Option<(Entry, u64, StackId)> {
        let old = self.block(slot)?;
        let Usage { owner, stack, .. } = self.rows[old.row as usize];
        let at = (stack.0 as usize).checked_sub(1).map(|index| self.sites[index]);
        let row = self.row(at, owner, bytes);
        let new = Entry { bytes, block_bytes, row, ..old };
        self.blocks[slot as usize] = new;
        self.uncount(old);
        self.count(new);
        Some((old, owner, stack))
    }

    /// The numbers in `stacks` of this shard's call sites.
    pub(super) fn stacks(&self, stacks: &mut Stacks) -> Vec<StackId> {
        let known = self.sites.iter().map(|&at| stacks.intern([Frame::from(at)]));
        [StackId::UNKNOWN].into_iter().chain(known).collect()
    }

    pub(super) fn usages(&self, memory: Memory, stacks: &[StackId]) -> impl Iterator<Item = Usage> {
        self.rows.iter().filter(|row| row.total_blocks > 0).map(move |row| Usage {
            memory,
            stack: stacks[row.stack.0 as usize],
            ..*row
        })
    }

    pub(super) fn live(&self, memory: Memory, stacks: &[StackId]) -> impl Iterator<Item = Live> {
        self.blocks.iter().filter(|entry| entry.row != NO_ROW).map(move |entry| {
            let Entry { address, bytes, block_bytes, since_ns, row } = *entry;
            let Usage { owner, stack, .. } = self.rows[row as usize];
            let stack = stacks[stack.0 as usize];
            Live { memory, address, bytes, block_bytes, owner, stack, since_ns, weight: 1.0 }
        })
    }
}
