//! One page that shows everything: memory over time, where each block lies, who holds it.
//!
//! The file is complete in itself: whoever opens it needs a browser and no network. Events are in it
//! as columns of small numbers, deflated; a million of them take a few megabytes.

mod column;
mod lives;

use std::io::{self, Write};

use base64::{engine::general_purpose::STANDARD, write::EncoderWriter};
use flate2::{Compression, write::DeflateEncoder};
use serde::Serialize;

use self::lives::Lives;
use crate::{Baseline, Level, Memory, Pool, Recording, Report, Stacks};

const PAGE: &str = include_str!("html/page.html");
const STYLE: &str = include_str!("html/page.css");
/// One script: what comes later uses what comes earlier.
const SCRIPTS: [&str; 13] = [
    include_str!("html/units.js"),
    include_str!("html/data.js"),
    include_str!("html/series.js"),
    include_str!("html/dom.js"),
    include_str!("html/canvas.js"),
    include_str!("html/chart.js"),
    include_str!("html/paints.js"),
    include_str!("html/map.js"),
    include_str!("html/flame.js"),
    include_str!("html/table.js"),
    include_str!("html/tables.js"),
    include_str!("html/words.js"),
    include_str!("html/page.js"),
];

/// What the page says beyond the figures.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The heading, as in `train.py`; a general one if it is empty.
    pub title: String,
    /// The most that the allocator may hold, bytes, where there is such a limit.
    pub limits: Vec<(Memory, u64)>,
    /// What was allocated since then and not freed is a leak.
    pub baseline: Baseline,
}

#[derive(Serialize)]
struct Head<'h> {
    title: &'h str,
    /// The time of day at the begin, milliseconds since 1970.
    begin_ms: f64,
    /// From the begin to the end.
    duration_ns: u64,
    /// From the begin to the baseline, if there is one; negative where that is earlier.
    baseline_ns: Option<i64>,
    lost_events: u64,
    /// Function, file and line of each.
    frames: Vec<(&'h str, &'h str, u32)>,
    /// The frames of each, the innermost first.
    stacks: Vec<&'h [u32]>,
    /// Which of its frames is the call site of each.
    sites: Vec<usize>,
    /// Time since the begin, and words.
    marks: Vec<(u64, &'h str)>,
    memories: Vec<HeadMemory>,
}

#[derive(Serialize)]
struct HeadMemory {
    name: &'static str,
    owner_name: &'static str,
    /// In hexadecimal: they may be handles that no number of the page can hold.
    owners: Vec<String>,
    lowest_address: String,
    address_unit: u64,
    live_bytes: u64,
    allocated_bytes: u64,
    reserved_bytes: u64,
    limit_bytes: Option<u64>,
    report: Option<HeadReport>,
    /// Name, length in bytes and count of numbers of each column, in order.
    columns: Vec<(&'static str, usize, usize)>,
}

/// What only the allocator itself knows.
#[derive(Serialize)]
struct HeadReport {
    total_blocks: u64,
    total_bytes: u64,
    reserved_peak_bytes: u64,
    /// Of one.
    hits: f64,
}

/// Writes the page of a recording and of a report of the same time. Either may be empty: without
/// events the page shows what is live in the report, without a report what the events tell.
///
/// # Errors
/// Those of `out`.
pub fn write(
    report: &Report,
    recording: &Recording,
    options: &Options,
    mut out: impl Write,
) -> io::Result<()> {
    let title = if options.title.is_empty() { "Memory profile" } else { &options.title };
    let (mut page, script) = (PAGE, SCRIPTS.concat());
    let mut upto = |mark: &str| {
        let (before, after) = page.split_once(mark).expect("the page has each mark once");
        page = after;
        before
    };
    write!(out, "{}{}", upto("{{title}}"), escaped(title))?;
    write!(out, "{}{STYLE}", upto("{{style}}"))?;
    write!(out, "{}", upto("{{data}}"))?;
    write_data(report, recording, options, title, &mut out)?;
    write!(out, "{}{script}", upto("{{script}}"))?;
    out.write_all(page.as_bytes())?;
    out.flush()
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

/// The length of the head, the head, then all columns, deflated, in base 64.
fn write_data(
    report: &Report,
    recording: &Recording,
    options: &Options,
    title: &str,
    out: impl Write,
) -> io::Result<()> {
    let mut stacks = Stacks::default();
    let memories: Vec<_> = Memory::ALL
        .into_iter()
        .filter(|&memory| is_known(memory, report, recording))
        .map(|memory| (memory, Lives::of(memory, recording, report, &mut stacks)))
        .collect();
    let (begin_ns, baseline_ns) = (begin_ns(recording), options.baseline.time_ns());
    let since_begin = |time_ns: u64| time_ns.saturating_sub(begin_ns);
    let frames = stacks.frames().iter();
    let marks = recording.marks.iter();
    let head = Head {
        title,
        begin_ms: recording.epoch_ns.saturating_add(begin_ns) as f64 / 1e6,
        duration_ns: since_begin(recording.end_ns),
        baseline_ns: (baseline_ns > 0).then(|| baseline_ns.wrapping_sub(begin_ns) as i64),
        lost_events: recording.lost_events,
        frames: frames.map(|frame| (&*frame.function, &*frame.file, frame.line)).collect(),
        stacks: stacks.stacks().collect(),
        sites: stacks.site_frames().collect(),
        marks: marks.map(|mark| (since_begin(mark.time_ns), &*mark.label)).collect(),
        memories: memories
            .iter()
            .map(|(memory, lives)| head_of(*memory, lives, report, recording, options))
            .collect(),
    };
    let head = serde_json::to_vec(&head)?;
    let base64 = EncoderWriter::new(out, &STANDARD);
    let mut deflate = DeflateEncoder::new(base64, Compression::default());
    deflate.write_all(&(head.len() as u32).to_le_bytes())?;
    deflate.write_all(&head)?;
    for (_, column) in memories.iter().flat_map(|(_, lives)| lives.columns()) {
        deflate.write_all(&column.bytes)?;
    }
    deflate.finish()?.finish().map(drop)
}

/// When it begins, also where nobody recorded.
fn begin_ns(recording: &Recording) -> u64 {
    recording.begin_ns.min(recording.end_ns)
}

fn is_known(memory: Memory, report: &Report, recording: &Recording) -> bool {
    let recorded = recording.end.iter().any(|(of, _)| *of == memory);
    let happened = || recording.events.iter().any(|event| event.memory == memory);
    recorded || pool_of(memory, report).is_some() || happened()
}

fn pool_of(memory: Memory, report: &Report) -> Option<&Pool> {
    report.pools.iter().find(|pool| pool.memory == memory)
}

fn head_of(
    memory: Memory,
    lives: &Lives,
    report: &Report,
    recording: &Recording,
    options: &Options,
) -> HeadMemory {
    let pool = pool_of(memory, report);
    let columns = lives.columns().into_iter();
    let recorded = recording.end.iter().find(|(of, _)| *of == memory);
    let end = recorded.map(|(_, level)| *level).or(pool.map(level_of)).unwrap_or_default();
    HeadMemory {
        name: memory.name(),
        owner_name: memory.owner_name(),
        owners: lives.owners.iter().map(|owner| format!("{owner:#x}")).collect(),
        lowest_address: format!("{:#x}", lives.lowest_address),
        address_unit: lives.address_unit,
        live_bytes: end.live_bytes,
        allocated_bytes: end.allocated_bytes,
        reserved_bytes: end.reserved_bytes,
        limit_bytes: options.limits.iter().find(|(of, _)| *of == memory).map(|(_, bytes)| *bytes),
        report: pool.map(|pool| report_of(pool, report)),
        columns: columns.map(|(name, column)| (name, column.bytes.len(), column.count)).collect(),
    }
}

const fn level_of(pool: &Pool) -> Level {
    let &Pool { live_bytes, allocated_bytes, reserved_bytes, .. } = pool;
    Level { live_bytes, allocated_bytes, reserved_bytes }
}

fn report_of(pool: &Pool, report: &Report) -> HeadReport {
    let usages = || report.usages.iter().filter(|usage| usage.memory == pool.memory);
    HeadReport {
        total_blocks: usages().map(|usage| usage.total_blocks).sum(),
        total_bytes: usages().map(|usage| usage.total_bytes).sum(),
        reserved_peak_bytes: pool.reserved_peak_bytes,
        hits: pool.hits.as_f64(),
    }
}
