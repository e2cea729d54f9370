//! Call stacks, each kept once.
#![forbid(unsafe_code)]

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::{
    index::Index,
    memory::List,
    records::Frames,
    shards::{SHARD_BITS, SHARDS, Shard, Shards, hash},
};

/// Where a part has so many frames, stacks that it does not have yet stay unknown: 64 MiB in all.
const ADDRESSES: u32 = 1 << 19;

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

/// Two sums side by side, since each step of one waits for the step before.
fn hash_of(frames: &[usize]) -> u64 {
    const ODD: [u64; 4] = [
        0x9e37_79b9_7f4a_7c15,
        0xbf58_476d_1ce4_e5b9,
        0x94d0_49bb_1331_11eb,
        0xd6e8_feb8_6659_fd93,
    ];
    // Both halves of the product depend on all of both numbers.
    let fold = |a: u64, b: u64| {
        let product = u128::from(a) * u128::from(b);
        product as u64 ^ (product >> u64::BITS) as u64
    };
    let mut sums = [frames.len() as u64, 0];
    let mut add = |four: [usize; 4]| {
        let [a, b, c, d] = four.map(|frame| frame as u64);
        sums = [
            fold(sums[0] ^ a ^ ODD[0], b ^ ODD[1]).wrapping_add(sums[0]),
            fold(sums[1] ^ c ^ ODD[2], d ^ ODD[3]).wrapping_add(sums[1]),
        ];
    };
    let (fours, rest) = frames.as_chunks();
    fours.iter().for_each(|four| add(*four));
    let mut last = [0; 4];
    last[..rest.len()].copy_from_slice(rest);
    add(last);
    hash(hash(sums[0]) ^ sums[1])
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

    /// The position of a stack in this part; `None` where there is no memory, or too much in use.
    fn intern(&mut self, hash: u64, frames: &[usize]) -> Option<u32> {
        let stacks = &self.stacks;
        if !self.index.make_room(stacks.len(), |row| stacks[row].hash) {
            return None;
        }
        let is_it = |row: usize| self.is_same(&self.stacks[row], hash, frames);
        if let Some(known) = self.index.find(hash, is_it) {
            return Some(known as u32);
        }
        let start = self.addresses.len() as u32;
        if start >= ADDRESSES {
            return None;
        }
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

/// Numbers of stacks that were asked for lately, to be had without a lock. Those of a hash are never
/// of another stack: there are too few for two to have the same 64 bits.
static RECENT: [Recent; 1 << 12] =
    [const { Recent { mixed: AtomicU64::new(0), number: AtomicU64::new(0) } }; 1 << 12];

/// The number, and the hash mixed with it: of halves that do not belong together, another hash.
struct Recent {
    mixed: AtomicU64,
    number: AtomicU64,
}

impl Recent {
    fn of(hash: u64) -> &'static Self {
        &RECENT[hash as usize % RECENT.len()]
    }

    fn get(&self, hash: u64) -> Option<u32> {
        let number = self.number.load(Relaxed);
        let is_it = self.mixed.load(Relaxed) ^ number == hash;
        (is_it && number != u64::from(UNKNOWN)).then_some(number as u32)
    }

    fn put(&self, hash: u64, number: u32) {
        self.mixed.store(hash ^ u64::from(number), Relaxed);
        self.number.store(number.into(), Relaxed);
    }
}

/// The stack that nobody knows.
pub(super) const UNKNOWN: u32 = 0;

/// The number of a stack, from one; [`UNKNOWN`] where it has no frames, there is no memory, or 64 MiB of stacks are
/// kept already.
pub(super) fn intern(frames: &[usize]) -> u32 {
    if frames.is_empty() {
        return UNKNOWN;
    }
    let hash = hash_of(frames);
    let recent = Recent::of(hash);
    recent.get(hash).unwrap_or_else(|| {
        let number = find_or_add(hash, frames);
        recent.put(hash, number);
        number
    })
}

fn find_or_add(hash: u64, frames: &[usize]) -> u32 {
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
