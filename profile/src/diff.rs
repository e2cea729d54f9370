//! What changed between two reports of one program.
#![forbid(unsafe_code)]

use std::fmt;

use genesis_mem_core::stats::Bytes;
use rustc_hash::FxHashMap;

use crate::{Memory, Report, StackId, Stacks, Usage};

/// Lines of each table.
const LINES: usize = 10;

/// What one stack or call site held and allocated, earlier and later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// Which memory.
    pub memory: Memory,
    /// From where.
    pub stack: StackId,
    /// In the older report.
    pub older: Usage,
    /// In the newer report.
    pub newer: Usage,
}

impl Change {
    /// Bytes that are live now and were not; negative where there are fewer.
    pub const fn grown_bytes(&self) -> i64 {
        self.newer.live_bytes() as i64 - self.older.live_bytes() as i64
    }

    /// Blocks that are live now and were not.
    pub const fn grown_blocks(&self) -> i64 {
        self.newer.live_blocks() as i64 - self.older.live_blocks() as i64
    }
}

/// The changes from one report to another. Stacks are compared by the names and lines of their
/// frames, so that the reports may come from two runs.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Diff {
    /// Where in the code.
    pub stacks: Stacks,
    /// One for each kind of memory and stack of either report.
    pub changes: Vec<Change>,
    /// Whether one of the reports is an estimate.
    pub estimated: bool,
}

impl Diff {
    /// From `older` to `newer`.
    pub fn between(older: &Report, newer: &Report) -> Self {
        let mut stacks = newer.stacks.clone();
        let mut changes = FxHashMap::default();
        for usage in &newer.usages {
            change(&mut changes, usage, usage.stack).newer.add(usage);
        }
        let mut adopted: FxHashMap<StackId, StackId> = FxHashMap::default();
        for usage in &older.usages {
            let stack = *adopted
                .entry(usage.stack)
                .or_insert_with(|| stacks.adopt(&older.stacks, usage.stack));
            change(&mut changes, usage, stack).older.add(usage);
        }
        let mut changes: Vec<Change> = changes.into_values().collect();
        changes.sort_by_key(|change| (change.memory, change.stack));
        let estimated = older.sampling.is_some() || newer.sampling.is_some();
        Self { stacks, changes, estimated }
    }

    /// The changes by call site, the largest growth first; without those that grew by nothing.
    pub fn sites(&self) -> Vec<Change> {
        let mut sites = FxHashMap::default();
        for each in &self.changes {
            let site = change(&mut sites, &each.newer, self.stacks.site_of(each.stack));
            site.newer.add(&each.newer);
            site.older.add(&each.older);
        }
        let mut sites: Vec<Change> = sites.into_values().collect();
        sites.retain(|site| site.grown_bytes() != 0 || site.grown_blocks() != 0);
        sites.sort_by_cached_key(|site| {
            (-site.grown_bytes(), site.memory, self.stacks.location(site.stack))
        });
        sites
    }

    /// By how many bytes all together grew.
    pub fn grown_bytes(&self) -> i64 {
        self.changes.iter().map(Change::grown_bytes).sum()
    }
}

/// The entry of a stack, with nothing in it at first.
fn change<'c>(
    changes: &'c mut FxHashMap<(Memory, StackId), Change>,
    usage: &Usage,
    stack: StackId,
) -> &'c mut Change {
    let memory = usage.memory;
    let nothing = Usage { memory, stack, ..Usage::default() };
    let change = Change { memory, stack, older: nothing, newer: nothing };
    changes.entry((memory, stack)).or_insert(change)
}

/// A size with its sign.
fn signed(bytes: i64) -> String {
    format!("{}{}", if bytes < 0 { '-' } else { '+' }, Bytes(bytes.unsigned_abs()))
}

impl fmt::Display for Diff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let about = if self.estimated { ", estimated from samples" } else { "" };
        writeln!(f, "{} held{about}", signed(self.grown_bytes()))?;
        let sites = self.sites();
        let (grown, mut shrunk): (Vec<_>, Vec<_>) =
            sites.into_iter().partition(|site| site.grown_bytes() >= 0);
        shrunk.reverse();
        for (title, sites) in [("Grew", grown), ("Shrank", shrunk)] {
            if sites.is_empty() {
                continue;
            }
            writeln!(f, "\n{title}, by call site:")?;
            for site in sites.iter().take(LINES) {
                writeln!(
                    f,
                    "  {:>11} to {:>10}, {:>+8} blocks  {:6}  {}",
                    signed(site.grown_bytes()),
                    Bytes(site.newer.live_bytes()).to_string(),
                    site.grown_blocks(),
                    site.memory,
                    self.stacks.description(site.stack)
                )?;
            }
            if let others @ 1.. = sites.len().saturating_sub(LINES) {
                writeln!(f, "  and {others} more")?;
            }
        }
        Ok(())
    }
}
