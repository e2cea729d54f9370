//! Recordings of the host profiler, as an encoder writes them: what they say, and broken ones.
#[path = "common/encode.rs"]
mod encode;

use std::{fs, io::Write, path::Path, process::Command};

use encode::{Encoder, Event, Header, Live, Usage, kind};
use genesis_mem_host::profile::{
    ReadError, Recorded,
    model::{
        Baseline, EventKind, Memory,
        format::{chrome, flame, json, pprof, torch},
    },
};

const BASE: u64 = 0x10_0000_0000;

#[inline(never)]
fn leaf() -> u64 {
    std::hint::black_box(leaf as *const () as u64 + 4)
}

#[inline(never)]
fn caller() -> u64 {
    std::hint::black_box(caller as *const () as u64 + 4)
}

/// Where `String::with_capacity` or the like is in this program: the standard library's code.
fn library() -> u64 {
    let grow: fn(&mut Vec<u8>, usize) = Vec::reserve;
    grow as *const () as u64 + 4
}

fn usage(stack: u32, sums: [f64; 6]) -> Usage {
    Usage { memory: 0, stack, thread: 1, size_class: 7, sums, samples: 3 }
}

/// A small recording of this very process, in full or as a sample.
fn recording(full: bool) -> Encoder {
    let weight = if full { 1.0 } else { 2.5 };
    let scale = f64::from(weight);
    let live = |number: u64, stack| Live {
        address: BASE + number * 128,
        bytes: 100,
        block_bytes: 128,
        time_ns: 100 + number,
        stack,
        memory: 0,
        weight,
    };
    let event = |time_ns, number: u64, kind| Event {
        time_ns,
        address: BASE + number * 128,
        bytes: 100,
        block_bytes: 128,
        stack: 1,
        kind,
        weight,
    };
    let header = Header { full, interval_bytes: 512 << 10, end_ns: 1000, ..Header::default() };
    let stats = r#"{"version":1,"requested_bytes":{"current":300,"peak":500},
        "allocated_bytes":{"current":384,"peak":640},"reserved_bytes":{"current":65536,"peak":131072},
        "cached_bytes":{"current":65152,"peak":0},"largest_free_bytes":40000,"cache_hits":4,"cache_misses":1}"#;
    Encoder::new()
        .header(header, &["server", "--port", "80"])
        .section(kind::MAPS, &fs::read("/proc/self/maps").unwrap())
        .stacks(&[(1, &[library(), leaf(), caller()]), (2, &[caller()]), (3, &[0x30])])
        .usages(&[
            usage(1, [3.0 * scale, 300.0 * scale, scale, 100.0 * scale, scale, 500.0]),
            usage(2, [scale, 100.0 * scale, 0.0, 0.0, 0.0, 0.0]),
            usage(3, [2.0 * scale, 200.0 * scale, 2.0 * scale, 200.0 * scale, 0.0, 900.0]),
        ])
        .live(&[live(0, 1), live(1, 1), live(2, 2)])
        .events(&[
            event(100, 0, 0),
            event(101, 1, 1),
            event(102, 2, 1),
            event(400, 3, 0),
            event(500, 3, 2),
        ])
        .mark(300, "epoch 1")
        .section(kind::STATS, stats.as_bytes())
        .spans(&[(BASE, 65536, 384, 2, 128), (BASE + 65536, 65536, 0, 1, 0)])
        .levels(&[[50, 0, 0, 65536], [450, 400, 512, 65536], [1000, 300, 384, 65536]])
        .section(99, b"of a later version")
}

#[test]
fn a_full_recording_says_exactly_what_was_held_and_where() {
    let recorded = Recorded::from_bytes(&recording(true).end()).unwrap();
    assert!(recorded.is_whole());
    let header = recorded.header();
    assert_eq!((header.pid, header.end_ns, header.is_full), (4711, 1000, true));
    assert_eq!(header.command, ["server", "--port", "80"]);
    let names = recorded.names(|_, _| {});
    assert!(names.changed.is_empty());
    let report = recorded.report(&names);
    assert_eq!((report.live_bytes(), report.total().total_blocks), (300, 6));
    assert_eq!((report.sampling, report.pools[0].live_bytes), (None, 300));
    assert_eq!((report.pools[0].reserved_peak_bytes, report.pools[0].hits.as_f64()), (131072, 0.8));
    let sites = report.by_live_bytes();
    let described = |index: usize| report.stacks.description(sites[index].key.1);
    assert!(described(0).starts_with("tests/profile.rs:"), "{}", described(0));
    assert!(described(0).ends_with("in profile::leaf"), "{}", described(0));
    assert!(described(1).ends_with("in profile::caller"), "{}", described(1));
    let leaks = report.leaks(Baseline::from_ns(100));
    assert_eq!((leaks.blocks(), leaks.bytes(), leaks.sites[0].oldest_ns), (2, 200, 899));
}

#[test]
fn a_sample_is_an_estimate_that_adds_up() {
    let recorded = Recorded::from_bytes(&recording(false).end()).unwrap();
    let names = recorded.names(|_, _| {});
    let report = recorded.report(&names);
    assert_eq!(report.sampling.map(|sampling| sampling.samples), Some(9));
    let total = report.total();
    // Three and six blocks times 2.5, rounded.
    assert_eq!((total.live_blocks(), total.live_bytes()), (8, 750));
    assert_eq!((total.freed_blocks, total.freed_bytes), (8, 750));
    assert_eq!(report.pools[0].live_bytes, 300, "the allocator knows it exactly");
    assert_eq!(report.leaks(Baseline::default()).bytes(), 750);
    assert!(report.summary().contains("estimated from 9 samples"), "{}", report.summary());
    let recording = recorded.recording(&names);
    let timeline = recording.timeline(Memory::Host);
    let live: Vec<u64> = timeline.points.iter().map(|point| point.level.live_bytes).collect();
    assert_eq!(live, [0, 400, 300], "the levels that were noted");
}

#[test]
fn events_of_a_full_recording_give_each_step() {
    let recorded = Recorded::from_bytes(&recording(true).end()).unwrap();
    let recording = recorded.recording(&recorded.names(|_, _| {}));
    assert_eq!(recording.events.len(), 5);
    assert_eq!(recording.events[1].kind, EventKind::Alloc { hit: true });
    assert_eq!(recording.marks[0].label, "epoch 1");
    let timeline = recording.timeline(Memory::Host);
    let live: Vec<u64> = timeline.points.iter().map(|point| point.level.live_bytes).collect();
    assert_eq!(live, [0, 100, 200, 300, 400, 300, 300]);
    let segment = &recording.segments[0];
    assert_eq!((recording.segments.len(), segment.bytes(), segment.areas.len()), (1, 131072, 5));
}

#[test]
fn every_format_takes_it() {
    let recorded = Recorded::from_bytes(&recording(true).end()).unwrap();
    let names = recorded.names(|_, _| {});
    let (report, recording) = (recorded.report(&names), recorded.recording(&names));
    let lines = flame::folded(&report, flame::Weight::LiveBytes);
    let stack = &lines[0];
    assert!(stack.starts_with("host;profile::caller;profile::leaf;"), "{stack}");
    assert!(stack.contains("reserve") && stack.ends_with(" 200"), "{stack}");
    let profile = pprof::profile(&report);
    assert!(profile.location.iter().any(|location| location.address == leaf() - 1));
    let own = profile
        .mapping
        .iter()
        .find(|mapping| profile.string_table[mapping.filename as usize].contains("/deps/profile-"));
    let build_id = own.map(|mapping| &*profile.string_table[mapping.build_id as usize]);
    assert!(build_id.is_some_and(|id| id.len() >= 16), "{build_id:?}");
    let mut text = Vec::new();
    chrome::write(&recording, &mut text).unwrap();
    json::write_report(&report, &mut text).unwrap();
    torch::write(&recording, Memory::Host, &mut text).unwrap();
    flame::write_svg(&report, flame::Weight::LiveBytes, &mut text).unwrap();
}

#[test]
fn a_file_that_ends_early_is_read_as_far_as_it_goes() {
    let bytes = recording(true).end();
    let mut whole = 0;
    for length in 0..bytes.len() {
        match Recorded::from_bytes(&bytes[..length]) {
            Ok(recorded) => {
                assert!(!recorded.is_whole(), "{length}");
                assert!(recorded.header().pid == 4711);
                whole += 1;
            }
            Err(ReadError::Truncated { bytes }) => assert_eq!(bytes, length as u64),
            Err(error) => panic!("{length}: {error}"),
        }
    }
    assert!(whole > bytes.len() / 2);
    let all_but_end = Recorded::from_bytes(&bytes[..bytes.len() - 16]).unwrap();
    let report = all_but_end.report(&all_but_end.names(|_, _| {}));
    assert_eq!(report.live_bytes(), 300);
}

/// Everything that a person may do with it.
fn use_all(recorded: &Recorded) {
    let names = recorded.names(|_, _| {});
    let (report, recording) = (recorded.report(&names), recorded.recording(&names));
    let mut sink = Vec::new();
    report.summary();
    report.leaks(Baseline::default()).to_string();
    recording.timeline(Memory::Host).thinned(10);
    recording.segments.iter().for_each(|segment| assert!(segment.bytes() > 0));
    pprof::write(&report, &mut sink).unwrap();
    json::write_report(&report, &mut sink).unwrap();
    chrome::write(&recording, &mut sink).unwrap();
    torch::write(&recording, Memory::Host, &mut sink).unwrap();
}

#[test]
fn no_damage_makes_it_panic() {
    // Without the names of this large program, which take their time.
    let maps = b"5000-6000 r-xp 00000000 fe:00 12   /no/such/program\n";
    let plain = recording(true).end();
    let own = fs::read("/proc/self/maps").unwrap().len();
    let after_header = 8 + 16 + 88 + 24;
    let after_maps = (after_header + 16 + own).next_multiple_of(8);
    let mut bytes = plain[..after_header].to_vec();
    bytes = Encoder(bytes).section(kind::MAPS, maps).0;
    bytes.extend(&plain[after_maps..]);
    use_all(&Recorded::from_bytes(&bytes).unwrap());
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below as u64) as usize
    };
    let (mut read, mut refused) = (0, 0);
    for round in 0..6000 {
        let mut damaged = bytes.clone();
        for _ in 0..=round % 4 {
            let at = random(damaged.len());
            damaged[at] = match round % 3 {
                0 => damaged[at] ^ (1 << random(8)),
                1 => 0xff,
                _ => random(256) as u8,
            };
        }
        match Recorded::from_bytes(&damaged) {
            Ok(recorded) => {
                read += 1;
                use_all(&recorded);
            }
            Err(error) => {
                refused += 1;
                assert!(error.to_string().len() > 20);
            }
        }
    }
    assert!(read > 500 && refused > 500, "{read} read, {refused} refused");
}

#[test]
fn what_is_no_recording_is_refused_with_advice() {
    let refuse = |bytes: &[u8]| Recorded::from_bytes(bytes).unwrap_err().to_string();
    assert!(refuse(b"\x7fELF and more").contains("GENESIS_MEM_PROFILE"));
    assert!(refuse(b"GENMEM\0\x07").contains("version 7"));
    assert!(refuse(b"GENMEM\0\x01").contains("ends after 8 bytes"));
    let error = Recorded::open("/no/such/file").unwrap_err();
    assert!(matches!(error, ReadError::Io { .. }) && error.to_string().contains("/no/such/file"));
    let half = Encoder::new().section(kind::LEVELS, &[0; 33]).0;
    assert!(refuse(&half).contains("half a record, at byte 32 of section LEVELS"));
}

/// Compiles C++ or C; `None` where there is no compiler.
fn compile(compiler: &str, source: &Path, library: &Path) -> Option<()> {
    let mut command = Command::new(compiler);
    command.args(["-g", "-O1", "-shared", "-fPIC", "-o"]).arg(library).arg(source);
    match command.status() {
        Ok(status) => status.success().then_some(()),
        Err(_) => {
            println!("skipped: there is no {compiler}");
            None
        }
    }
}

#[test]
fn cpp_is_read_with_its_inlined_calls() {
    let folder = tempfile::tempdir().unwrap();
    let (source, library) = (folder.path().join("cart.cpp"), folder.path().join("libcart.so"));
    let text = "#include <cstdlib>\n\
                namespace shop {\n\
                struct Cart { void *item; void add(int size); };\n\
                static inline void *room(int size) { return malloc(size + 1); }\n\
                __attribute__((noinline)) void Cart::add(int size) {\n\
                  item = room(size);\n\
                  static_cast<char *>(item)[0] = 1;\n\
                }\n\
                }\n";
    fs::File::create(&source).unwrap().write_all(text.as_bytes()).unwrap();
    if compile("g++", &source, &library).is_none() {
        return;
    }
    let listing = Command::new("objdump").args(["-d", "-C"]).arg(&library).output().unwrap();
    let listing = String::from_utf8_lossy(&listing.stdout).into_owned();
    let own = listing.split("<shop::Cart::add(int)>:").nth(1).unwrap();
    let after_call = own.lines().skip_while(|line| !line.contains("<malloc@plt>")).nth(1).unwrap();
    let address = after_call.split(':').next().unwrap().trim();
    let address = u64::from_str_radix(address, 16).unwrap();
    let maps = format!("70001000-70003000 r-xp 00001000 fe:00 12 {}\n", library.display());
    let bytes = |maps: &str, epoch_ns| {
        let header = Header { full: true, end_ns: 10, epoch_ns, ..Header::default() };
        Encoder::new()
            .header(header, &[])
            .section(kind::MAPS, maps.as_bytes())
            .stacks(&[(1, &[0x7000_0000 + address])])
            .usages(&[usage(1, [1.0, 10.0, 0.0, 0.0, 0.0, 0.0])])
            .end()
    };
    let recorded = Recorded::from_bytes(&bytes(&maps, 0)).unwrap();
    let report = recorded.report(&recorded.names(|_, _| {}));
    let frames: Vec<String> =
        report.stacks.of(report.usages[0].stack).map(|frame| frame.description()).collect();
    let file = source.to_str().unwrap();
    assert_eq!(frames, [format!("{file}:4, in room"), format!("{file}:6, in shop::Cart::add")]);
    assert_eq!(report.stacks.calls_of(report.usages[0].stack).len(), 1);
    // The library was built after this recording.
    let early = Recorded::from_bytes(&bytes(&maps, 1)).unwrap();
    let names = early.names(|_, _| {});
    assert_eq!(names.changed, [library]);
    let report = early.report(&names);
    let expected = format!("libcart.so+{:#x}", address - 1);
    assert_eq!(report.stacks.location(report.usages[0].stack), expected);
}
