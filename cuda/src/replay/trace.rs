//! Traces: what a program asked of its device allocator, in order.
#![forbid(unsafe_code)]

use std::{
    collections::{HashMap, HashSet},
    fs::File,
    io::{self, BufRead, BufReader, Read},
    path::Path,
};

use super::{error::TraceError, pickle, snapshot, text};
use crate::driver::StreamId;

/// The first bytes of a zstd frame.
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// A small recording, for demonstrations; see [`Trace::sample`].
const SAMPLE: &[u8] = include_bytes!("../../traces/09a_dlrm_sparse.trace.zst");
const SAMPLE_NAME: &str = "09a_dlrm_sparse";

/// One event. Blocks are numbered in order of allocation, from zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The next block: its size, and the stream it is for.
    Alloc {
        /// Bytes asked for.
        bytes: u64,
        /// The stream.
        stream: StreamId,
    },
    /// A block is freed.
    Free {
        /// Which one.
        block: u32,
    },
    /// A block is used on another stream too.
    Record {
        /// Which one.
        block: u32,
        /// The stream.
        stream: StreamId,
    },
    /// An iteration begins.
    Iteration,
}

/// A trace that is known to be sound: frees and uses name live blocks.
#[derive(Clone, Debug, Default)]
pub struct Trace {
    /// A name for people: the file's, without its endings.
    pub name: String,
    /// The events in order.
    pub events: Vec<Event>,
    /// How many blocks are allocated.
    pub allocations: u64,
    /// How many are freed.
    pub frees: u64,
    /// The largest sum of live sizes, bytes.
    pub peak_live_bytes: u64,
    /// Streams, in order of appearance.
    pub streams: Vec<StreamId>,
    /// Of the allocations, those at the beginning that stand for blocks from before the recording.
    pub earlier_blocks: u64,
    /// Frees of blocks from before the recording that were left out.
    pub skipped_frees: u64,
    /// The sizes of these, bytes.
    pub skipped_bytes: u64,
}

impl Trace {
    /// Reads a trace from a file: the first one where it is a snapshot of several devices.
    ///
    /// # Errors
    /// As for [`read_all`](Self::read_all).
    pub fn read(path: &Path) -> Result<Self, TraceError> {
        Ok(Self::read_all(path)?.swap_remove(0))
    }

    /// Reads all traces of a file: one of a text, and one for each device with events of a memory
    /// snapshot that PyTorch wrote. Both may be compressed with zstd.
    ///
    /// # Errors
    /// The file cannot be read, or something in it is wrong: what and where is said.
    pub fn read_all(path: &Path) -> Result<Vec<Self>, TraceError> {
        let shown = path.display().to_string();
        let file = path.file_name().unwrap_or_default().to_string_lossy();
        let name = file.split('.').next().unwrap_or_default();
        let traces = match File::open(path) {
            Ok(file) => Self::read_from(name, file),
            Err(source) => Err(TraceError::Io { path: shown.clone(), source }),
        };
        traces.map_err(|error| match error {
            TraceError::Io { source, .. } => TraceError::Io { path: shown, source },
            TraceError::Broken { position, reason, .. } => {
                TraceError::Broken { name: shown, position, reason }
            }
        })
    }

    /// Reads all traces that `input` holds, as [`read_all`](Self::read_all) does; `name` is for
    /// people. At least one.
    ///
    /// # Errors
    /// As for [`read_all`](Self::read_all).
    pub fn read_from(name: &str, input: impl Read) -> Result<Vec<Self>, TraceError> {
        let io = |source| TraceError::Io { path: name.into(), source };
        let mut input = BufReader::new(input);
        if starts_with(&mut input, &ZSTD_MAGIC).map_err(io)? {
            let decoder = zstd::Decoder::with_buffer(input).map_err(io)?;
            return Self::read_plain(name, BufReader::new(decoder));
        }
        Self::read_plain(name, input)
    }

    fn read_plain(name: &str, mut input: impl BufRead) -> Result<Vec<Self>, TraceError> {
        // An error here comes again when the text is read, with its place.
        if starts_with(&mut input, &[pickle::PROTO]).unwrap_or(false) {
            return snapshot::read(name, input);
        }
        text::read(name, input).map(|trace| vec![trace])
    }

    /// Reads a trace from its text, which is not compressed.
    ///
    /// # Errors
    /// A line is wrong; which one is said.
    pub fn parse(name: &str, text: impl BufRead) -> Result<Self, TraceError> {
        text::read(name, text)
    }

    /// A small recording that is part of this crate: some training steps of a recommendation
    /// model (DLRM with sparse gradients) on two streams, as PyTorch asked for memory.
    pub fn sample() -> Self {
        let traces = Self::read_from(SAMPLE_NAME, SAMPLE);
        traces.expect("a test reads it").swap_remove(0)
    }

    /// Where the last iteration begins that allocates something; zero where none is marked. A
    /// mark at the end, before nothing but frees, begins none.
    pub fn last_iteration(&self) -> usize {
        let is_alloc = |event: &Event| matches!(event, Event::Alloc { .. });
        let last_alloc = self.events.iter().rposition(is_alloc).unwrap_or(0);
        let before = &self.events[..last_alloc];
        before.iter().rposition(|event| *event == Event::Iteration).unwrap_or(0)
    }
}

fn starts_with(input: &mut impl BufRead, magic: &[u8]) -> io::Result<bool> {
    Ok(input.fill_buf()?.starts_with(magic))
}

/// Puts a trace together and keeps it sound. Blocks go by names here: any numbers.
#[derive(Debug, Default)]
pub(super) struct Builder {
    trace: Trace,
    /// Live blocks by their names: number and size.
    live: HashMap<u64, (u32, u64)>,
    live_bytes: u64,
    streams: HashSet<StreamId>,
}

impl Builder {
    pub(super) fn new(name: String) -> Self {
        Self { trace: Trace { name, ..Trace::default() }, ..Self::default() }
    }

    pub(super) fn alloc(&mut self, id: u64, bytes: u64, stream: StreamId) -> Result<(), String> {
        let block = u32::try_from(self.trace.allocations).map_err(|_| "too many allocations")?;
        let sum = self.live_bytes.checked_add(bytes).ok_or("sizes add up to too much")?;
        if self.live.insert(id, (block, bytes)).is_some() {
            return Err(format!("block {id} is allocated again while it is live"));
        }
        self.live_bytes = sum;
        self.trace.peak_live_bytes = self.trace.peak_live_bytes.max(sum);
        self.trace.allocations += 1;
        self.meet(stream);
        self.trace.events.push(Event::Alloc { bytes, stream });
        Ok(())
    }

    pub(super) fn free(&mut self, id: u64) -> Result<(), String> {
        let (block, bytes) = self.live.remove(&id).ok_or_else(|| not_live(id))?;
        self.live_bytes -= bytes;
        self.trace.frees += 1;
        self.trace.events.push(Event::Free { block });
        Ok(())
    }

    pub(super) fn record(&mut self, id: u64, stream: StreamId) -> Result<(), String> {
        let &(block, _) = self.live.get(&id).ok_or_else(|| not_live(id))?;
        self.meet(stream);
        self.trace.events.push(Event::Record { block, stream });
        Ok(())
    }

    pub(super) fn iteration(&mut self) {
        self.trace.events.push(Event::Iteration);
    }

    /// The blocks so far are from before the recording.
    pub(super) fn recording_begins(&mut self) {
        self.trace.earlier_blocks = self.trace.allocations;
    }

    /// A block from before the recording is freed.
    pub(super) fn skip_free(&mut self, bytes: u64) {
        self.trace.skipped_frees += 1;
        self.trace.skipped_bytes = self.trace.skipped_bytes.saturating_add(bytes);
    }

    pub(super) fn is_live(&self, id: u64) -> bool {
        self.live.contains_key(&id)
    }

    fn meet(&mut self, stream: StreamId) {
        if self.streams.insert(stream) {
            self.trace.streams.push(stream);
        }
    }

    /// The trace, if it asks for anything.
    pub(super) fn finish(self) -> Option<Trace> {
        (self.trace.allocations > 0).then_some(self.trace)
    }
}

fn not_live(id: u64) -> String {
    format!("block {id} is not live: never allocated, or freed before")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn last_iteration(text: &str) -> usize {
        Trace::parse("t", text.as_bytes()).unwrap().last_iteration()
    }

    #[test]
    fn the_last_iteration_allocates_something() {
        assert_eq!(last_iteration("a 1 1 0\na 2 1 0\nf 1\n"), 0);
        assert_eq!(last_iteration("i 0\na 1 1 0\ni 1\na 2 1 0\nf 1\n"), 2);
        assert_eq!(last_iteration("i 0\na 1 1 0\ni 1\na 2 1 0\nf 1\ni 2\n"), 2);
        assert_eq!(last_iteration("i 0\na 1 1 0\ni 1\na 2 1 0\ni 2\nf 1\nf 2\n"), 2);
    }

    #[test]
    fn the_sample_is_sound() {
        let sample = Trace::sample();
        assert_eq!((sample.allocations, sample.streams.len()), (10_569, 2));
    }
}
