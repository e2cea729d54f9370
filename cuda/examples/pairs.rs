//! How long a block takes that is at hand: pairs of one size, of mixed sizes, on two threads, and
//! while the profiler looks.
use std::{error::Error, hint::black_box, time::Instant};

use genesis_mem_cuda::{
    Builder, DeviceAllocator,
    driver::StreamId,
    sim::{SimDriver, SimOptions},
};

const PAIRS: u64 = 2_000_000;

/// Nanoseconds of a pair, the best of five runs.
fn best(mut run: impl FnMut()) -> f64 {
    let mut time = || {
        let begin = Instant::now();
        run();
        begin.elapsed().as_nanos() as f64 / PAIRS as f64
    };
    (0..5).map(|_| time()).fold(f64::INFINITY, f64::min)
}

fn pairs(allocator: &DeviceAllocator<SimDriver>, stream: StreamId, bytes: u64) {
    for _ in 0..PAIRS {
        let block = black_box(allocator.alloc(black_box(bytes), stream));
        if let Ok(block) = block {
            let _ = black_box(allocator.free(block));
        }
    }
}

/// Pairs with 64 blocks of changing sizes live.
fn mixed(allocator: &DeviceAllocator<SimDriver>, stream: StreamId) {
    let mut live: Vec<_> = (0..64).map(|i| allocator.alloc(i * 999 + 1, stream).ok()).collect();
    let mut random = 1u64;
    for _ in 0..PAIRS {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let slot = &mut live[(random >> 58) as usize];
        if let Some(block) = slot.take() {
            let _ = allocator.free(block);
        }
        *slot = allocator.alloc(1 << (random >> 40 & 15), stream).ok();
    }
    live.into_iter().flatten().for_each(|block| {
        let _ = allocator.free(block);
    });
}

/// On two threads, a stream each.
fn on_two(allocator: &DeviceAllocator<SimDriver>) {
    std::thread::scope(|scope| {
        for on in 0..2 {
            scope.spawn(move || pairs(allocator, StreamId(on), 4096));
        }
    });
}

fn main() -> Result<(), Box<dyn Error>> {
    let allocator = Builder::new().build_on(SimDriver::new(SimOptions::default()))?;
    for bytes in [512, 4096, 1 << 20, 64 << 20] {
        let ns = best(|| pairs(&allocator, StreamId(0), bytes));
        println!("pair of {bytes} bytes: {ns:.1} ns");
    }
    println!("mixed sizes, 64 live: {:.1} ns", best(|| mixed(&allocator, StreamId(0))));
    let one = best(|| pairs(&allocator, StreamId(0), 4096));
    let two = best(|| on_two(&allocator));
    println!("two threads, a stream each: {:.2} times the pairs of one", 2.0 * one / two);
    allocator.enable_profiling(true);
    let on = best(|| pairs(&allocator, StreamId(0), 4096));
    let two = best(|| on_two(&allocator));
    println!("profiling: {on:.1} ns, two threads {:.2} times the pairs of one", 2.0 * on / two);
    let recording = allocator.record();
    let recorded = best(|| pairs(&allocator, StreamId(0), 4096));
    println!("recording: {recorded:.1} ns");
    drop(recording);
    Ok(())
}
