//! `genesis-mem top`: what a running program does with its memory.

mod history;
mod screen;
pub(crate) mod source;
mod table;
pub(crate) mod target;
mod terminal;

use std::{
    io::{self, IsTerminal, Write},
    time::Duration,
};

use anyhow::bail;
use clap::Args;
use genesis_mem_host::core::stats::Bytes;

use self::{
    source::{Sample, Source},
    table::Column,
};
use crate::{exit::Exit, snapshot::row};

/// Shows what a running program does with its memory.
///
/// The program tells it at a Unix socket: start it with `genesis-mem run --socket`, or with
/// GENESIS_MEM_SOCKET=auto in its environment, or let it call `genesis_mem_host::serve("auto")`.
#[derive(Args, Debug)]
pub struct Top {
    /// The number of the process, or the path of its socket. May be left out where there is only
    /// one
    #[arg(value_name = "PID|SOCKET")]
    target: Option<String>,
    /// Seconds from one look to the next
    #[arg(long, short, value_name = "SECONDS", default_value = "1", value_parser = interval)]
    interval: Duration,
    /// What the size classes are sorted by
    #[arg(long, value_enum, default_value = "allocated")]
    sort: Column,
    /// Print one table and end, as also where the output is no terminal
    #[arg(long)]
    once: bool,
    /// Print what the program says, as JSON, and end
    #[arg(long)]
    json: bool,
}

/// Seconds as people write them.
fn interval(text: &str) -> Result<Duration, String> {
    let seconds = text.parse::<f64>().ok().filter(|seconds| (0.1..=3600.0).contains(seconds));
    seconds.map(Duration::from_secs_f64).ok_or_else(|| "give 0.1 to 3600 seconds".to_owned())
}

impl Top {
    /// Watches until the user or the program ends it.
    ///
    /// # Errors
    /// There is no such program, it does not tell, or the terminal cannot be used.
    pub fn run(&self) -> anyhow::Result<Exit> {
        let source = target::find(self.target.as_deref())?;
        if self.json {
            writeln!(io::stdout(), "{}", source.text()?.trim_end())?;
        } else if self.once || !io::stdout().is_terminal() {
            print_sample(&source, &source.sample()?, &mut io::stdout())?;
        } else {
            self.watch(&source)?;
        }
        Ok(Exit(0))
    }

    fn watch(&self, source: &Source) -> anyhow::Result<()> {
        let watched = terminal::watch(source, self.interval, self.sort)?;
        if !watched.has_ended {
            return Ok(());
        }
        let name = source.name();
        let Some(sample) = watched.last else { bail!("{name} ended before it said anything") };
        let out = &mut io::stdout();
        print_sample(source, &sample, out)?;
        writeln!(out, "{name} has ended; this was its memory when it was last asked.")?;
        Ok(())
    }
}

/// For people, and for pipes.
fn print_sample(source: &Source, sample: &Sample, out: &mut impl Write) -> io::Result<()> {
    let report = &sample.report;
    let mut sums = report.sums();
    let limit = Some(report.limit_bytes).filter(|&bytes| bytes > 0);
    for (name, bytes) in [("process", sample.resident_bytes), ("limit", limit)] {
        if let Some(bytes) = bytes {
            sums.add_row(row([name.to_owned(), Bytes(bytes).to_string(), String::new()]));
        }
    }
    writeln!(out, "{}\n{sums}\n{}", source.name(), report.counts())?;
    writeln!(out, "{}\n{}", report.fragmentation(), report.rows())?;
    if !sample.sites.is_empty() {
        writeln!(out, "{}", table::sites(&sample.sites))?;
    }
    Ok(())
}
