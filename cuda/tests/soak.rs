//! Random programs that use everything at once: streams, private pools, captures, shared blocks,
//! resizing, limits, collection. Few of them by default; for more,
//! `GENESIS_SOAK_PROGRAMS=5000 cargo test -p genesis-mem-cuda --test soak`.
mod common;

use common::{GRANULE, Random, device, plain_device, stream};
use genesis_mem_cuda::{Block, Capture, DeviceAllocator, PoolId, driver::StreamId, sim::SimDriver};

/// One program, and the device it runs on.
struct Program {
    random: Random,
    driver: SimDriver,
    allocator: DeviceAllocator<SimDriver>,
    granules: u64,
    streams: u64,
    most_bytes: u64,
    pools: Vec<PoolId>,
    capture: Option<(StreamId, Capture<SimDriver>)>,
    /// Blocks with a number of their own and the stream they were allocated for.
    live: Vec<(Block, u64, StreamId)>,
    blocks: u64,
}

impl Program {
    fn new(seed: u64) -> Self {
        let lag_ops = [0, 3, 17, 40, 200, 1 << 40][(seed % 6) as usize];
        let granules = 12 + seed % 90;
        let made = if seed % 9 == 8 { plain_device } else { device };
        let (driver, allocator) = made(granules, lag_ops);
        let private = allocator.create_pool();
        Self {
            random: Random(seed * 7919 + 13),
            driver,
            allocator,
            granules,
            streams: seed % 6 + 1,
            most_bytes: [GRANULE / 8, 2 * GRANULE, 5 * GRANULE, 12 * GRANULE][(seed % 4) as usize],
            pools: if seed % 4 == 3 {
                vec![PoolId::default(), private]
            } else {
                vec![PoolId::default()]
            },
            capture: None,
            live: Vec::new(),
            blocks: 0,
        }
    }

    fn some_block(&mut self) -> Option<usize> {
        let count = self.live.len() as u64;
        (count > 0).then(|| self.random.below(count) as usize)
    }

    fn is_captured(&self, stream: StreamId) -> bool {
        self.capture.as_ref().is_some_and(|(captured, _)| *captured == stream)
    }

    fn alloc(&mut self, on: StreamId) {
        let bytes = self.random.below(self.most_bytes) + 1;
        let at = self.random.below(self.pools.len() as u64) as usize;
        let block = if self.is_captured(on) {
            self.allocator.alloc(bytes, on)
        } else {
            self.allocator.alloc_in(bytes, on, self.pools[at])
        };
        match block {
            Ok(block) => {
                self.blocks += 1;
                self.driver.touch(on, block.ptr(), block.bytes(), self.blocks);
                self.live.push((block, self.blocks, on));
            }
            Err(_) => (0..self.live.len() / 2).for_each(|_| self.free()),
        }
    }

    fn free(&mut self) {
        if let Some(at) = self.some_block() {
            let (block, ..) = self.live.swap_remove(at);
            self.driver.retire(block.ptr(), block.bytes());
            self.allocator.free(block).expect("the block is live");
        }
    }

    fn share(&mut self, on: StreamId) {
        if let Some(at) = self.some_block() {
            let (block, number, _) = &mut self.live[at];
            self.allocator.record_stream(block, on).expect("there are few streams");
            self.driver.touch(on, block.ptr(), block.bytes(), *number);
        }
    }

    fn grow(&mut self) {
        if let Some(at) = self.some_block() {
            let more = self.random.below(self.most_bytes) + 1;
            let (block, number, own) = &mut self.live[at];
            let bytes = block.bytes() + more;
            if self.allocator.resize_in_place(block, bytes) {
                self.driver.touch(*own, block.ptr(), block.bytes(), *number);
            }
        }
    }

    fn keep_house(&mut self) {
        let done = match self.random.below(4) {
            0 => self.allocator.compact(),
            1 => self.allocator.collect_garbage(),
            2 => self.allocator.empty_cache(),
            _ => self.pools.get(1).map_or(Ok(0), |&pool| self.allocator.drop_pool(pool)),
        };
        done.expect("the device answers");
    }

    fn begin_or_end_capture(&mut self, on: StreamId) {
        if let Some((captured, capture)) = self.capture.take() {
            self.driver.set_captured(captured, false);
            drop(capture);
            return;
        }
        let pool = self.allocator.create_pool();
        let capture = self.allocator.capture(on, pool).expect("the device answers");
        self.driver.set_captured(on, true);
        self.capture = Some((on, capture));
        self.pools.truncate(1);
        self.pools.push(pool);
    }

    fn step(&mut self) {
        let on = stream(self.random.below(self.streams));
        match self.random.below(100) {
            0..45 => self.alloc(on),
            45..52 => self.share(on),
            52..58 => self.grow(),
            58..60 => self.begin_or_end_capture(on),
            90..94 => self.keep_house(),
            94 => self.allocator.assert_valid(),
            95 => {
                let granules = self.granules / 2 + self.random.below(self.granules);
                self.allocator.set_limit(granules * GRANULE);
            }
            _ => self.free(),
        }
        assert_eq!(self.driver.take_violations(), []);
    }

    fn run(mut self) {
        (0..500).for_each(|_| self.step());
        self.allocator.assert_valid();
        if let Some((captured, _)) = &self.capture {
            self.driver.set_captured(*captured, false);
        }
        self.capture = None;
        let Self { driver, allocator, live, .. } = self;
        live.into_iter().for_each(|(block, ..)| allocator.free(block).expect("it is live"));
        allocator.empty_cache().expect("the device answers");
        drop(allocator);
        assert_eq!(driver.finish(), []);
    }
}

#[test]
fn programs_that_use_everything_break_no_rule() {
    let programs = std::env::var("GENESIS_SOAK_PROGRAMS").ok().and_then(|n| n.parse().ok());
    for seed in 0..programs.unwrap_or(120) {
        println!("program {seed}");
        Program::new(seed).run();
    }
}
