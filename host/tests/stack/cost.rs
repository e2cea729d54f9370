//! What a capture costs.

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use genesis_mem_host::stack;

use crate::reference::Frames;

fn fastest_ns(mut f: impl FnMut()) -> f64 {
    const TIMES: u32 = 1000;
    let round = || {
        let start = Instant::now();
        (0..TIMES).for_each(|_| f());
        start.elapsed()
    };
    let fastest = std::iter::repeat_with(round).take(50).min().unwrap_or(Duration::ZERO);
    fastest.as_nanos() as f64 / f64::from(TIMES)
}

#[inline(never)]
fn at_depth(depth: usize, f: &mut dyn FnMut()) {
    if depth == 0 {
        f()
    } else {
        at_depth(black_box(depth - 1), f)
    }
    black_box(depth);
}

#[test]
#[ignore = "measures, on a quiet machine and with optimization"]
fn nanoseconds_of_a_capture() {
    for count in [8, 16, 32, 64] {
        at_depth(64, &mut || {
            let ours = fastest_ns(|| {
                let mut frames = [0; 64];
                assert_eq!(stack::capture(&mut frames[..count], 0), count);
                black_box(&frames);
            });
            println!("{count} frames: {ours:.0} ns");
        });
    }
    at_depth(20, &mut || {
        let count = Frames::of_system().get().len();
        let system = fastest_ns(|| drop(black_box(Frames::of_system())));
        let ours = fastest_ns(|| drop(black_box(Frames::of_ours(64, 0))));
        println!("all {count} frames: {ours:.0} ns, the system's unwinder {system:.0} ns");
    });
}
