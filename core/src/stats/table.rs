//! A snapshot as a table for people.

use core::fmt::{self, Write};

use super::{ClassStats, Level, Snapshot};
use crate::frag::Ratio;

/// A size that reads well: `512 B`, `1.5 KiB`, `3.0 MiB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bytes(pub u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
        let mut text = Cell::new();
        // Integers throughout: formatting floats would double the size of the preloaded library.
        match (self.0.max(1).ilog2() / 10) as usize {
            0 => write!(text, "{} B", self.0)?,
            power => {
                let tenths = (u128::from(self.0) * 10) >> (10 * power);
                write!(text, "{}.{} {}", tenths / 10, tenths % 10, UNITS[power - 1])?;
            }
        }
        f.pad(text.as_str())
    }
}

/// A share that reads well: `12.5 %`.
struct Percent(Ratio);

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Ratio { part, whole } = self.0;
        let tenths = u128::from(part) * 1000 / u128::from(whole.max(1));
        let mut text = Cell::new();
        write!(text, "{}.{} %", tenths / 10, tenths % 10)?;
        f.pad(text.as_str())
    }
}

/// Text of a table's cell.
struct Cell {
    bytes: [u8; 40],
    len: usize,
}

impl Cell {
    const fn new() -> Self {
        Self { bytes: [0; 40], len: 0 }
    }

    fn as_str(&self) -> &str {
        str::from_utf8(&self.bytes[..self.len]).unwrap_or("?")
    }
}

impl Write for Cell {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let end = self.len + text.len();
        let room = self.bytes.get_mut(self.len..end).ok_or(fmt::Error)?;
        room.copy_from_slice(text.as_bytes());
        self.len = end;
        Ok(())
    }
}

/// Sums, rates, fragmentation, and a row for each size class in use.
impl fmt::Display for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<16}{:>12}{:>12}", "memory", "now", "peak")?;
        for (name, level) in LEVEL_NAMES.into_iter().zip(self.levels()) {
            let Level { current, peak } = *level;
            writeln!(f, "{name:<16}{:>12}{:>12}", Bytes(current), Bytes(peak))?;
        }
        if self.limit_bytes > 0 {
            writeln!(f, "{:<16}{:>12}", "limit", Bytes(self.limit_bytes))?;
        }
        writeln!(f)?;
        self.fmt_counts(f)?;
        writeln!(f)?;
        self.fmt_fragmentation(f)?;
        writeln!(f)?;
        self.fmt_rows(f)
    }
}

impl Snapshot {
    fn fmt_counts(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = |name: &str, count: u64, note: fmt::Arguments<'_>| {
            write!(f, "{name:<16}{count:>12}")?;
            match note.as_str() {
                Some("") => writeln!(f),
                _ => writeln!(f, "  {note}"),
            }
        };
        let hit_rate = Percent(self.hit_rate());
        line("allocations", self.allocations, format_args!("{hit_rate} from a block at hand"))?;
        line("frees", self.frees, format_args!("{} by other threads", self.remote_frees))?;
        let in_place = self.reallocations_in_place;
        line("reallocations", self.reallocations, format_args!("{in_place} in place"))?;
        line("failures", self.failures, format_args!(""))?;
        line("heaps", self.heaps, format_args!(""))?;
        line("backend calls", self.backend_calls, format_args!(""))?;
        let purged = Bytes(self.purged_bytes);
        line("purges", self.purges, format_args!("{purged} given back"))
    }

    fn fmt_fragmentation(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<16}{:>12}", "fragmentation", "")?;
        for (name, ratio, meaning) in [
            ("internal", self.internal_fragmentation(), "of allocated was not asked for"),
            ("external", self.external_fragmentation(), "of cached is outside the largest span"),
            ("reserved", self.reserved_fragmentation(), "of reserved is not allocated"),
        ] {
            writeln!(f, "{name:<16}{:>12}  {meaning}", Percent(ratio))?;
        }
        Ok(())
    }

    fn fmt_rows(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:>10}{:>12}{:>14}{:>14}{:>13}{:>8}",
            "block", "live", "allocations", "frees", "allocated", "waste"
        )?;
        for row in self.rows().filter(|row| row.allocations > 0) {
            fmt_row(f, row)?;
        }
        Ok(())
    }
}

fn fmt_row(f: &mut fmt::Formatter<'_>, row: &ClassStats) -> fmt::Result {
    match row.block_bytes {
        0 => write!(f, "{:>10}", "large")?,
        bytes => write!(f, "{bytes:>10}")?,
    }
    let waste = crate::frag::internal(row.requested_bytes, row.allocated_bytes);
    writeln!(
        f,
        "{:>12}{:>14}{:>14}{:>13}{:>8}",
        row.live(),
        row.allocations,
        row.frees,
        Bytes(row.allocated_bytes),
        Percent(waste)
    )
}

/// In the order of `Snapshot::levels`.
const LEVEL_NAMES: [&str; 9] = [
    "requested",
    "allocated",
    "active",
    "inactive",
    "cached",
    "reserved",
    "committed",
    "resident",
    "metadata",
];

#[cfg(all(test, not(genesis_loom)))]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_well() {
        let text = |bytes| Bytes(bytes).to_string();
        assert_eq!(text(0), "0 B");
        assert_eq!(text(1023), "1023 B");
        assert_eq!(text(1536), "1.5 KiB");
        assert_eq!(text(3 << 20), "3.0 MiB");
        assert_eq!(text(u64::MAX), "15.9 EiB");
        assert_eq!(format!("{:>9}", Bytes(1024)), "  1.0 KiB");
    }

    #[test]
    fn columns_stand_under_each_other() {
        let requested_bytes = Level::new(3 << 20, 5 << 20);
        let mut s = Snapshot { requested_bytes, ..Snapshot::default() };
        (s.allocations, s.cache_hits, s.cache_misses) = (1000, 990, 10);
        let row = ClassStats { block_bytes: 2048, allocations: 1000, ..ClassStats::default() };
        s.classes[7] = row;
        s.large = ClassStats { block_bytes: 0, allocations: 4, frees: 4, ..row };
        let text = s.to_string();
        let line = |start: &str| text.lines().find(|line| line.trim().starts_with(start)).unwrap();
        assert_eq!(line("requested"), "requested            3.0 MiB     5.0 MiB");
        assert!(line("allocations").ends_with("1000  99.0 % from a block at hand"));
        let rows: Vec<_> = text.lines().skip_while(|line| !line.contains("waste")).collect();
        assert_eq!(rows.len(), 3, "{text}");
        assert!(rows.iter().all(|row| row.len() == rows[0].len()), "{text}");
        assert!(rows[2].trim().starts_with("large"));
    }
}
