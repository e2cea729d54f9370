//! Two streams share a device: a block freed on one serves the other, and nobody waits on the CPU.
use std::error::Error;

use genesis_mem_cuda::{
    Builder, DeviceBuffer,
    driver::StreamId,
    sim::{SimDriver, SimOptions},
};

fn main() -> Result<(), Box<dyn Error>> {
    let device = SimOptions { device_bytes: 1 << 30, lag_ops: 4, ..SimOptions::default() };
    let driver = SimDriver::new(device);
    let allocator = Builder::new().build_on(driver.clone())?;
    let (compute, copies) = (StreamId(1), StreamId(2));

    let mut weights = DeviceBuffer::<f32, _>::new(&allocator, 160 << 20, &compute)?;
    driver.touch(compute, weights.ptr(), weights.bytes(), 1);
    weights.record_stream(copies)?;
    driver.touch(copies, weights.ptr(), weights.bytes(), 1);
    driver.retire(weights.ptr(), weights.bytes());
    drop(weights);

    // The device is too small for both: the memory changes hands, in the order of the streams.
    let batch = DeviceBuffer::<f32, _>::new(&allocator, 160 << 20, &copies)?;
    driver.touch(copies, batch.ptr(), batch.bytes(), 2);
    driver.retire(batch.ptr(), batch.bytes());

    let counts = allocator.counts();
    println!("reserved {} MiB", allocator.reserved_bytes() >> 20);
    println!("waits on the device {}, on the CPU {}", counts.stream_waits, counts.cpu_waits);
    drop((batch, allocator));
    let violations = driver.finish();
    println!("rules broken: {}", violations.len());
    if let Some(violation) = violations.into_iter().next() {
        return Err(violation.to_string().into());
    }
    Ok(())
}
