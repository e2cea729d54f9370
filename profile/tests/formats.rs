//! Each format, opened by somebody else's parser.
use std::{
    fs,
    io::{Cursor, Read},
    panic::Location,
    path::Path,
    process::Command,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use flate2::read::{DeflateDecoder, GzDecoder};
use genesis_mem_profile::{
    Area, AreaState, Block, EventKind, Memory, Recorder, Recording, Report, Segment,
    format::{chrome, flame, html, json, plot, pprof, torch},
};
use prost::Message;
use serde_json::Value;

/// A small program: two call sites, some frees, growth, a purge, a failure.
fn program(rounds: u64) -> (Recording, Report) {
    let recorder = Recorder::new(Memory::Device);
    recorder.switch(true);
    recorder.begin(8 << 20);
    let told = |address, bytes: u64, owner| {
        let block_bytes = bytes.max(1).next_multiple_of(512);
        Block { address, bytes, block_bytes, owner }
    };
    let base = 0x7f12_3400_0000;
    let here = Location::caller();
    let there = Location::caller();
    recorder.note(0, EventKind::Grow, told(base, 64 << 20, 0), None);
    recorder.mark("begin \"quoted\" <&>");
    for round in 0..rounds {
        let slot = (0, (round % 1000) as u32);
        if round >= 1000 {
            recorder.free(slot);
        }
        let at = if round % 3 == 0 { here } else { there };
        let address = base + u64::from(slot.1) * 65536;
        recorder.alloc(slot, told(address, round * 977 % 65536, 5), at, round % 7 > 0);
    }
    recorder.mark("end");
    recorder.note(0, EventKind::OutOfMemory, told(0, 1 << 40, 5), Some(here));
    recorder.note(0, EventKind::Purge, told(base + (64 << 20), 2 << 20, 0), None);
    recorder.note(0, EventKind::Collect, told(0, 2 << 20, 0), None);
    let (mut report, mut recording) = (Report::now(), Recording::default());
    recorder.read_report(&mut report);
    recorder.read_recording(&mut recording, 1000 << 16);
    recording.finish();
    let stack_of = recorder.live_stacks(&mut recording.stacks);
    let mut live = report.large_allocations(0);
    live.sort_by_key(|live| live.address);
    let areas = live.iter().flat_map(|live| {
        let (address, bytes) = (live.address, live.block_bytes);
        let (stack, state) = (stack_of(address), AreaState::Live);
        let free = Area {
            address: address + bytes,
            bytes: 65536 - bytes,
            requested_bytes: 0,
            state: AreaState::Free,
            stack: Default::default(),
        };
        let free = (free.bytes > 0).then_some(free);
        let block = Area { address, bytes, requested_bytes: live.bytes, state, stack };
        [block].into_iter().chain(free)
    });
    let (memory, areas) = (Memory::Device, areas.collect());
    recording.segments.push(Segment { memory, owner: 5, pool: 0, address: base, areas });
    (recording, report)
}

/// What `check_snapshot.py` prints of a file; `None` without Python.
fn python(file: &Path) -> Option<String> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/check_snapshot.py");
    let Ok(output) = Command::new("python3").arg(script).arg(file).output() else {
        println!("skipped: there is no python3");
        return None;
    };
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}{errors}");
    Some(text)
}

#[test]
fn python_opens_the_snapshot() {
    let (recording, report) = program(5000);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("snapshot.pickle");
    torch::write(&recording, Memory::Device, fs::File::create(&file).unwrap()).unwrap();
    if let Some(text) = python(&file) {
        // Frees are two events; the collection is none.
        let events = 5000 + 2 * 4000 + 3;
        let expected = format!("{events} events, 1 segments, {} live", report.live_bytes());
        assert!(text.trim().ends_with(&expected), "{text}, not {expected}");
    }
}

#[test]
fn a_million_events_take_less_than_80_megabytes() {
    let (recording, _) = program(500_000);
    let mut bytes = Vec::new();
    torch::write(&recording, Memory::Device, &mut bytes).unwrap();
    let events = 500_000 + 2 * 499_000 + 3;
    let a_million = bytes.len() as f64 / events as f64;
    println!("{a_million:.1} MB a million events");
    assert!(a_million < 80.0, "{a_million} bytes an event");
}

#[test]
fn chrome_traces_are_json_of_counters_instants_and_slices() {
    let (recording, report) = program(2000);
    let mut bytes = Vec::new();
    chrome::write(&recording, &mut bytes).unwrap();
    let trace: Value = serde_json::from_slice(&bytes).unwrap();
    let events = trace["traceEvents"].as_array().unwrap();
    let of = |phase: &str| events.iter().filter(|event| event["ph"] == phase).collect::<Vec<_>>();
    assert!(events.iter().all(|event| event["ts"].is_number() && event["pid"].is_number()));
    let last = of("C").last().unwrap()["args"].clone();
    assert_eq!(last["live"], report.live_bytes());
    assert_eq!(last["reserved"], 1000 << 16);
    let instants: Vec<_> = of("i").iter().map(|event| event["name"].as_str().unwrap()).collect();
    assert_eq!(instants, ["grow", "out of memory", "purge", "collect"]);
    assert_eq!((of("b").len(), of("e").len()), (2000, 2000));
    let marks: Vec<_> = of("X").iter().map(|event| event["name"].as_str().unwrap()).collect();
    assert_eq!(marks, ["begin \"quoted\" <&>", "end"]);
}

#[test]
fn pprof_totals_are_the_reports() {
    let (_, report) = program(3000);
    let mut bytes = Vec::new();
    pprof::write(&report, &mut bytes).unwrap();
    let mut plain = Vec::new();
    GzDecoder::new(Cursor::new(bytes)).read_to_end(&mut plain).unwrap();
    let profile = pprof::proto::Profile::decode(&*plain).unwrap();
    let text = |index: i64| &*profile.string_table[index as usize];
    let types: Vec<_> = profile.sample_type.iter().map(|each| text(each.r#type)).collect();
    assert_eq!(types, ["alloc_objects", "alloc_space", "inuse_objects", "inuse_space"]);
    assert_eq!(text(profile.default_sample_type), "inuse_space");
    let mut sums = [0; 4];
    for sample in &profile.sample {
        sums.iter_mut().zip(&sample.value).for_each(|(sum, value)| *sum += value);
        assert!(sample.label.iter().any(|label| text(label.str) == "device"));
        for id in &sample.location_id {
            let location = profile.location.iter().find(|location| location.id == *id).unwrap();
            let function = location.line[0].function_id;
            let function = profile.function.iter().find(|each| each.id == function).unwrap();
            assert!(text(function.filename).ends_with("formats.rs"));
        }
    }
    let total = report.total();
    let expected = [total.total_blocks, total.total_bytes, total.live_blocks(), total.live_bytes()];
    assert_eq!(sums.map(|sum| sum as u64), expected);
}

#[test]
fn pictures_and_json_hold_the_figures() {
    let (recording, report) = program(3000);
    let lines = flame::folded(&report, flame::Weight::LiveBytes);
    let bytes = lines.iter().map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap());
    assert_eq!((lines.len(), bytes.sum::<u64>()), (2, report.live_bytes()));
    assert!(lines[0].starts_with("device;profile/tests/formats.rs:"), "{}", lines[0]);
    let mut svg = Vec::new();
    flame::write_svg(&report, flame::Weight::TotalBytes, &mut svg).unwrap();
    let svg = String::from_utf8(svg).unwrap();
    assert!(svg.contains("<svg") && svg.contains("formats.rs:"), "{svg}");

    let timeline = recording.timeline(Memory::Device);
    assert!(plot::svg(&timeline).unwrap().contains("device memory"));
    assert!(plot::in_terminal(&timeline).contains("MiB"), "{}", plot::in_terminal(&timeline));
    let mut text = Vec::new();
    json::write_timeline(&timeline, &mut text).unwrap();
    let value: Value = serde_json::from_slice(&text).unwrap();
    let end = value["points"].as_array().unwrap().last().unwrap();
    assert_eq!((end[1].as_u64(), end[3].as_u64()), (Some(report.live_bytes()), Some(1000 << 16)));

    let mut text = Vec::new();
    json::write_report(&report, &mut text).unwrap();
    let value: Value = serde_json::from_slice(&text).unwrap();
    let sum = |list: &str, key: &str| {
        let items = value[list].as_array().unwrap().iter();
        items.map(|item| item[key].as_u64().unwrap()).sum::<u64>()
    };
    assert_eq!(sum("sites", "live_bytes"), report.live_bytes());
    assert_eq!(sum("sizes", "total_bytes"), report.total().total_bytes);
    assert_eq!(sum("live", "bytes"), report.live_bytes());
    assert_eq!(value["pools"][0]["live_bytes"].as_u64(), Some(report.live_bytes()));
}

#[test]
fn pages_are_complete_in_themselves_and_hold_each_event_once() {
    let (recording, report) = program(3000);
    let mut bytes = Vec::new();
    let title = "a & b </title>".to_owned();
    let options =
        html::Options { title, limits: vec![(Memory::Device, 1 << 30)], ..Default::default() };
    html::write(&report, &recording, &options, &mut bytes).unwrap();
    let page = String::from_utf8(bytes).unwrap();
    assert!(page.starts_with("<!doctype html>") && page.ends_with("</html>\n"));
    assert!(page.contains("<title>a &amp; b &lt;/title></title>"));
    for elsewhere in ["http:", "https:", "src=", "@import", "url(", "{{"] {
        assert!(!page.contains(elsewhere), "{elsewhere}");
    }
    let data = page.split("id=\"data\">\n").nth(1).unwrap().split("\n</script>").next().unwrap();
    let mut plain = Vec::new();
    DeflateDecoder::new(&*STANDARD.decode(data).unwrap()).read_to_end(&mut plain).unwrap();
    let (length, rest) = plain.split_first_chunk().unwrap();
    let (head, columns) = rest.split_at(u32::from_le_bytes(*length) as usize);
    let head: Value = serde_json::from_slice(head).unwrap();
    let memory = &head["memories"][0];
    assert_eq!((&memory["name"], &memory["limit_bytes"]), (&"device".into(), &(1 << 30).into()));
    assert_eq!(memory["live_bytes"], report.live_bytes());
    assert_eq!(memory["report"]["total_bytes"], report.total().total_bytes);
    let column = |name: &str| {
        let columns = memory["columns"].as_array().unwrap();
        let column = columns.iter().find(|column| column[0] == name).unwrap();
        (column[1].as_u64().unwrap(), column[2].as_u64().unwrap())
    };
    assert_eq!(column("kind").1, recording.events.len() as u64);
    assert_eq!((column("bytes").1, column("ago").1, column("age_ns").1), (3000, 2000, 0));
    assert_eq!(column("other_bytes").1, 4, "growth, a purge, a collection, a failure");
    let all = memory["columns"].as_array().unwrap().iter();
    let bytes: u64 = all.map(|column| column[1].as_u64().unwrap()).sum();
    assert_eq!(bytes, columns.len() as u64);
    assert_eq!(head["stacks"].as_array().unwrap().len(), 3, "none and two call sites");
}

#[test]
fn nothing_is_written_without_complaint_of_nothing() {
    let (recording, report) = (Recording::default(), Report::now());
    let mut bytes = Vec::new();
    torch::write(&recording, Memory::Device, &mut bytes).unwrap();
    chrome::write(&recording, &mut Vec::new()).unwrap();
    html::write(&report, &recording, &Default::default(), &mut Vec::new()).unwrap();
    pprof::write(&report, &mut Vec::new()).unwrap();
    plot::svg(&recording.timeline(Memory::Device)).unwrap();
    assert!(flame::write_svg(&report, flame::Weight::LiveBytes, &mut Vec::new()).is_err());
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("empty.pickle");
    fs::write(&file, bytes).unwrap();
    if let Some(text) = python(&file) {
        assert!(text.contains("0 events, 0 segments"), "{text}");
    }
}
