//! Memory snapshots of PyTorch, as `torch.cuda.memory._dump_snapshot` writes them.
//!
//! A snapshot has a list of events for each device, once
//! `torch.cuda.memory._record_memory_history` was called, and the segments at its end.
//! A block is freed where its free was requested. If that is not completed at once, other streams
//! used the block, which aren't named: a stream without number stands for them. Blocks in the
//! segments that no event mentions were there before the recording, and so are allocated first.
#![forbid(unsafe_code)]

use std::{collections::HashSet, io::BufRead};

use super::{
    error::{Position, TraceError},
    pickle::{Pickle, Value},
    trace::{Builder, Trace},
};
use crate::driver::StreamId;

/// What a snapshot's dictionaries have that is of use here.
const KEYS: [&str; 11] = [
    "device_traces",
    "action",
    "addr",
    "size",
    "stream",
    "segments",
    "device",
    "address",
    "blocks",
    "state",
    "requested_size",
];

/// Stands for the streams that used a block beside its own.
const SOME_OTHER: StreamId = StreamId(u64::MAX);

/// Reads the traces of all devices that have events.
pub(super) fn read(name: &str, input: impl BufRead) -> Result<Vec<Trace>, TraceError> {
    let broken =
        |position, reason: String| TraceError::Broken { name: name.into(), position, reason };
    let pickle = Pickle::read(input, &KEYS)
        .map_err(|(byte, reason)| broken(Position::Byte(byte), reason))?;
    let devices = pickle.get(pickle.root, "device_traces").and_then(|list| pickle.list(list));
    let devices = devices.ok_or_else(|| {
        broken(Position::Byte(0), "this is a pickle, but no memory snapshot of PyTorch".into())
    })?;
    let mut traces = Vec::new();
    for (device, &events) in devices.iter().enumerate() {
        let events = pickle.list(events).unwrap_or_default();
        let builder = Builder::new(format!("{name}.cuda{device}"));
        let reader = Reader { pickle: &pickle, device, builder, requested: HashSet::new() };
        let trace = reader
            .read(events)
            .map_err(|(event, reason)| broken(Position::Event { device, event }, reason))?;
        traces.extend(trace);
    }
    match &mut traces[..] {
        [] => {
            let reason = "no allocation was recorded: call \
                          torch.cuda.memory._record_memory_history() before the work";
            return Err(broken(Position::Byte(0), reason.into()));
        }
        [only] => only.name = name.into(),
        _ => {}
    }
    Ok(traces)
}

struct Reader<'p> {
    pickle: &'p Pickle<'p>,
    device: usize,
    builder: Builder,
    /// Addresses whose free was requested and is not completed.
    requested: HashSet<u64>,
}

#[derive(Clone, Copy)]
struct Raw<'p> {
    action: &'p str,
    address: Option<u64>,
}

impl<'p> Reader<'p> {
    fn read(mut self, events: &[Value]) -> Result<Option<Trace>, (usize, String)> {
        if events.is_empty() {
            return Ok(None);
        }
        for (address, bytes, stream) in self.earlier_blocks(events) {
            self.builder.alloc(address, bytes, stream).map_err(|reason| (0, reason))?;
        }
        self.builder.recording_begins();
        for (index, &event) in events.iter().enumerate() {
            let next = events.get(index + 1).copied();
            self.event(event, next).map_err(|reason| (index, reason))?;
        }
        Ok(self.builder.finish())
    }

    fn raw(&self, event: Value) -> Option<Raw<'p>> {
        let action = self.pickle.text(self.pickle.get(event, "action")?)?;
        Some(Raw { action, address: self.pickle.number(event, "addr") })
    }

    fn event(&mut self, event: Value, next: Option<Value>) -> Result<(), String> {
        let raw = self.raw(event).ok_or("the event has no action")?;
        if !matches!(raw.action, "alloc" | "free_requested" | "free_completed" | "free") {
            return Ok(());
        }
        let address = raw.address.ok_or("the event has no address")?;
        let bytes = self.pickle.number(event, "size").ok_or("the event has no size")?;
        if raw.action == "alloc" {
            if self.builder.is_live(address) {
                return Err(format!("{address:#x} is allocated again while it is live"));
            }
            return self.builder.alloc(address, bytes, self.stream(event));
        }
        if raw.action == "free_completed" && self.requested.remove(&address) {
            return Ok(());
        }
        if raw.action == "free_requested" {
            self.requested.insert(address);
        }
        if !self.builder.is_live(address) {
            self.builder.skip_free(bytes);
            return Ok(());
        }
        let completes = |next: Raw| next.action == "free_completed" && next.address == raw.address;
        let at_once = next.and_then(|next| self.raw(next)).is_some_and(completes);
        if raw.action == "free_requested" && !at_once {
            self.builder.record(address, SOME_OTHER)?;
        }
        self.builder.free(address)
    }

    fn stream(&self, of: Value) -> StreamId {
        StreamId(self.pickle.number(of, "stream").unwrap_or(0))
    }

    /// Blocks that are in use at the end and that no event mentions: address, size and
    /// stream.
    fn earlier_blocks(&self, events: &[Value]) -> Vec<(u64, u64, StreamId)> {
        let of_block = |raw: &Raw| raw.action == "alloc" || raw.action.starts_with("free");
        let raws = events.iter().filter_map(|&event| self.raw(event)).filter(of_block);
        let mentioned: HashSet<_> = raws.filter_map(|raw| raw.address).collect();
        let pickle = self.pickle;
        let list = |of, key| pickle.get(of, key).and_then(|list| pickle.list(list));
        let mut earlier = Vec::new();
        for &segment in list(pickle.root, "segments").unwrap_or_default() {
            if pickle.number(segment, "device").is_some_and(|device| device != self.device as u64) {
                continue;
            }
            let mut next = pickle.number(segment, "address").unwrap_or(0);
            for &block in list(segment, "blocks").unwrap_or_default() {
                let bytes = pickle.number(block, "size").unwrap_or(0);
                // Older snapshots lack the addresses of blocks, which lie one behind the other.
                let address = pickle.number(block, "address").unwrap_or(next);
                next = address.saturating_add(bytes);
                let state = pickle.get(block, "state").and_then(|state| pickle.text(state));
                if state == Some("active_allocated") && !mentioned.contains(&address) {
                    let bytes = pickle.number(block, "requested_size").unwrap_or(bytes);
                    earlier.push((address, bytes, self.stream(segment)));
                }
            }
        }
        earlier
    }
}
