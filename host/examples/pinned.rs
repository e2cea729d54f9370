//! A staging buffer in page-locked memory, as a device copies from at full speed; and what happens
//! at the system's limit.

use allocator_api2::vec::Vec;
use genesis_mem_host::{AtLimit, Pinned};

fn main() {
    let pinned = Pinned::new().at_limit(AtLimit::FallBack);
    let mut staging: Vec<f32, &Pinned> = Vec::with_capacity_in(1 << 20, &pinned);
    staging.extend((0..1 << 20).map(|n| n as f32));
    println!(
        "{} MiB, page-locked: {}",
        (staging.capacity() * size_of::<f32>()) >> 20,
        pinned.is_pinned(staging.as_ptr().cast())
    );
    if let Some(error) = pinned.last_error() {
        println!("{} allocations from ordinary memory: {error}", pinned.fallbacks());
    }
}
