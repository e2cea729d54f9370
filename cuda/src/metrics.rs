//! The statistics for Prometheus.
#![forbid(unsafe_code)]

use std::fmt::Display;

use genesis_mem_profile::{Memory, format::openmetrics::Source};

use crate::{
    DeviceAllocator, PinnedPool, PoolId, driver::Driver, driver::StreamId, shared::Shared,
};

impl<D: Driver> DeviceAllocator<D> {
    /// The statistics for [`openmetrics`](genesis_mem_profile::format::openmetrics): of the device's
    /// memory, of each stream and private pool, and of the allocator's own page-locked memory.
    /// `device` is the value of the label of that name, as a rule the device's number.
    pub fn metrics(&self, device: impl Display) -> Vec<Source> {
        let mut sources = sources_of(self.shared(), Memory::Device, &device);
        if let Some(pool) = self.staging().pool() {
            sources.extend(pool.metrics(device));
        }
        sources
    }
}

impl<D: Driver> PinnedPool<D> {
    /// The same of a pool of its own.
    pub fn metrics(&self, device: impl Display) -> Vec<Source> {
        sources_of(&self.0, Memory::Pinned, &device)
    }
}

fn sources_of<D: Driver>(shared: &Shared<D>, memory: Memory, device: &impl Display) -> Vec<Source> {
    let mut parts: Vec<(StreamId, PoolId)> =
        shared.heaps().map(|heap| (heap.stream, heap.pool)).collect();
    parts.sort_unstable();
    parts.dedup();
    let parts = parts.into_iter().map(|(stream, pool)| {
        let snapshot = shared.snapshot_of(|heap| (heap.stream, heap.pool) == (stream, pool));
        Source::part(memory, format_args!("{:#x}", stream.0), pool.0, snapshot)
    });
    let whole = Source::new(memory, shared.snapshot());
    [whole].into_iter().chain(parts).map(|source| source.label("device", device)).collect()
}
