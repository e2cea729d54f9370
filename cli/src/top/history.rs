//! What was seen so far, and how fast it changes.

use std::collections::VecDeque;

use genesis_mem_host::core::frag::{self, Ratio};

use super::source::Sample;
use crate::snapshot::{Report, Row};

/// How many points are kept: more than any terminal is wide.
const MOST_POINTS: usize = 1000;

/// One moment, as far as it is drawn over time.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Point {
    pub(super) requested_bytes: u64,
    pub(super) allocated_bytes: u64,
    pub(super) reserved_bytes: u64,
    pub(super) cached_bytes: u64,
    pub(super) resident_bytes: u64,
    /// Since the point before.
    pub(super) rates: Rates,
}

/// What happens in a second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Rates {
    pub(super) allocations: f64,
    pub(super) frees: f64,
    pub(super) purged_bytes: f64,
    /// Allocations from a block at hand.
    pub(super) hits: Ratio,
    /// Frees by another thread than the owner.
    pub(super) remote: Ratio,
}

/// A size class as it is shown.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Class {
    /// Zero for large blocks.
    pub(super) block_bytes: u64,
    pub(super) live: u64,
    /// In a second; so are frees.
    pub(super) allocations: f64,
    pub(super) frees: f64,
    pub(super) allocated_bytes: u64,
    /// Allocated but not asked for.
    pub(super) waste: Ratio,
}

/// The last two samples, and a point for each before.
#[derive(Debug, Default)]
pub(super) struct History {
    before: Option<Sample>,
    pub(super) now: Option<Sample>,
    /// The oldest first.
    pub(super) points: VecDeque<Point>,
}

impl History {
    pub(super) fn add(&mut self, sample: Sample) {
        self.before = self.now.replace(sample);
        let (Some(now), before) = (&self.now, &self.before) else { return };
        let report = &now.report;
        self.points.push_back(Point {
            requested_bytes: report.requested_bytes.current,
            allocated_bytes: report.allocated_bytes.current,
            reserved_bytes: report.reserved_bytes.current,
            cached_bytes: report.cached_bytes.current,
            resident_bytes: now.resident_bytes.unwrap_or(0),
            rates: before.as_ref().map_or_else(Rates::default, |before| rates(before, now)),
        });
        if self.points.len() > MOST_POINTS {
            self.points.pop_front();
        }
    }

    /// The last point; zeroes before there is one.
    pub(super) fn last(&self) -> Point {
        self.points.back().copied().unwrap_or_default()
    }

    /// The size classes in use, by size.
    pub(super) fn classes(&self) -> Vec<Class> {
        let Some(now) = &self.now else { return Vec::new() };
        let seconds = self.before.as_ref().map_or(f64::INFINITY, |before| seconds(before, now));
        let earlier = |row: &Row| {
            let before = self.before.as_ref().map(|before| rows(&before.report));
            let mut before = before.into_iter().flatten();
            let found = before.find(|before| before.block_bytes == row.block_bytes);
            found.map_or((0, 0), |before| (before.allocations, before.frees))
        };
        let class = |row: &Row| {
            let (allocations, frees) = earlier(row);
            Class {
                block_bytes: row.block_bytes,
                live: row.allocations.saturating_sub(row.frees),
                allocations: row.allocations.saturating_sub(allocations) as f64 / seconds,
                frees: row.frees.saturating_sub(frees) as f64 / seconds,
                allocated_bytes: row.allocated_bytes,
                waste: frag::internal(row.requested_bytes, row.allocated_bytes),
            }
        };
        rows(&now.report).filter(|row| row.allocations > 0).map(class).collect()
    }
}

fn rows(report: &Report) -> impl Iterator<Item = &Row> {
    report.classes.iter().chain([&report.large])
}

fn seconds(before: &Sample, now: &Sample) -> f64 {
    now.taken.duration_since(before.taken).as_secs_f64().max(1e-3)
}

fn rates(before: &Sample, now: &Sample) -> Rates {
    let seconds = seconds(before, now);
    let (old, new) = (&before.report, &now.report);
    // A process that runs another program starts over.
    let grown = |of: fn(&Report) -> u64| of(new).saturating_sub(of(old));
    let frees = grown(|report| report.frees);
    let (hits, misses) = (grown(|report| report.cache_hits), grown(|report| report.cache_misses));
    Rates {
        allocations: grown(|report| report.allocations) as f64 / seconds,
        frees: frees as f64 / seconds,
        purged_bytes: grown(|report| report.purged_bytes) as f64 / seconds,
        hits: Ratio::new(hits, hits + misses),
        remote: Ratio::new(grown(|report| report.remote_frees), frees),
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::{
        super::source::tests::{line, sample},
        *,
    };

    #[test]
    fn rates_are_of_the_time_between_two_looks() {
        let (mut history, start) = (History::default(), Instant::now());
        history.add(sample(&line(1000, 400), start));
        assert_eq!(history.last().rates, Rates::default());
        assert!(history.classes().iter().all(|class| class.allocations == 0.0));
        history.add(sample(&line(5000, 1000), start + Duration::from_secs(2)));
        let rates = history.last().rates;
        assert_eq!((rates.allocations, rates.frees), (2000.0, 1700.0));
        assert_eq!(rates.hits, Ratio::new(4000, 4000));
        let classes = history.classes();
        assert_eq!(classes.iter().map(|class| class.block_bytes).collect::<Vec<_>>(), [64, 0]);
        assert_eq!(
            (classes[0].live, classes[0].allocations, classes[0].frees),
            (1000, 2000.0, 1700.0)
        );
        // Another program in the same process has counted less.
        history.add(sample(&line(10, 5), start + Duration::from_secs(3)));
        assert_eq!(history.last().rates.allocations, 0.0);
    }

    #[test]
    fn points_are_forgotten_in_the_end() {
        let (mut history, start) = (History::default(), Instant::now());
        for n in 0..MOST_POINTS as u64 + 10 {
            history.add(sample(&line(n + 10, n), start + Duration::from_secs(n)));
        }
        assert_eq!(history.points.len(), MOST_POINTS);
        assert_eq!(history.points[0].requested_bytes, 10 * 48 + 4_000_000);
    }
}
