//! `genesis-mem report`: what a recording of the host profiler says.

mod list;

use std::{
    fs::File,
    io::{self, BufWriter, IsTerminal, Write},
    path::{Path, PathBuf},
    str::FromStr,
};

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use genesis_mem_host::{
    core::stats::Bytes,
    profile::{
        Recorded,
        model::{
            self, Diff, Memory,
            format::{chrome, flame, flame::Weight, html, json, plot, pprof, torch},
        },
    },
};

use crate::{
    exit::{Exit, LEAKED},
    recordings::{LeakOptions, Opened, in_folder, mode, with_names},
};

const NOTHING_TO_DRAW: &str = "nothing is held at that time, so there is no flame graph of it: \
    choose another time with --at peak, or show all that was allocated with --total";
const NO_DIFF: &str = "--diff and --since go with the formats summary, pprof, flame and folded";

/// Shows who held the memory of a program that was recorded, by call site.
///
/// `genesis-mem run --profile DIR` writes recordings, and so does every program on Genesis Memory
/// with GENESIS_MEM_PROFILE=DIR. Names and lines are looked up in the programs and libraries as
/// they are on this machine.
#[derive(Args, Debug)]
pub struct Report {
    /// The recording, or a folder: its only recording, or a list of those in it
    recording: PathBuf,
    /// What to write
    #[arg(long, short, value_enum, default_value_t = Format::Summary)]
    format: Format,
    /// Write to FILE instead of stdout
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Show what grew since an older recording
    #[arg(long, value_name = "OLDER")]
    diff: Option<PathBuf>,
    /// Show what grew since an earlier time of the same recording
    #[arg(long, value_name = "peak|SECONDS", conflicts_with_all = ["diff", "leaks"])]
    since: Option<Moment>,
    /// Show who held the memory at that time: at the peak, at the end, or so many seconds after
    /// the beginning
    #[arg(long, value_name = "peak|end|SECONDS", default_value = "end", conflicts_with = "leaks")]
    at: Moment,
    /// Show what was never freed, and end with 23 where there is any
    #[arg(long, conflicts_with_all = ["diff", "format"])]
    leaks: bool,
    #[command(flatten)]
    leak_options: LeakOptions,
    /// In flame graphs, show what was allocated so far instead of what is held
    #[arg(long)]
    total: bool,
}

/// A time of a recording.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Moment {
    Peak,
    End,
    Seconds(f64),
}

impl FromStr for Moment {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "peak" => Ok(Self::Peak),
            "end" => Ok(Self::End),
            _ => match text.trim_end_matches('s').parse() {
                Ok(seconds) if (0.0..1e9).contains(&seconds) => Ok(Self::Seconds(seconds)),
                _ => Err("expected peak, end, or seconds since the beginning".to_owned()),
            },
        }
    }
}

impl Moment {
    fn report(self, Opened { recorded, names, .. }: &Opened) -> model::Report {
        let begin_ns = recorded.header().begin_ns;
        match self {
            Self::End => recorded.report(names),
            Self::Peak => recorded.report_at(names, recorded.peak().0),
            Self::Seconds(seconds) => recorded.report_at(names, begin_ns + (seconds * 1e9) as u64),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Tables for people
    Summary,
    /// One page for browsers that shows everything, at any time
    Html,
    /// For pprof, Pyroscope, Parca and speedscope
    Pprof,
    /// A flame graph as SVG
    Flame,
    /// Folded stacks, for scripts
    Folded,
    /// Sums and live blocks as JSON
    Json,
    /// Levels over time, in the terminal
    Timeline,
    /// Levels over time as SVG
    TimelineSvg,
    /// Levels over time as JSON
    TimelineJson,
    /// Events as a trace for Perfetto and chrome://tracing
    Chrome,
    /// Events as a memory snapshot for PyTorch's memory_viz
    Torch,
    /// The recording itself with the names in it: for later, and for other machines
    Recording,
}

impl Format {
    /// Whether it means nothing on a terminal.
    const fn is_binary(self) -> bool {
        matches!(self, Self::Pprof | Self::Torch | Self::Recording)
    }

    /// Whether it can show what grew.
    const fn has_diff(self) -> bool {
        matches!(self, Self::Summary | Self::Pprof | Self::Flame | Self::Folded)
    }
}

impl Report {
    /// Writes what was asked for.
    ///
    /// # Errors
    /// A recording cannot be read, or the output cannot be written.
    pub fn run(&self) -> anyhow::Result<Exit> {
        if self.output.is_none() && self.format.is_binary() && io::stdout().is_terminal() {
            bail!("this format is not for terminals: write it to a file with -o FILE");
        }
        if (self.diff.is_some() || self.since.is_some()) && !self.format.has_diff() {
            bail!(NO_DIFF);
        }
        let mut path = self.recording.clone();
        if path.is_dir() {
            match &in_folder(&path)?[..] {
                [only] => path = only.clone(),
                _ => return self.folder(),
            }
        }
        let opened = Opened::open(&path)?;
        if self.leaks {
            let leaks = self.leak_options.leaks(&opened)?;
            self.to_output(|out| write!(out, "{}: {leaks}", opened.program()))?;
            return Ok(if leaks.is_empty() { Exit(0) } else { LEAKED });
        }
        match self.older(&opened)? {
            None if self.format == Format::Flame
                && flame::folded(&self.at.report(&opened), self.weight()).is_empty() =>
            {
                bail!(NOTHING_TO_DRAW)
            }
            None => self.to_output(|out| self.one(&opened, out))?,
            Some(older) => {
                let diff = Diff::between(&older, &self.at.report(&opened));
                self.to_output(|out| self.changes(&diff, out))?;
            }
        }
        Ok(Exit(0))
    }

    /// What to compare with, if anything.
    fn older(&self, opened: &Opened) -> anyhow::Result<Option<model::Report>> {
        match (&self.diff, self.since) {
            (Some(older), _) => Ok(Some(self.at.report(&Opened::open(older)?))),
            (None, Some(since)) => Ok(Some(since.report(opened))),
            (None, None) => Ok(None),
        }
    }

    /// Lists a folder's recordings, or shows the leaks of each.
    fn folder(&self) -> anyhow::Result<Exit> {
        let of_one = [self.diff.is_some(), self.since.is_some(), self.at != Moment::End];
        if self.format != Format::Summary || of_one.contains(&true) {
            bail!(
                "--format, --diff, --since and --at take one recording; {} has several",
                self.recording.display()
            );
        }
        let recordings = list::Recordings::read(&self.recording)?;
        if !self.leaks {
            self.to_output(|out| write!(out, "{recordings}"))?;
            return Ok(Exit(0));
        }
        let mut exit = Exit(0);
        let mut text = String::new();
        for path in recordings.paths() {
            let opened = Opened::open(path)?;
            let leaks = self.leak_options.leaks(&opened)?;
            text += &format!("{}: {leaks}", opened.program());
            if !leaks.is_empty() {
                exit = LEAKED;
            }
        }
        self.to_output(|out| out.write_all(text.as_bytes()))?;
        Ok(exit)
    }

    fn weight(&self) -> Weight {
        if self.total { Weight::TotalBytes } else { Weight::LiveBytes }
    }

    fn one(&self, opened: &Opened, out: &mut dyn Write) -> io::Result<()> {
        let Opened { recorded, names, .. } = opened;
        let report = || self.at.report(opened);
        let recording = || recorded.recording(names);
        let timeline = || recording().timeline(Memory::Host);
        match self.format {
            Format::Summary => {
                writeln!(out, "{} ({})\n", opened.program(), mode(recorded))?;
                let report = report();
                write!(out, "{}", report.summary())?;
                self.hint(recorded, report.pools[0].live_bytes, out)
            }
            Format::Html => {
                let options = html::Options { title: opened.program(), ..Default::default() };
                html::write(&recorded.report(names), &recording(), &options, out)
            }
            Format::Pprof => pprof::write(&report(), out),
            Format::Flame => flame::write_svg(&report(), self.weight(), out),
            Format::Folded => lines(out, &flame::folded(&report(), self.weight())),
            Format::Json => json::write_report(&report(), out),
            Format::Timeline => write!(out, "{}", plot::in_terminal(&timeline())),
            Format::TimelineSvg => {
                let svg = plot::svg(&timeline()).map_err(io::Error::other)?;
                out.write_all(svg.as_bytes())
            }
            Format::TimelineJson => json::write_timeline(&timeline(), out),
            Format::Chrome => chrome::write(&recording(), out),
            Format::Torch => torch::write(&recording(), Memory::Host, out),
            Format::Recording => {
                out.write_all(&with_names(&opened.path).map_err(io::Error::other)?)
            }
        }
    }

    /// Where there was much more, who looks for it looks at the wrong time.
    fn hint(&self, recorded: &Recorded, end_bytes: u64, out: &mut dyn Write) -> io::Result<()> {
        let (time_ns, bytes) = recorded.peak();
        if self.at != Moment::End || bytes / 2 <= end_bytes {
            return Ok(());
        }
        let seconds = time_ns.saturating_sub(recorded.header().begin_ns) as f64 / 1e9;
        writeln!(
            out,
            "\nAt its peak, {seconds:.3} s after the beginning, it held {}; see by whom with --at peak",
            Bytes(bytes)
        )
    }

    fn changes(&self, diff: &Diff, out: &mut dyn Write) -> io::Result<()> {
        match self.format {
            Format::Summary => write!(out, "{diff}"),
            Format::Pprof => pprof::write_diff(diff, out),
            Format::Flame => flame::write_diff_svg(diff, self.weight(), out),
            Format::Folded => lines(out, &flame::folded_diff(diff, self.weight())),
            _ => Err(io::Error::other(NO_DIFF)),
        }
    }

    fn to_output(
        &self,
        write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> anyhow::Result<()> {
        match &self.output {
            None => Ok(flushed(io::stdout().lock(), write)?),
            Some(path) => {
                let written =
                    File::create(path).and_then(|file| flushed(BufWriter::new(file), write));
                written.with_context(|| cannot_write(path))
            }
        }
    }
}

fn cannot_write(path: &Path) -> String {
    format!("cannot write {}", path.display())
}

fn flushed(
    mut out: impl Write,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<()> {
    write(&mut out)?;
    out.flush()
}

fn lines(out: &mut dyn Write, lines: &[String]) -> io::Result<()> {
    lines.iter().try_for_each(|line| writeln!(out, "{line}"))
}
