//! Recordings to be shown: written here event by event, so that every figure is known.

use genesis_mem_profile::{
    Area, AreaState, Event, EventKind, Frame, Level, Live, Mark, Memory, Pool, Recording, Report,
    Sampling, Segment, StackId, Usage, Weight, size_class_of,
};

const MIB: u64 = 1 << 20;
const BASE: u64 = 0x7f12_3400_0000;
/// The longest time between two events, nanoseconds.
const STEP_NS: u64 = 15_000;

/// A program that goes round and round: its blocks, its stacks, and what it leaves behind.
pub(crate) struct Program {
    pub(crate) recording: Recording,
    pub(crate) report: Report,
    live: Vec<Live>,
    free: Vec<(u64, u64)>,
    end: u64,
    seed: u64,
    totals: (u64, u64),
}

fn frame(function: &str, file: &str, line: u32) -> Frame {
    Frame { function: function.into(), file: file.into(), line }
}

impl Program {
    fn new(begin_ns: u64) -> Self {
        let mut recording = Recording::default();
        (recording.begin_ns, recording.end_ns) = (begin_ns, begin_ns);
        let (live, free, report) = (Vec::new(), Vec::new(), Report::now());
        Self { recording, report, live, free, end: BASE, seed: 1, totals: (0, 0) }
    }

    /// A number below `most` that only looks like chance.
    fn chance(&mut self, most: u64) -> u64 {
        self.seed = self.seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.seed >> 33) % most
    }

    fn tell(&mut self, kind: EventKind, of: Live) {
        self.recording.end_ns += 1 + self.chance(STEP_NS);
        let Live { memory, address, bytes, block_bytes, owner, stack, .. } = of;
        let time_ns = self.recording.end_ns;
        let weight = Weight::ONE;
        let event =
            Event { time_ns, address, bytes, block_bytes, owner, stack, kind, memory, weight };
        self.recording.events.push(event);
    }

    /// First fit, so that the map has holes.
    fn alloc(&mut self, bytes: u64, stack: StackId, memory: Memory) -> u64 {
        let block_bytes = bytes.max(1).next_multiple_of(512);
        let found = self.free.iter().position(|&(_, free)| free >= block_bytes);
        let address = match found {
            Some(at) => {
                let (address, free) = self.free[at];
                self.free[at] = (address + block_bytes, free - block_bytes);
                if free == block_bytes {
                    self.free.remove(at);
                }
                address
            }
            None => {
                let (address, grown) = (self.end, block_bytes.next_multiple_of(20 * MIB));
                let growth = Live { address, bytes: grown, ..block(memory) };
                self.tell(EventKind::Grow, growth);
                self.end += grown;
                self.give(address + block_bytes, grown - block_bytes);
                address
            }
        };
        let live = Live { address, bytes, block_bytes, stack, ..block(memory) };
        self.tell(EventKind::Alloc { hit: found.is_some() }, live);
        let live = Live { since_ns: self.recording.end_ns, ..live };
        self.live.push(live);
        self.totals = (self.totals.0 + 1, self.totals.1 + bytes);
        address
    }

    fn give(&mut self, address: u64, bytes: u64) {
        let at = self.free.partition_point(|&(free, _)| free < address);
        if bytes > 0 {
            self.free.insert(at, (address, bytes));
        }
        if let Some(&(next, more)) =
            self.free.get(at + 1).filter(|&&(next, _)| next == address + bytes)
        {
            self.free[at] = (address, next + more - address);
            self.free.remove(at + 1);
        }
        if at > 0 && self.free[at - 1].0 + self.free[at - 1].1 == address {
            let (_, more) = self.free.remove(at);
            self.free[at - 1].1 += more;
        }
    }

    fn free(&mut self, index: usize) {
        let live = self.live.swap_remove(index);
        self.tell(EventKind::Free, live);
        self.give(live.address, live.block_bytes);
    }

    fn mark(&mut self, label: String) {
        let time_ns = self.recording.end_ns;
        self.recording.marks.push(Mark { time_ns, label });
    }

    /// Levels, map and report of what is live.
    fn finish(mut self, memory: Memory) -> Self {
        let sum = |of: fn(&Live) -> u64| self.live.iter().map(of).sum::<u64>();
        let (live_bytes, allocated_bytes) = (sum(|live| live.bytes), sum(|live| live.block_bytes));
        let level = Level { live_bytes, allocated_bytes, reserved_bytes: self.end - BASE };
        self.recording.end.push((memory, level));
        let mut areas: Vec<Area> = self
            .live
            .iter()
            .map(|live| Area {
                address: live.address,
                bytes: live.block_bytes,
                requested_bytes: live.bytes,
                state: AreaState::Live,
                stack: live.stack,
            })
            .collect();
        areas.extend(self.free.iter().map(|&(address, bytes)| Area {
            address,
            bytes,
            requested_bytes: 0,
            state: AreaState::Free,
            stack: StackId::UNKNOWN,
        }));
        areas.sort_by_key(|area| area.address);
        let segment = Segment { memory, owner: 7, pool: 0, address: BASE, areas };
        self.recording.segments.push(segment);
        self.report.stacks = self.recording.stacks.clone();
        self.report.live.clone_from(&self.live);
        self.report.time_ns = self.recording.end_ns;
        let mut pool = Pool::default();
        pool.memory = memory;
        pool.live_bytes = live_bytes;
        pool.allocated_bytes = allocated_bytes;
        pool.reserved_bytes = level.reserved_bytes;
        pool.reserved_peak_bytes = level.reserved_bytes;
        self.report.pools.push(pool);
        let (total_blocks, total_bytes) = self.totals;
        let live_blocks = self.live.len() as u64;
        self.report.usages.push(Usage {
            memory,
            size_class: size_class_of(1),
            total_blocks,
            total_bytes,
            freed_blocks: total_blocks - live_blocks,
            freed_bytes: total_bytes - live_bytes,
            ..Usage::default()
        });
        self
    }
}

fn block(memory: Memory) -> Live {
    Live {
        memory,
        address: 0,
        bytes: 0,
        block_bytes: 0,
        owner: 7,
        stack: StackId::UNKNOWN,
        since_ns: 0,
        weight: 1.0,
    }
}

/// Training with deep stacks: weights that stay, activations that come and go, a leak, and at the
/// end a request that cannot be served. At least `events` events.
pub(crate) fn training(events: usize) -> Program {
    let mut program = Program::new(1_000_000_000);
    let stacks = stacks_of_training(&mut program.recording);
    let [weights, optimizer, attention, mlp, norm, loss, cache] = stacks;
    let memory = Memory::Device;
    for _ in 0..24 {
        program.alloc(18 * MIB + 4096, weights, memory);
        program.alloc(36 * MIB + 8192, optimizer, memory);
    }
    let mut step = 0;
    while program.recording.events.len() < events {
        if step % 8 == 0 {
            program.mark(format!("epoch {}", step / 8 + 1));
        }
        let kept = program.live.len();
        let tokens = 1024 + program.chance(1024);
        for layer in 0..24 {
            program.alloc(tokens * 4096 + layer, attention, memory);
            program.alloc(tokens * 1536, norm, memory);
            program.alloc(tokens * 6144, mlp, memory);
            let room = program.alloc(tokens * 2048, attention, memory);
            let at = program.live.iter().rposition(|live| live.address == room).unwrap();
            program.free(at);
        }
        program.alloc(tokens * 512, loss, memory);
        while program.live.len() > kept {
            program.free(program.live.len() - 1);
        }
        if step < 40 || step % 16 == 0 {
            program.alloc(96 << 10, cache, memory);
        }
        step += 1;
    }
    let failed = Live { bytes: 40 << 30, block_bytes: 3 * MIB, stack: mlp, ..block(memory) };
    program.tell(EventKind::OutOfMemory, failed);
    program.finish(memory)
}

fn stacks_of_training(recording: &mut Recording) -> [StackId; 7] {
    let mut stack = |frames: &[(&str, &str, u32)]| {
        let outer = [("train::step", "src/train.rs", 61), ("main", "src/main.rs", 12)];
        let frames = frames.iter().chain(&outer);
        let in_library = |name: &str| name.starts_with("alloc::");
        let frames = frames.map(|&(name, file, line)| (frame(name, file, line), in_library(name)));
        recording.stacks.intern_calls(frames, &[])
    };
    let vec = (
        "alloc::raw_vec::RawVec<T>::try_allocate_in",
        "/rustc/0f3/library/alloc/src/raw_vec.rs",
        481,
    );
    let block = ("model::Block::forward", "src/model/block.rs", 88);
    let forward = ("model::Gpt::forward", "src/model/gpt.rs", 140);
    [
        stack(&[
            ("nn::Linear::new", "src/nn/linear.rs", 33),
            ("model::Gpt::new", "src/model/gpt.rs", 57),
        ]),
        stack(&[
            ("optim::Adam::state", "src/optim/adam.rs", 74),
            ("optim::Adam::new", "src/optim/adam.rs", 29),
        ]),
        stack(&[
            ("nn::Attention::scores", "src/nn/attention.rs", 118),
            ("nn::Attention::forward", "src/nn/attention.rs", 96),
            block,
            forward,
        ]),
        stack(&[("nn::Mlp::forward", "src/nn/mlp.rs", 41), block, forward]),
        stack(&[("nn::LayerNorm::forward", "src/nn/norm.rs", 27), block, forward]),
        stack(&[("train::cross_entropy", "src/train.rs", 102)]),
        stack(&[vec, ("metrics::History::push </script><b>", "src/metrics.rs", 19)]),
    ]
}

/// Blocks of the host at any address, with one line for each and no map.
pub(crate) fn host(events: usize) -> Program {
    let mut program = Program::new(500);
    let lines: Vec<_> = (1..40)
        .map(|line| program.recording.stacks.intern([frame("", "src/index.rs", line)]))
        .collect();
    while program.recording.events.len() < events {
        let stack = lines[program.chance(lines.len() as u64) as usize];
        let bytes = 16 << program.chance(12);
        program.alloc(bytes, stack, Memory::Host);
        if program.live.len() > 2000 {
            let index = program.chance(2000) as usize;
            program.free(index);
        }
    }
    let mut program = program.finish(Memory::Host);
    program.recording.segments.clear();
    program.recording.events.retain(|event| event.kind != EventKind::Grow);
    program
}

/// One block of four of such a program, and its levels, noted every hundred events.
pub(crate) fn sampled(events: usize) -> Program {
    let mut program = host(events);
    let timeline = program.recording.timeline(Memory::Host);
    let noted = timeline.points.iter().step_by(100);
    program.recording.levels = noted.map(|&point| (Memory::Host, point)).collect();
    let is_chosen = |address: u64| (address / 512).is_multiple_of(4);
    program.recording.events.retain(|event| is_chosen(event.address));
    program.recording.events.iter_mut().for_each(|event| event.weight = Weight::new(4.0));
    program.report.live.retain(|live| is_chosen(live.address));
    program.report.live.iter_mut().for_each(|live| live.weight = 4.0);
    let samples = program.recording.events.len() as u64;
    program.recording.sampling = Some(Sampling { interval_bytes: 2048, samples });
    program
}
