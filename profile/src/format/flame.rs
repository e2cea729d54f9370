//! Call sites by bytes: folded stacks, and a flame graph of them.

use std::io::{self, Write};

use inferno::flamegraph::{self, Options};

use crate::{Report, Usage};

/// What the width of a frame stands for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Weight {
    /// Bytes that are live.
    #[default]
    LiveBytes,
    /// Bytes allocated so far.
    TotalBytes,
}

/// One line for each kind of memory and stack: frames from the outermost in, and bytes.
pub fn folded(report: &Report, weight: Weight) -> Vec<String> {
    let bytes = |usage: &Usage| match weight {
        Weight::LiveBytes => usage.live_bytes(),
        Weight::TotalBytes => usage.total_bytes,
    };
    let line = |usage: &Usage| {
        let mut line = usage.memory.name().to_owned();
        let mut frames = report.stacks.of(usage.stack).rev().peekable();
        if frames.peek().is_none() {
            line += ";";
            line += &report.stacks.location(usage.stack);
        }
        for frame in frames {
            line += ";";
            line += &frame.name().replace(';', ":");
        }
        format!("{line} {}", bytes(usage))
    };
    report.sites_by(bytes).iter().map(|site| line(&site.usage)).collect()
}

/// Writes a flame graph as SVG, to be opened in a browser.
///
/// # Errors
/// There is nothing to draw, or those of `out`.
pub fn write_svg(report: &Report, weight: Weight, out: impl Write) -> io::Result<()> {
    let mut options = Options::default();
    options.title = match weight {
        Weight::LiveBytes => "Memory held, by call site",
        Weight::TotalBytes => "Memory allocated so far, by call site",
    }
    .to_owned();
    "bytes".clone_into(&mut options.count_name);
    let lines = folded(report, weight);
    flamegraph::from_lines(&mut options, lines.iter().map(String::as_str), out)
        .map_err(io::Error::other)
}
