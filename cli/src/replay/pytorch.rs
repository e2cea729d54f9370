//! What PyTorch's allocator needs for traces that are known.
//!
//! The figures of `pytorch.csv` are those of a simulator of PyTorch 2.15's allocator, whose peaks
//! and call counts are the same as those of its real code on each of these traces: peak reserved
//! memory as a multiple of peak live memory, on a device that is large enough (*free*) and on the
//! smallest one that is (*tight*), each with the driver calls that it takes. *Expandable* stands
//! for `expandable_segments:True`.

use genesis_mem_cuda::replay::Report;
use serde::Deserialize;

/// A line of the table.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct PyTorch {
    trace: String,
    allocations: u64,
    default_free: f64,
    default_free_calls: u64,
    default_tight: f64,
    default_tight_calls: u64,
    expandable_free: f64,
    expandable_free_calls: u64,
    expandable_tight: f64,
    expandable_tight_calls: u64,
}

/// Memory over peak live memory, and driver calls.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Figures {
    pub(crate) over_live: f64,
    pub(crate) calls: u64,
}

impl PyTorch {
    /// The figures for a trace that was replayed in full, if it is known.
    pub(crate) fn of(report: &Report) -> Option<Self> {
        let mut table = csv::Reader::from_reader(&include_bytes!("pytorch.csv")[..]);
        let mut lines = table.deserialize().map(|line| line.expect("a test reads all lines"));
        lines.find(|line: &Self| {
            line.trace == report.trace && line.allocations == report.allocations
        })
    }

    /// By default, and with expandable segments.
    pub(crate) fn figures(&self, tight: bool) -> [Figures; 2] {
        let pairs = match tight {
            true => [
                (self.default_tight, self.default_tight_calls),
                (self.expandable_tight, self.expandable_tight_calls),
            ],
            false => [
                (self.default_free, self.default_free_calls),
                (self.expandable_free, self.expandable_free_calls),
            ],
        };
        pairs.map(|(over_live, calls)| Figures { over_live, calls })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(trace: &str, allocations: u64) -> Option<PyTorch> {
        let report = Report { trace: trace.into(), allocations, ..Report::default() };
        PyTorch::of(&report)
    }

    #[test]
    fn a_trace_is_known_by_its_name_and_length() {
        let known = of("10_rl_lstm_small", 199_135).unwrap();
        assert_eq!(known.figures(true)[0], Figures { over_live: 1.1816, calls: 167 });
        assert_eq!(known.figures(false)[1], Figures { over_live: 1.117, calls: 85 });
        assert!(of("09a_dlrm_sparse", 10_569).is_some(), "the sample of the demonstration");
        // Reads all lines.
        assert!(of("10_rl_lstm_small", 5).is_none() && of("mine", 199_135).is_none());
    }
}
