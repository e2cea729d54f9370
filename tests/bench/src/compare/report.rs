//! Tables for people, as Markdown: on the screen and in a file beside the CSV.

use std::alloc::System;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use comfy_table::{CellAlignment, Table, presets::ASCII_MARKDOWN};
use genesis_mem_bench::cases::{Case, Unit};

use crate::Output;
use crate::rows::{self, Row};
use crate::summary::{Figure, Summary};

/// How near to the best of the others counts as "as good".
const NEAR: f64 = 0.05;

/// Renders the rows in `csv` to `NAME.md` in the output folder, and prints it.
///
/// # Errors
/// When the file cannot be read or holds no rows, or the result cannot be written.
pub(crate) fn publish(name: &str, csv: &Path, output: &Output) -> Result<()> {
    let (header, rows) = rows::read::<Row>(csv)?;
    if rows.is_empty() {
        bail!("{} holds no results", csv.display());
    }
    let text = render(&header, &rows, &output.baseline);
    fs::create_dir_all(&output.out)?;
    let path = output.out.join(format!("{name}.md"));
    fs::write(&path, &text).with_context(|| format!("cannot write {}", path.display()))?;
    println!("{text}");
    println!("Raw results: {}; this text: {}", csv.display(), path.display());
    Ok(())
}

/// The whole report: how it was measured, then each group's tables.
fn render(header: &[String], rows: &[Row], baseline: &str) -> String {
    let mut text = header_lines(header);
    let mut groups: Vec<&str> = rows.iter().map(|row| row.group.as_str()).collect();
    groups.dedup();
    groups.sort_unstable();
    groups.dedup();
    for group in groups {
        text += &section(group, &Summary::of(rows, group), baseline);
    }
    text
}

/// How the figures were measured, as a list.
pub(crate) fn header_lines(header: &[String]) -> String {
    header.iter().map(|line| format!("- {line}\n")).collect()
}

fn section(group: &str, summary: &Summary, baseline: &str) -> String {
    let best = |figure: &Figure| figure.best_cpu_ns;
    let peak = |figure: &Figure| figure.median_peak_kib;
    let mut text = format!("\n## {group}\n\n");
    text +=
        "CPU time per operation in the best run / peak resident MiB (median). Least in bold.\n\n";
    text += &figures(summary, |figure, unit| {
        Cell::new(best(figure), unit, digits(peak(figure) / 1024.0))
    });
    let batched = summary.figures.iter().flatten().flatten().any(|it| it.worst_ns.is_some());
    text += match batched {
        true => "\n\nMedian CPU time / worst batch of the calmest run.\n\n",
        false => "\n\nMedian CPU time / page faults.\n\n",
    };
    text += &figures(summary, |figure, unit| {
        let detail = match figure.worst_ns {
            Some(ns) => digits(ns / unit.ns()),
            None if batched => "-".into(),
            None => format!("{:.0}", figure.median_faults),
        };
        Cell::new(figure.median_cpu_ns, unit, detail)
    });
    text += &format!("\n\nGeometric means over the cases, {baseline} = 1.\n\n");
    let ratios = |values: Vec<Option<f64>>| {
        values.into_iter().map(|value| value.map_or("-".into(), |ratio| format!("{ratio:.3}")))
    };
    let mut table = new_table("case", &summary.allocators);
    let mut add = |title: &str, values: Vec<String>| {
        table.add_row([vec![title.to_owned()], values].concat());
    };
    add("CPU, best", ratios(summary.relative(baseline, best)).collect());
    add("CPU, median", ratios(summary.relative(baseline, |it| it.median_cpu_ns)).collect());
    add("peak memory", ratios(summary.relative(baseline, peak)).collect());
    add(
        "page faults",
        ratios(summary.relative(baseline, |it| it.median_faults.max(1.0))).collect(),
    );
    let near = summary.near_best(NEAR).into_iter();
    let title =
        format!("within {:.0} % of the best other, of {}", NEAR * 100.0, summary.cases.len());
    add(&title, near.map(|count| count.to_string()).collect());
    text + &table.to_string() + "\n"
}

/// A time, by which a row is judged, and what stands behind it.
struct Cell {
    ns: f64,
    time: String,
    detail: String,
}

impl Cell {
    fn new(ns: f64, unit: Unit, detail: String) -> Self {
        Self { ns, time: digits(ns / unit.ns()), detail }
    }

    fn text(&self, least_ns: f64) -> String {
        let mark = if self.ns == least_ns { "**" } else { "" };
        format!("{mark}{}{mark} / {}", self.time, self.detail)
    }
}

/// A table of all cases, the least time of each row in bold.
fn figures(summary: &Summary, cell: impl Fn(&Figure, Unit) -> Cell) -> String {
    let mut table = new_table("case", &summary.allocators);
    for (name, figures) in summary.cases.iter().zip(&summary.figures) {
        let (title, unit) = title(name);
        let cells: Vec<Option<Cell>> =
            figures.iter().map(|figure| figure.as_ref().map(|it| cell(it, unit))).collect();
        let least_ns = cells.iter().flatten().map(|cell| cell.ns).fold(f64::INFINITY, f64::min);
        let text =
            |cell: &Option<Cell>| cell.as_ref().map_or("failed".into(), |it| it.text(least_ns));
        let title = format!("{title} ({})", unit.symbol());
        table.add_row([vec![title], cells.iter().map(text).collect()].concat());
    }
    table.to_string()
}

/// What a report calls a case, or a program, and the unit of its times.
pub(crate) fn title(name: &str) -> (&str, Unit) {
    let case = Case::<System>::all().into_iter().find(|case| case.name == name);
    case.map_or((name, Unit::Ms), |case| (case.title, case.unit))
}

/// A table in Markdown with a column for each allocator.
pub(crate) fn new_table(title: &str, allocators: &[String]) -> Table {
    let mut table = Table::new();
    table.load_style(ASCII_MARKDOWN);
    table.set_header([&[title.to_owned()], allocators].concat());
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// Three significant digits.
pub(crate) fn digits(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_significant_digits() {
        assert_eq!(digits(1234.5), "1234");
        assert_eq!(digits(123.4), "123");
        assert_eq!(digits(12.34), "12.3");
        assert_eq!(digits(1.234), "1.23");
    }
}
