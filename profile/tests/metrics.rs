//! The exposition, read by the reference parser of OpenMetrics.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

use genesis_mem_core::stats::{Level, Snapshot};
use genesis_mem_profile::{
    Memory,
    format::openmetrics::{self, Source},
};
use serde_json::Value;

/// A snapshot whose sums hold.
fn snapshot(allocations: u64, frees: u64) -> Snapshot {
    let mut s = Snapshot::default();
    (s.allocations, s.frees, s.cache_hits, s.cache_misses) =
        (allocations, frees, allocations - 1, 1);
    let row = &mut s.classes[3];
    (row.block_bytes, row.allocations, row.frees) = (64, allocations - 1, frees);
    row.allocated_bytes = row.live() * 64;
    row.requested_bytes = row.live() * 48;
    (s.large.allocations, s.large.allocated_bytes, s.large.requested_bytes) = (1, 65536, 65000);
    let row = s.classes[3];
    let (allocated, requested) = (row.allocated_bytes + 65536, row.requested_bytes + 65000);
    s.allocated_bytes = Level::new(allocated, allocated + 100);
    s.requested_bytes = Level::new(requested, requested + 100);
    s.inactive_bytes = Level::new(131_072 - allocated, 0);
    s.active_bytes = Level::new(131_072, 0);
    s.cached_bytes = Level::new(65536, 1 << 20);
    s.reserved_bytes = Level::new(131_072 + 65536, 0);
    (s.largest_free_bytes, s.granule_bytes, s.purged_bytes) = (65536, 65536, u64::MAX / 2);
    s.check().expect("the example is sound");
    s
}

/// Every sample as the reference parser reads it; `None` where that is not installed.
fn parsed(text: &str) -> Option<Vec<Value>> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("exposition.txt");
    fs::write(&file, text).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/check_openmetrics.py");
    // The package of the system may be another python's than the first on the path.
    let ask = |python: &&str| Command::new(python).arg(&script).arg(&file).output().ok();
    let has_parser = |output: &Output| output.status.code() != Some(3);
    let mut outputs = ["python3", "/usr/bin/python3"].iter().filter_map(ask);
    let Some(output) = outputs.find(has_parser) else {
        println!("skipped: there is no python3 with prometheus_client");
        return None;
    };
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}\n{text}");
    let lines = String::from_utf8(output.stdout).unwrap();
    Some(lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect())
}

fn sources() -> Vec<Source> {
    let host = Source::new(Memory::Host, snapshot(100, 40));
    let device = Source::new(Memory::Device, snapshot(10, 4)).label("device", 0);
    let part = |stream, pool, allocations| {
        Source::part(Memory::Device, stream, pool, snapshot(allocations, 2)).label("device", 0)
    };
    vec![host, device, part("0x7f", 0, 6), part("0x7f", 1, 4)]
}

#[test]
fn the_reference_parser_reads_what_was_meant() {
    let text = openmetrics::to_string(sources());
    assert!(text.ends_with("# EOF\n"), "{text}");
    let Some(samples) = parsed(&text) else { return };
    let of = |name: &str, labels: &[(&str, &str)]| {
        let fits = |sample: &&Value| {
            sample["name"] == name
                && labels.iter().all(|(key, text)| sample["labels"][key] == *text)
        };
        let found: Vec<_> = samples.iter().filter(fits).collect();
        assert_eq!(found.len(), 1, "{name} {labels:?} in\n{text}");
        (found[0]["value"].as_f64().unwrap(), found[0]["type"].as_str().unwrap().to_owned())
    };
    let host = [("memory", "host")];
    let device = [("memory", "device"), ("device", "0")];
    assert_eq!(of("genesis_mem_allocations_total", &host), (100.0, "counter".into()));
    assert_eq!(of("genesis_mem_allocations_total", &device), (10.0, "counter".into()));
    let levels = snapshot(100, 40);
    let bytes = levels.allocated_bytes.current as f64;
    assert_eq!(of("genesis_mem_allocated_bytes", &host), (bytes, "gauge".into()));
    assert_eq!(of("genesis_mem_allocated_peak_bytes", &host).0, bytes + 100.0);
    let internal = [("memory", "host"), ("kind", "internal")];
    let ratio = levels.internal_fragmentation().as_f64();
    assert!((of("genesis_mem_fragmentation_ratio", &internal).0 - ratio).abs() < 1e-12);
    let class = [("memory", "host"), ("block_bytes", "64")];
    assert_eq!(of("genesis_mem_class_allocations_total", &class).0, 99.0);
    assert_eq!(of("genesis_mem_class_blocks", &[host[0], ("block_bytes", "large")]).0, 1.0);
    let part = [("memory", "device"), ("stream", "0x7f"), ("pool", "1")];
    assert_eq!(of("genesis_mem_stream_allocations_total", &part).0, 4.0);
    // A large count is written in full.
    assert!(text.contains(&format!("{{memory=\"host\"}} {}\n", u64::MAX / 2)), "{text}");
    for sample in &samples {
        let (family, unit) = (sample["family"].as_str().unwrap(), sample["unit"].as_str().unwrap());
        assert!(family.starts_with("genesis_mem"), "{family}");
        assert!(family.ends_with(unit), "{family} is in {unit}");
        assert_eq!(family.ends_with("_bytes"), unit == "bytes", "{family}");
    }
}

#[test]
fn labels_may_be_anything() {
    let text_of = |source| openmetrics::to_string([source]);
    let odd = "a \"quoted\" back\\slash,\nand = {a line}";
    let source = Source::new(Memory::Pinned, snapshot(3, 1));
    let text = text_of(source.label("2 of-them", odd).label("memory", "lent"));
    let Some(samples) = parsed(&text) else { return };
    let labels = &samples.iter().find(|sample| sample["type"] == "counter").unwrap()["labels"];
    assert_eq!(
        (labels["_2_of_them"].as_str(), labels["memory"].as_str()),
        (Some(odd), Some("lent"))
    );
}

#[test]
fn sources_of_one_name_are_added_up_and_none_is_an_empty_exposition() {
    let twice =
        [Source::new(Memory::Host, snapshot(5, 2)), Source::new(Memory::Host, snapshot(7, 2))];
    let text = openmetrics::to_string(twice);
    assert!(text.contains("\ngenesis_mem_allocations_total{memory=\"host\"} 12\n"), "{text}");
    assert!(parsed(&text).is_none_or(|samples| !samples.is_empty()));
    assert_eq!(openmetrics::to_string([]), "# EOF\n");
    assert!(parsed("# EOF\n").is_none_or(|samples| samples.is_empty()));
}
