//! `genesis-mem metrics`: running programs for Prometheus.

use std::{
    io::{self, Write},
    thread,
};

use anyhow::Context;
use clap::Args;
use genesis_mem_cuda::profile::{
    Memory,
    format::{openmetrics, openmetrics::Source as Metrics, statistics},
    http,
};

use crate::{
    exit::Exit,
    top::{source::Source, target},
};

/// Tells Prometheus what running programs do with their memory.
///
/// Whenever it is asked, it asks the programs, as `top` does; which there are may change meanwhile.
/// Each has the labels `process` and `program`. There is no access control: keep it to 127.0.0.1, or
/// to a network that may know.
#[derive(Args, Debug)]
pub struct Serve {
    /// Numbers of processes, sockets, or directories of sockets; all programs of yours that tell
    /// their statistics, if there is none
    #[arg(value_name = "PID|SOCKET|DIRECTORY")]
    targets: Vec<String>,
    /// Where to answer GET /metrics
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:9464")]
    listen: String,
    /// Print them once and end
    #[arg(long)]
    once: bool,
}

impl Serve {
    /// Serves until it is ended from outside.
    ///
    /// # Errors
    /// The address cannot be had.
    pub fn run(&self) -> anyhow::Result<Exit> {
        if self.once {
            write!(io::stdout(), "{}", openmetrics::to_string(collect(&self.targets)))?;
            return Ok(Exit(0));
        }
        let targets = self.targets.clone();
        let server = http::serve(&*self.listen, move || collect(&targets))
            .with_context(|| format!("cannot listen at {}", self.listen))?;
        writeln!(io::stdout(), "http://{}/metrics", server.address())?;
        io::stdout().flush()?;
        loop {
            thread::park();
        }
    }
}

/// What all programs say now; those that do not answer are left out.
fn collect(targets: &[String]) -> Vec<Metrics> {
    target::find_all(targets).iter().filter_map(metrics_of).collect()
}

fn metrics_of(source: &Source) -> Option<Metrics> {
    let snapshot = statistics::read(&source.text().ok()?).ok()?;
    let metrics = Metrics::new(Memory::Host, snapshot);
    Some(metrics.label("process", source.process).label("program", source.program()))
}
