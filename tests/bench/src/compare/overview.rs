//! `compare summary`: what the files of results say, target by target.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use serde::de::DeserializeOwned;

use crate::summary::{Figure, Summary, in_order};
use crate::{cases, idle, misuse, report, rows, threads};

const OURS: &str = "genesis";

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Where the files are, and where `summary.md` is written.
    #[arg(long, default_value = "results")]
    out: PathBuf,
}

/// Reads every file of results in the folder, writes `summary.md`, and prints it.
///
/// # Errors
/// When there are no results, a file cannot be read, or the summary cannot be written.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let files = Files { folder: &arguments.out };
    let mut lines = Vec::new();
    lines
        .extend(files.read("cases.csv")?.map(|it| programs(&it, cases::GROUP)).unwrap_or_default());
    if let Some(all) = files.read::<rows::Row>("preload.csv")? {
        for group in in_order(all.rows.iter().map(|row| &row.group)) {
            lines.extend(programs(&all, &group));
        }
    }
    lines.extend(files.read("misuse.csv")?.map(|it| wrong_acts(&it)).unwrap_or_default());
    lines.extend(files.read("threads.csv")?.map(|it| many_threads(&it)).unwrap_or_default());
    lines.extend(files.read("idle.csv")?.map(|it| idle_memory(&it)).unwrap_or_default());
    if lines.is_empty() {
        bail!("there are no results of {OURS} in {}", arguments.out.display());
    }
    let text = render(&lines);
    fs::write(arguments.out.join("summary.md"), &text)?;
    println!("{text}");
    Ok(())
}

struct Files<'a> {
    folder: &'a Path,
}

/// A file of results.
struct Results<R> {
    file: &'static str,
    rows: Vec<R>,
}

impl Files<'_> {
    /// Nothing where the file does not exist: then that part was not measured.
    fn read<R: DeserializeOwned>(&self, file: &'static str) -> Result<Option<Results<R>>> {
        let path = self.folder.join(file);
        if !path.is_file() {
            return Ok(None);
        }
        Ok(Some(Results { file, rows: rows::read(&path)?.1 }))
    }
}

/// What a figure must reach.
#[derive(Debug, Clone, Copy)]
enum Target {
    AtMost(f64),
    AtLeast(f64),
    /// No figure was promised: the least is best.
    Least,
}

/// One figure: ours and the best of the others.
struct Line {
    what: String,
    file: &'static str,
    target: Target,
    ours: f64,
    other: Option<(String, f64)>,
}

impl Line {
    /// The figure of each allocator that has one; nothing where ours has none.
    fn new(
        what: impl Into<String>,
        file: &'static str,
        target: Target,
        figures: impl IntoIterator<Item = (String, Option<f64>)>,
    ) -> Option<Self> {
        let mut figures: Vec<(String, f64)> =
            figures.into_iter().filter_map(|(name, figure)| Some((name, figure?))).collect();
        let ours = figures.iter().position(|(name, _)| name == OURS)?;
        let (_, ours) = figures.remove(ours);
        let best = figures.into_iter().min_by(|one, other| match target {
            Target::AtLeast(_) => other.1.total_cmp(&one.1),
            _ => one.1.total_cmp(&other.1),
        });
        Some(Self { what: what.into(), file, target, ours, other: best })
    }

    fn cells(&self) -> [String; 5] {
        let (target, is_met) = match self.target {
            Target::AtMost(limit) => (format!("≤ {limit}"), self.ours <= limit),
            Target::AtLeast(limit) => (format!("≥ {limit}"), self.ours >= limit),
            Target::Least => {
                let best = self.other.as_ref().is_none_or(|(_, other)| self.ours <= *other);
                ("the least".into(), best)
            }
        };
        let other = self.other.as_ref().map_or("-".into(), |(name, it)| format!("{it:.2} {name}"));
        let met = if is_met { "yes" } else { "**no**" };
        [
            format!("{} (`{}`)", self.what, self.file),
            target,
            format!("{:.2}", self.ours),
            met.into(),
            other,
        ]
    }
}

fn render(lines: &[Line]) -> String {
    let titles = ["target", "Genesis", "met", "best other"].map(str::to_owned);
    let mut table = report::new_table("figure", &titles);
    for line in lines {
        table.add_row(line.cells());
    }
    format!(
        "Each figure in its worst case where it has several, from the files beside this one, which say \
         how and on which machine they were made.\n\n{table}\n"
    )
}

/// Geometric means, mimalloc = 1, and in how many cases an allocator is as good as the best other.
fn programs(results: &Results<rows::Row>, group: &str) -> Vec<Line> {
    let summary = Summary::of(&results.rows, group);
    let names = || summary.allocators.iter().cloned();
    let line = |what: &str, value: fn(&Figure) -> f64| {
        let figures = names().zip(summary.relative("mimalloc", value));
        Line::new(format!("{group}: {what}, mimalloc = 1"), results.file, Target::Least, figures)
    };
    let near = summary.near_best(0.05).into_iter();
    let far = near.map(|near| Some((summary.cases.len() - near) as f64));
    let title = format!("{group}: of {} not within 5 % of the best other", summary.cases.len());
    let lines = [
        line("CPU time, best run", |it| it.best_cpu_ns),
        line("CPU time, median run", |it| it.median_cpu_ns),
        line("peak memory", |it| it.median_peak_kib),
        Line::new(title, results.file, Target::Least, names().zip(far)),
    ];
    lines.into_iter().flatten().collect()
}

fn wrong_acts(results: &Results<misuse::Row>) -> Vec<Line> {
    let line = |language: &str, what: &str, target, value: fn(&misuse::Counts) -> f64| {
        let counts = misuse::Counts::of(&results.rows, language).into_iter();
        let figures = counts.map(|(name, counts)| (name, Some(value(&counts))));
        Line::new(format!("wrong acts in {language}: {what}"), results.file, target, figures)
    };
    let lines = ["Rust", "C"].map(|language| {
        [
            line(language, "caught at the act, %", Target::AtLeast(90.0), misuse::Counts::percent),
            line(language, "silent damage or hung", Target::AtMost(0.0), |it| it.damaged as f64),
        ]
    });
    lines.into_iter().flatten().flatten().collect()
}

fn many_threads(results: &Results<threads::Row>) -> Vec<Line> {
    let names = || in_order(results.rows.iter().map(|row| &row.allocator));
    // Of several rounds the calmest counts, of several shapes the worst.
    let best = |allocator: &str, figure: &str, shape: &str, threads: usize, most: bool| {
        let is = |row: &&threads::Row| {
            row.allocator == allocator
                && row.figure == figure
                && row.shape == shape
                && row.threads == threads
        };
        let values = results.rows.iter().filter(is).map(|row| row.value);
        if most { values.reduce(f64::max) } else { values.reduce(f64::min) }
    };
    let mut shapes: Vec<(&str, usize)> =
        results.rows.iter().map(|it| (it.shape.as_str(), it.threads)).collect();
    shapes.sort_unstable();
    shapes.dedup();
    let worst = |figure: &str, most: bool| {
        let of = |name: &String| {
            let values = shapes.iter().filter_map(|it| best(name, figure, it.0, it.1, most));
            if most { values.reduce(f64::min) } else { values.reduce(f64::max) }
        };
        names().into_iter().map(|name| (name.clone(), of(&name))).collect::<Vec<_>>()
    };
    let lines = [
        Line::new(
            "threads asleep, %",
            results.file,
            Target::AtMost(1.0),
            worst(threads::ASLEEP, false),
        ),
        Line::new(
            "two threads, times one",
            results.file,
            Target::AtLeast(1.95),
            worst(threads::ELAPSED, true),
        ),
        Line::new(
            "memory beyond what is live, KiB a thread",
            results.file,
            Target::AtMost(2048.0),
            worst(threads::BEYOND, false),
        ),
        Line::new(
            "an idle thread holds, KiB",
            results.file,
            Target::Least,
            worst(threads::HELD, false),
        ),
    ];
    lines.into_iter().flatten().collect()
}

fn idle_memory(results: &Results<idle::Row>) -> Vec<Line> {
    let shapes = in_order(results.rows.iter().map(|row| &row.shape));
    let line = |shape: &String| {
        let of = results.rows.iter().filter(|row| &row.shape == shape);
        let figures = of.map(|row| (row.allocator.clone(), Some(row.kept_mib())));
        let what = format!("kept when idle, MiB: {shape}");
        Line::new(what, results.file, Target::AtMost(5.0), figures)
    };
    shapes.iter().filter_map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(target: Target) -> Line {
        let figures = [("a", 3.0), ("genesis", 2.0), ("b", 1.0)];
        let figures = figures.map(|(name, figure)| (name.to_owned(), Some(figure)));
        Line::new("x", "x.csv", target, figures).expect("ours has a figure")
    }

    #[test]
    fn a_target_is_met_or_not_and_the_best_other_stands_beside_it() {
        let cells = |target| line(target).cells().join("|");
        assert_eq!(cells(Target::AtMost(2.0)), "x (`x.csv`)|≤ 2|2.00|yes|1.00 b");
        assert_eq!(cells(Target::AtLeast(2.5)), "x (`x.csv`)|≥ 2.5|2.00|**no**|3.00 a");
        assert_eq!(cells(Target::Least), "x (`x.csv`)|the least|2.00|**no**|1.00 b");
        assert!(Line::new("x", "x.csv", Target::Least, [("a".into(), Some(1.0))]).is_none());
    }
}
