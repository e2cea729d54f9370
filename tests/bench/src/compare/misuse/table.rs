//! The tables of `compare misuse`.

use super::{Outcome, Row};
use crate::report;
use crate::summary::in_order;

/// Outcomes in the order of the table, with their titles.
const OUTCOMES: [(Outcome, &str); 6] = [
    (Outcome::Reported, "reported at the act"),
    (Outcome::Stopped, "stopped at the act"),
    (Outcome::Late, "stopped later on"),
    (Outcome::Ignored, "no damage found"),
    (Outcome::Hung, "hung"),
    (Outcome::Corrupted, "**corrupted silently**"),
];

/// How it was measured, and for each language the outcomes, the acts by kind, and what was not caught
/// at the act on the first allocator.
pub(super) fn render(header: &[String], rows: &[Row]) -> String {
    let mut text = report::header_lines(header);
    text += "\nEach act is a process of its own. An act is caught where the allocator says so or the \
             program is stopped before it goes on. Where it goes on, it looks for damage: live blocks \
             that overlap, or that were written to. Acts that an allocator cannot see, since the block \
             had been handed out again, are left out.\n";
    for language in ["Rust", "C"] {
        let rows: Vec<&Row> = rows
            .iter()
            .filter(|row| row.language == language && row.outcome != Outcome::Reused)
            .collect();
        if !rows.is_empty() {
            text += &section(language, &rows);
        }
    }
    text
}

fn section(language: &str, rows: &[&Row]) -> String {
    let allocators = in_order(rows.iter().map(|row| &row.allocator));
    let count = |allocator: &str, wanted: &dyn Fn(&Row) -> bool| {
        rows.iter().filter(|row| row.allocator == allocator && wanted(row)).count()
    };
    let mut text = format!("\n## In {language}\n\n");
    let mut table = report::new_table("outcome", &allocators);
    let mut add = |title: &str, cell: &dyn Fn(&str) -> String| {
        let cells = allocators.iter().map(|it| cell(it)).collect();
        table.add_row([vec![title.to_owned()], cells].concat());
    };
    for (outcome, title) in OUTCOMES {
        add(title, &|it| count(it, &|row| row.outcome == outcome).to_string());
    }
    add("acts", &|it| count(it, &|_| true).to_string());
    add("caught at the act (%)", &|it| {
        format!(
            "{:.1}",
            100.0 * count(it, &Row::caught) as f64 / count(it, &|_| true).max(1) as f64
        )
    });
    text += &table.to_string();
    text += "\n\nCaught at the act / corrupted silently or hung, of all acts of a kind:\n\n";
    let mut table = report::new_table("kind", &allocators);
    for kind in in_order(rows.iter().map(|row| &row.kind)) {
        let cell = |allocator: &String| {
            let of =
                |wanted: fn(&Row) -> bool| count(allocator, &|row| row.kind == kind && wanted(row));
            format!("{} / {} of {}", of(Row::caught), of(Row::damaged), of(|_| true))
        };
        table.add_row([vec![kind.clone()], allocators.iter().map(cell).collect()].concat());
    }
    text += &table.to_string();
    text + "\n" + &missed(&allocators[0], rows)
}

/// The acts that `allocator` did not catch.
fn missed(allocator: &str, rows: &[&Row]) -> String {
    let missed = rows.iter().filter(|row| row.allocator == allocator && !row.caught());
    let lines = missed.map(|row| {
        let title = OUTCOMES.iter().find(|it| it.0 == row.outcome).map_or("", |it| it.1);
        format!("- {}: {}: {} bytes: {title}\n", row.kind, row.act, row.bytes)
    });
    let lines: String = lines.collect();
    match lines.is_empty() {
        true => format!("\n{allocator} caught every act.\n"),
        false => format!("\nNot caught by {allocator}:\n\n{lines}"),
    }
}
