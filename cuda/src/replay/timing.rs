//! How much time the allocator itself takes.
//!
//! Reading the clock around each call would cost as much as the call. So whole passes over the
//! trace are timed, on a device that checks nothing; the time inside the driver is taken off, and
//! so is that of a pass in which everything happens but the allocator's part. Of several passes
//! the fastest counts: other programs can only make it slower.
#![forbid(unsafe_code)]

use std::time::{Duration, Instant};

use super::{
    device::Device,
    error::ReplayError,
    player::{Nothing, Player, Serve, Session},
    run::ReplayOptions,
    trace::{Event, Trace},
};

/// Passes at most, and the time after which no further one begins.
const PASSES: usize = 40;
const ENOUGH: Duration = Duration::from_millis(400);

/// Time within the allocator for the first `count` events, which it can serve, nanoseconds.
pub(super) fn bookkeeping_ns<D: Device>(
    trace: &Trace,
    mut options: ReplayOptions,
    count: usize,
) -> Result<f64, ReplayError> {
    options.device.checks = false;
    let (mut with, mut without) = (f64::INFINITY, f64::INFINITY);
    let begin = Instant::now();
    for _ in 0..PASSES {
        let session = Session::<D>::open(trace, options)?;
        let (driver, events) = (session.allocator.driver(), &session.events[..count]);
        let (before_ns, before_calls) = (driver.time_inside(), driver.calls());
        let whole = pass(&mut Player::new(&session.allocator, &*session.device, trace), events)?;
        let inside = driver.time_inside() - before_ns;
        // Each call reads the clock twice, and one reading falls outside of what was measured.
        let clock = (driver.calls() - before_calls) as f64 * clock_ns();
        with = with.min(whole.saturating_sub(inside).as_nanos() as f64 - clock);
        let rest = pass(&mut Player::new(&Nothing, &*session.device, trace), events)?;
        without = without.min(rest.as_nanos() as f64);
        if begin.elapsed() > ENOUGH {
            break;
        }
    }
    Ok((with - without).max(0.0))
}

fn pass<S: Serve, D: Device>(
    player: &mut Player<'_, S, D>,
    events: &[Event],
) -> Result<Duration, ReplayError> {
    let begin = Instant::now();
    for &event in events {
        player.apply(event).map_err(ReplayError::Alloc)?;
    }
    Ok(begin.elapsed())
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
