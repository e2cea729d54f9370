//! `compare idle`: what a process keeps that was busy once and is idle now.

use std::alloc::System;
use std::fs;
use std::thread;

use anyhow::Result;
use genesis_mem_bench::idle::{self, Idle};
use serde::{Deserialize, Serialize};

use crate::rivals::{Choice, Rival};
use crate::rows::Sink;
use crate::summary::in_order;
use crate::{cases, machine, report};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    choice: Choice,
    /// Where `idle.csv` and `idle.md` are written; made if it does not exist.
    #[arg(long, default_value = "results")]
    out: std::path::PathBuf,
}

/// One shape on one allocator.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Row {
    pub(crate) shape: String,
    pub(crate) allocator: String,
    pub(crate) start_kib: u64,
    pub(crate) peak_kib: u64,
    pub(crate) freed_kib: u64,
    pub(crate) idle_kib: u64,
}

impl Row {
    /// What is resident after five idle seconds, over the start.
    pub(crate) fn kept_mib(&self) -> f64 {
        mib(self.idle_kib.saturating_sub(self.start_kib))
    }
}

/// Measures, writes `idle.csv` and `idle.md`, and prints the table.
///
/// # Errors
/// When no binary is found or results cannot be written. An allocator that fails is named and left
/// out.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let rivals = arguments.choice.find()?;
    let shapes = idle::shapes::<System>().map(|shape| shape.0);
    let header = machine::header("idle memory");
    fs::create_dir_all(&arguments.out)?;
    let csv = arguments.out.join("idle.csv");
    let mut sink = Sink::create(&csv, &header)?;
    let bar = cases::progress(rivals.len() as u64);
    let mut rows = Vec::new();
    for rival in &rivals {
        bar.set_message(rival.name.clone());
        for measured in measure(rival, &shapes) {
            match measured {
                Ok(row) => {
                    sink.add(&row)?;
                    rows.push(row);
                }
                Err(problem) => bar.suspend(|| eprintln!("{problem:#}")),
            }
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    let text = render(&header, &rows);
    fs::write(arguments.out.join("idle.md"), &text)?;
    println!("{text}\nRaw results: {}", csv.display());
    Ok(())
}

/// All shapes at the same time: they take no time that matters, but five seconds each.
fn measure(rival: &Rival, shapes: &[&str]) -> Vec<Result<Row>> {
    let measure = |shape: &str| {
        let Idle { start_kib, peak_kib, freed_kib, idle_kib } = rival.ask(&["idle", shape])?;
        let (shape, allocator) = (shape.to_owned(), rival.name.clone());
        Ok(Row { shape, allocator, start_kib, peak_kib, freed_kib, idle_kib })
    };
    thread::scope(|scope| {
        let started: Vec<_> =
            shapes.iter().map(|&shape| scope.spawn(move || measure(shape))).collect();
        started.into_iter().map(|it| it.join().expect("nothing panics there")).collect()
    })
}

fn render(header: &[String], rows: &[Row]) -> String {
    let names = in_order(rows.iter().map(|row| &row.allocator));
    let mut table = report::new_table("MiB over start: peak, freed, idle for 5 s", &names);
    for shape in in_order(rows.iter().map(|row| &row.shape)) {
        let cell = |name: &String| {
            let row = rows.iter().find(|row| row.shape == shape && &row.allocator == name);
            row.map_or("failed".into(), |row| {
                let over = |kib: u64| mib(kib.saturating_sub(row.start_kib));
                let (peak, freed) = (over(row.peak_kib), over(row.freed_kib));
                format!("{peak:.0} / {freed:.1} / {:.1}", row.kept_mib())
            })
        };
        table.add_row([vec![shape.clone()], names.iter().map(cell).collect()].concat());
    }
    report::header_lines(header) + "\n" + &table.to_string() + "\n"
}

fn mib(kib: u64) -> f64 {
    kib as f64 / 1024.0
}
