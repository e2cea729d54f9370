//! Call stacks, each kept once.
#![forbid(unsafe_code)]

use super::{
    index::Index,
    memory::List,
    records::Frames,
    shards::{SHARD_BITS, SHARDS, Shard, Shards, hash},
};

/// The table, for who must lock it.
pub(super) static TABLE: Shards<Part> = Shards::new(
    [const { Shard::new(Part { addresses: List::new(), stacks: List::new(), index: Index::new() }) };
        SHARDS],
);

/// A part of the table: the frames of all its stacks, and where those of each lie.
pub(super) struct Part {
    addresses: List<u64>,
    stacks: List<Frames>,
    index: Index,
}

fn hash_of(frames: &[usize]) -> u64 {
    frames.iter().fold(frames.len() as u64, |sum, &frame| hash(sum ^ frame as u64))
}

impl Part {
    fn frames_of(&self, stack: &Frames) -> &[u64] {
        &self.addresses[stack.start as usize..][..stack.count as usize]
    }

    fn is_same(&self, stack: &Frames, hash: u64, frames: &[usize]) -> bool {
        let same = |(kept, frame): (&u64, &usize)| *kept == *frame as u64;
        stack.hash == hash
            && stack.count as usize == frames.len()
            && self.frames_of(stack).iter().zip(frames).all(same)
    }

    /// The position of a stack in this part; `None` where there is no memory.
    fn intern(&mut self, hash: u64, frames: &[usize]) -> Option<u32> {
        let stacks = &self.stacks;
        if !self.index.make_room(stacks.len(), |row| stacks[row].hash) {
            return None;
        }
        let is_it = |row: usize| self.is_same(&self.stacks[row], hash, frames);
        if let Some(known) = self.index.find(hash, is_it) {
            return Some(known as u32);
        }
        let start = u32::try_from(self.addresses.len()).ok()?;
        let stack = Frames { hash, start, count: frames.len() as u32 };
        let added = frames.iter().all(|&frame| self.addresses.push(frame as u64));
        if !added || !self.stacks.push(stack) {
            self.addresses.truncate(start as usize);
            return None;
        }
        let row = self.stacks.len() - 1;
        self.index.add(hash, row);
        Some(row as u32)
    }
}

/// The stack that nobody knows.
pub(super) const UNKNOWN: u32 = 0;

/// The number of a stack, from one; [`UNKNOWN`] where it has no frames or there is no memory.
pub(super) fn intern(frames: &[usize]) -> u32 {
    if frames.is_empty() {
        return UNKNOWN;
    }
    let hash = hash_of(frames);
    let index = Shards::<Part>::index_of(hash);
    let stack = TABLE.shard(index).with(|part| part.intern(hash, frames));
    stack.map_or(UNKNOWN, |stack| (stack << SHARD_BITS | index as u32) + 1)
}

/// All stacks as a recording has them: number, count, frames; `None` where there is no memory.
pub(super) fn copy() -> Option<List<u64>> {
    TABLE.with_all(|parts| {
        let mut all = List::new();
        let copied = parts.iter().enumerate().all(|(index, part)| {
            part.stacks.iter().enumerate().all(|(position, stack)| {
                let number = (position << SHARD_BITS | index) as u64 + 1;
                // Two words of 32 bits, the lower one first.
                all.push(number | u64::from(stack.count) << 32) && all.extend(part.frames_of(stack))
            })
        });
        copied.then_some(all)
    })
}
