//! Reports as `profile.proto`, gzipped: for pprof, Pyroscope, Parca, Perfetto and speedscope.
//!
//! Four values a sample, as Go's heap profiles have them: blocks and bytes allocated so far, and
//! those that are live. Labels: `memory`, `stream` or `thread`, and `bytes`, the size class.

use std::io::{self, Write};

use flate2::{Compression, write::GzEncoder};
use prost::Message;
use rustc_hash::FxHashMap;

use crate::{Report, Usage};

/// The messages of `profile.proto`, as far as they are used.
pub mod proto {
    #![expect(missing_docs, reason = "described in profile.proto, by the same names")]

    use prost::Message;

    #[derive(Clone, PartialEq, Message)]
    pub struct Profile {
        #[prost(message, repeated, tag = "1")]
        pub sample_type: Vec<ValueType>,
        #[prost(message, repeated, tag = "2")]
        pub sample: Vec<Sample>,
        #[prost(message, repeated, tag = "4")]
        pub location: Vec<Location>,
        #[prost(message, repeated, tag = "5")]
        pub function: Vec<Function>,
        #[prost(string, repeated, tag = "6")]
        pub string_table: Vec<String>,
        #[prost(int64, tag = "9")]
        pub time_nanos: i64,
        #[prost(message, optional, tag = "11")]
        pub period_type: Option<ValueType>,
        #[prost(int64, tag = "12")]
        pub period: i64,
        #[prost(int64, tag = "14")]
        pub default_sample_type: i64,
    }

    #[derive(Clone, Copy, PartialEq, Message)]
    pub struct ValueType {
        #[prost(int64, tag = "1")]
        pub r#type: i64,
        #[prost(int64, tag = "2")]
        pub unit: i64,
    }

    #[derive(Clone, PartialEq, Message)]
    pub struct Sample {
        #[prost(uint64, repeated, tag = "1")]
        pub location_id: Vec<u64>,
        #[prost(int64, repeated, tag = "2")]
        pub value: Vec<i64>,
        #[prost(message, repeated, tag = "3")]
        pub label: Vec<Label>,
    }

    #[derive(Clone, Copy, PartialEq, Message)]
    pub struct Label {
        #[prost(int64, tag = "1")]
        pub key: i64,
        #[prost(int64, tag = "2")]
        pub str: i64,
        #[prost(int64, tag = "3")]
        pub num: i64,
        #[prost(int64, tag = "4")]
        pub num_unit: i64,
    }

    #[derive(Clone, PartialEq, Message)]
    pub struct Location {
        #[prost(uint64, tag = "1")]
        pub id: u64,
        #[prost(message, repeated, tag = "4")]
        pub line: Vec<Line>,
    }

    #[derive(Clone, Copy, PartialEq, Message)]
    pub struct Line {
        #[prost(uint64, tag = "1")]
        pub function_id: u64,
        #[prost(int64, tag = "2")]
        pub line: i64,
    }

    #[derive(Clone, Copy, PartialEq, Message)]
    pub struct Function {
        #[prost(uint64, tag = "1")]
        pub id: u64,
        #[prost(int64, tag = "2")]
        pub name: i64,
        #[prost(int64, tag = "3")]
        pub system_name: i64,
        #[prost(int64, tag = "4")]
        pub filename: i64,
    }
}

/// Writes a report.
///
/// # Errors
/// Those of `out`.
pub fn write(report: &Report, out: impl Write) -> io::Result<()> {
    let mut out = GzEncoder::new(out, Compression::default());
    out.write_all(&profile(report).encode_to_vec())?;
    out.finish()?.flush()
}

/// The message itself.
pub fn profile(report: &Report) -> proto::Profile {
    let mut texts = Texts::default();
    let mut value_type = |name, unit| {
        let (r#type, unit) = (texts.add(name), texts.add(unit));
        proto::ValueType { r#type, unit }
    };
    let mut profile = proto::Profile {
        sample_type: vec![
            value_type("alloc_objects", "count"),
            value_type("alloc_space", "bytes"),
            value_type("inuse_objects", "count"),
            value_type("inuse_space", "bytes"),
        ],
        period_type: Some(value_type("space", "bytes")),
        time_nanos: (report.epoch_ns + report.time_ns) as i64,
        // Nothing is left out.
        period: 1,
        default_sample_type: texts.add("inuse_space"),
        ..proto::Profile::default()
    };
    // Locations and functions have the numbers of their frames, from two; one is for what is
    // not known.
    let frames = report.stacks.frames().iter();
    let frames = frames.map(|frame| (frame.name(), frame.file.clone(), frame.line));
    let unknown = (report.stacks.location(crate::StackId::UNKNOWN), String::new(), 0);
    for (id, (name, file, line)) in (1..).zip([unknown].into_iter().chain(frames)) {
        let name = texts.add(&name);
        let function = proto::Function { id, name, system_name: name, filename: texts.add(&file) };
        let line = proto::Line { function_id: id, line: line.into() };
        profile.function.push(function);
        profile.location.push(proto::Location { id, line: vec![line] });
    }
    let stacks: Vec<Vec<u64>> = report.stacks.stacks().map(locations).collect();
    profile.sample = report
        .usages
        .iter()
        .map(|usage| proto::Sample {
            location_id: stacks[usage.stack.0 as usize].clone(),
            value: values(usage),
            label: labels(usage, &mut texts),
        })
        .collect();
    profile.string_table = texts.all;
    profile
}

fn locations(stack: &[u32]) -> Vec<u64> {
    match stack {
        [] => vec![1],
        frames => frames.iter().map(|&frame| u64::from(frame) + 2).collect(),
    }
}

fn values(usage: &Usage) -> Vec<i64> {
    let Usage { total_blocks, total_bytes, .. } = *usage;
    let values = [total_blocks, total_bytes, usage.live_blocks(), usage.live_bytes()];
    values.map(|value| value as i64).to_vec()
}

fn labels(usage: &Usage, texts: &mut Texts) -> Vec<proto::Label> {
    let none = proto::Label::default();
    let memory = usage.memory;
    let up_to_bytes = 1i64.checked_shl(usage.size_class.into()).unwrap_or(i64::MAX);
    let (key, str) = (texts.add("memory"), texts.add(memory.name()));
    let bytes = texts.add("bytes");
    let owner = texts.add(memory.owner_name());
    vec![
        proto::Label { key, str, ..none },
        proto::Label { key: owner, num: usage.owner as i64, ..none },
        proto::Label { key: bytes, num: up_to_bytes, num_unit: bytes, ..none },
    ]
}

/// The table of texts; the first is empty.
struct Texts {
    all: Vec<String>,
    ids: FxHashMap<String, i64>,
}

impl Default for Texts {
    fn default() -> Self {
        let mut texts = Self { all: Vec::new(), ids: FxHashMap::default() };
        texts.add("");
        texts
    }
}

impl Texts {
    fn add(&mut self, text: &str) -> i64 {
        let next = self.all.len() as i64;
        if let Some(&id) = self.ids.get(text) {
            return id;
        }
        self.all.push(text.to_owned());
        self.ids.insert(text.to_owned(), next);
        next
    }
}
