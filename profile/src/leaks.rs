//! What was never freed.
#![forbid(unsafe_code)]

use std::fmt;

use genesis_mem_core::stats::Bytes;
use rustc_hash::FxHashMap;

use crate::{Frame, Live, Memory, Report, StackId, Stacks, clock, summary::age};

/// Frames that a leak names.
const PATH: usize = 6;

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
    /// The stack of most of the bytes.
    pub stack: StackId,
    /// File and line.
    pub location: String,
    /// The call site with its function, and those that called it, outwards.
    pub path: Vec<String>,
    /// How many blocks.
    pub blocks: u64,
    /// Their bytes.
    pub bytes: u64,
    /// How long the oldest is live, nanoseconds.
    pub oldest_ns: u64,
    /// How long the youngest is.
    pub youngest_ns: u64,
}

/// What was left out, because somebody knows of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ignored {
    /// What they had in common.
    pub pattern: String,
    /// How many blocks.
    pub blocks: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// Leaks by call site, those of most bytes first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Leaks {
    /// One for each call site.
    pub sites: Vec<Leak>,
    /// One for each pattern that something was left out for.
    pub ignored: Vec<Ignored>,
}

/// Sums over some live blocks.
struct Sum {
    blocks: f64,
    bytes: f64,
    oldest_ns: u64,
    youngest_ns: u64,
}

impl Sum {
    const NOTHING: Self = Self { blocks: 0.0, bytes: 0.0, oldest_ns: 0, youngest_ns: u64::MAX };

    fn add(&mut self, live: &Live, now_ns: u64) {
        let age_ns = now_ns.saturating_sub(live.since_ns);
        self.blocks += f64::from(live.weight);
        self.bytes += f64::from(live.weight) * live.bytes as f64;
        self.oldest_ns = self.oldest_ns.max(age_ns);
        self.youngest_ns = self.youngest_ns.min(age_ns);
    }

    fn join(&mut self, other: &Self) {
        self.blocks += other.blocks;
        self.bytes += other.bytes;
        self.oldest_ns = self.oldest_ns.max(other.oldest_ns);
        self.youngest_ns = self.youngest_ns.min(other.youngest_ns);
    }
}

impl Leaks {
    /// What was allocated after `baseline` and is live in `report`. Blocks from before anybody
    /// looked are no leaks: nobody knows who they belong to. Left out are blocks that have one of
    /// the `ignored` texts in the name of a function, source file, program or library that they
    /// were allocated through.
    pub fn since(report: &Report, baseline: Baseline, ignored: &[String]) -> Self {
        let mut stacks: FxHashMap<(Memory, StackId), Sum> = FxHashMap::default();
        for live in report.live.iter().filter(|live| live.since_ns > baseline.time_ns) {
            let sum = stacks.entry((live.memory, live.stack)).or_insert(Sum::NOTHING);
            sum.add(live, report.time_ns);
        }
        let mut sites: FxHashMap<(Memory, StackId), Vec<(StackId, Sum)>> = FxHashMap::default();
        let mut left_out: Vec<Sum> = ignored.iter().map(|_| Sum::NOTHING).collect();
        for ((memory, stack), sum) in stacks {
            match ignored.iter().position(|text| mentions(&report.stacks, stack, text)) {
                Some(index) => left_out[index].join(&sum),
                None => {
                    let site = (memory, report.stacks.site_of(stack));
                    sites.entry(site).or_default().push((stack, sum));
                }
            }
        }
        let mut sites: Vec<Leak> = sites
            .into_iter()
            .map(|((memory, _), stacks)| leak(&report.stacks, memory, stacks))
            .collect();
        sites.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.location.cmp(&b.location)));
        let used = ignored.iter().zip(left_out).filter(|(_, sum)| sum.blocks > 0.0);
        let ignored = used.map(|(pattern, sum)| Ignored {
            pattern: pattern.clone(),
            blocks: sum.blocks.round() as u64,
            bytes: sum.bytes.round() as u64,
        });
        Self { sites, ignored: ignored.collect() }
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

fn leak(stacks: &Stacks, memory: Memory, mut of: Vec<(StackId, Sum)>) -> Leak {
    of.sort_by(|(a, of_a), (b, of_b)| of_b.bytes.total_cmp(&of_a.bytes).then(a.cmp(b)));
    let mut sum = Sum::NOTHING;
    of.iter().for_each(|(_, part)| sum.join(part));
    let stack = of.first().map_or(StackId::UNKNOWN, |(stack, _)| *stack);
    let called = stacks.from_site(stack).take_while(|frame| !starts_programs(&frame.function));
    Leak {
        memory,
        stack,
        location: stacks.location(stack),
        path: called.take(PATH).map(Frame::description).collect(),
        blocks: sum.blocks.round() as u64,
        bytes: sum.bytes.round() as u64,
        oldest_ns: sum.oldest_ns,
        youngest_ns: sum.youngest_ns,
    }
}

/// Whether a function is there in each program or thread, around what its author wrote.
fn starts_programs(function: &str) -> bool {
    let starts = ["__libc_start", "_start", "clone3", "start_thread", "std::rt::lang_start"];
    starts.iter().any(|start| function.starts_with(start))
        || function.contains("__rust_begin_short_backtrace")
}

/// Whether a stack goes through something with that text in its name.
fn mentions(stacks: &Stacks, stack: StackId, text: &str) -> bool {
    let modules = stacks.calls_of(stack).iter().filter_map(|call| call.module);
    let mut modules = modules.filter_map(|module| stacks.modules.get(module as usize));
    let named = |frame: &Frame| frame.function.contains(text) || frame.file.contains(text);
    stacks.of(stack).any(named) || modules.any(|module| module.path.contains(text))
}

impl fmt::Display for Leaks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.is_empty() {
            true => f.write_str("no leaks\n")?,
            false => {
                writeln!(f, "{} in {} blocks never freed:", Bytes(self.bytes()), self.blocks())?;
            }
        }
        for leak in &self.sites {
            writeln!(
                f,
                "  {:>10} in {:>6} blocks, {:6} memory, {} to {} old: {}",
                Bytes(leak.bytes).to_string(),
                leak.blocks,
                leak.memory,
                age(leak.youngest_ns),
                age(leak.oldest_ns),
                leak.path.first().unwrap_or(&leak.location)
            )?;
            for caller in leak.path.iter().skip(1) {
                writeln!(f, "{:14}{caller}", "")?;
            }
        }
        for Ignored { pattern, blocks, bytes } in &self.ignored {
            writeln!(f, "ignored: {} in {blocks} blocks through {pattern:?}", Bytes(*bytes))?;
        }
        Ok(())
    }
}
