//! Events, one after the other, on an allocator.
#![forbid(unsafe_code)]

use std::{collections::HashMap, sync::Arc};

use super::{
    device::Device,
    error::ReplayError,
    run::ReplayOptions,
    timed::Timed,
    trace::{Event, Trace},
};
use crate::{
    AllocError, Block, DeviceAllocator,
    driver::{DevicePtr, Driver, StreamId},
};

/// Whoever serves requests.
pub(super) trait Serve {
    fn alloc(&self, bytes: u64, stream: StreamId) -> Result<Block, AllocError>;
    fn record(&self, block: &mut Block, stream: StreamId) -> Result<(), AllocError>;
    fn free(&self, block: Block);
}

impl<D: Driver> Serve for DeviceAllocator<D> {
    fn alloc(&self, bytes: u64, stream: StreamId) -> Result<Block, AllocError> {
        Self::alloc(self, bytes, stream)
    }

    fn record(&self, block: &mut Block, stream: StreamId) -> Result<(), AllocError> {
        self.record_stream(block, stream)
    }

    fn free(&self, block: Block) {
        Self::free(self, block).expect("the block is live");
    }
}

/// Serves blocks that are none, to measure what everything else costs.
pub(super) struct Nothing;

impl Serve for Nothing {
    fn alloc(&self, bytes: u64, _: StreamId) -> Result<Block, AllocError> {
        let start = DevicePtr(1 << 36);
        Ok(Block { start, bytes, streams: 0, node: 0, home: 0, user: 0, owner: 0 })
    }

    fn record(&self, _: &mut Block, _: StreamId) -> Result<(), AllocError> {
        Ok(())
    }

    fn free(&self, block: Block) {
        let _ = std::hint::black_box(block);
    }
}

/// A device with an allocator on it, and the events on the device's streams.
pub(super) struct Session<D: Device> {
    pub(super) device: Arc<D>,
    pub(super) allocator: DeviceAllocator<Timed<D>>,
    pub(super) events: Vec<Event>,
}

impl<D: Device> Session<D> {
    pub(super) fn open(trace: &Trace, options: ReplayOptions) -> Result<Self, ReplayError> {
        let error = |error| ReplayError::Alloc(AllocError::Driver(error));
        let device = Arc::new(D::open(options.device).map_err(error)?);
        let mut streams = HashMap::new();
        for &stream in &trace.streams {
            streams.insert(stream, device.stream(stream).map_err(error)?);
        }
        let mut events = trace.events.clone();
        for event in &mut events {
            if let Event::Alloc { stream, .. } | Event::Record { stream, .. } = event {
                *stream = streams[stream];
            }
        }
        let driver = Timed::new(Arc::clone(&device));
        let allocator = DeviceAllocator::with_driver(driver, options.allocator).map_err(error)?;
        Ok(Self { device, allocator, events })
    }
}

/// Where a replay is.
pub(super) struct Player<'a, S, D> {
    serve: &'a S,
    device: &'a D,
    blocks: Vec<Option<Block>>,
}

impl<'a, S: Serve, D: Device> Player<'a, S, D> {
    pub(super) fn new(serve: &'a S, device: &'a D, trace: &Trace) -> Self {
        Self { serve, device, blocks: Vec::with_capacity(trace.allocations as usize) }
    }

    /// Does one event.
    pub(super) fn apply(&mut self, event: Event) -> Result<(), AllocError> {
        match event {
            Event::Alloc { bytes, stream } => {
                let block = self.serve.alloc(bytes, stream)?;
                self.device.touch(stream, block.ptr(), bytes, self.blocks.len() as u64);
                self.blocks.push(Some(block));
            }
            Event::Free { block } => {
                let block = self.blocks[block as usize].take().expect("a sound trace");
                self.device.retire(block.ptr(), block.bytes());
                self.serve.free(block);
            }
            Event::Record { block: number, stream } => {
                let block = self.blocks[number as usize].as_mut().expect("a sound trace");
                self.serve.record(block, stream)?;
                self.device.touch(stream, block.ptr(), block.bytes(), u64::from(number));
            }
            Event::Iteration => {}
        }
        Ok(())
    }
}
