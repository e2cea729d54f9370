//! What was never freed.
#![forbid(unsafe_code)]

use std::fmt;

use genesis_mem_core::stats::Bytes;
use rustc_hash::FxHashMap;

use crate::{Memory, Report, clock, summary::age};

/// A point in time: what is live then is kept on purpose.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Baseline {
    pub(crate) time_ns: u64,
}

impl Baseline {
    /// What is live now is no leak.
    pub fn now() -> Self {
        Self { time_ns: clock::now_ns() }
    }

    /// From the time in nanoseconds; zero for a baseline at which nothing was live.
    pub const fn from_ns(time_ns: u64) -> Self {
        Self { time_ns }
    }

    /// The time, nanoseconds.
    pub const fn time_ns(self) -> u64 {
        self.time_ns
    }
}

/// Blocks from one call site that are still live.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leak {
    /// Which memory.
    pub memory: Memory,
    /// File and line.
    pub location: String,
    /// How many blocks.
    pub blocks: u64,
    /// Their bytes.
    pub bytes: u64,
    /// How long the oldest is live, nanoseconds.
    pub oldest_ns: u64,
    /// How long the youngest is.
    pub youngest_ns: u64,
}

/// Leaks by call site, those of most bytes first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Leaks {
    /// One for each call site.
    pub sites: Vec<Leak>,
}

impl Leaks {
    /// What was allocated after `baseline` and is live in `report`. Blocks from before anybody
    /// looked are no leaks: nobody knows who they belong to.
    pub fn since(report: &Report, baseline: Baseline) -> Self {
        let mut sites = FxHashMap::default();
        for live in report.live.iter().filter(|live| live.since_ns > baseline.time_ns) {
            let age_ns = report.time_ns.saturating_sub(live.since_ns);
            let leak = sites.entry((live.memory, live.stack)).or_insert_with(|| Leak {
                memory: live.memory,
                location: live.location(&report.stacks),
                blocks: 0,
                bytes: 0,
                oldest_ns: age_ns,
                youngest_ns: age_ns,
            });
            leak.blocks += 1;
            leak.bytes += live.bytes;
            leak.oldest_ns = leak.oldest_ns.max(age_ns);
            leak.youngest_ns = leak.youngest_ns.min(age_ns);
        }
        let mut sites: Vec<Leak> = sites.into_values().collect();
        sites.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.location.cmp(&b.location)));
        Self { sites }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.sites.is_empty()
    }

    /// Blocks of all sites.
    pub fn blocks(&self) -> u64 {
        self.sites.iter().map(|leak| leak.blocks).sum()
    }

    /// Bytes of all sites.
    pub fn bytes(&self) -> u64 {
        self.sites.iter().map(|leak| leak.bytes).sum()
    }
}

impl fmt::Display for Leaks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("no leaks\n");
        }
        writeln!(f, "{} in {} blocks never freed:", Bytes(self.bytes()), self.blocks())?;
        for leak in &self.sites {
            writeln!(
                f,
                "  {:>10} in {:>6} blocks, {:6} memory, {} to {} old: {}",
                Bytes(leak.bytes).to_string(),
                leak.blocks,
                leak.memory,
                age(leak.youngest_ns),
                age(leak.oldest_ns),
                leak.location
            )?;
        }
        Ok(())
    }
}
