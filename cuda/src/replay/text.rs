//! The text format of traces: one event a line.
//!
//! | line | meaning |
//! |---|---|
//! | `# …` | a remark |
//! | `a ID BYTES STREAM` | an allocation of BYTES for use on STREAM |
//! | `f ID` | its free, in the stream's order |
//! | `s STREAM ID` | the block is also used on STREAM |
//! | `i N` | iteration N begins |
#![forbid(unsafe_code)]

use std::io::BufRead;

use super::{
    error::{Position, TraceError},
    trace::{Builder, Trace},
};
use crate::driver::StreamId;

/// No event is longer; a file that is no text must not be read into memory as one line.
const MAX_LINE_BYTES: u64 = 1 << 16;

/// Reads a trace; errors name the line.
pub(super) fn read(name: &str, mut input: impl BufRead) -> Result<Trace, TraceError> {
    let mut builder = Builder::new(name.into());
    let (mut number, mut line) = (0, Vec::new());
    let broken = |line, reason| {
        Err(TraceError::Broken { name: name.into(), position: Position::Line(line), reason })
    };
    loop {
        line.clear();
        number += 1;
        match std::io::Read::take(&mut input, MAX_LINE_BYTES).read_until(b'\n', &mut line) {
            Ok(0) => break,
            Ok(_) => {}
            Err(error) => {
                return broken(number, format!("the file is damaged or truncated here: {error}"));
            }
        }
        if let Err(reason) = whole(&line).and_then(|text| event(text, &mut builder)) {
            return broken(number, reason);
        }
    }
    match builder.finish() {
        Some(trace) => Ok(trace),
        None => broken(number - 1, "the trace ends without any allocation".into()),
    }
}

/// The text of a line that ends as one.
fn whole(line: &[u8]) -> Result<&str, String> {
    let text = std::str::from_utf8(line).map_err(|_| "this is no text, nor any other trace")?;
    match text.strip_suffix('\n') {
        Some(text) => Ok(text),
        None if line.len() as u64 == MAX_LINE_BYTES => Err("the line is too long".into()),
        None => Err("the file ends within this line: it is truncated, or lacks a newline".into()),
    }
}

fn event(line: &str, builder: &mut Builder) -> Result<(), String> {
    let mut words = line.split_ascii_whitespace();
    match words.next() {
        None => Ok(()),
        Some(word) if word.starts_with('#') => Ok(()),
        Some("a") => {
            let (id, bytes) = (number(&mut words, "id")?, number(&mut words, "size")?);
            let stream = StreamId(number(&mut words, "stream")?);
            end(words)?;
            builder.alloc(id, bytes, stream)
        }
        Some("f") => {
            let id = number(&mut words, "id")?;
            end(words)?;
            builder.free(id)
        }
        Some("s") => {
            let (stream, id) = (number(&mut words, "stream")?, number(&mut words, "id")?);
            end(words)?;
            builder.record(id, StreamId(stream))
        }
        Some("i") => {
            number(&mut words, "iteration")?;
            end(words)?;
            builder.iteration();
            Ok(())
        }
        Some(word) => Err(format!("unknown event {word:?}; expected a, f, s, i or #")),
    }
}

fn number<'a>(words: &mut impl Iterator<Item = &'a str>, what: &str) -> Result<u64, String> {
    let word = words.next().ok_or_else(|| format!("the {what} is missing"))?;
    word.parse().map_err(|_| format!("{word:?} is no {what}: expected a whole number"))
}

fn end<'a>(mut words: impl Iterator<Item = &'a str>) -> Result<(), String> {
    match words.next() {
        Some(word) => Err(format!("{word:?} after the end of the event")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::trace::Event, *};

    fn error(text: &[u8]) -> (usize, String) {
        match read("t", text) {
            Err(TraceError::Broken { position: Position::Line(line), reason, .. }) => {
                (line, reason)
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_trace_is_read_and_summed_up() {
        let text = "# a remark\na 7 100 0\ni 1\na 8 50 3\ns 3 7\nf 7\r\na 7 10 0\nf 8\n";
        let trace = read("t", text.as_bytes()).unwrap();
        assert_eq!((trace.allocations, trace.frees, trace.peak_live_bytes), (3, 2, 150));
        assert_eq!(trace.events[3], Event::Record { block: 0, stream: StreamId(3) });
        assert_eq!(trace.streams, [StreamId(0), StreamId(3)]);
    }

    #[test]
    fn a_broken_line_is_named() {
        assert_eq!(error(b"a 1 2 0\nf 2\n").0, 2);
        assert_eq!(error(b"a 1 2 0\nf 1\nf 1\n").0, 3);
        assert_eq!(error(b"a 1 2\n").0, 1);
        assert_eq!(error(b"# x\na 1 b 0\n").0, 2);
        assert_eq!(error(b"a 1 2 0\na 1 2 0\n").0, 2);
        assert_eq!(error(b"a 1 2 0\nz\n").0, 2);
        assert_eq!(error(b"a 1 2 0 0\n").0, 1);
        assert_eq!(error(b"a 1 2 0\na 2 18446744073709551615 0\n").0, 2);
        assert_eq!(error(b"a 1 2 0\n\xff\xfe\n").0, 2);
        assert!(error(&vec![b'7'; 1 << 20]).1.contains("too long"));
        assert!(error(b"a 1 2 0\nf 1").1.contains("truncated"));
        assert!(error(b"i 1\n").1.contains("without any allocation"));
        assert_eq!(error(b"").0, 0);
    }

    #[test]
    fn a_damaged_file_is_broken_where_its_text_ends() {
        let text: String = (0..20_000).map(|n| format!("a {n} {} 0\n", n * 37 % 1009)).collect();
        let packed = zstd::encode_all(text.as_bytes(), 3).unwrap();
        let line = |bytes: &[u8]| match Trace::read_from("t", bytes) {
            Err(TraceError::Broken { position: Position::Line(line), .. }) => line,
            other => panic!("{other:?}"),
        };
        assert_eq!(Trace::read_from("t", &packed[..]).unwrap()[0].allocations, 20_000);
        assert!((1..20_000).contains(&line(&packed[..packed.len() / 2])));
        assert_eq!(line(&packed[..10]), 1);
    }
}
