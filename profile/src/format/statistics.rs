//! Statistics from the JSON that [`Snapshot::write_json`] writes, as programs tell them at their
//! sockets.

use genesis_mem_core::stats::{ClassStats, Level, Snapshot};
use serde::Deserialize;

/// Reads one JSON object. Keys that are not known are skipped. Rows of size classes stand in order
/// and not at their own index, so [`Snapshot::merge`] cannot tell which belong together.
///
/// # Errors
/// The text is no JSON, or a number is missing.
pub fn read(text: &str) -> serde_json::Result<Snapshot> {
    serde_json::from_str::<Statistics>(text).map(Snapshot::from)
}

#[derive(Deserialize)]
struct LevelText {
    current: u64,
    peak: u64,
}

#[derive(Deserialize)]
struct RowText {
    block_bytes: u64,
    allocations: u64,
    frees: u64,
    allocated_bytes: u64,
    requested_bytes: u64,
}

/// Declares the text of a snapshot, and copies its numbers into one.
macro_rules! statistics {
    (levels $($level:ident)* ; numbers $($number:ident)*) => {
        #[derive(Deserialize)]
        struct Statistics {
            version: u32,
            $($level: LevelText,)*
            $($number: u64,)*
            free_spans_by_order: Vec<u32>,
            classes: Vec<RowText>,
            large: RowText,
        }

        impl From<Statistics> for Snapshot {
            fn from(text: Statistics) -> Self {
                let mut snapshot = Self::default();
                snapshot.version = text.version;
                $(snapshot.$level = Level::new(text.$level.current, text.$level.peak);)*
                $(snapshot.$number = text.$number;)*
                let orders = snapshot.free_spans_by_order.iter_mut();
                orders.zip(text.free_spans_by_order).for_each(|(to, from)| *to = from);
                // The rows of unused classes are left out, so the indices are others.
                let classes = snapshot.classes.iter_mut();
                classes.zip(text.classes).for_each(|(to, from)| *to = from.into());
                snapshot.large = text.large.into();
                snapshot
            }
        }
    };
}

statistics! {
    levels requested_bytes allocated_bytes active_bytes inactive_bytes cached_bytes reserved_bytes
        committed_bytes resident_bytes metadata_bytes;
    numbers limit_bytes address_space_bytes largest_free_bytes granule_bytes heaps allocations frees
        reallocations reallocations_in_place remote_frees cache_hits cache_misses backend_calls
        purges purged_bytes failures
}

impl From<RowText> for ClassStats {
    fn from(text: RowText) -> Self {
        let mut row = Self::default();
        row.block_bytes = text.block_bytes;
        (row.allocations, row.frees) = (text.allocations, text.frees);
        (row.allocated_bytes, row.requested_bytes) = (text.allocated_bytes, text.requested_bytes);
        row
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let mut snapshot = Snapshot::default();
        snapshot.reserved_bytes = Level::new(7, 9);
        (snapshot.allocations, snapshot.failures, snapshot.heaps) = (10, u64::MAX, 3);
        snapshot.free_spans_by_order[2] = 4;
        let mut row = ClassStats::default();
        (row.block_bytes, row.allocations, row.requested_bytes) = (64, 10, 500);
        snapshot.classes[0] = row;
        snapshot.large.frees = 2;
        let mut text = String::new();
        snapshot.write_json(&mut text).unwrap();
        let again = read(&text).unwrap();
        let mut text_again = String::new();
        again.write_json(&mut text_again).unwrap();
        assert_eq!(text, text_again);
        assert_eq!((again.classes[0], again.large.frees), (row, 2));
    }

    #[test]
    fn what_is_missing_is_named() {
        let error = read("{\"version\":1}").unwrap_err().to_string();
        assert!(error.contains("missing field"), "{error}");
        assert!(read("no json").is_err());
    }
}
