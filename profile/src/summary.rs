//! A report in words.
#![forbid(unsafe_code)]

use std::fmt::{self, Write};

use genesis_mem_core::stats::Bytes;

use crate::{Memory, Report, Sampling, Usage};

/// Lines of each table.
const LINES: usize = 10;

/// A duration for people.
pub(crate) fn age(ns: u64) -> String {
    match ns {
        0..1_000_000 => format!("{} µs", ns / 1000),
        1_000_000..1_000_000_000 => format!("{} ms", ns / 1_000_000),
        1_000_000_000..600_000_000_000 => format!("{:.1} s", ns as f64 / 1e9),
        _ => format!("{} min", ns / 60_000_000_000),
    }
}

impl Report {
    /// The report for people: totals, the largest holders, who allocated most, churn, sizes.
    pub fn summary(&self) -> String {
        let mut text = String::new();
        self.write(&mut text).expect("a string takes everything");
        text
    }

    fn write(&self, out: &mut String) -> fmt::Result {
        if let Some(Sampling { interval_bytes, samples }) = self.sampling {
            let interval = Bytes(interval_bytes);
            writeln!(
                out,
                "Call sites and sizes are estimated from {samples} samples, one each {interval} \
                 on average."
            )?;
        }
        self.pools(out)?;
        let live = |usage: &Usage| (usage.live_bytes(), usage.live_blocks());
        self.sites(out, "Held now, by call site", self.by_live_bytes(), live)?;
        // Of a moment long ago only what was held is known.
        if self.usages.iter().any(|usage| usage.freed_blocks > 0) {
            let total = |usage: &Usage| (usage.total_bytes, usage.total_blocks);
            self.sites(out, "Allocated so far, by call site", self.by_total_bytes(), total)?;
        }
        self.churn(out)?;
        self.sizes(out)
    }

    fn pools(&self, out: &mut String) -> fmt::Result {
        for pool in &self.pools {
            let of_pool = self.usages.iter().filter(|usage| usage.memory == pool.memory);
            let blocks: u64 = of_pool.map(Usage::live_blocks).sum();
            write!(
                out,
                "{} memory: {} live in {blocks} blocks of {}, {} reserved (peak {})",
                pool.memory,
                Bytes(pool.live_bytes),
                Bytes(pool.allocated_bytes),
                Bytes(pool.reserved_bytes),
                Bytes(pool.reserved_peak_bytes),
            )?;
            if pool.hits.whole > 0 {
                let percent = 100.0 * pool.hits.as_f64();
                write!(out, "; {percent:.1} % of allocations from what was at hand")?;
            }
            if pool.fragmentation.whole > 0 {
                let percent = 100.0 * pool.fragmentation.as_f64();
                let largest = Bytes(pool.largest_free_bytes);
                write!(
                    out,
                    "; {percent:.1} % of free memory outside of its largest range, {largest}"
                )?;
            }
            writeln!(out)?;
        }
        Ok(())
    }

    fn sites<K>(
        &self,
        out: &mut String,
        title: &str,
        sites: Vec<crate::Group<K>>,
        figures: impl Fn(&Usage) -> (u64, u64),
    ) -> fmt::Result {
        if sites.is_empty() {
            return Ok(());
        }
        writeln!(out, "\n{title}:")?;
        for site in sites.iter().take(LINES) {
            let (bytes, blocks) = figures(&site.usage);
            let Usage { memory, stack, .. } = site.usage;
            let (bytes, place) = (Bytes(bytes).to_string(), self.stacks.description(stack));
            writeln!(out, "  {bytes:>10} in {blocks:>8} blocks  {memory:6}  {place}")?;
        }
        others(out, sites.len())
    }

    fn churn(&self, out: &mut String) -> fmt::Result {
        let sites = self.by_short_lives();
        if sites.is_empty() {
            return Ok(());
        }
        writeln!(out, "\nShort-lived, freed within a millisecond:")?;
        for site in sites.iter().take(LINES) {
            let usage = site.usage;
            let (mean, place) =
                (age(usage.mean_lifetime_ns()), self.stacks.description(usage.stack));
            writeln!(
                out,
                "  {:>8} of {:>8} freed blocks, {mean} on average  {:6}  {place}",
                usage.short_blocks, usage.freed_blocks, usage.memory
            )?;
        }
        others(out, sites.len())
    }

    fn sizes(&self, out: &mut String) -> fmt::Result {
        let sizes = self.by_size();
        if sizes.is_empty() {
            return Ok(());
        }
        writeln!(out, "\nBy size, up to:")?;
        for size in sizes {
            let (memory, class): (Memory, u8) = size.key;
            let up_to = 1u64.checked_shl(class.into()).unwrap_or(u64::MAX);
            writeln!(
                out,
                "  {:>10}  {memory:6} {:>10} live in {:>8} blocks, {:>10} in {:>8} so far",
                Bytes(up_to).to_string(),
                Bytes(size.usage.live_bytes()).to_string(),
                size.usage.live_blocks(),
                Bytes(size.usage.total_bytes).to_string(),
                size.usage.total_blocks
            )?;
        }
        Ok(())
    }
}

fn others(out: &mut String, count: usize) -> fmt::Result {
    match count.saturating_sub(LINES) {
        0 => Ok(()),
        others => writeln!(out, "  and {others} more"),
    }
}
