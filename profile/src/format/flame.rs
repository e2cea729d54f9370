//! Call sites by bytes: folded stacks, and a flame graph of them.

use std::io::{self, Write};

use inferno::flamegraph::{self, Options};
use rustc_hash::FxHashMap;

use crate::{Diff, Report, Stacks, Usage};

/// What the width of a frame stands for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Weight {
    /// Bytes that are live.
    #[default]
    LiveBytes,
    /// Bytes allocated so far.
    TotalBytes,
}

impl Weight {
    fn of(self, usage: &Usage) -> u64 {
        match self {
            Self::LiveBytes => usage.live_bytes(),
            Self::TotalBytes => usage.total_bytes,
        }
    }
}

/// One line for each kind of memory and stack: frames from the outermost in, and bytes.
pub fn folded(report: &Report, weight: Weight) -> Vec<String> {
    let paths = report.paths_by(|usage| weight.of(usage));
    let mut lines = Lines::default();
    for path in paths {
        lines.add(&report.stacks, &path.usage, [weight.of(&path.usage), 0]);
    }
    lines.all.into_iter().map(|(line, [bytes, _])| format!("{line} {bytes}")).collect()
}

/// One line for each kind of memory and stack of either report: frames from the outermost in, the
/// bytes earlier, and the bytes later.
pub fn folded_diff(diff: &Diff, weight: Weight) -> Vec<String> {
    let mut lines = Lines::default();
    for change in &diff.changes {
        let bytes = [weight.of(&change.older), weight.of(&change.newer)];
        if bytes != [0, 0] {
            lines.add(&diff.stacks, &change.newer, bytes);
        }
    }
    let with_both = lines.all.into_iter();
    with_both.map(|(line, [older, newer])| format!("{line} {older} {newer}")).collect()
}

/// Lines in order of appearance; those of the same names are one.
#[derive(Default)]
struct Lines {
    all: Vec<(String, [u64; 2])>,
    places: FxHashMap<String, usize>,
}

impl Lines {
    fn add(&mut self, stacks: &Stacks, usage: &Usage, bytes: [u64; 2]) {
        let mut line = usage.memory.name().to_owned();
        let mut frames = stacks.of(usage.stack).rev().peekable();
        if frames.peek().is_none() {
            line += ";";
            line += &stacks.location(usage.stack);
        }
        for frame in frames {
            line += ";";
            line += &frame.name().replace(';', ":");
        }
        let next = self.all.len();
        let place = *self.places.entry(line.clone()).or_insert(next);
        if place == next {
            self.all.push((line, [0; 2]));
        }
        self.all[place].1.iter_mut().zip(bytes).for_each(|(sum, bytes)| *sum += bytes);
    }
}

/// Writes a flame graph as SVG, to be opened in a browser.
///
/// # Errors
/// There is nothing to draw, or those of `out`.
pub fn write_svg(report: &Report, weight: Weight, out: impl Write) -> io::Result<()> {
    let title = match weight {
        Weight::LiveBytes => "Memory held, by call site",
        Weight::TotalBytes => "Memory allocated so far, by call site",
    };
    draw(title, &folded(report, weight), out)
}

/// Writes a flame graph of the newer report as SVG: red where it grew, blue where it shrank.
///
/// # Errors
/// There is nothing to draw, or those of `out`.
pub fn write_diff_svg(diff: &Diff, weight: Weight, out: impl Write) -> io::Result<()> {
    let title = match weight {
        Weight::LiveBytes => "Memory held, and what grew",
        Weight::TotalBytes => "Memory allocated so far, and what grew",
    };
    draw(title, &folded_diff(diff, weight), out)
}

fn draw(title: &str, lines: &[String], out: impl Write) -> io::Result<()> {
    let mut options = Options::default();
    title.clone_into(&mut options.title);
    "bytes".clone_into(&mut options.count_name);
    flamegraph::from_lines(&mut options, lines.iter().map(String::as_str), out)
        .map_err(io::Error::other)
}
