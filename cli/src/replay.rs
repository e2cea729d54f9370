//! `genesis-mem replay`: what would the device allocator have needed for a recorded program?

pub(crate) mod plot;
pub(crate) mod pytorch;
pub(crate) mod table;

use std::{
    fs::{self, File},
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use genesis_mem_cuda::{
    Options,
    cudarc::CudarcDriver,
    parse_size,
    profile::{self, Memory, format},
    replay,
    replay::{ReplayOptions, Report, Trace},
    sim::SimDriver,
};
use genesis_mem_host::core::stats::Bytes;
use indicatif::ProgressBar;
use serde_json::Value;

use self::{pytorch::PyTorch, table::Both};
use crate::{exit::Exit, progress::progress, snapshot::grouped};

/// Replays allocation traces on the device allocator and says what it needed, beside PyTorch's
/// allocator where the trace is known.
///
/// A trace is a text of one event a line, or a memory snapshot that PyTorch wrote with
/// torch.cuda.memory._dump_snapshot; both may be compressed with zstd. Sizes may be written as in
/// 80GB or 512MiB; units are powers of 1024.
#[derive(Args, Clone, Debug)]
pub struct Replay {
    /// The traces
    #[arg(required = true, value_name = "TRACE")]
    traces: Vec<PathBuf>,
    /// Where to replay: on the simulated device, or on the first GPU
    #[arg(long, value_enum, default_value_t = Backend::Sim)]
    backend: Backend,
    /// Memory of the simulated device; more than any trace needs by default
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    device_bytes: Option<u64>,
    /// The most memory that the allocator may hold
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    limit_bytes: Option<u64>,
    /// How many operations the simulated device is behind the host
    #[arg(long, value_name = "OPERATIONS")]
    lag: Option<u64>,
    /// A simulated device without virtual memory management
    #[arg(long)]
    no_vmm: bool,
    /// Search for the smallest simulated device on which the trace completes
    #[arg(long)]
    tight: bool,
    /// Print one JSON object a trace and line
    #[arg(long, conflicts_with = "table")]
    json: bool,
    /// Print one Markdown table of all traces, on a large and on the smallest device
    #[arg(long, conflicts_with = "tight")]
    table: bool,
    /// Write all figures of the table to FILE
    #[arg(long, value_name = "FILE", requires = "table")]
    csv: Option<PathBuf>,
    /// Draw live and reserved memory over time to FILE
    #[arg(long, value_name = "FILE", conflicts_with = "table")]
    svg: Option<PathBuf>,
    /// Write what the allocator did to FILE, as a memory snapshot for PyTorch's memory_viz
    #[arg(long, value_name = "FILE", conflicts_with_all = ["table", "tight"])]
    snapshot: Option<PathBuf>,
    /// Write what the allocator did to FILE, as a trace for Perfetto and chrome://tracing
    #[arg(long, value_name = "FILE", conflicts_with_all = ["table", "tight"])]
    chrome: Option<PathBuf>,
    /// Write what the allocator did to FILE, as a page for browsers: memory over time, where each
    /// block lies, who holds it
    #[arg(long, value_name = "FILE", conflicts_with_all = ["table", "tight"])]
    html: Option<PathBuf>,
    /// Set an option of the allocator by its name, as in --set piece_bytes=24MiB
    #[arg(long, value_name = "NAME=VALUE", value_parser = setting)]
    set: Vec<(String, Value)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Backend {
    Sim,
    Cuda,
}

/// Reads `name=value`; values of options in bytes are sizes.
fn setting(text: &str) -> anyhow::Result<(String, Value)> {
    let (name, value) = text.split_once('=').context("expected NAME=VALUE")?;
    let value = match name.ends_with("_bytes") {
        true => parse_size(value)?.into(),
        false => value.parse().context("expected a number, true or false")?,
    };
    Ok((name.to_owned(), value))
}

impl Replay {
    /// Replays the traces and prints the results.
    ///
    /// # Errors
    /// A trace cannot be read or is broken, or the device does not answer.
    pub(crate) fn run(&self) -> anyhow::Result<Exit> {
        let options = self.options()?;
        let recorded = self.snapshot.is_some() || self.chrome.is_some() || self.html.is_some();
        if recorded && self.traces.len() > 1 {
            bail!("--snapshot, --chrome and --html take one trace");
        }
        let traces = self.traces.iter().map(|path| read(path));
        if self.table {
            return self.all(options, traces);
        }
        let mut reports = Vec::new();
        for traces in traces {
            let traces = traces?;
            if recorded && let [_, .., last] = &traces[..] {
                bail!(
                    "--snapshot, --chrome and --html take one trace; up to {} there are several",
                    last.name
                );
            }
            for trace in traces {
                let report = match recorded {
                    true => self.record(&trace, options)?,
                    false => self.one(&trace, options, self.tight)?,
                };
                self.print(&report)?;
                reports.push(report);
            }
        }
        if let Some(file) = &self.svg {
            write(file, plot::as_svg(&reports)?.as_bytes())?;
        }
        Ok(exit(reports.iter()))
    }

    fn all(
        &self,
        options: ReplayOptions,
        traces: impl Iterator<Item = anyhow::Result<Vec<Trace>>>,
    ) -> anyhow::Result<Exit> {
        let mut all = Vec::new();
        for traces in traces {
            for trace in traces? {
                let (free, tight) =
                    (self.one(&trace, options, false)?, self.one(&trace, options, true)?);
                all.push(Both { free, tight });
            }
        }
        writeln!(io::stdout(), "{}", table::markdown(&all))?;
        if let Some(file) = &self.csv {
            write(file, &table::csv(&all)?)?;
        }
        Ok(exit(all.iter().map(|both| &both.free)))
    }

    fn options(&self) -> anyhow::Result<ReplayOptions> {
        let simulated = [
            ("--device-bytes", self.device_bytes.is_some()),
            ("--lag", self.lag.is_some()),
            ("--no-vmm", self.no_vmm),
            ("--tight", self.tight),
            ("--table", self.table),
        ];
        let given = simulated.iter().find(|(_, given)| *given);
        if let (Backend::Cuda, Some((name, _))) = (self.backend, given) {
            bail!("{name} is for the simulated device; a GPU takes --limit-bytes");
        }
        let mut options = ReplayOptions::default();
        let settings = Value::Object(self.set.iter().cloned().collect());
        options.allocator = serde_json::from_value::<Options>(settings).context("--set")?;
        if let Some(bytes) = self.limit_bytes {
            options.allocator.limit_bytes = bytes;
        }
        if let Some(bytes) = self.device_bytes {
            options.device.device_bytes = bytes;
        }
        options.device.lag_ops = self.lag.unwrap_or(0);
        options.device.virtual_memory = !self.no_vmm;
        options.timeline = !self.table && (!self.json || self.svg.is_some());
        Ok(options)
    }

    fn one(&self, trace: &Trace, options: ReplayOptions, tight: bool) -> anyhow::Result<Report> {
        let bar = progress(if tight { "search" } else { "replay" });
        bar.set_length(trace.events.len() as u64);
        let replay = replay::Replay::new(trace, options);
        let report = match (self.backend, tight) {
            (_, true) => replay.smallest(|_, done| bar.set_position(done as u64)),
            (Backend::Sim, _) => replay.run(|done| bar.set_position(done as u64)),
            (Backend::Cuda, _) => {
                replay.run_on::<CudarcDriver>(|done| bar.set_position(done as u64))
            }
        };
        bar.finish_and_clear();
        report.with_context(|| trace.name.clone())
    }

    /// Replays a trace, and writes what was recorded meanwhile.
    fn record(&self, trace: &Trace, options: ReplayOptions) -> anyhow::Result<Report> {
        let bar = progress("replay");
        bar.set_length(trace.events.len() as u64);
        let replay = replay::Replay::new(trace, options);
        let on_step = |done| bar.set_position(done as u64);
        let recorded = match self.backend {
            Backend::Sim => replay.record_on::<SimDriver>(on_step),
            Backend::Cuda => replay.record_on::<CudarcDriver>(on_step),
        };
        bar.finish_and_clear();
        let (report, recording) = recorded.with_context(|| trace.name.clone())?;
        if let Some(file) = &self.snapshot {
            save(file, |out| format::torch::write(&recording, Memory::Device, out))?;
        }
        if let Some(file) = &self.chrome {
            save(file, |out| format::chrome::write(&recording, out))?;
        }
        if let Some(file) = &self.html {
            // Who asks for memory is not in a trace: the events are all that there is to tell.
            let nobody = profile::Report::now();
            let page = page_options(&report, options);
            save(file, |out| format::html::write(&nobody, &recording, &page, out))?;
        }
        Ok(report)
    }

    fn print(&self, report: &Report) -> anyhow::Result<()> {
        let mut out = io::stdout().lock();
        if self.json {
            writeln!(out, "{}", serde_json::to_string(report)?)?;
            return Ok(());
        }
        writeln!(out, "{}", heading(report, self.tight))?;
        // PyTorch's figures are those on a device that is not limited otherwise.
        let limited = self.limit_bytes.is_some() || self.device_bytes.is_some();
        let pytorch = if limited { None } else { PyTorch::of(report) };
        writeln!(out, "{}\n", table::comparison(report, self.tight, pytorch.as_ref()))?;
        writeln!(out, "{}", plot::in_terminal(report))?;
        if let Some(failure) = &report.failure {
            writeln!(out, "Not completed: {failure}\n")?;
        }
        Ok(())
    }
}

/// The page's title, and the limit where somebody set one.
fn page_options(report: &Report, options: ReplayOptions) -> format::html::Options {
    let limit_bytes = options.allocator.limit_bytes.min(options.device.device_bytes);
    let is_set = limit_bytes < ReplayOptions::default().device.device_bytes;
    format::html::Options {
        title: format!("{}, replayed", report.trace),
        limits: if is_set { vec![(Memory::Device, limit_bytes)] } else { Vec::new() },
        ..Default::default()
    }
}

/// Which trace, and on what.
pub(crate) fn heading(report: &Report, tight: bool) -> String {
    let device = match (&report.backend[..], tight) {
        ("sim", true) if report.out_of_memory => {
            format!("the largest device tried, {}", Bytes(report.device_bytes))
        }
        ("sim", true) => format!("the smallest device, {}", Bytes(report.device_bytes)),
        ("sim", false) => "a simulated device".to_owned(),
        _ => format!("a GPU of {}", Bytes(report.device_bytes)),
    };
    let (allocations, frees) = (grouped(report.allocations), grouped(report.frees));
    format!("{}: {allocations} allocations, {frees} frees on {device}", report.trace)
}

fn read(path: &Path) -> anyhow::Result<Vec<Trace>> {
    let spinner = ProgressBar::new_spinner().with_message(format!("reading {}", path.display()));
    spinner.enable_steady_tick(Duration::from_millis(100));
    let traces = Trace::read_all(path);
    spinner.finish_and_clear();
    let traces = traces?;
    for trace in &traces {
        if trace.skipped_frees > 0 {
            let (count, bytes) = (grouped(trace.skipped_frees), Bytes(trace.skipped_bytes));
            eprintln!(
                "genesis-mem: {}: frees of blocks from before the recording, left out: {count}, \
                 of {bytes}",
                trace.name
            );
        }
        if trace.earlier_blocks > 0 {
            let count = grouped(trace.earlier_blocks);
            eprintln!(
                "genesis-mem: {}: blocks from before the recording, allocated first: {count}",
                trace.name
            );
        }
    }
    Ok(traces)
}

fn write(file: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    fs::write(file, bytes).with_context(|| format!("cannot write {}", file.display()))
}

/// Writes a file that may be large, as it is made.
fn save(file: &Path, write: impl FnOnce(BufWriter<File>) -> io::Result<()>) -> anyhow::Result<()> {
    let written = File::create(file).and_then(|out| write(BufWriter::new(out)));
    written.with_context(|| format!("cannot write {}", file.display()))
}

fn exit<'r>(mut reports: impl Iterator<Item = &'r Report>) -> Exit {
    Exit(if reports.any(|report| report.out_of_memory) { 3 } else { 0 })
}
