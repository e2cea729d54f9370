//! Reports as `profile.proto`, gzipped: for pprof, Pyroscope, Parca, Perfetto and speedscope.
//!
//! Four values a sample, as Go's heap profiles have them: blocks and bytes allocated so far, and
//! those that are live. Labels: `memory`, `stream` or `thread`, and `bytes`, the size class.
//! Where addresses are known, locations have them, and mappings the build ids of their files.

pub mod proto;

use std::io::{self, Write};

use flate2::{Compression, write::GzEncoder};
use prost::Message;
use rustc_hash::FxHashMap;

use crate::{Call, Diff, Module, Report, StackId, Stacks, Usage};

/// Writes a report.
///
/// # Errors
/// Those of `out`.
pub fn write(report: &Report, out: impl Write) -> io::Result<()> {
    write_message(&profile(report), out)
}

/// Writes what changed: the values are those of the newer report less those of the older one.
///
/// # Errors
/// Those of `out`.
pub fn write_diff(diff: &Diff, out: impl Write) -> io::Result<()> {
    write_message(&profile_of_diff(diff), out)
}

fn write_message(profile: &proto::Profile, out: impl Write) -> io::Result<()> {
    let mut out = GzEncoder::new(out, Compression::default());
    out.write_all(&profile.encode_to_vec())?;
    out.finish()?.flush()
}

/// The message of a report.
pub fn profile(report: &Report) -> proto::Profile {
    let mut builder = Builder::new(&report.stacks);
    for usage in &report.usages {
        builder.sample(usage, true, values(usage).to_vec());
    }
    let mut profile = builder.finish();
    profile.time_nanos = (report.epoch_ns + report.time_ns) as i64;
    if let Some(sampling) = report.sampling {
        profile.period = sampling.interval_bytes as i64;
    }
    profile
}

/// The message of what changed.
pub fn profile_of_diff(diff: &Diff) -> proto::Profile {
    let mut builder = Builder::new(&diff.stacks);
    for change in &diff.changes {
        let (older, newer) = (values(&change.older), values(&change.newer));
        let values: Vec<i64> =
            newer.iter().zip(older).map(|(newer, older)| newer - older).collect();
        if values.iter().any(|&value| value != 0) {
            builder.sample(&change.newer, false, values);
        }
    }
    builder.finish()
}

fn values(usage: &Usage) -> [i64; 4] {
    let Usage { total_blocks, total_bytes, .. } = *usage;
    let values = [total_blocks, total_bytes, usage.live_blocks(), usage.live_bytes()];
    values.map(|value| value as i64)
}

struct Builder<'s> {
    profile: proto::Profile,
    texts: Texts,
    stacks: &'s Stacks,
    /// Of each stack.
    locations: Vec<Vec<u64>>,
}

impl<'s> Builder<'s> {
    fn new(stacks: &'s Stacks) -> Self {
        let mut texts = Texts::default();
        let mut value_type = |name, unit| {
            let (r#type, unit) = (texts.add(name), texts.add(unit));
            proto::ValueType { r#type, unit }
        };
        let profile = proto::Profile {
            sample_type: vec![
                value_type("alloc_objects", "count"),
                value_type("alloc_space", "bytes"),
                value_type("inuse_objects", "count"),
                value_type("inuse_space", "bytes"),
            ],
            period_type: Some(value_type("space", "bytes")),
            // Nothing is left out.
            period: 1,
            default_sample_type: texts.add("inuse_space"),
            ..proto::Profile::default()
        };
        let mut builder = Self { profile, texts, stacks, locations: Vec::new() };
        builder.functions();
        builder.profile.mapping = (1..)
            .zip(&stacks.modules)
            .map(|(id, module)| builder.texts.mapping(id, module))
            .collect();
        builder.locations();
        builder
    }

    /// Functions have the numbers of their frames, from two; one is for what is not known.
    fn functions(&mut self) {
        let frames = self.stacks.frames().iter();
        let frames = frames.map(|frame| (frame.name(), &*frame.file));
        let unknown = (self.stacks.location(StackId::UNKNOWN), "");
        for (id, (name, file)) in (1..).zip([unknown].into_iter().chain(frames)) {
            let (name, filename) = (self.texts.add(&name), self.texts.add(file));
            let function = proto::Function { id, name, system_name: name, filename };
            self.profile.function.push(function);
        }
    }

    fn locations(&mut self) {
        let mut ids = FxHashMap::default();
        for (number, frames) in (0..).zip(self.stacks.stacks()) {
            let mut calls = self.stacks.calls_of(StackId(number)).to_vec();
            if calls.is_empty() {
                let call = Call { address: 0, module: None, frames: 1 };
                calls.resize(frames.len().max(1), call);
            }
            let mut rest = frames;
            let mut stack = Vec::with_capacity(calls.len());
            for call in calls {
                let (own, others) = rest.split_at(rest.len().min(call.frames as usize));
                rest = others;
                let next = self.profile.location.len() as u64 + 1;
                let id = *ids.entry((call.address, own)).or_insert(next);
                if id == next {
                    self.location(id, call, own);
                }
                stack.push(id);
            }
            self.locations.push(stack);
        }
    }

    fn location(&mut self, id: u64, call: Call, frames: &[u32]) {
        let all = self.stacks.frames();
        let line = |&frame: &u32| proto::Line {
            function_id: u64::from(frame) + 2,
            line: all[frame as usize].line.into(),
        };
        let mut lines: Vec<proto::Line> = frames.iter().map(line).collect();
        if lines.is_empty() {
            lines.push(proto::Line { function_id: 1, line: 0 });
        }
        self.profile.location.push(proto::Location {
            id,
            mapping_id: call.module.map_or(0, |module| u64::from(module) + 1),
            address: call.address,
            line: lines,
        });
    }

    /// Of one owner and size, or of all.
    fn sample(&mut self, usage: &Usage, is_one: bool, value: Vec<i64>) {
        let location_id = self.locations[usage.stack.0 as usize].clone();
        let mut label = self.texts.labels(usage);
        label.truncate(if is_one { label.len() } else { 1 });
        self.profile.sample.push(proto::Sample { location_id, value, label });
    }

    fn finish(self) -> proto::Profile {
        proto::Profile { string_table: self.texts.all, ..self.profile }
    }
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

    fn mapping(&mut self, id: u64, module: &Module) -> proto::Mapping {
        proto::Mapping {
            id,
            memory_start: module.address,
            memory_limit: module.end,
            file_offset: module.offset,
            filename: self.add(&module.path),
            build_id: self.add(&module.build_id),
            // Names are looked up already: nobody needs to do it again.
            has_functions: true,
            has_filenames: true,
            has_line_numbers: true,
            has_inline_frames: true,
        }
    }

    fn labels(&mut self, usage: &Usage) -> Vec<proto::Label> {
        let none = proto::Label::default();
        let memory = usage.memory;
        let up_to_bytes = 1i64.checked_shl(usage.size_class.into()).unwrap_or(i64::MAX);
        let (key, str) = (self.add("memory"), self.add(memory.name()));
        let bytes = self.add("bytes");
        let owner = self.add(memory.owner_name());
        vec![
            proto::Label { key, str, ..none },
            proto::Label { key: owner, num: usage.owner as i64, ..none },
            proto::Label { key: bytes, num: up_to_bytes, num_unit: bytes, ..none },
        ]
    }
}
