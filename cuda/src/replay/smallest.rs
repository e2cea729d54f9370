//! The search for the smallest device.
#![forbid(unsafe_code)]

use super::{error::ReplayError, report::Report, run::Replay};

impl Replay<'_> {
    /// The report on the smallest simulated device, in granules, on which the trace completes;
    /// on the device of the options where it doesn't complete even there. `progress` is told the
    /// device's bytes and how many events are done.
    ///
    /// Found by halving: where a device happens to be enough and some larger one is not, it may be
    /// missed.
    ///
    /// # Errors
    /// As for [`run`](Self::run).
    pub fn smallest(&self, mut progress: impl FnMut(u64, usize)) -> Result<Report, ReplayError> {
        let granule = self.options.device.granularity_bytes;
        let mut search = *self;
        (search.options.timing, search.options.timeline) = (false, false);
        search.options.device.checks = false;
        let mut completes = |granules: u64| {
            search.options.device.device_bytes = granules * granule;
            let report = search.run(|events| progress(granules * granule, events))?;
            Ok::<_, ReplayError>(!report.out_of_memory)
        };
        let most = self.options.device.device_bytes / granule;
        let mut low = (self.trace.peak_live_bytes / granule).min(most);
        let mut high = (low + low / 4 + 8).min(most);
        while high < most && !completes(high)? {
            (low, high) = (high + 1, (high * 2).min(most));
        }
        while low < high {
            let middle = low.midpoint(high);
            if completes(middle)? { high = middle } else { low = middle + 1 }
        }
        let mut last = *self;
        last.options.device.device_bytes = high * granule;
        last.run(|events| progress(high * granule, events))
    }
}
