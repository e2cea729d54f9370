//! Trace events as Chrome writes them, for Perfetto and chrome://tracing.
//!
//! Each kind of memory is a process, each stream or thread a thread of it: its levels are counters, growth, purges and the like are
//! instants, the largest blocks are slices from their allocation to their free. What lies between
//! two marks of the program is a slice too.

use std::io::{self, Write};

use rustc_hash::FxHashMap;
use serde::Serialize;
use serde_json::{Value, json};

use crate::{Event, EventKind, Memory, Recording};

/// Points of a counter.
const POINTS: usize = 20_000;
/// Blocks that are slices.
const BLOCKS: usize = 10_000;

#[derive(Serialize)]
struct Entry<'a> {
    name: &'a str,
    cat: &'a str,
    ph: &'a str,
    /// Microseconds.
    ts: f64,
    pid: u32,
    tid: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dur: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    s: Option<&'a str>,
    args: Value,
}

/// Writes a recording of all kinds of memory.
///
/// # Errors
/// Those of `out`.
pub fn write(recording: &Recording, out: impl Write) -> io::Result<()> {
    let mut trace = Trace { out, recording, first: true, owners: FxHashMap::default() };
    trace.out.write_all(b"{\"displayTimeUnit\":\"ns\",\"traceEvents\":[")?;
    for &(memory, _) in &recording.end {
        let args = json!({ "name": format!("{memory} memory") });
        trace.push(Entry { args, ..entry("process_name", "__metadata", "M", 0, memory) })?;
        trace.counters(memory)?;
    }
    trace.name_owners()?;
    trace.instants()?;
    trace.marks()?;
    trace.blocks()?;
    trace.out.write_all(b"\n]}\n")?;
    trace.out.flush()
}

struct Trace<'r, W> {
    out: W,
    recording: &'r Recording,
    first: bool,
    /// Small numbers instead of handles.
    owners: FxHashMap<(Memory, u64), u64>,
}

impl<W: Write> Trace<'_, W> {
    fn push(&mut self, entry: Entry<'_>) -> io::Result<()> {
        self.out.write_all(if self.first { b"\n" } else { b",\n" })?;
        self.first = false;
        Ok(serde_json::to_writer(&mut self.out, &entry)?)
    }

    fn name_owners(&mut self) -> io::Result<()> {
        for event in &self.recording.events {
            let (owner, memory) = ((event.memory, event.owner), event.memory);
            let next = self.owners.len() as u64 + 1;
            if *self.owners.entry(owner).or_insert(next) == next {
                let args = json!({ "name": format!("{} {:#x}", memory.owner_name(), event.owner) });
                let name = entry("thread_name", "__metadata", "M", 0, memory);
                self.push(Entry { args, tid: next, ..name })?;
            }
        }
        Ok(())
    }

    fn owner(&self, event: &Event) -> u64 {
        self.owners.get(&(event.memory, event.owner)).copied().unwrap_or(0)
    }

    fn counters(&mut self, memory: Memory) -> io::Result<()> {
        for point in self.recording.timeline(memory).thinned(POINTS).points {
            let level = point.level;
            let args = json!({
                "live": level.live_bytes,
                "cached": level.cached_bytes(),
                "reserved": level.reserved_bytes,
            });
            self.push(Entry { args, ..entry("bytes", "level", "C", point.time_ns, memory) })?;
        }
        Ok(())
    }

    fn instants(&mut self) -> io::Result<()> {
        let recording = self.recording;
        for event in &recording.events {
            if matches!(event.kind, EventKind::Alloc { .. } | EventKind::Free) {
                continue;
            }
            let args = json!({
                "bytes": event.bytes,
                "address": format!("{:#x}", event.address),
                "site": recording.stacks.location(event.stack),
            });
            let instant = entry(event.kind.name(), "event", "i", event.time_ns, event.memory);
            self.push(Entry { args, tid: self.owner(event), s: Some("p"), ..instant })?;
        }
        Ok(())
    }

    fn marks(&mut self) -> io::Result<()> {
        let recording = self.recording;
        let ends = recording.marks.iter().skip(1).map(|mark| mark.time_ns);
        for (mark, end_ns) in recording.marks.iter().zip(ends.chain([recording.end_ns])) {
            let dur = Some(end_ns.saturating_sub(mark.time_ns) as f64 / 1000.0);
            let slice = entry(&mark.label, "mark", "X", mark.time_ns, Memory::Host);
            self.push(Entry { dur, ..slice })?;
        }
        Ok(())
    }

    fn blocks(&mut self) -> io::Result<()> {
        let recording = self.recording;
        let mut blocks = lives(recording);
        blocks.sort_by_key(|(event, _)| std::cmp::Reverse(event.bytes));
        blocks.truncate(BLOCKS);
        for (number, (event, end_ns)) in blocks.into_iter().enumerate() {
            let name = recording.stacks.location(event.stack);
            let args = json!({ "bytes": event.bytes, "address": format!("{:#x}", event.address) });
            for (phase, time_ns) in [("b", event.time_ns), ("e", end_ns)] {
                let (id, args) = (Some(number.to_string()), args.clone());
                let slice = entry(&name, "block", phase, time_ns, event.memory);
                self.push(Entry { id, args, tid: self.owner(event), ..slice })?;
            }
        }
        Ok(())
    }
}

/// Each block allocated meanwhile, and when it was freed, or else the end.
fn lives(recording: &Recording) -> Vec<(&Event, u64)> {
    let mut live = FxHashMap::default();
    let mut lives = Vec::new();
    for event in &recording.events {
        let block = (event.memory, event.address);
        match event.kind {
            EventKind::Alloc { .. } => drop(live.insert(block, event)),
            EventKind::Free => {
                lives.extend(live.remove(&block).map(|alloc| (alloc, event.time_ns)));
            }
            _ => {}
        }
    }
    lives.extend(live.into_values().map(|alloc| (alloc, recording.end_ns)));
    lives
}

fn entry<'a>(name: &'a str, cat: &'a str, ph: &'a str, time_ns: u64, memory: Memory) -> Entry<'a> {
    let pid = memory as u32 + 1;
    let ts = time_ns as f64 / 1000.0;
    Entry { name, cat, ph, ts, pid, tid: 0, id: None, dur: None, s: None, args: json!({}) }
}
