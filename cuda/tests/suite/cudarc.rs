//! A device behind a driver library, the fake one or a GPU's: what is in the memory is looked at.

use std::sync::Arc;

use cudarc::driver::{CudaStream, result, sys::CUstream};
use fakecuda::client::{Fake, Live};
use genesis_mem_cuda::{
    Block, Builder, DeviceAllocator,
    cudarc::CudarcDriver,
    driver::{Driver, DriverError, StreamId},
};

use super::{Device, STREAMS};

/// An allocator on the first device of whatever driver there is, and streams.
pub(crate) struct Cudarc {
    allocator: DeviceAllocator<CudarcDriver>,
    streams: Vec<Arc<CudaStream>>,
}

impl Cudarc {
    pub(crate) fn open(granules: u64) -> Result<Self, DriverError> {
        let driver = CudarcDriver::new(0)?;
        let streams = (0..STREAMS).map(|_| driver.context().new_stream().expect("a stream"));
        let streams = streams.collect();
        let limit_bytes = granules * driver.granularity_bytes();
        let allocator = Builder::new().limit_bytes(limit_bytes).build_on(driver)?;
        Ok(Self { allocator, streams })
    }

    /// As [`fill`](Device::fill), where the device may refuse.
    pub(crate) fn try_fill(&self, block: &Block, on: StreamId, value: u32) -> Copied<()> {
        self.allocator.driver().context().bind_to_thread()?;
        let words = pattern(value, block.bytes() / 4);
        // SAFETY: the block is live and holds as many words; they are read before the call
        // returns, since they are not page-locked.
        unsafe { result::memcpy_htod_async(block.ptr().0, &words, raw(on)) }
    }

    /// As [`holds`](Device::holds), where the device may refuse.
    pub(crate) fn try_holds(&self, block: &Block, on: StreamId, value: u32) -> Copied<bool> {
        self.allocator.driver().context().bind_to_thread()?;
        let mut words = vec![0u32; (block.bytes() / 4) as usize];
        // SAFETY: as above, and the words outlive the wait.
        unsafe {
            result::memcpy_dtoh_async(&mut words, block.ptr().0, raw(on))?;
            result::stream::synchronize(raw(on))?;
        }
        Ok(words == pattern(value, words.len() as u64))
    }
}

/// What cudarc says of a copy.
type Copied<T> = Result<T, result::DriverError>;

/// The words that `value` stands for; each 2 KiB of them differ from all others.
fn pattern(value: u32, words: u64) -> Vec<u32> {
    let value = (value + 1).wrapping_mul(0x9E37_79B9);
    // Not a loop over all words: without optimisation that would be most of the tests' time.
    let mut pattern = [value].repeat(words as usize);
    pattern.iter_mut().step_by(512).enumerate().for_each(|(index, word)| *word ^= index as u32);
    pattern
}

fn raw(stream: StreamId) -> CUstream {
    stream.0 as usize as CUstream
}

impl Device for Cudarc {
    type Driver = CudarcDriver;

    fn open(granules: u64) -> Option<Self> {
        match Self::open(granules) {
            Ok(device) => Some(device),
            Err(error @ (DriverError::NoDriver { .. } | DriverError::NoDevice { .. })) => {
                println!("skipped: {error}");
                None
            }
            Err(error) => panic!("{error}"),
        }
    }

    fn allocator(&self) -> &DeviceAllocator<CudarcDriver> {
        &self.allocator
    }

    fn stream(&self, number: usize) -> StreamId {
        self.allocator.driver().stream_id(&self.streams[number])
    }

    fn fill(&self, block: &Block, on: StreamId, value: u32) {
        self.try_fill(block, on, value).expect("the device copies");
    }

    fn holds(&self, block: &Block, on: StreamId, value: u32) -> bool {
        self.try_holds(block, on, value).expect("the device copies")
    }

    fn free(&self, block: Block) {
        self.allocator.free(block).expect("the block is live");
    }

    fn close(self) {}
}

/// The same on the fake driver, whose streams dawdle, and which knows what is left at the end.
pub(crate) struct OnFake {
    pub(crate) device: Cudarc,
    pub(crate) fake: Fake,
}

impl Device for OnFake {
    type Driver = CudarcDriver;

    fn open(granules: u64) -> Option<Self> {
        let fake = Fake::load();
        // Small granules, so that little has to be copied; operations of up to 100 µs.
        fake.set("FAKECUDA_GRANULE_KB", 64);
        fake.set("FAKECUDA_DELAY_US", 100);
        let device = Cudarc::open(granules).expect("the fake driver is there");
        Some(Self { device, fake })
    }

    fn allocator(&self) -> &DeviceAllocator<CudarcDriver> {
        self.device.allocator()
    }

    fn stream(&self, number: usize) -> StreamId {
        self.device.stream(number)
    }

    fn fill(&self, block: &Block, on: StreamId, value: u32) {
        self.device.fill(block, on, value);
    }

    fn holds(&self, block: &Block, on: StreamId, value: u32) -> bool {
        self.device.holds(block, on, value)
    }

    fn free(&self, block: Block) {
        self.device.free(block);
    }

    fn close(self) {
        drop(self.device);
        assert_eq!(self.fake.live(), Live::default(), "everything was given back");
    }
}
