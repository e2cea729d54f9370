//! Sums over samples, by memory, place, thread and size.
#![forbid(unsafe_code)]

use super::{
    index::Index,
    memory::List,
    records::{Live, Usage},
    shards::{SHARD_BITS, SHARDS, Shard, Shards, hash},
};

/// Blocks that live less than this are short-lived, nanoseconds: a millisecond.
const SHORT_NS: u64 = 1_000_000;

/// Where a part has so many rows, new ones are for all threads together, so that programs which start
/// thread after thread don't take more and more memory.
const ROWS: usize = 4096;

/// The table, for who must lock it.
pub(super) static TABLE: Shards<Part> =
    Shards::new([const { Shard::new(Part { rows: List::new(), index: Index::new() }) }; SHARDS]);

/// A part of the table.
pub(super) struct Part {
    rows: List<Usage>,
    index: Index,
}

/// Which row it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Key {
    pub(super) memory: u32,
    pub(super) stack: u32,
    pub(super) thread: u32,
    pub(super) size_class: u32,
}

impl Key {
    fn of(row: &Usage) -> Self {
        let Usage { memory, stack, thread, size_class, .. } = *row;
        Self { memory, stack, thread, size_class }
    }

    fn hash(self) -> u64 {
        let where_from = u64::from(self.stack) << 32 | u64::from(self.thread);
        hash(hash(where_from) ^ u64::from(self.size_class) << 8 ^ u64::from(self.memory))
    }
}

impl Part {
    /// The number of the row of a key, which there is from now on; `None` where there is no memory.
    fn row(&mut self, key: Key, hash: u64) -> Option<usize> {
        let Self { rows, index } = self;
        if !index.make_room(rows.len(), |row| Key::of(&rows[row]).hash()) {
            return None;
        }
        let known = index.find(hash, |row| Key::of(&rows[row]) == key);
        if known.is_none() && rows.len() >= ROWS && key.thread != 0 {
            let key = Key { thread: 0, ..key };
            return self.row(key, key.hash());
        }
        known.or_else(|| {
            let Key { memory, stack, thread, size_class } = key;
            let row = Usage { memory, stack, thread, size_class, ..Usage::default() };
            rows.push(row).then(|| {
                index.add(hash, rows.len() - 1);
                rows.len() - 1
            })
        })
    }
}

/// The bit of a row's number that says which memory; the lowest ones are its part's.
pub(super) const MEMORY_SHIFT: u32 = 31;

fn with_row(number: u32, f: impl FnOnce(&mut Usage)) {
    let row = (number & !(1 << MEMORY_SHIFT)) >> SHARD_BITS;
    TABLE.shard(number as usize % SHARDS).with(|part| {
        if let Some(row) = part.rows.get_mut(row as usize) {
            f(row);
        }
    });
}

/// Adds a sample of `bytes` bytes that stands for `weight` blocks; returns the number of its row, or
/// `None` where there is no memory.
pub(super) fn add(key: Key, bytes: u64, weight: f32) -> Option<u32> {
    let hash = key.hash();
    let index = Shards::<Part>::index_of(hash);
    TABLE.shard(index).with(|part| {
        let number = part.row(key, hash)?;
        let row = &mut part.rows[number];
        row.samples += 1;
        row.total_blocks += f64::from(weight);
        row.total_bytes += f64::from(weight) * bytes as f64;
        Some(key.memory << MEMORY_SHIFT | (number as u32) << SHARD_BITS | index as u32)
    })
}

/// Takes back that a sample was added, which could not be kept.
pub(super) fn take_back(number: u32, bytes: u64, weight: f32) {
    with_row(number, |row| {
        row.samples -= 1;
        row.total_blocks -= f64::from(weight);
        row.total_bytes -= f64::from(weight) * bytes as f64;
    });
}

/// Notes the free of a sample.
pub(super) fn free(live: &Live, now_ns: u64) {
    let weight = f64::from(live.weight);
    let lifetime_ns = now_ns.saturating_sub(live.time_ns);
    with_row(live.usage, |row| {
        row.freed_samples += 1;
        row.freed_blocks += weight;
        row.freed_bytes += weight * live.bytes as f64;
        row.lifetime_ns += weight * lifetime_ns as f64;
        if lifetime_ns < SHORT_NS {
            row.short_blocks += weight;
        }
    });
}

/// Notes that the holder of a sample wants it to have another length from now on.
pub(super) fn resize(before: &Live, bytes: u64) {
    let more = f64::from(before.weight) * (bytes as f64 - before.bytes as f64);
    with_row(before.usage, |row| {
        if more > 0.0 {
            row.total_bytes += more;
        } else {
            row.freed_bytes -= more;
        }
    });
}

/// All sums, as of one moment; `None` where there is no memory.
pub(super) fn copy() -> Option<List<Usage>> {
    TABLE.with_all(|parts| {
        let mut all = List::new();
        parts.iter().all(|part| all.extend(&part.rows)).then_some(all)
    })
}
