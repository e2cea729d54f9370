//! The tables: each mode's time and memory as a multiple of what its allocator needs unprofiled.

use super::costs::Cost;
use super::modes::Mode;
use crate::report;
use crate::rows::Row;
use crate::summary::{Figure, Summary, geometric_mean, in_order};

/// The modes that have a column, where they ran.
const PROFILED: [Mode; 4] = [Mode::Sampled, Mode::Full, Mode::Heaptrack, Mode::Dhat];

/// CPU time in the best run, in the median one, and median peak memory.
type Ratios = [f64; 3];

pub(super) fn render(header: &[String], rows: &[Row], costs: &[Cost]) -> String {
    let mut text = report::header_lines(header);
    text += "\nCPU time in the best run / in the median run / peak memory, each as a multiple of the same \
             allocator's unprofiled: Genesis Memory's for its profiler sampling (once in 512 KiB) and in \
             full, the C library's for heaptrack, which only records, and dhat. The recording is written \
             at exit, and of programs is part of it; of cases the time is that of the work alone.\n";
    for group in in_order(rows.iter().map(|row| &row.group)) {
        text += &format!("\n## {group}\n\n{}\n", section(&Summary::of(rows, &group)));
    }
    let mut table = report::new_table("cost", &["figure".to_owned()]);
    for cost in costs {
        table.add_row([cost.figure.clone(), format!("{:.2} {}", cost.value, cost.unit)]);
    }
    text + &format!("\n## One by one\n\n{table}\n")
}

fn section(summary: &Summary) -> String {
    let ran = |mode: &Mode| summary.allocators.iter().any(|name| name == mode.name());
    let modes: Vec<Mode> = PROFILED.into_iter().filter(ran).collect();
    let names = modes.iter().map(|mode| mode.name());
    let titles: Vec<String> =
        ["off: CPU ms, MiB"].into_iter().chain(names).map(str::to_owned).collect();
    let mut table = report::new_table("workload", &titles);
    let mut all: Vec<Vec<Ratios>> = vec![Vec::new(); modes.len()];
    for (case, figures) in summary.cases.iter().zip(&summary.figures) {
        let figure = |mode: Mode| {
            let at = summary.allocators.iter().position(|name| name == mode.name())?;
            figures[at].as_ref()
        };
        let mut cells = vec![case.clone(), figure(Mode::Off).map_or("failed".into(), unprofiled)];
        for (&mode, all) in modes.iter().zip(&mut all) {
            let ratios = figure(mode).zip(figure(mode.base())).map(|(it, base)| ratios(it, base));
            all.extend(ratios);
            cells.push(ratios.map_or("-".into(), text));
        }
        table.add_row(cells);
    }
    let mut add = |title: &str, sum: fn(&[Ratios]) -> Option<Ratios>| {
        let sums = all.iter().map(|ratios| sum(ratios).map_or("-".into(), text));
        table.add_row([title.to_owned(), String::new()].into_iter().chain(sums));
    };
    add("geometric mean", |all| each(all, |values| geometric_mean(values.iter().copied())));
    add("worst", |all| each(all, |values| values.iter().copied().reduce(f64::max)));
    table.to_string()
}

fn unprofiled(figure: &Figure) -> String {
    let cpu = report::digits(figure.best_cpu_ns / 1e6);
    format!("{cpu}, {}", report::digits(figure.median_peak_kib / 1024.0))
}

fn ratios(figure: &Figure, base: &Figure) -> Ratios {
    [
        figure.best_cpu_ns / base.best_cpu_ns,
        figure.median_cpu_ns / base.median_cpu_ns,
        figure.median_peak_kib / base.median_peak_kib,
    ]
}

fn each(all: &[Ratios], sum: impl Fn(&[f64]) -> Option<f64>) -> Option<Ratios> {
    let of = |at: usize| sum(&all.iter().map(|ratios| ratios[at]).collect::<Vec<_>>());
    Some([of(0)?, of(1)?, of(2)?])
}

fn text(ratios: Ratios) -> String {
    ratios.map(|ratio| format!("{ratio:.2}")).join(" / ")
}
