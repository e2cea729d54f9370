//! The tables: each mode's time and memory as a multiple of what its allocator needs unprofiled.

use genesis_mem_bench::cases::Unit;

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
        ["off: CPU time, MiB"].into_iter().chain(names).map(str::to_owned).collect();
    let mut table = report::new_table("workload", &titles);
    let mut all: Vec<Vec<Ratios>> = vec![Vec::new(); modes.len()];
    for (case, figures) in summary.cases.iter().zip(&summary.figures) {
        let figure = |mode: Mode| {
            let at = summary.allocators.iter().position(|name| name == mode.name())?;
            figures[at].as_ref()
        };
        let (title, unit) = report::title(case);
        let off = figure(Mode::Off).map_or("failed".into(), |it| unprofiled(it, unit));
        let mut cells = vec![format!("{title} ({})", unit.symbol()), off];
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

fn unprofiled(figure: &Figure, unit: Unit) -> String {
    let cpu = report::digits(figure.best_cpu_ns / unit.ns());
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

#[cfg(test)]
mod tests {
    use super::*;

    fn row(round: u32, allocator: &str, cpu_ns_per_op: f64, peak_kib: u64) -> Row {
        Row {
            group: "g".into(),
            round,
            case: "lua".into(),
            allocator: allocator.into(),
            operations: 1,
            cpu_ns_per_op,
            wall_ns_per_op: cpu_ns_per_op,
            worst_ns_per_op: None,
            minor_faults: 0,
            peak_kib,
        }
    }

    #[test]
    fn each_mode_is_set_against_its_own_allocator() {
        let rows = [
            row(1, "off", 1e6, 1024),
            row(2, "off", 3e6, 1024),
            row(1, "sampled", 1.1e6, 2048),
            row(1, "glibc", 2e6, 512),
            row(1, "heaptrack", 5e6, 1024),
        ];
        let text = section(&Summary::of(&rows, "g"));
        let line = text.lines().find(|line| line.contains("lua")).expect("a row of the program");
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let expected = ["lua (ms)", "1.00, 1.00", "1.10 / 0.55 / 2.00", "2.50 / 2.50 / 2.00"];
        assert_eq!(cells[1..5], expected, "no column for what did not run");
    }
}
