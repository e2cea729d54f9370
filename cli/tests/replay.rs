//! `genesis-mem replay` as a user types it, on the bundled traces.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use serde_json::Value;

const KEYS: [&str; 13] = [
    "trace",
    "backend",
    "allocations",
    "frees",
    "peak_live_bytes",
    "peak_reserved_bytes",
    "driver_calls",
    "driver_calls_last_iteration",
    "stream_waits",
    "retries",
    "bookkeeping_ns_per_pair",
    "modelled_driver_us",
    "out_of_memory",
];

/// A bundled file, by its path in the device crate.
fn bundled(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../cuda");
    folder.join(name).to_str().unwrap().to_owned()
}

fn dlrm() -> String {
    bundled("traces/09a_dlrm_sparse.trace.zst")
}

fn replay(words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_genesis-mem")).arg("replay").args(words).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The exit status, and a JSON object a line.
fn json(words: &[&str]) -> (i32, Vec<Value>) {
    let output = replay(&[words, &["--json"]].concat());
    let lines = text(&output.stdout);
    let values = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    (output.status.code().unwrap(), values)
}

/// A file with these bytes, and the folder that keeps it.
fn file(name: &str, bytes: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    fs::write(&path, bytes).unwrap();
    (folder, path)
}

/// What stderr says of a broken trace.
fn broken(name: &str, bytes: &[u8]) -> String {
    let (_folder, path) = file(name, bytes);
    let output = replay(&["--json", path.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1), "{name}");
    assert!(output.stdout.is_empty(), "{name}");
    text(&output.stderr)
}

#[test]
fn each_trace_is_one_json_object_with_just_these_keys() {
    let (status, reports) = json(&[&dlrm(), &bundled("traces/01_gpt2m_train.trace.zst")]);
    assert_eq!((status, reports.len()), (0, 2));
    for report in &reports {
        let mut keys: Vec<_> = report.as_object().unwrap().keys().collect();
        keys.sort();
        let mut expected = KEYS;
        expected.sort();
        assert_eq!(keys, expected);
        assert_eq!((&report["backend"], &report["out_of_memory"]), (&"sim".into(), &false.into()));
        assert!(report["bookkeeping_ns_per_pair"].as_f64().unwrap() > 0.0);
    }
    let [dlrm, gpt] = &reports[..] else { unreachable!() };
    assert_eq!((&dlrm["trace"], &dlrm["allocations"]), (&"09a_dlrm_sparse".into(), &10_569.into()));
    assert_eq!(gpt["peak_live_bytes"], 27_696_576_520_u64);
}

#[test]
fn only_times_differ_from_run_to_run() {
    let run = || {
        let mut report = json(&[&dlrm(), "--lag", "100"]).1.remove(0);
        report.as_object_mut().unwrap().remove("bookkeeping_ns_per_pair");
        report
    };
    assert_eq!(run(), run());
}

#[test]
fn too_small_a_device_is_reported_with_figures_and_status_3() {
    for size in ["1GB", "1073741824", "1 GiB"] {
        let (status, reports) = json(&[&dlrm(), "--device-bytes", size]);
        assert_eq!((status, &reports[0]["out_of_memory"]), (3, &true.into()), "{size}");
        assert!(reports[0]["peak_reserved_bytes"].as_u64().unwrap() <= 1 << 30);
    }
    let (status, reports) = json(&[&dlrm(), "--limit-bytes", "2GB"]);
    assert_eq!((status, &reports[0]["out_of_memory"]), (3, &true.into()));
    assert!(reports[0]["allocations"].as_u64().unwrap() > 0);
    let table = replay(&[&dlrm(), "--limit-bytes", "2GB"]);
    assert_eq!(table.status.code(), Some(3));
    assert!(text(&table.stdout).contains("Not completed: out of device memory"));
}

#[test]
fn a_broken_trace_is_reported_with_its_place() {
    assert!(broken("a.trace", b"a 1 512 0\n# well\nf 2\n").contains("line 3: block 2 is not live"));
    assert!(broken("b.trace", b"a 1 512 0\nhello\n").contains("line 2: unknown event \"hello\""));
    assert!(broken("c.trace", b"a 1 512 0\nf 1").contains("line 2: the file ends within"));
    assert!(broken("d.trace", b"").contains("without any allocation"));
    let whole = fs::read(dlrm()).unwrap();
    let cut = broken("e.trace.zst", &whole[..whole.len() / 2]);
    assert!(cut.contains("line ") && cut.contains("truncated"), "{cut}");
    let whole = fs::read(bundled("tests/data/snapshot.pickle")).unwrap();
    let cut = broken("f.pickle", &whole[..whole.len() / 2]);
    assert!(cut.contains(&format!("byte {}", whole.len() / 2)), "{cut}");
    assert_eq!(replay(&["/no/such/file"]).status.code(), Some(1));
    assert_eq!(replay(&[&dlrm(), "--device-bytes", "much"]).status.code(), Some(2));
}

#[test]
fn a_snapshot_is_replayed_device_by_device() {
    let snapshot = bundled("tests/data/snapshot.pickle");
    let (status, reports) = json(&[&snapshot]);
    let names: Vec<_> = reports.iter().map(|report| &report["trace"]).collect();
    assert_eq!((status, names), (0, vec![&"snapshot.cuda0".into(), &"snapshot.cuda1".into()]));
    assert_eq!((&reports[0]["allocations"], &reports[0]["frees"]), (&6.into(), &3.into()));
    let notes = text(&replay(&[&snapshot]).stderr);
    assert!(notes.contains("left out: 2,") && notes.contains("allocated first: 1"), "{notes}");
    // A trace on its own keeps the file's name, whatever it is called and packed in.
    let packed = zstd::encode_all(&b"a 1 512 0\nf 1\n"[..], 1).unwrap();
    let (_folder, path) = file("mine.txt", &packed);
    assert_eq!(json(&[path.to_str().unwrap()]).1[0]["trace"], "mine");
}

#[test]
fn people_get_a_table_and_curves() {
    let (folder, svg) = file("out.svg", b"");
    let output = replay(&[&dlrm(), "--svg", svg.to_str().unwrap()]);
    let table = text(&output.stdout);
    for part in ["PyTorch, expandable", "1.3410", "driver calls", "GiB", "22330 events", "⣀"] {
        assert!(table.contains(part), "{part} is not in\n{table}");
    }
    let picture = fs::read_to_string(&svg).unwrap();
    assert!(picture.starts_with("<svg") && picture.contains("09a_dlrm_sparse"), "{picture:.200}");
    drop(folder);
    // Nobody knows this one.
    let (_folder, path) = file("mine.trace", b"a 1 512 0\nf 1\n");
    assert!(!text(&replay(&[path.to_str().unwrap()]).stdout).contains("PyTorch"));
}

#[test]
fn the_smallest_device_is_enough_and_a_smaller_one_is_not() {
    let (folder, csv) = file("out.csv", b"");
    let output = replay(&[&dlrm(), "--table", "--csv", csv.to_str().unwrap()]);
    let table = text(&output.stdout);
    assert!(table.starts_with("| trace"), "{table}");
    assert!(table.contains(" 1.0178 / 135 |"), "PyTorch's figures are in\n{table}");
    let mut rows = csv::Reader::from_path(&csv).unwrap();
    assert_eq!(rows.headers().unwrap().iter().skip(2).collect::<Vec<_>>(), KEYS);
    let rows: Vec<_> = rows.records().map(Result::unwrap).collect();
    assert_eq!((&rows[0][0], &rows[1][0], rows.len()), ("free", "tight", 2));
    let bytes: u64 = rows[1][1].parse().unwrap();
    drop(folder);
    assert_eq!(json(&[&dlrm(), "--device-bytes", &bytes.to_string()]).0, 0);
    assert_eq!(json(&[&dlrm(), "--device-bytes", &(bytes - 1).to_string()]).0, 3);
    let tight = json(&[&dlrm(), "--tight"]).1.remove(0);
    assert!(tight["peak_reserved_bytes"].as_u64().unwrap() <= bytes, "{tight}");
}

#[test]
fn a_device_without_virtual_memory_serves_too() {
    let (status, reports) = json(&[&dlrm(), "--no-vmm", "--lag", "30"]);
    let report = &reports[0];
    assert_eq!((status, &report["allocations"]), (0, &10_569.into()));
    let number = |key: &str| report[key].as_f64().unwrap();
    let over = number("peak_reserved_bytes") / number("peak_live_bytes");
    assert!((1.0..1.5).contains(&over), "{report}");
    // PyTorch's own allocator takes 75 without virtual memory.
    assert!((1.0..=75.0).contains(&number("driver_calls")), "{report}");
    let (status, reports) = json(&[&dlrm(), "--no-vmm", "--limit-bytes", "2GB"]);
    assert_eq!((status, &reports[0]["out_of_memory"]), (3, &true.into()));
}

#[test]
fn options_of_the_allocator_go_by_their_names() {
    let calls = |set: &[&str]| {
        let (status, reports) = json(&[&[&dlrm()[..]], set].concat());
        assert_eq!(status, 0);
        reports[0]["driver_calls"].as_u64().unwrap()
    };
    let small = ["--set", "piece_bytes=2MiB", "--set", "growth_bytes=2MiB"];
    assert!(calls(&small) > calls(&[]), "small pieces need more calls");
    let wrong = replay(&[&dlrm(), "--set", "pieces=3"]);
    assert_eq!(wrong.status.code(), Some(1));
    assert!(text(&wrong.stderr).contains("piece_bytes"), "the names are listed");
    assert_eq!(replay(&[&dlrm(), "--set", "piece_bytes"]).status.code(), Some(2));
}

#[test]
fn without_a_driver_the_gpu_is_refused() {
    let output = replay(&[&dlrm(), "--backend", "cuda", "--lag", "3"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("--lag is for the simulated device"));
    // On a machine with a GPU it works, and is named.
    let output = replay(&[&dlrm(), "--backend", "cuda", "--json"]);
    match output.status.code() {
        Some(0 | 3) => assert!(text(&output.stdout).contains("\"backend\":\"cuda\"")),
        code => {
            assert_eq!((code, &output.stdout[..]), (Some(1), &b""[..]));
            assert!(text(&output.stderr).contains("no CUDA d"), "{}", text(&output.stderr));
        }
    }
}

#[test]
fn a_recorded_replay_can_be_replayed_and_looked_at() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (snapshot, chrome) = (path("snapshot.pickle"), path("trace.json"));
    let html = path("page.html");
    let words = [&dlrm()[..], "--snapshot", &snapshot, "--chrome", &chrome, "--html", &html];
    let (status, reports) = json(&words);
    assert_eq!((status, reports.len()), (0, 1));
    let (status, again) = json(&[&snapshot]);
    assert_eq!(status, 0);
    for key in ["allocations", "peak_live_bytes"] {
        assert_eq!(reports[0][key], again[0][key], "{key}");
    }
    let trace: Value = serde_json::from_slice(&fs::read(&chrome).unwrap()).unwrap();
    let events = trace["traceEvents"].as_array().unwrap().iter();
    let most = events.filter_map(|event| event["args"]["live"].as_u64()).max();
    assert_eq!(most, reports[0]["peak_live_bytes"].as_u64());
    let page = fs::read_to_string(&html).unwrap();
    assert!(page.contains("<title>09a_dlrm_sparse, replayed</title>"), "{page:.500}");
    let two = replay(&[&dlrm(), &dlrm(), "--snapshot", &snapshot]);
    assert!(!two.status.success() && text(&two.stderr).contains("one trace"));
    let nowhere = replay(&[&dlrm(), "--chrome", "/nowhere/trace.json"]);
    assert!(text(&nowhere.stderr).contains("cannot write /nowhere/trace.json"));
}
