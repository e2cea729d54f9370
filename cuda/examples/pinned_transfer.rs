//! Transfers through page-locked memory: staged ones from ordinary memory, and buffers that live
//! there. On a GPU, and what arrives is checked; without one on the simulated device, which has no
//! contents but counts and models what it is asked.
use std::{error::Error, time::Instant};

use genesis_mem_cuda::{
    Builder, DeviceAllocator, DeviceBuffer, PinnedBuffer,
    cudarc::CudarcDriver,
    driver::{StreamId, Transfer},
    sim::{SimDriver, SimOptions},
};

const VALUES: usize = 16 << 20;
const ROUNDS: usize = 8;

fn main() -> Result<(), Box<dyn Error>> {
    match CudarcDriver::new(0) {
        Ok(driver) => {
            let stream = driver.context().new_stream()?;
            let allocator = Builder::new().build_on(driver)?;
            transfers(&allocator, &stream, true)?;
        }
        Err(error) => {
            println!("no GPU ({error}); on the simulated device instead:");
            let driver = SimDriver::new(SimOptions { lag_ops: 3, ..SimOptions::default() });
            let allocator = Builder::new().build_on(driver.clone())?;
            transfers(&allocator, &StreamId(1), false)?;
            println!("modelled time of all calls: {} ms", driver.cost_ns() / 1_000_000);
            drop(allocator);
            if let Some(violation) = driver.finish().first() {
                return Err(violation.to_string().into());
            }
        }
    }
    Ok(())
}

fn transfers<D: Transfer>(
    allocator: &DeviceAllocator<D>,
    stream: &D::Stream,
    has_contents: bool,
) -> Result<(), Box<dyn Error>> {
    let values: Vec<f32> = (0..VALUES).map(|i| i as f32).collect();
    let mut back = vec![0.0; VALUES];
    let mut device = DeviceBuffer::<f32, D>::new(allocator, VALUES, stream)?;
    for pinned in [false, true] {
        allocator.enable_pinned_memory(pinned);
        let begin = Instant::now();
        for _ in 0..ROUNDS {
            device.copy_from_host(&values)?;
            device.copy_to_host(&mut back)?;
        }
        let gib = (2 * ROUNDS * size_of_val(&values[..])) as f64 / f64::from(1 << 30);
        if has_contents {
            let rate = gib / begin.elapsed().as_secs_f64();
            println!("ordinary memory, through page-locked {pinned}: {rate:.1} GiB/s");
            if back != values {
                return Err("the values did not come back".into());
            }
        }
    }

    // The CPU fills the next batch while the last one is on its way.
    let pool = allocator.pinned_pool()?;
    for batch in 0..ROUNDS {
        let mut source = PinnedBuffer::<f32, D>::new(pool, 1 << 20)?;
        source.as_mut_slice().fill(batch as f32);
        device.copy_from_pinned(&mut source)?;
    }
    let mut last = PinnedBuffer::<f32, D>::new(pool, 1 << 20)?;
    device.copy_to_pinned(&mut last)?;
    if has_contents && last.as_slice().iter().any(|&value| value != (ROUNDS - 1) as f32) {
        return Err("the last batch is not what arrived".into());
    }
    println!("{}", pool.memory_stats());
    Ok(())
}
