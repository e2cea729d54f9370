//! Many threads on few processors: what they wait for one another in the allocator, and what memory
//! each of them holds.

mod shapes;
mod watch;

use std::alloc::GlobalAlloc;
use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use self::shapes::Shape;
use crate::cases::{WorkingSet, up_to_1_kib};
use crate::meter::{self, Measured, Meter};
use crate::random::Random;

/// The names of all shapes.
pub const SHAPES: [&str; 4] = ["local", "producer/consumer", "all to all", "churn"];

fn shape<A: GlobalAlloc + Sync>(name: &str) -> Option<Shape<A>> {
    let shapes: [Shape<A>; 4] =
        [shapes::local, shapes::hand_over, shapes::all_to_all, shapes::churn];
    SHAPES.iter().zip(shapes).find(|shape| *shape.0 == name).map(|shape| shape.1)
}

/// What a shape took with a number of threads.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Busy {
    /// Time on processors, all threads together, per operation.
    pub cpu_ns_per_op: f64,
    /// The part of the threads' time in which they were asleep, in percent.
    pub asleep_percent: f64,
    /// How often a thread waited for something, per thousand operations.
    pub waits_per_1000: f64,
    /// Resident memory over that at the start, at the most.
    pub grown_kib: u64,
    /// What the program held at a time.
    pub live_kib: u64,
}

/// Does the work of one of [`SHAPES`] with that many threads; nothing if there is no such shape.
pub fn measure<A: GlobalAlloc + Sync>(
    alloc: &'static A,
    name: &str,
    threads: usize,
) -> Option<Busy> {
    let shape = shape::<A>(name)?;
    let start_kib = meter::anonymous_kib();
    let done = shape(alloc, threads);
    let operations = done.operations as f64;
    Some(Busy {
        cpu_ns_per_op: done.took.cpu_ns as f64 / operations,
        asleep_percent: 100.0 * done.took.asleep_ns as f64 / done.took.wall_ns as f64,
        waits_per_1000: 1000.0 * done.took.waits as f64 / operations,
        grown_kib: meter::grown_kib(start_kib),
        live_kib: done.live_bytes / 1024,
    })
}

/// What a thread holds that has used the allocator and is idle now, KiB.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct IdleThreads {
    /// Right after it has freed everything.
    pub freed_kib: f64,
    /// Five seconds later.
    pub idle_kib: f64,
}

/// Starts that many threads, has each use blocks of up to 1 KiB and of up to 1 MiB, free them all,
/// and stay; what they held before they allocated, such as stacks, is not counted.
///
/// # Panics
/// When there are no threads.
pub fn idle<A: GlobalAlloc + Sync>(alloc: &'static A, threads: usize) -> IdleThreads {
    assert!(threads > 0, "memory is measured per thread");
    let barrier = Barrier::new(threads + 1);
    thread::scope(|scope| {
        for seed in 0..threads as u64 {
            let barrier = &barrier;
            scope.spawn(move || {
                barrier.wait();
                barrier.wait();
                WorkingSet::new(alloc, 1_000, up_to_1_kib, seed).replace(20_000);
                WorkingSet::new(alloc, 50, Random::heavy_tailed_size, seed).replace(2_000);
                barrier.wait();
                barrier.wait();
            });
        }
        barrier.wait();
        let before_kib = meter::anonymous_kib();
        let per_thread = |kib: u64| (kib as f64 - before_kib as f64) / threads as f64;
        barrier.wait();
        barrier.wait();
        let freed_kib = per_thread(meter::anonymous_kib());
        thread::sleep(Duration::from_secs(5));
        let idle_kib = per_thread(meter::anonymous_kib());
        barrier.wait();
        IdleThreads { freed_kib, idle_kib }
    })
}

/// How much more two threads do than one in the same time, each on blocks of its own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Scaling {
    /// By the clock on the wall, which other processes on the machine disturb.
    pub elapsed: f64,
    /// By processor time, which does not see threads that wait for one another asleep.
    pub cpu: f64,
}

/// Measures scaling; each number is made of the best of seven attempts, since a disturbance can only
/// slow them down. One thread and two take turns.
pub fn scaling<A: GlobalAlloc + Sync>(alloc: &'static A) -> Scaling {
    let attempts: Vec<[Measured; 2]> =
        (0..7).map(|_| [replace(alloc, 1), replace(alloc, 2)]).collect();
    let ratio = |cost: fn(&Measured) -> f64| {
        let best = |threads: usize| {
            attempts.iter().map(|it| cost(&it[threads - 1])).fold(f64::INFINITY, f64::min)
        };
        best(1) / best(2)
    };
    // Elapsed time shrinks as threads share the work; processor time at best stays.
    Scaling { elapsed: ratio(|it| it.wall_ns_per_op), cpu: 2.0 * ratio(|it| it.cpu_ns_per_op) }
}

fn replace<A: GlobalAlloc + Sync>(alloc: &'static A, threads: u64) -> Measured {
    const LIVE: usize = 10_000;
    const REPLACEMENTS: u64 = 10_000_000;
    let mut meter = Meter::start();
    thread::scope(|scope| {
        for seed in 0..threads {
            scope.spawn(move || {
                WorkingSet::new(alloc, LIVE, up_to_1_kib, seed).replace(REPLACEMENTS);
            });
        }
    });
    meter.count(threads * REPLACEMENTS);
    meter.finish()
}

#[cfg(test)]
mod tests {
    use std::alloc::System;

    use super::{SHAPES, idle, measure};

    static SYSTEM: System = System;

    #[test]
    fn every_shape_works_with_any_number_of_threads() {
        for name in SHAPES {
            for threads in [1, 3] {
                let busy = measure(&SYSTEM, name, threads).expect("the shape exists");
                assert!(busy.cpu_ns_per_op > 0.0 && busy.live_kib > 0, "{name}: {busy:?}");
                assert!((0.0..=100.0).contains(&busy.asleep_percent), "{name}: {busy:?}");
            }
        }
        assert_eq!(measure(&SYSTEM, "none", 1), None);
    }

    #[test]
    fn idle_threads_hold_something_but_not_much() {
        let held = idle(&SYSTEM, 4);
        assert!(held.freed_kib < 16.0 * 1024.0, "{held:?}");
    }
}
