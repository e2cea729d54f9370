//! The statistics for Prometheus on the simulated device: parts add up to their whole.

use genesis_mem_cuda::{
    Builder, DeviceAllocator, PinnedBuffer,
    driver::StreamId,
    profile::format::openmetrics,
    sim::{SimDriver, SimOptions},
};

/// The sum of all samples called `name` whose labels contain `label`.
fn sum(text: &str, name: &str, label: &str) -> u64 {
    let samples = text.lines().filter_map(|line| {
        let (labels, value) = line.strip_prefix(name)?.strip_prefix('{')?.split_once("} ")?;
        labels.contains(label).then(|| value.parse::<u64>().unwrap())
    });
    samples.sum()
}

fn allocator() -> DeviceAllocator<SimDriver> {
    Builder::new().build_on(SimDriver::new(SimOptions::default())).unwrap()
}

#[test]
fn streams_and_pools_add_up_to_the_device() {
    let allocator = allocator();
    let pool = allocator.create_pool();
    let mut blocks = Vec::new();
    for stream in 0..3 {
        for bytes in [1000, 70_000, 5 << 20] {
            blocks.push(allocator.alloc(bytes, StreamId(stream)).unwrap());
            blocks.push(allocator.alloc_in(bytes * 2, StreamId(stream), pool).unwrap());
        }
    }
    blocks.drain(..5).for_each(|block| allocator.free(block).unwrap());
    let text = openmetrics::to_string(allocator.metrics(3));
    let stats = allocator.memory_stats();
    for (kind, level) in [
        ("requested", stats.requested_bytes),
        ("allocated", stats.allocated_bytes),
        ("inactive", stats.inactive_bytes),
        ("cached", stats.cached_bytes),
    ] {
        let whole = sum(&text, &format!("genesis_mem_{kind}_bytes"), "device=\"3\"");
        let parts = sum(&text, &format!("genesis_mem_stream_{kind}_bytes"), "device=\"3\"");
        assert_eq!((whole, parts), (level.current, level.current), "{kind}\n{text}");
    }
    let counter = "genesis_mem_stream_allocations_total";
    assert_eq!(sum(&text, counter, "stream=\"0x1\""), 6);
    assert_eq!(sum(&text, counter, "pool=\"1\""), 9);
    assert_eq!(sum(&text, "genesis_mem_frees_total", "memory=\"device\""), 5);
    assert!(!text.contains("pinned"), "{text}");
    blocks.into_iter().for_each(|block| allocator.free(block).unwrap());
}

#[test]
fn page_locked_memory_has_its_own_label() {
    let allocator = allocator();
    let buffer = PinnedBuffer::<u8, _>::new(allocator.pinned_pool().unwrap(), 3000).unwrap();
    let text = openmetrics::to_string(allocator.metrics(0));
    assert_eq!(sum(&text, "genesis_mem_requested_bytes", "memory=\"pinned\""), 3000);
    assert_eq!(sum(&text, "genesis_mem_requested_bytes", "memory=\"device\""), 0);
    drop(buffer);
}
