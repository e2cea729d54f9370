//! A snapshot as JSON, written without allocating.
//!
//! Keys are the names of the fields; a level is an object of `current` and `peak`. Of the class rows
//! only those with allocations are written.

use core::fmt::{self, Write};

use super::{ClassStats, Level, Snapshot};

impl Snapshot {
    /// Writes the snapshot to `out` as one JSON object, without a line end.
    ///
    /// # Errors
    /// Those of `out`; part of the text is written then.
    pub fn write_json(&self, out: &mut impl Write) -> fmt::Result {
        self.write_json_to(out)
    }

    /// One copy for all kinds of `out`: a library that is to be small has several.
    fn write_json_to(&self, out: &mut dyn Write) -> fmt::Result {
        write!(out, "{{\"version\":{}", self.version)?;
        for (name, level) in LEVEL_NAMES.into_iter().zip(self.levels()) {
            write_level(out, name, *level)?;
        }
        for (name, size) in [
            ("limit_bytes", self.limit_bytes),
            ("address_space_bytes", self.address_space_bytes),
            ("largest_free_bytes", self.largest_free_bytes),
            ("granule_bytes", self.granule_bytes),
            ("heaps", self.heaps),
        ] {
            write!(out, ",\"{name}\":{size}")?;
        }
        for (name, count) in COUNT_NAMES.into_iter().zip(self.counts()) {
            write!(out, ",\"{name}\":{count}")?;
        }
        out.write_str(",\"free_spans_by_order\":[")?;
        let orders = self.free_spans_by_order.iter().rposition(|&spans| spans > 0);
        for (order, spans) in
            self.free_spans_by_order[..orders.map_or(0, |last| last + 1)].iter().enumerate()
        {
            write!(out, "{}{spans}", if order == 0 { "" } else { "," })?;
        }
        out.write_str("],\"classes\":[")?;
        let used = self.classes.iter().filter(|row| row.allocations > 0);
        for (index, row) in used.enumerate() {
            out.write_str(if index == 0 { "" } else { "," })?;
            write_row(out, row)?;
        }
        out.write_str("],\"large\":")?;
        write_row(out, &self.large)?;
        out.write_char('}')
    }
}

fn write_level(out: &mut dyn Write, name: &str, level: Level) -> fmt::Result {
    write!(out, ",\"{name}\":{{\"current\":{},\"peak\":{}}}", level.current, level.peak)
}

fn write_row(out: &mut dyn Write, row: &ClassStats) -> fmt::Result {
    write!(
        out,
        "{{\"block_bytes\":{},\"allocations\":{},\"frees\":{},\"allocated_bytes\":{},\
         \"requested_bytes\":{}}}",
        row.block_bytes, row.allocations, row.frees, row.allocated_bytes, row.requested_bytes
    )
}

/// In the order of `Snapshot::levels`.
const LEVEL_NAMES: [&str; 9] = [
    "requested_bytes",
    "allocated_bytes",
    "active_bytes",
    "inactive_bytes",
    "cached_bytes",
    "reserved_bytes",
    "committed_bytes",
    "resident_bytes",
    "metadata_bytes",
];

/// In the order of `Snapshot::counts`.
const COUNT_NAMES: [&str; 11] = [
    "allocations",
    "frees",
    "reallocations",
    "reallocations_in_place",
    "remote_frees",
    "cache_hits",
    "cache_misses",
    "backend_calls",
    "purges",
    "purged_bytes",
    "failures",
];

#[cfg(all(test, not(genesis_loom)))]
mod tests {
    use super::*;

    #[test]
    fn names_stand_beside_their_own_numbers() {
        let (requested_bytes, metadata_bytes) = (Level::new(1, 2), Level::new(3, 4));
        let mut s = Snapshot { requested_bytes, metadata_bytes, ..Snapshot::default() };
        (s.allocations, s.remote_frees, s.failures) = (5, 6, 7);
        s.free_spans_by_order[1] = 8;
        s.classes[2] = ClassStats { block_bytes: 48, allocations: 5, ..ClassStats::default() };
        let mut text = String::new();
        s.write_json(&mut text).unwrap();
        for part in [
            "{\"version\":1,\"requested_bytes\":{\"current\":1,\"peak\":2},",
            "\"metadata_bytes\":{\"current\":3,\"peak\":4},",
            "\"allocations\":5,",
            "\"remote_frees\":6,",
            "\"failures\":7,",
            "\"free_spans_by_order\":[0,8],",
            "\"classes\":[{\"block_bytes\":48,\"allocations\":5,\"frees\":0,",
            "\"large\":{\"block_bytes\":0,",
        ] {
            assert!(text.contains(part), "{part} is not in {text}");
        }
        assert_eq!(text.matches('{').count(), text.matches('}').count());
        assert!(text.ends_with("}}"));
    }
}
