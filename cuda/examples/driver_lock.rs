//! The host's `Pinned` allocator with pages that the GPU's driver locks: ordinary collections that
//! are copied at full speed. Without a GPU ordinary memory serves, and the reason is told.
use allocator_api2::vec::Vec as VecIn;
use genesis_mem_cuda::{DeviceAllocator, DeviceBuffer, DriverLock};
use genesis_mem_host::{AtLimit, Pinned};

/// One for the program: it lives as long as copies may be under way.
static PINNED: Pinned<DriverLock> = Pinned::with_lock(|| DriverLock::device(0), AtLimit::FallBack);

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut batch: VecIn<f32, &Pinned<DriverLock>> = VecIn::with_capacity_in(1 << 20, &PINNED);
    batch.extend((0..1 << 20).map(|n| n as f32));
    println!("page-locked: {}", PINNED.is_pinned(batch.as_ptr().cast()));
    if let Some(error) = PINNED.last_error() {
        println!("{} allocations from ordinary memory: {error}", PINNED.fallbacks());
    }
    let allocator = match DeviceAllocator::new(0) {
        Ok(allocator) => allocator,
        Err(error) => {
            println!("nothing to copy to: {error}");
            return Ok(());
        }
    };
    let stream = allocator.driver().context().new_stream()?;
    let buffer = DeviceBuffer::from_slice(&allocator, &batch, &stream)?;
    println!("arrived: {}", buffer.to_vec()? == batch[..]);
    Ok(())
}
