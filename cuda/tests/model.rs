//! Random programs against the simulated device's own checks: no overlap, no reuse before its
//! fence, nothing used unmapped, nothing leaked, and sums that hold.
mod common;

use common::{GRANULE, Random, device, plain_device, stream};
use genesis_mem_cuda::{
    AllocError, Block, Builder, DeviceAllocator, Options,
    sim::{SimDriver, SimOptions},
};

type Device = (SimDriver, DeviceAllocator<SimDriver>);

/// A program of `steps` steps on `streams` streams, in a device of `granules`.
fn run(seed: u64, steps: u32, streams: u64, granules: u64, lag_ops: u64) {
    run_on(device(granules, lag_ops), seed, steps, streams, |random| random.size(24));
}

fn run_on(
    (driver, allocator): Device,
    seed: u64,
    steps: u32,
    streams: u64,
    size: fn(&mut Random) -> u64,
) {
    let mut program = Program { driver: &driver, allocator: &allocator, live: vec![], next: 0 };
    let mut random = Random(seed * 2 + 1);
    for step in 0..steps {
        match random.below(100) {
            0..46 => program.alloc(size(&mut random), random.below(streams)),
            46..50 => program.record(&mut random, streams),
            50..96 => program.free(&mut random),
            96 => drop(allocator.collect_garbage().expect("the device answers")),
            97 => drop(allocator.compact().expect("the device answers")),
            98 => drop(allocator.empty_cache().expect("the device answers")),
            _ => allocator.assert_valid(),
        }
        assert_eq!(driver.take_violations(), [], "seed {seed}, step {step}");
    }
    allocator.assert_valid();
    while !program.live.is_empty() {
        program.free(&mut random);
    }
    let stats = allocator.memory_stats();
    assert_eq!((stats.allocated_bytes.current, stats.requested_bytes.current), (0, 0));
    allocator.empty_cache().expect("the device answers");
    assert_eq!(allocator.reserved_bytes(), 0, "everything free goes back");
    drop(allocator);
    assert_eq!(driver.finish(), []);
}

struct Program<'a> {
    driver: &'a SimDriver,
    allocator: &'a DeviceAllocator<SimDriver>,
    live: Vec<(Block, u64)>,
    next: u64,
}

impl Program<'_> {
    fn alloc(&mut self, bytes: u64, on: u64) {
        match self.allocator.alloc(bytes, stream(on)) {
            Ok(block) => {
                assert_eq!((block.bytes(), block.ptr().0 % 512), (bytes, 0));
                self.driver.touch(stream(on), block.ptr(), bytes, self.next);
                self.live.push((block, self.next));
                self.next += 1;
            }
            Err(AllocError::OutOfMemory(error)) => {
                assert!(error.reserved_bytes <= error.device_bytes);
                assert_eq!(error.snapshot.check(), Ok(()));
            }
            Err(error) => panic!("{error}"),
        }
    }

    fn record(&mut self, random: &mut Random, streams: u64) {
        if self.live.is_empty() {
            return;
        }
        let at = random.below(self.live.len() as u64) as usize;
        let (block, number) = &mut self.live[at];
        let on = stream(random.below(streams));
        self.allocator.record_stream(block, on).expect("few streams");
        self.driver.touch(on, block.ptr(), block.bytes(), *number);
    }

    fn free(&mut self, random: &mut Random) {
        if self.live.is_empty() {
            return;
        }
        let at = random.below(self.live.len() as u64) as usize;
        let (block, _) = self.live.swap_remove(at);
        self.driver.retire(block.ptr(), block.bytes());
        self.allocator.free(block).expect("the block is live");
    }
}

#[test]
fn random_programs_on_one_stream() {
    for seed in 0..12 {
        run(seed, 3000, 1, 60, seed % 3 * 7);
    }
}

#[test]
fn random_programs_on_several_streams_under_any_lag() {
    for (seed, lag_ops) in (0..15).zip([0, 1, 5, 50, 1_000_000].into_iter().cycle()) {
        run(100 + seed, 3000, 5, 80, lag_ops);
    }
}

#[test]
fn a_device_that_is_far_too_small() {
    for seed in 0..8 {
        run(200 + seed, 2000, 3, 9, seed);
    }
}

#[test]
fn random_programs_without_virtual_memory() {
    for (seed, lag_ops) in (0..20).zip([0, 1, 5, 50, 1_000_000].into_iter().cycle()) {
        let size = |random: &mut Random| random.size(24);
        run_on(plain_device(80, lag_ops), 300 + seed, 3000, seed % 5 + 1, size);
        run_on(plain_device(9, lag_ops), 400 + seed, 1000, 3, size);
    }
}

#[test]
fn programs_of_large_blocks_on_a_device_that_is_always_full() {
    // Memory moves at nearly every step: from place to place, in parts, from stream to stream.
    let size = |random: &mut Random| random.below(8 * GRANULE) + 1;
    for seed in 0..100 {
        let lag_ops = [0, 5, 40, 1_000_000][seed as usize % 4];
        run_on(device(20 + seed % 40, lag_ops), 500 + seed, 600, seed % 5 + 1, size);
    }
}

#[test]
fn enough_that_is_free_but_not_in_one_piece_is_enough() {
    let (driver, allocator) = device(64, 0);
    let s = stream(0);
    let mut blocks: Vec<_> = (0..32).map(|_| allocator.alloc(2 * GRANULE, s).unwrap()).collect();
    for at in (0..16).rev() {
        allocator.free(blocks.swap_remove(at * 2)).unwrap();
    }
    let block = allocator.alloc(32 * GRANULE, s).expect("half of the device is free");
    driver.touch(s, block.ptr(), block.bytes(), 1);
    assert_eq!(allocator.counts().cpu_waits, 0);
    allocator.assert_valid();
    drop(allocator);
    assert_eq!(driver.finish(), []);
}

#[test]
fn a_run_may_begin_within_one_piece_and_end_within_another() {
    // Pieces of 4 granules; what is free lies at the end of one and at the beginning of another.
    let driver =
        SimDriver::new(SimOptions { device_bytes: 512 * GRANULE, ..SimOptions::default() });
    let mut options = Options::default();
    (options.piece_bytes, options.limit_bytes) = (4 * GRANULE, 24 * GRANULE);
    let allocator = DeviceAllocator::with_driver(driver.clone(), options).unwrap();
    let s = stream(0);
    let mut blocks: Vec<_> = (0..12).map(|_| allocator.alloc(2 * GRANULE, s).unwrap()).collect();
    assert_eq!(allocator.reserved_bytes(), 24 * GRANULE, "the limit is reached");
    // Blocks 1 and 8 are the end and the beginning of their pieces.
    for block in [blocks.remove(8), blocks.remove(1)] {
        allocator.free(block).unwrap();
    }
    let block = allocator.alloc(4 * GRANULE, s).expect("as much is free");
    driver.touch(s, block.ptr(), block.bytes(), 1);
    assert_eq!((allocator.counts().moves, allocator.counts().cpu_waits), (2, 0));
    allocator.assert_valid();
    // Wholly free again, the pieces can go back although their bytes are in two places each.
    allocator.free(block).unwrap();
    blocks.into_iter().for_each(|block| allocator.free(block).unwrap());
    assert_eq!(allocator.empty_cache().unwrap(), 24 * GRANULE);
    drop(allocator);
    assert_eq!(driver.finish(), []);
}

#[test]
fn a_third_stream_waits_for_the_first_user_of_memory_that_moved() {
    let device = SimOptions { device_bytes: 512 * GRANULE, lag_ops: 1 << 40, ..Default::default() };
    let driver = SimDriver::new(device);
    let limited = Builder::new().limit_bytes(24 * GRANULE);
    let allocator = limited.build_on(driver.clone()).unwrap();
    let mut number = 0;
    let mut alloc = |granules: u64, on: u64| {
        let block = allocator.alloc(granules * GRANULE, stream(on)).unwrap();
        driver.touch(stream(on), block.ptr(), block.bytes(), number);
        number += 1;
        block
    };
    // Every other of twelve pieces is free, and the first stream still at work on it.
    let mut blocks: Vec<_> = (0..12).map(|_| alloc(2, 0)).collect();
    for at in (0..6).rev() {
        let block = blocks.remove(at * 2);
        driver.retire(block.ptr(), block.bytes());
        allocator.free(block).unwrap();
    }
    let _second = alloc(3, 1);
    assert_eq!(allocator.counts().moves, 2, "two pieces, and a granule of them is left");
    let _third = alloc(1, 2);
    assert_eq!((allocator.counts().moves, allocator.counts().borrows), (2, 1));
    assert_eq!(driver.take_violations(), []);
    assert_eq!(allocator.counts().cpu_waits, 0);
}

#[test]
fn addresses_may_run_out_under_a_program_that_keeps_moving() {
    let driver = SimDriver::new(SimOptions { device_bytes: 64 * GRANULE, ..SimOptions::default() });
    let mut options = Options::default();
    options.span_bytes = 200 * GRANULE;
    let allocator = DeviceAllocator::with_driver(driver.clone(), options).unwrap();
    let mut random = Random(7);
    let mut live = Vec::new();
    for number in 0..20_000 {
        let bytes = (random.below(20) + 1) * GRANULE;
        while live.iter().map(Block::bytes).sum::<u64>() + bytes > 40 * GRANULE {
            let block: Block = live.swap_remove(random.below(live.len() as u64) as usize);
            driver.retire(block.ptr(), block.bytes());
            allocator.free(block).unwrap();
        }
        let block = allocator.alloc(bytes, stream(0)).expect("a third of the device is free");
        driver.touch(stream(0), block.ptr(), block.bytes(), number);
        live.push(block);
    }
    let heaps = allocator.memory_stats().heaps;
    assert!((2..10).contains(&heaps), "ranges are used up, and used again: {heaps}");
    allocator.assert_valid();
    assert_eq!(driver.take_violations(), []);
}

#[test]
fn threads_on_streams_of_their_own_and_across() {
    threads(device(512, 3));
    threads(plain_device(512, 3));
}

fn threads((driver, allocator): Device) {
    let (sender, receiver) = std::sync::mpsc::channel::<Block>();
    std::thread::scope(|scope| {
        for on in 0..4 {
            let (allocator, sender) = (&allocator, sender.clone());
            scope.spawn(move || {
                let mut random = Random(on * 77 + 5);
                let mut live = Vec::new();
                for _ in 0..5000 {
                    if random.below(2) == 0 {
                        live.push(allocator.alloc(random.size(20), stream(on)).unwrap());
                    } else if let Some(block) = live.pop() {
                        match random.below(4) {
                            0 => sender.send(block).unwrap(),
                            _ => allocator.free(block).unwrap(),
                        }
                    }
                }
                live.into_iter().for_each(|block| allocator.free(block).unwrap());
            });
        }
        drop(sender);
        for block in receiver {
            allocator.free(block).unwrap();
        }
    });
    allocator.assert_valid();
    assert_eq!(allocator.memory_stats().allocated_bytes.current, 0);
    drop(allocator);
    assert_eq!(driver.finish(), []);
}
