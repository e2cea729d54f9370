//! What a recorder knows adds up, whatever is lost.
use std::{panic::Location, thread};

use genesis_mem_profile::{
    Baseline, Block, EventKind, Level, Memory, Recorder, Recording, Report, StackId, size_class_of,
};

fn block(address: u64, bytes: u64) -> Block {
    Block { address, bytes, block_bytes: bytes.max(1).next_multiple_of(512), owner: 3 }
}

fn on() -> Recorder {
    let recorder = Recorder::new(Memory::Device);
    assert!(!recorder.is_on() && recorder.switch(true) && recorder.is_on());
    recorder
}

fn report(recorder: &Recorder) -> Report {
    let mut report = Report::now();
    recorder.read_report(&mut report);
    report
}

fn recording(recorder: &Recorder, reserved_bytes: u64) -> Recording {
    let mut recording = Recording::default();
    recorder.read_recording(&mut recording, reserved_bytes);
    recording.finish();
    recording
}

/// Sums over groups of all kinds, and over the live blocks, are one and the same.
fn assert_sums(report: &Report) {
    let total = report.total();
    let (blocks, bytes) = (total.live_blocks(), total.live_bytes());
    let live = report.live.iter().map(|live| live.bytes);
    assert_eq!((report.live.len() as u64, live.sum::<u64>()), (blocks, bytes));
    assert_eq!(report.pools.iter().map(|pool| pool.live_bytes).sum::<u64>(), bytes);
    let sites = report.by_live_bytes();
    assert_eq!(sites.iter().map(|site| site.usage.live_bytes()).sum::<u64>(), bytes);
    let sizes = report.by_size();
    assert_eq!(sizes.iter().map(|size| size.usage.total_bytes).sum::<u64>(), total.total_bytes);
    let owners = report.by_owner();
    assert_eq!(owners.iter().map(|owner| owner.usage.live_blocks()).sum::<u64>(), blocks);
}

#[test]
fn blocks_of_sites_streams_and_sizes_add_up() {
    let recorder = on();
    let here = Location::caller();
    let there = Location::caller();
    for number in 0..100 {
        let at = if number % 3 == 0 { here } else { there };
        let owner = number % 5;
        let told = Block { owner, ..block(4096 * (number + 1), 100 * number) };
        recorder.alloc((number as usize, 7), told, at, number % 2 == 0);
    }
    for number in (0..100).step_by(2) {
        recorder.free((number as usize, 7));
    }
    let report = report(&recorder);
    assert_sums(&report);
    let total = report.total();
    assert_eq!((total.total_blocks, total.total_bytes), (100, 495_000));
    assert_eq!((total.freed_blocks, total.freed_bytes), (50, 245_000));
    assert_eq!((report.by_live_bytes().len(), report.by_owner().len()), (2, 5));
    assert!(total.short_blocks > 0 && total.lifetime_ns > 0);
    assert_eq!(report.large_allocations(9500).len(), 3);
    assert!(report.summary().contains("recorder.rs:"), "{}", report.summary());
}

#[test]
fn what_was_there_before_is_known_once_and_is_no_leak() {
    let recorder = on();
    let at = Location::caller();
    recorder.seed((0, 1), block(512, 10));
    recorder.alloc((0, 2), block(1024, 20), at, true);
    recorder.seed((0, 2), block(1024, 20));
    // The other order: found in the heap before its allocation is told.
    recorder.seed((0, 4), block(2048, 30));
    recorder.alloc((0, 4), block(2048, 30), at, true);
    let report = report(&recorder);
    assert_sums(&report);
    assert_eq!((report.live_bytes(), report.total().total_blocks), (60, 3));
    let leaks = report.leaks(Baseline::default());
    assert_eq!((leaks.blocks(), leaks.bytes()), (2, 50));
    recorder.free((0, 1));
    recorder.free((0, 8)); // Nobody knows it.
    assert!(!recorder.switch(true), "it is on already");
    assert!(recorder.switch(false));
    assert!(report_is_empty(&recorder));
}

fn report_is_empty(recorder: &Recorder) -> bool {
    let report = report(recorder);
    report.live.is_empty() && report.usages.is_empty()
}

#[test]
fn a_baseline_tells_what_is_kept_from_what_leaks() {
    let recorder = on();
    let at = Location::caller();
    recorder.alloc((0, 1), block(512, 1), at, true);
    let baseline = Baseline::now();
    recorder.alloc((0, 2), block(1024, 2), at, true);
    recorder.free((0, 1));
    // The same address once more is another block.
    recorder.alloc((0, 1), block(512, 4), at, true);
    let leaks = report(&recorder).leaks(baseline);
    assert_eq!((leaks.blocks(), leaks.bytes(), leaks.sites.len()), (2, 6, 1));
    assert!(leaks.sites[0].oldest_ns >= leaks.sites[0].youngest_ns);
    assert!(report(&recorder).leaks(Baseline::now()).is_empty());
    assert!(leaks.to_string().contains(&format!("recorder.rs:{}", at.line())), "{leaks}");
}

#[test]
fn a_size_that_changes_is_no_new_block() {
    let recorder = on();
    recorder.begin(10);
    recorder.alloc((0, 1), block(512, 100), Location::caller(), false);
    recorder.resize((0, 1), 5000, 5120);
    let report = report(&recorder);
    assert_sums(&report);
    assert_eq!((report.total().total_blocks, report.total().total_bytes), (1, 5000));
    assert_eq!(report.by_size().len(), 1);
    let recording = recording(&recorder, 8192);
    let kinds: Vec<_> = recording.events.iter().map(|event| event.kind.name()).collect();
    assert_eq!(kinds, ["alloc", "free", "alloc"]);
    let end = recording.timeline(Memory::Device).end();
    assert_eq!(end, Level { live_bytes: 5000, allocated_bytes: 5120, reserved_bytes: 8192 });
}

#[test]
fn a_timeline_counts_back_from_what_is_known() {
    let recorder = on();
    recorder.seed((0, 1), block(512, 7));
    recorder.begin(10);
    let grow = Block { address: 0, bytes: 1 << 20, block_bytes: 0, owner: 0 };
    recorder.note(0, EventKind::Grow, grow, None);
    recorder.alloc((0, 2), block(1024, 512), Location::caller(), false);
    recorder.mark("half");
    recorder.free((0, 1));
    let recording = recording(&recorder, 3 << 20);
    let timeline = recording.timeline(Memory::Device);
    let levels: Vec<_> = timeline.points.iter().map(|point| point.level).collect();
    let level = |live_bytes, allocated_bytes, mib: u64| Level {
        live_bytes,
        allocated_bytes,
        reserved_bytes: mib << 20,
    };
    let grown = level(7, 512, 3);
    let (most, end) = (level(519, 1024, 3), level(512, 512, 3));
    assert_eq!(levels, [level(7, 512, 2), grown, most, end, end]);
    assert_eq!(end.cached_bytes(), (3 << 20) - 512);
    assert_eq!((timeline.marks.len(), timeline.peak()), (1, most));
    assert!(timeline.points.is_sorted_by_key(|point| point.time_ns));
    // Where nothing is recorded there is just the present.
    recorder.end();
    assert!(recording_is_empty(&recorder));
}

fn recording_is_empty(recorder: &Recorder) -> bool {
    let recording = recording(recorder, 0);
    recording.events.is_empty() && recording.timeline(Memory::Device).end().live_bytes == 512
}

#[test]
fn a_full_ring_loses_the_oldest_and_says_so() {
    let recorder = on();
    recorder.begin(4096);
    let at = Location::caller();
    for round in 0..10_000u64 {
        recorder.alloc((0, 1), block(512, round), at, true);
        recorder.free((0, 1));
    }
    let recording = recording(&recorder, 0);
    let kept = recording.events.len() as u64;
    assert!((3072..=4096).contains(&kept), "{kept}");
    assert_eq!(kept + recording.lost_events, 20_000);
    assert!(recording.events[0].time_ns >= recording.begin_ns);
    assert_eq!(recording.timeline(Memory::Device).points[0].level.live_bytes, 0);
}

#[test]
fn events_before_a_gap_elsewhere_are_dropped_too() {
    let recorder = on();
    recorder.begin(2048);
    let at = Location::caller();
    recorder.alloc((1, 0), block(1 << 20, 1000), at, true);
    for _ in 0..5000 {
        recorder.alloc((0, 1), block(512, 1), at, true);
        recorder.free((0, 1));
    }
    let recording = recording(&recorder, 0);
    assert_eq!(recording.events.len() as u64 + recording.lost_events, 10_001);
    assert!(recording.events.iter().all(|event| event.address == 512));
    let timeline = recording.timeline(Memory::Device);
    assert!(timeline.points.iter().all(|point| point.level.live_bytes >= 1000), "it is live");
    assert_eq!(timeline.end().live_bytes, 1000);
}

#[test]
fn threads_lose_nothing() {
    let recorder = on();
    recorder.begin(1 << 20);
    let at = Location::caller();
    thread::scope(|scope| {
        for shard in 0..4u64 {
            let recorder = &recorder;
            scope.spawn(move || {
                for round in 0..5000 {
                    let address = shard << 32 | (round % 50) << 12;
                    let slot = (shard as usize, (round % 50) as u32);
                    recorder.free(slot);
                    recorder.alloc(slot, block(address, round), at, true);
                }
            });
        }
    });
    let report = report(&recorder);
    assert_sums(&report);
    assert_eq!((report.live.len(), report.total().total_blocks), (200, 20_000));
    let recording = recording(&recorder, 0);
    assert_eq!((recording.lost_events, recording.events.len()), (0, 20_000 + 20_000 - 200));
    let end = recording.timeline(Memory::Device).end();
    assert_eq!(end.live_bytes, report.live_bytes());
    assert_eq!(recording.timeline(Memory::Device).points[0].level, Level::default());
}

#[test]
fn sizes_fall_into_classes() {
    let classes = [0, 1, 2, 3, 4, 5, 512, 513, 1 << 40, u64::MAX].map(size_class_of);
    assert_eq!(classes, [0, 0, 1, 2, 2, 3, 9, 10, 40, 64]);
    assert_eq!(report(&on()).stacks.location(StackId::UNKNOWN), "(unknown)");
}
