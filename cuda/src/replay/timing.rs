//! How much time the allocator itself takes.
//!
//! Reading the clock around each call would cost as much as the call. So thousands of events are
//! timed as one, on a device that checks nothing; the time inside the driver is taken off, and so
//! is that of a pass in which everything happens but the allocator's part. Of several passes over
//! the trace the fastest counts, part by part: other programs can only make it slower.
#![forbid(unsafe_code)]

use std::time::{Duration, Instant};

use super::{
    device::Device,
    error::ReplayError,
    player::{Nothing, Player, Serve, Session},
    run::ReplayOptions,
    trace::{Event, Trace},
};

/// Events that are timed as one.
const PART: usize = 4096;
/// Passes at least and at most, and the time after which no further one begins.
const PASSES: std::ops::Range<usize> = 3..40;
const ENOUGH: Duration = Duration::from_millis(400);

/// Time within the allocator for the first `count` events, which it can serve, nanoseconds.
pub(super) fn bookkeeping_ns<D: Device>(
    trace: &Trace,
    mut options: ReplayOptions,
    count: usize,
) -> Result<f64, ReplayError> {
    options.device.checks = false;
    let parts = count.div_ceil(PART);
    let (mut with, mut without) = (vec![f64::INFINITY; parts], vec![f64::INFINITY; parts]);
    let begin = Instant::now();
    for pass in 0..PASSES.end {
        if pass >= PASSES.start && begin.elapsed() > ENOUGH {
            break;
        }
        let session = Session::<D>::open(trace, options)?;
        let (driver, events, clock_ns) =
            (session.allocator.driver(), &session.events[..count], clock_ns());
        // Each call reads the clock twice, and one reading falls outside of what was measured.
        let in_driver_ns =
            || driver.time_inside().as_nanos() as f64 + driver.calls() as f64 * clock_ns;
        let mut player = Player::new(&session.allocator, &*session.device, trace);
        time(&mut player, events, in_driver_ns, &mut with)?;
        let mut player = Player::new(&Nothing, &*session.device, trace);
        time(&mut player, events, || 0.0, &mut without)?;
    }
    let sum = |parts: &[f64]| parts.iter().sum::<f64>();
    Ok((sum(&with) - sum(&without)).max(0.0))
}

/// One pass: lowers the time of each part to what it took now, less what `elsewhere_ns` says.
fn time<S: Serve, D: Device>(
    player: &mut Player<'_, S, D>,
    events: &[Event],
    elsewhere_ns: impl Fn() -> f64,
    least_ns: &mut [f64],
) -> Result<(), ReplayError> {
    for (part, least) in events.chunks(PART).zip(least_ns) {
        let (before, begin) = (elsewhere_ns(), Instant::now());
        for &event in part {
            player.apply(event).map_err(ReplayError::Alloc)?;
        }
        let ns = begin.elapsed().as_nanos() as f64 - (elsewhere_ns() - before);
        *least = least.min(ns);
    }
    Ok(())
}

/// What it costs to read the clock once, nanoseconds.
fn clock_ns() -> f64 {
    const READS: u32 = 1000;
    let trial = || {
        let begin = Instant::now();
        (0..READS).for_each(|_| _ = std::hint::black_box(Instant::now()));
        begin.elapsed()
    };
    let best = (0..8).map(|_| trial()).min().unwrap_or_default();
    best.as_nanos() as f64 / f64::from(READS)
}
