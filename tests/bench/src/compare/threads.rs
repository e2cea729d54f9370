//! `compare threads`: many threads on few processors, what idle ones hold, and scaling.

use std::fs;
use std::path::PathBuf;

use anyhow::Result;
use genesis_mem_bench::threads::{Busy, IdleThreads, SHAPES, Scaling};
use serde::{Deserialize, Serialize};

use crate::rivals::{Choice, Rival};
use crate::rows::Sink;
use crate::summary::in_order;
use crate::{cases, machine, report};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// How often each shape runs with each allocator; tables give the least of each figure.
    #[arg(long, default_value_t = 3)]
    rounds: u32,
    /// How many threads, separated by commas.
    #[arg(long, value_delimiter = ',', default_value = "2,64,256")]
    counts: Vec<usize>,
    #[command(flatten)]
    choice: Choice,
    /// Where `threads.csv` and `threads.md` are written; made if it does not exist.
    #[arg(long, default_value = "results")]
    out: PathBuf,
}

/// One figure of one run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Row {
    pub(crate) round: u32,
    pub(crate) shape: String,
    pub(crate) threads: usize,
    pub(crate) allocator: String,
    pub(crate) figure: String,
    pub(crate) value: f64,
}

/// Measures, writes `threads.csv` and `threads.md`, and prints the table.
///
/// # Errors
/// When no binary is found or results cannot be written. A run that fails is named and left out.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let rivals = arguments.choice.find()?;
    let header = machine::header("many threads");
    fs::create_dir_all(&arguments.out)?;
    let csv = arguments.out.join("threads.csv");
    let mut sink = Sink::create(&csv, &header)?;
    let most = arguments.counts.iter().copied().max().unwrap_or(1);
    let mut runs: Vec<(&str, usize)> = Vec::new();
    runs.extend(arguments.counts.iter().flat_map(|&count| SHAPES.map(|shape| (shape, count))));
    runs.extend([(IDLE, most), (SCALING, 2)]);
    let bar = cases::progress(u64::from(arguments.rounds) * (runs.len() * rivals.len()) as u64);
    let mut rows = Vec::new();
    for round in 1..=arguments.rounds {
        for &(shape, threads) in &runs {
            for rival in &rivals {
                bar.set_message(format!("round {round}: {shape}, {threads}, on {}", rival.name));
                match figures(rival, shape, threads) {
                    Ok(figures) => {
                        for (figure, value) in figures {
                            let (shape, allocator) = (shape.into(), rival.name.clone());
                            let figure = figure.into();
                            let row = Row { round, shape, threads, allocator, figure, value };
                            sink.add(&row)?;
                            rows.push(row);
                        }
                    }
                    Err(problem) => bar.suspend(|| eprintln!("{problem:#}")),
                }
                bar.inc(1);
            }
        }
    }
    bar.finish_and_clear();
    let text = render(&header, &rows);
    fs::write(arguments.out.join("threads.md"), &text)?;
    println!("{text}\nRaw results: {}", csv.display());
    Ok(())
}

/// The shape of threads that were busy and are idle.
pub(crate) const IDLE: &str = "idle threads";
/// The shape that tells how well two threads scale.
pub(crate) const SCALING: &str = "scaling";
/// How long threads slept.
pub(crate) const ASLEEP: &str = "asleep (%)";
/// How many times one thread's work two do.
pub(crate) const ELAPSED: &str = "by elapsed time (times)";
/// What is resident beyond what the program holds.
pub(crate) const BEYOND: &str = "beyond live (KiB a thread)";
/// What an idle thread holds.
pub(crate) const HELD: &str = "a thread, idle for 5 s (KiB)";

fn figures(rival: &Rival, shape: &str, threads: usize) -> Result<Vec<(&'static str, f64)>> {
    let count = threads.to_string();
    Ok(match shape {
        IDLE => {
            let IdleThreads { freed_kib, idle_kib } = rival.ask(&["idle-threads", &count])?;
            vec![("a thread, all freed (KiB)", freed_kib), (HELD, idle_kib)]
        }
        SCALING => {
            let Scaling { elapsed, cpu } = rival.ask(&["scaling"])?;
            vec![(ELAPSED, elapsed), ("by CPU time (times)", cpu)]
        }
        _ => {
            let Busy { cpu_ns_per_op, asleep_percent, waits_per_1000, grown_kib, live_kib } =
                rival.ask(&["threads", shape, &count])?;
            let mib = |kib: u64| kib as f64 / 1024.0;
            vec![
                ("CPU (ns an operation)", cpu_ns_per_op),
                (ASLEEP, asleep_percent),
                ("waits (per 1000 operations)", waits_per_1000),
                ("peak over start (MiB)", mib(grown_kib)),
                ("of it live (MiB)", mib(live_kib)),
                (BEYOND, grown_kib.saturating_sub(live_kib) as f64 / threads as f64),
            ]
        }
    })
}

fn render(header: &[String], rows: &[Row]) -> String {
    let names = in_order(rows.iter().map(|row| &row.allocator));
    let mut table = report::new_table("shape, threads: figure", &names);
    let title = |row: &Row| format!("{}, {}: {}", row.shape, row.threads, row.figure);
    let titles: Vec<String> = rows.iter().map(title).collect();
    for line in in_order(titles.iter()) {
        let cell = |name: &String| {
            let of = rows.iter().filter(|row| title(row) == line && &row.allocator == name);
            // What disturbs a run makes scaling worse, too, but that is a smaller number.
            let figures = of.map(|row| row.value);
            let best = match line.starts_with(SCALING) {
                true => figures.reduce(f64::max),
                false => figures.reduce(f64::min),
            };
            best.map_or("failed".into(), |value| format!("{value:.2}"))
        };
        table.add_row([vec![line.clone()], names.iter().map(cell).collect()].concat());
    }
    report::header_lines(header) + "\n" + &table.to_string() + "\n"
}
