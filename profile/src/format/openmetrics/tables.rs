//! Names and meanings. The encoder adds units and `_total`.

use genesis_mem_core::stats::ClassStats;
use prometheus_client::{metrics::MetricType, registry::Unit};

use super::{BYTES, CountOf, LevelOf};

pub(super) const HEAPS: &str = "Heaps so far, those of ended threads included";
pub(super) const FRAGMENTATION: &str = "Memory that serves nobody, as a share: internal of the \
     allocated, external of the cached, reserved of the reserved";
pub(super) const PURGED: &str = "Memory given back by purges";

pub(super) const LEVELS: [(&str, &str, LevelOf); 9] = [
    ("genesis_mem_requested", "What callers asked for and have not freed", |s| s.requested_bytes),
    ("genesis_mem_allocated", "Live blocks", |s| s.allocated_bytes),
    ("genesis_mem_active", "Spans in use", |s| s.active_bytes),
    ("genesis_mem_inactive", "The part of active in no live block", |s| s.inactive_bytes),
    ("genesis_mem_cached", "Free spans kept for reuse", |s| s.cached_bytes),
    ("genesis_mem_reserved", "Opened for use", |s| s.reserved_bytes),
    ("genesis_mem_committed", "Reserved that may be backed by memory", |s| s.committed_bytes),
    ("genesis_mem_resident", "The part of committed that was touched", |s| s.resident_bytes),
    ("genesis_mem_metadata", "Tables of the allocator", |s| s.metadata_bytes),
];

/// Those that have a peak of their own.
pub(super) const PEAKS: [(&str, &str, LevelOf); 6] = [
    ("genesis_mem_requested_peak", "The most requested", |s| s.requested_bytes),
    ("genesis_mem_allocated_peak", "The most allocated", |s| s.allocated_bytes),
    ("genesis_mem_active_peak", "The most active", |s| s.active_bytes),
    ("genesis_mem_cached_peak", "The most cached", |s| s.cached_bytes),
    ("genesis_mem_reserved_peak", "The most reserved", |s| s.reserved_bytes),
    ("genesis_mem_committed_peak", "The most committed", |s| s.committed_bytes),
];

/// Left out where they are zero: there is no such thing then.
pub(super) const SIZES: [(&str, &str, CountOf); 4] = [
    ("genesis_mem_limit", "The limit on reserved", |s| s.limit_bytes),
    ("genesis_mem_address_space", "Addresses set aside", |s| s.address_space_bytes),
    ("genesis_mem_largest_free", "The largest free span", |s| s.largest_free_bytes),
    ("genesis_mem_granule", "The unit of spans", |s| s.granule_bytes),
];

pub(super) const COUNTS: [(&str, &str, CountOf); 10] = [
    ("genesis_mem_allocations", "Allocations", |s| s.allocations),
    ("genesis_mem_frees", "Frees", |s| s.frees),
    ("genesis_mem_reallocations", "Reallocations", |s| s.reallocations),
    ("genesis_mem_reallocations_in_place", "Those that kept their address", |s| {
        s.reallocations_in_place
    }),
    ("genesis_mem_remote_frees", "Frees by another thread than the owner", |s| s.remote_frees),
    ("genesis_mem_cache_hits", "Allocations from a block at hand", |s| s.cache_hits),
    ("genesis_mem_cache_misses", "Allocations that looked further", |s| s.cache_misses),
    ("genesis_mem_backend_calls", "Calls to the system or driver", |s| s.backend_calls),
    ("genesis_mem_purges", "Times that memory was given back", |s| s.purges),
    ("genesis_mem_failures", "Requests that failed", |s| s.failures),
];

type ClassOf = fn(&ClassStats) -> u64;

pub(super) const CLASSES: [(&str, &str, Option<&Unit>, MetricType, ClassOf); 5] = [
    ("genesis_mem_class_blocks", "Live blocks by size", None, MetricType::Gauge, |row| row.live()),
    ("genesis_mem_class_allocated", "Allocated by block size", BYTES, MetricType::Gauge, |row| {
        row.allocated_bytes
    }),
    ("genesis_mem_class_requested", "Requested by block size", BYTES, MetricType::Gauge, |row| {
        row.requested_bytes
    }),
    (
        "genesis_mem_class_allocations",
        "Allocations by block size",
        None,
        MetricType::Counter,
        |row| row.allocations,
    ),
    ("genesis_mem_class_frees", "Frees by block size", None, MetricType::Counter, |row| row.frees),
];

pub(super) const PART_LEVELS: [(&str, &str, LevelOf); 4] = [
    ("genesis_mem_stream_requested", "Requested, by stream and pool", |s| s.requested_bytes),
    ("genesis_mem_stream_allocated", "Allocated, by stream and pool", |s| s.allocated_bytes),
    ("genesis_mem_stream_inactive", "Freed but in use by others yet", |s| s.inactive_bytes),
    ("genesis_mem_stream_cached", "Free, by stream and pool", |s| s.cached_bytes),
];

pub(super) const PART_COUNTS: [(&str, &str, CountOf); 2] = [
    ("genesis_mem_stream_allocations", "Allocations, by stream and pool", |s| s.allocations),
    ("genesis_mem_stream_frees", "Frees, by stream and pool", |s| s.frees),
];
