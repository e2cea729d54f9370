//! `compare extras`: what an idle process keeps, and how well two threads scale.

use std::fs;
use std::path::PathBuf;

use anyhow::Result;
use genesis_mem_bench::extras::{Idle, Scaling};
use serde::Serialize;

use crate::rivals::{Choice, Rival};
use crate::rows::Sink;
use crate::{cases, machine, report};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    choice: Choice,
    /// Where `extras.csv` and `extras.md` are written; made if it does not exist.
    #[arg(long, default_value = "results")]
    out: PathBuf,
}

#[derive(Debug, Serialize)]
struct Row {
    allocator: String,
    start_kib: u64,
    peak_kib: u64,
    freed_kib: u64,
    idle_kib: u64,
    scaling_elapsed: f64,
    scaling_cpu: f64,
}

/// Measures, writes `extras.csv` and `extras.md`, and prints the table.
///
/// # Errors
/// When no binary is found or results cannot be written. An allocator that fails is named and left
/// out.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let rivals = arguments.choice.find()?;
    let header = machine::header("idle memory and scaling");
    fs::create_dir_all(&arguments.out)?;
    let csv = arguments.out.join("extras.csv");
    let mut sink = Sink::create(&csv, &header)?;
    let bar = cases::progress(rivals.len() as u64);
    let mut rows = Vec::new();
    for rival in &rivals {
        bar.set_message(rival.name.clone());
        match measure(rival) {
            Ok(row) => {
                sink.add(&row)?;
                rows.push(row);
            }
            Err(problem) => bar.suspend(|| eprintln!("{problem:#}")),
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    let text = render(&header, &rows);
    fs::write(arguments.out.join("extras.md"), &text)?;
    println!("{text}\nRaw results: {}", csv.display());
    Ok(())
}

fn measure(rival: &Rival) -> Result<Row> {
    let Idle { start_kib, peak_kib, freed_kib, idle_kib } = rival.ask(&["idle"])?;
    let Scaling { elapsed: scaling_elapsed, cpu: scaling_cpu } = rival.ask(&["scaling"])?;
    let allocator = rival.name.clone();
    Ok(Row { allocator, start_kib, peak_kib, freed_kib, idle_kib, scaling_elapsed, scaling_cpu })
}

fn render(header: &[String], rows: &[Row]) -> String {
    let names: Vec<String> = rows.iter().map(|row| row.allocator.clone()).collect();
    let mut table = report::new_table("two threads, 256 MiB", &names);
    let mut add = |title: &str, value: fn(&Row) -> f64| {
        let values = rows.iter().map(|row| format!("{:.2}", value(row))).collect();
        table.add_row([vec![title.to_owned()], values].concat());
    };
    add("resident at start (MiB)", |row| mib(row.start_kib));
    add("at the peak", |row| mib(row.peak_kib));
    add("over start, all freed", |row| mib(row.freed_kib.saturating_sub(row.start_kib)));
    add("over start, idle for 5 s", |row| mib(row.idle_kib.saturating_sub(row.start_kib)));
    add("scaling by elapsed time (2 is ideal)", |row| row.scaling_elapsed);
    add("scaling by CPU time", |row| row.scaling_cpu);
    report::header_lines(header) + "\n" + &table.to_string() + "\n"
}

fn mib(kib: u64) -> f64 {
    kib as f64 / 1024.0
}
