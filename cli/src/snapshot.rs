//! A snapshot as JSON has it, from this process or from another, and its tables.

use anyhow::Context;
use comfy_table::{Cell, CellAlignment, ContentArrangement, Table, TableComponent, presets};
use genesis_mem_host::{
    Snapshot,
    core::{frag, frag::Ratio, stats::Bytes},
};
use serde::{Deserialize, Serialize};

/// What `Snapshot::write_json` writes, as far as a person wants to see it; the rest is kept.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Report {
    pub(crate) version: u32,
    pub(crate) requested_bytes: Level,
    pub(crate) allocated_bytes: Level,
    pub(crate) cached_bytes: Level,
    pub(crate) reserved_bytes: Level,
    pub(crate) committed_bytes: Level,
    pub(crate) limit_bytes: u64,
    pub(crate) resident_bytes: Level,
    pub(crate) metadata_bytes: Level,
    pub(crate) largest_free_bytes: u64,
    pub(crate) allocations: u64,
    pub(crate) frees: u64,
    pub(crate) reallocations: u64,
    pub(crate) reallocations_in_place: u64,
    pub(crate) remote_frees: u64,
    pub(crate) cache_hits: u64,
    pub(crate) cache_misses: u64,
    pub(crate) purged_bytes: u64,
    pub(crate) failures: u64,
    pub(crate) heaps: u64,
    pub(crate) classes: Vec<Row>,
    pub(crate) large: Row,
    #[serde(flatten)]
    rest: serde_json::Map<String, serde_json::Value>,
}

/// A quantity now and at its peak.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub(crate) struct Level {
    pub(crate) current: u64,
    pub(crate) peak: u64,
}

/// A size class.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub(crate) struct Row {
    pub(crate) block_bytes: u64,
    pub(crate) allocations: u64,
    pub(crate) frees: u64,
    pub(crate) allocated_bytes: u64,
    pub(crate) requested_bytes: u64,
}

impl Report {
    /// Of this process.
    pub(crate) fn of(snapshot: &Snapshot) -> anyhow::Result<Self> {
        let mut text = String::new();
        snapshot.write_json(&mut text)?;
        Self::parse(&text)
    }

    pub(crate) fn parse(text: &str) -> anyhow::Result<Self> {
        serde_json::from_str(text).context("these are not the statistics of Genesis Memory")
    }

    /// Memory, counts and fragmentation.
    pub(crate) fn sums(&self) -> Table {
        let mut table = table(&["memory", "now", "peak"]);
        for (name, level) in [
            ("requested", self.requested_bytes),
            ("allocated", self.allocated_bytes),
            ("cached", self.cached_bytes),
            ("reserved", self.reserved_bytes),
            ("committed", self.committed_bytes),
            ("resident", self.resident_bytes),
            ("metadata", self.metadata_bytes),
        ] {
            let (now, peak) = (Bytes(level.current), Bytes(level.peak));
            table.add_row(row([name.to_owned(), now.to_string(), peak.to_string()]));
        }
        table
    }

    /// How often, and how well.
    pub(crate) fn counts(&self) -> Table {
        let mut table = table(&["count", "", "of it"]);
        let mut line = |name: &str, count: u64, note: String| {
            table.add_row(row([name.to_owned(), grouped(count), note]));
        };
        let hits = Ratio::new(self.cache_hits, self.cache_hits + self.cache_misses);
        line("allocations", self.allocations, format!("{} at hand", percent(hits)));
        let remote = Ratio::new(self.remote_frees, self.frees);
        line("frees", self.frees, format!("{} by another thread", percent(remote)));
        let in_place = Ratio::new(self.reallocations_in_place, self.reallocations);
        line("reallocations", self.reallocations, format!("{} in place", percent(in_place)));
        line("heaps", self.heaps, String::new());
        table
    }

    /// The three shares of memory that serve nobody.
    pub(crate) fn fragmentation(&self) -> Table {
        let (allocated, reserved) = (self.allocated_bytes.current, self.reserved_bytes.current);
        let internal = frag::internal(self.requested_bytes.current, allocated);
        let external = frag::external(self.cached_bytes.current, self.largest_free_bytes);
        let reserved = frag::reserved(allocated, reserved);
        let mut table = table(&["fragmentation", "", "of what"]);
        for (name, ratio, meaning) in [
            ("internal", internal, "allocated, not asked for"),
            ("external", external, "free, outside the largest span"),
            ("reserved", reserved, "reserved, not allocated"),
        ] {
            table.add_row(row([name.to_owned(), percent(ratio), meaning.to_owned()]));
        }
        table
    }

    /// A row for each size class in use.
    pub(crate) fn rows(&self) -> Table {
        let head = ["block bytes", "allocations", "frees", "live", "allocated", "waste"];
        let mut table = table(&head);
        let rows = self.classes.iter().chain([&self.large]).filter(|row| row.allocations > 0);
        for class in rows {
            let block = match class.block_bytes {
                0 => "large".to_owned(),
                bytes => grouped(bytes),
            };
            table.add_row(row([
                block,
                grouped(class.allocations),
                grouped(class.frees),
                grouped(class.allocations.saturating_sub(class.frees)),
                Bytes(class.allocated_bytes).to_string(),
                percent(frag::internal(class.requested_bytes, class.allocated_bytes)),
            ]));
        }
        table
    }
}

/// A table with that head.
pub(crate) fn table(head: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::UTF8_HORIZONTAL_ONLY);
    for between_rows in [
        TableComponent::HorizontalLines,
        TableComponent::LeftBorderIntersections,
        TableComponent::MiddleIntersections,
        TableComponent::RightBorderIntersections,
    ] {
        table.remove_style(between_rows);
    }
    table.set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(row(head));
    table
}

/// Cells, of which all but the first stand to the right.
pub(crate) fn row<T: ToString>(cells: impl IntoIterator<Item = T>) -> Vec<Cell> {
    let align = |(index, cell): (usize, T)| {
        let side = if index == 0 { CellAlignment::Left } else { CellAlignment::Right };
        Cell::new(cell.to_string()).set_alignment(side)
    };
    cells.into_iter().enumerate().map(align).collect()
}

/// `1234567` as `1,234,567`.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

pub(crate) fn percent(ratio: Ratio) -> String {
    format!("{:.1} %", ratio.as_f64() * 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_a_report() {
        let kept = vec![1u8; 100_000];
        let report = Report::of(&genesis_mem_host::stats()).unwrap();
        assert_eq!(report.version, 1);
        // Whatever is not named above is kept.
        let again = serde_json::to_value(&report).unwrap();
        assert!(again["backend_calls"].is_u64() && again["metadata_bytes"]["peak"].is_u64());
        assert!(Report::parse("{}").unwrap_err().to_string().contains("not the statistics"));
        drop(kept);
    }

    #[test]
    fn digits_stand_in_threes() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(1000), "1,000");
        assert_eq!(grouped(1234567), "1,234,567");
    }
}
