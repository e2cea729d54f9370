//! The simulated device: no contents, but every order is checked.

use std::{
    collections::HashMap,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use genesis_mem_cuda::{Block, DeviceAllocator, driver::StreamId, sim::SimDriver};

use super::Device;
use crate::common;

pub(crate) struct Sim {
    driver: SimDriver,
    allocator: DeviceAllocator<SimDriver>,
    /// The number of each live block, for the device's checks.
    numbers: Mutex<HashMap<u64, u64>>,
    next: AtomicU64,
}

impl Sim {
    fn touch(&self, block: &Block, on: StreamId) {
        let mut numbers = self.numbers.lock().unwrap();
        let new = || self.next.fetch_add(1, Ordering::Relaxed);
        let number = *numbers.entry(block.ptr().0).or_insert_with(new);
        self.driver.touch(on, block.ptr(), block.bytes(), number);
    }
}

impl Device for Sim {
    type Driver = SimDriver;

    fn open(granules: u64) -> Option<Self> {
        let (driver, allocator) = common::device(granules, 5);
        Some(Self { driver, allocator, numbers: Mutex::default(), next: AtomicU64::new(0) })
    }

    fn allocator(&self) -> &DeviceAllocator<SimDriver> {
        &self.allocator
    }

    fn stream(&self, number: usize) -> StreamId {
        StreamId(number as u64)
    }

    fn fill(&self, block: &Block, on: StreamId, _: u32) {
        self.touch(block, on);
    }

    fn holds(&self, block: &Block, on: StreamId, _: u32) -> bool {
        self.touch(block, on);
        self.driver.take_violations().is_empty()
    }

    fn free(&self, block: Block) {
        self.numbers.lock().unwrap().remove(&block.ptr().0);
        self.driver.retire(block.ptr(), block.bytes());
        self.allocator.free(block).expect("the block is live");
    }

    fn close(self) {
        drop(self.allocator);
        assert_eq!(self.driver.finish(), []);
    }
}
