//! Allocation traces: one event a line, plain or compressed with zstd.
//!
//! | line | meaning |
//! |---|---|
//! | `# …` | a remark |
//! | `a ID BYTES STREAM` | an allocation of BYTES for use on STREAM |
//! | `f ID` | its free, in the stream's order |
//! | `s STREAM ID` | the block is also used on STREAM |
//! | `i N` | iteration N begins |
#![forbid(unsafe_code)]

use std::{collections::HashMap, fmt, fs, io, path::Path};

use crate::driver::StreamId;

/// The first bytes of a zstd frame.
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

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
}

/// Why a trace cannot be read.
#[derive(Debug)]
#[non_exhaustive]
pub enum TraceError {
    /// The file cannot be read or is damaged.
    Io {
        /// The file.
        path: String,
        /// The reason.
        source: io::Error,
    },
    /// A line is wrong.
    Line {
        /// The file or name of the trace.
        name: String,
        /// The line's number, from one.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
}

impl fmt::Display for TraceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { path, source } => write!(f, "cannot read {path}: {source}"),
            Self::Line { name, line, reason } => write!(f, "{name}, line {line}: {reason}"),
        }
    }
}

impl std::error::Error for TraceError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            Self::Line { .. } => None,
        }
    }
}

impl Trace {
    /// Reads a trace from a file, compressed or not.
    ///
    /// # Errors
    /// The file cannot be read, or a line is wrong; which one is said.
    pub fn read(path: &Path) -> Result<Self, TraceError> {
        let io = |source| TraceError::Io { path: path.display().to_string(), source };
        let bytes = fs::read(path).map_err(io)?;
        let text = if bytes.starts_with(&ZSTD_MAGIC) {
            zstd::decode_all(&bytes[..]).map_err(io)?
        } else {
            bytes
        };
        let file = path.file_name().unwrap_or_default().to_string_lossy();
        let name = file.split('.').next().unwrap_or_default();
        Self::parse(name, &text)
    }

    /// Reads a trace from its text.
    ///
    /// # Errors
    /// A line is wrong; which one is said.
    pub fn parse(name: &str, text: &[u8]) -> Result<Self, TraceError> {
        let mut reader =
            Reader { trace: Self { name: name.into(), ..Self::default() }, ..Reader::default() };
        let error = |line, reason| TraceError::Line { name: name.into(), line, reason };
        let mut lines = 0;
        for (index, line) in text.split_inclusive(|&byte| byte == b'\n').enumerate() {
            lines = index + 1;
            let Some(line) = line.strip_suffix(b"\n") else {
                return Err(error(lines, "the file ends within this line: it is truncated".into()));
            };
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            let line = std::str::from_utf8(line).map_err(|_| error(lines, "not text".into()))?;
            reader.line(line).map_err(|reason| error(lines, reason))?;
        }
        if reader.trace.events.is_empty() {
            return Err(error(lines, "no events".into()));
        }
        Ok(reader.trace)
    }
}

#[derive(Default)]
struct Reader {
    trace: Trace,
    /// Live blocks by their name in the trace: number and size.
    live: HashMap<u64, (u32, u64)>,
    live_bytes: u64,
}

impl Reader {
    fn line(&mut self, line: &str) -> Result<(), String> {
        let mut words = line.split_ascii_whitespace();
        let event = match words.next() {
            None | Some("#") => return Ok(()),
            Some("a") => self.alloc(number(&mut words, "id")?, &mut words)?,
            Some("f") => self.free(number(&mut words, "id")?)?,
            Some("s") => {
                let stream = StreamId(number(&mut words, "stream")?);
                let block = self.block(number(&mut words, "id")?)?;
                Event::Record { block, stream }
            }
            Some("i") => {
                number(&mut words, "iteration")?;
                Event::Iteration
            }
            Some(word) if word.starts_with('#') => return Ok(()),
            Some(word) => return Err(format!("unknown event {word:?}; expected a, f, s, i or #")),
        };
        if let Some(word) = words.next() {
            return Err(format!("{word:?} after the end of the event"));
        }
        self.trace.events.push(event);
        Ok(())
    }

    fn alloc<'a>(
        &mut self,
        id: u64,
        words: &mut impl Iterator<Item = &'a str>,
    ) -> Result<Event, String> {
        let bytes = number(words, "size")?;
        let stream = StreamId(number(words, "stream")?);
        let block = u32::try_from(self.trace.allocations).map_err(|_| "too many allocations")?;
        if self.live.insert(id, (block, bytes)).is_some() {
            return Err(format!("block {id} is allocated again while it is live"));
        }
        self.live_bytes = self.live_bytes.checked_add(bytes).ok_or("sizes add up to too much")?;
        self.trace.peak_live_bytes = self.trace.peak_live_bytes.max(self.live_bytes);
        self.trace.allocations += 1;
        if !self.trace.streams.contains(&stream) {
            self.trace.streams.push(stream);
        }
        Ok(Event::Alloc { bytes, stream })
    }

    fn free(&mut self, id: u64) -> Result<Event, String> {
        let block = self.block(id)?;
        let (_, bytes) = self.live.remove(&id).expect("looked up above");
        self.live_bytes -= bytes;
        self.trace.frees += 1;
        Ok(Event::Free { block })
    }

    fn block(&self, id: u64) -> Result<u32, String> {
        match self.live.get(&id) {
            Some((block, _)) => Ok(*block),
            None => Err(format!("block {id} is not live: never allocated, or freed before")),
        }
    }
}

fn number<'a>(words: &mut impl Iterator<Item = &'a str>, what: &str) -> Result<u64, String> {
    let word = words.next().ok_or_else(|| format!("the {what} is missing"))?;
    word.parse().map_err(|_| format!("{word:?} is no {what}: expected a whole number"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> (usize, String) {
        match Trace::parse("t", text.as_bytes()) {
            Err(TraceError::Line { line, reason, .. }) => (line, reason),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_trace_is_read_and_summed_up() {
        let text = "# a remark\na 7 100 0\ni 1\na 8 50 3\ns 3 7\nf 7\na 7 10 0\nf 8\n";
        let trace = Trace::parse("t", text.as_bytes()).unwrap();
        assert_eq!((trace.allocations, trace.frees, trace.peak_live_bytes), (3, 2, 150));
        assert_eq!(trace.events[3], Event::Record { block: 0, stream: StreamId(3) });
        assert_eq!(trace.streams, [StreamId(0), StreamId(3)]);
    }

    #[test]
    fn a_broken_line_is_named() {
        assert_eq!(error("a 1 2 0\nf 2\n").0, 2);
        assert_eq!(error("a 1 2 0\nf 1\nf 1\n").0, 3);
        assert_eq!(error("a 1 2\n").0, 1);
        assert_eq!(error("# x\na 1 b 0\n").0, 2);
        assert_eq!(error("a 1 2 0\na 1 2 0\n").0, 2);
        assert_eq!(error("a 1 2 0\nz\n").0, 2);
        assert!(error("a 1 2 0\nf 1").1.contains("truncated"));
        assert_eq!(error("").1, "no events");
    }
}
