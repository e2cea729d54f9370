//! The events of one kind of memory as the lives of its blocks.
//!
//! A block is written once, where it is allocated; a free only says how many blocks ago that was.
//! Blocks that are older than the recording follow after all others: first those whose free was
//! recorded, in its order, then those that live on.
#![forbid(unsafe_code)]

use rustc_hash::FxHashMap;

use super::column::Column;
use crate::{
    AreaState, Event, EventKind, Level, Live, Memory, Point, Recording, Report, StackId, Stacks,
};

const FREE: u64 = 2;
const LEVELS: u64 = 9;

/// What stands for it in the column `kind`; `data.js` names the same numbers.
const fn number_of(kind: EventKind) -> u64 {
    match kind {
        EventKind::Alloc { hit: false } => 0,
        EventKind::Alloc { hit: true } => 1,
        EventKind::Free => FREE,
        EventKind::Grow => 3,
        EventKind::Purge => 4,
        EventKind::Move => 5,
        EventKind::Collect => 6,
        EventKind::Compact => 7,
        EventKind::OutOfMemory => 8,
    }
}

/// Numbers of one source's stacks among those of the page.
#[derive(Default)]
struct Numbers(FxHashMap<StackId, u32>);

impl Numbers {
    fn of(&mut self, id: StackId, from: &Stacks, to: &mut Stacks) -> u32 {
        *self.0.entry(id).or_insert_with(|| to.adopt(from, id).0)
    }
}

/// A block, with the page's number of its stack.
#[derive(Clone, Copy)]
struct Block {
    address: u64,
    bytes: u64,
    block_bytes: u64,
    owner: u64,
    stack: u32,
    /// Since when; zero where nobody knows.
    since_ns: u64,
    /// How many it stands for.
    weight: f32,
}

/// The columns of one kind of memory.
#[derive(Default)]
pub(super) struct Lives {
    /// Of each event: what happened, and how long after the one before, nanoseconds.
    kind: Column,
    after_ns: Column,
    /// Of each free: how many blocks ago it was allocated; zero for the next older one.
    ago: Column,
    /// Of each block; addresses as steps from the block before, in units.
    address: Column,
    bytes: Column,
    rounding_bytes: Column,
    stack: Column,
    owner: Column,
    /// How many blocks each stands for, in thousandths.
    weight: Column,
    is_weighted: bool,
    /// Of each block older than the recording: its age at the begin and one, or zero.
    age_ns: Column,
    /// Of each event that concerns no block.
    other_address: Column,
    other_bytes: Column,
    other_stack: Column,
    /// What was noted beside the events, where these are not all.
    level_live: Column,
    level_allocated: Column,
    level_reserved: Column,
    /// Of each segment at the end, and of each block there that waits for other streams.
    segment_address: Column,
    segment_bytes: Column,
    pending_address: Column,
    pending_bytes: Column,
    /// The owners by their numbers.
    pub(super) owners: Vec<u64>,
    owner_numbers: FxHashMap<u64, u64>,
    /// Addresses are counted from here, in this unit.
    pub(super) lowest_address: u64,
    pub(super) address_unit: u64,
    last_address: u64,
}

impl Lives {
    /// The columns of `memory`; `stacks` takes the stacks that are used.
    pub(super) fn of(
        memory: Memory,
        recording: &Recording,
        report: &Report,
        stacks: &mut Stacks,
    ) -> Self {
        let mut lives = Self::default();
        lives.measure(addresses(memory, recording, report));
        let mut numbers = Numbers::default();
        let mut number = |id| numbers.of(id, &recording.stacks, stacks);
        let mut live = FxHashMap::default();
        let mut older = Vec::new();
        let begin_ns = super::begin_ns(recording);
        let mut before_ns = begin_ns;
        let mut noted = noted(memory, recording).into_iter().peekable();
        for event in recording.events.iter().filter(|event| event.memory == memory) {
            while let Some(point) = noted.next_if(|point| point.time_ns < event.time_ns) {
                lives.levels(point, &mut before_ns);
            }
            let block = block_of(event, number(event.stack));
            match event.kind {
                EventKind::Alloc { .. } => {
                    // Two cannot be at one address: the free of the first is missing.
                    if let Some(first) = live.insert(event.address, lives.address.count as u64) {
                        lives.event(FREE, event.time_ns, &mut before_ns);
                        lives.ago.push(lives.address.count as u64 - first);
                    }
                    lives.block(block);
                }
                EventKind::Free => match live.remove(&event.address) {
                    Some(block) => lives.ago.push(lives.address.count as u64 - block),
                    None => {
                        lives.ago.push(0);
                        older.push(block);
                    }
                },
                _ => lives.other(block),
            }
            lives.event(number_of(event.kind), event.time_ns, &mut before_ns);
        }
        noted.for_each(|point| lives.levels(point, &mut before_ns));
        older.extend(survivors(memory, recording, report, stacks, &live));
        for block in older {
            let age_ns = begin_ns.saturating_sub(block.since_ns) + 1;
            lives.age_ns.push(if block.since_ns > 0 { age_ns } else { 0 });
            lives.block(block);
        }
        lives.map(memory, recording);
        lives
    }

    /// All columns, by the names that the page knows them by.
    pub(super) fn columns(&self) -> Vec<(&'static str, &Column)> {
        let columns = [
            ("kind", &self.kind),
            ("after_ns", &self.after_ns),
            ("ago", &self.ago),
            ("address", &self.address),
            ("bytes", &self.bytes),
            ("rounding_bytes", &self.rounding_bytes),
            ("stack", &self.stack),
            ("owner", &self.owner),
            ("age_ns", &self.age_ns),
            ("other_address", &self.other_address),
            ("other_bytes", &self.other_bytes),
            ("other_stack", &self.other_stack),
            ("segment_address", &self.segment_address),
            ("segment_bytes", &self.segment_bytes),
            ("pending_address", &self.pending_address),
            ("pending_bytes", &self.pending_bytes),
            ("level_live", &self.level_live),
            ("level_allocated", &self.level_allocated),
            ("level_reserved", &self.level_reserved),
            ("weight", &self.weight),
        ];
        // Most recordings are of all blocks.
        columns.into_iter().filter(|(name, _)| *name != "weight" || self.is_weighted).collect()
    }

    /// Finds the lowest address, and the largest unit that divides all distances from it.
    fn measure(&mut self, addresses: impl Iterator<Item = u64> + Clone) {
        self.lowest_address = addresses.clone().min().unwrap_or(0);
        let bits = addresses.fold(0, |bits, address| bits | (address - self.lowest_address));
        self.address_unit = 1 << bits.trailing_zeros().min(32);
        self.last_address = self.lowest_address;
    }

    fn units(&self, address: u64) -> u64 {
        address.saturating_sub(self.lowest_address) / self.address_unit
    }

    fn event(&mut self, kind: u64, time_ns: u64, before_ns: &mut u64) {
        self.kind.push(kind);
        self.after_ns.push(time_ns.saturating_sub(*before_ns));
        *before_ns = time_ns.max(*before_ns);
    }

    fn block(&mut self, block: Block) {
        let step = self.units(block.address) as i64 - self.units(self.last_address) as i64;
        self.last_address = block.address;
        self.address.push_signed(step);
        self.bytes.push(block.bytes);
        self.rounding_bytes.push_signed(block.block_bytes.wrapping_sub(block.bytes) as i64);
        self.stack.push(block.stack.into());
        let next = self.owners.len() as u64;
        let owner = *self.owner_numbers.entry(block.owner).or_insert(next);
        if owner == next {
            self.owners.push(block.owner);
        }
        self.owner.push(owner);
        self.weight.push((f64::from(block.weight) * 1000.0).round() as u64);
        self.is_weighted |= block.weight != 1.0;
    }

    fn levels(&mut self, point: Point, before_ns: &mut u64) {
        let Level { live_bytes, allocated_bytes, reserved_bytes } = point.level;
        self.event(LEVELS, point.time_ns, before_ns);
        self.level_live.push(live_bytes);
        self.level_allocated.push(allocated_bytes);
        self.level_reserved.push(reserved_bytes);
    }

    /// What is nowhere is written as zero, addresses as one more than their units.
    fn other(&mut self, of: Block) {
        let address = if of.address > 0 { self.units(of.address) + 1 } else { 0 };
        self.other_address.push(address);
        self.other_bytes.push(of.bytes);
        self.other_stack.push(of.stack.into());
    }

    fn map(&mut self, memory: Memory, recording: &Recording) {
        for segment in recording.segments.iter().filter(|segment| segment.memory == memory) {
            self.segment_address.push(self.units(segment.address));
            self.segment_bytes.push(segment.bytes());
            for area in segment.areas.iter().filter(|area| area.state == AreaState::Pending) {
                self.pending_address.push(self.units(area.address));
                self.pending_bytes.push(area.bytes);
            }
        }
    }
}

/// All addresses that are written.
fn addresses<'r>(
    memory: Memory,
    recording: &'r Recording,
    report: &'r Report,
) -> impl Iterator<Item = u64> + Clone + 'r {
    let events = recording.events.iter().filter(move |event| event.memory == memory);
    let events = events.map(|event| event.address).filter(|&address| address > 0);
    let segments = recording.segments.iter().filter(move |segment| segment.memory == memory);
    let areas = segments.flat_map(|segment| &segment.areas).map(|area| area.address);
    let live = report.live.iter().filter(move |live| live.memory == memory);
    events.chain(areas).chain(live.map(|live| live.address))
}

const fn block_of(event: &Event, stack: u32) -> Block {
    let &Event { address, bytes, block_bytes, owner, .. } = event;
    let weight = event.weight.blocks();
    Block { address, bytes, block_bytes, owner, stack, since_ns: 0, weight }
}

/// The levels noted in a sample, from its begin to its end; none where all events are known.
fn noted(memory: Memory, recording: &Recording) -> Vec<Point> {
    let is_noted = recording.levels.iter().any(|(of, _)| *of == memory);
    if recording.sampling.is_none() || !is_noted {
        return Vec::new();
    }
    let points = recording.timeline(memory).points.into_iter();
    let begin_ns = super::begin_ns(recording);
    points.map(|point| Point { time_ns: point.time_ns.max(begin_ns), ..point }).collect()
}

/// Blocks that live at the end and are in no event: the report knows them, or at least the map.
fn survivors(
    memory: Memory,
    recording: &Recording,
    report: &Report,
    stacks: &mut Stacks,
    allocated: &FxHashMap<u64, u64>,
) -> Vec<Block> {
    let mut numbers = Numbers::default();
    let reported = report.live.iter().filter(|live| {
        // The report may be younger than the recording.
        live.memory == memory && live.since_ns <= recording.end_ns
    });
    let reported = reported.map(|live| {
        let &Live { address, bytes, block_bytes, owner, since_ns, weight, .. } = live;
        let stack = numbers.of(live.stack, &report.stacks, stacks);
        Block { address, bytes, block_bytes, owner, stack, since_ns, weight }
    });
    let mut found: FxHashMap<u64, Block> = reported.map(|block| (block.address, block)).collect();
    let mut numbers = Numbers::default();
    for segment in recording.segments.iter().filter(|segment| segment.memory == memory) {
        for area in segment.areas.iter().filter(|area| area.state == AreaState::Live) {
            found.entry(area.address).or_insert_with(|| Block {
                address: area.address,
                bytes: area.requested_bytes,
                block_bytes: area.bytes,
                owner: segment.owner,
                stack: numbers.of(area.stack, &recording.stacks, stacks),
                since_ns: 0,
                weight: 1.0,
            });
        }
    }
    let mut found: Vec<Block> = found.into_values().collect();
    found.retain(|block| !allocated.contains_key(&block.address));
    found.sort_unstable_by_key(|block| block.address);
    found
}
