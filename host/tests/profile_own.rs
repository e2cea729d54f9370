//! A program that looks at its own memory while it runs.
use std::{hint::black_box, sync::Mutex, thread, time::Duration};

use genesis_mem_host::{
    Genesis, profile,
    profile::model::{AreaState, Leaks, Memory},
};

#[global_allocator]
static ALLOC: Genesis = Genesis::new();

/// The profiler belongs to the process: one test at a time.
static ONE: Mutex<()> = Mutex::new(());

#[inline(never)]
fn keep_pages(count: usize) -> Vec<Vec<u8>> {
    (0..count).map(|_| vec![7_u8; 5000]).collect()
}

#[inline(never)]
fn keep_words(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("the word number {number}")).collect()
}

/// Blocks and bytes of all leaks through a function.
fn through(leaks: &Leaks, function: &str) -> (u64, u64) {
    let through = |leak: &&profile::model::Leak| leak.path.iter().any(|at| at.contains(function));
    let leaks = leaks.sites.iter().filter(through);
    leaks.fold((0, 0), |(blocks, bytes), leak| (blocks + leak.blocks, bytes + leak.bytes))
}

#[test]
fn leaks_of_a_recording_are_exact() {
    let _one = ONE.lock();
    let before = keep_words(10);
    let recording = profile::record().unwrap();
    let early = keep_words(20);
    profile::baseline();
    thread::sleep(Duration::from_millis(2));
    let pages = keep_pages(50);
    drop(keep_pages(70));
    let leaks = profile::check_leaks().unwrap();
    // The pages, and the vector of them.
    assert_eq!(through(&leaks, "keep_pages"), (51, 50 * 5000 + 50 * 24), "{leaks}");
    assert!(leaks.sites[0].location.contains("tests/profile_own.rs:"), "{leaks}");
    assert_eq!(through(&leaks, "keep_words"), (0, 0), "from before the baseline: {leaks}");
    let large = profile::get_large_allocations(5000).unwrap();
    let pages_found =
        large.iter().filter(|(live, at)| live.bytes == 5000 && at.contains("profile_own.rs"));
    assert_eq!(pages_found.count(), 50);
    drop(recording);
    assert!(!profile::is_profiling());
    black_box((before, early, pages));
}

#[test]
fn a_recording_has_a_timeline_with_marks() {
    let _one = ONE.lock();
    let recording = profile::record().unwrap();
    profile::mark("fill");
    let pages = keep_pages(1000);
    profile::mark("empty");
    drop(pages);
    drop(recording);
    let timeline = profile::get_timeline().unwrap();
    let grown = timeline.peak().live_bytes - timeline.end().live_bytes;
    assert!((5_000_000..5_200_000).contains(&grown), "{grown} bytes came and went");
    let marks: Vec<_> = timeline.marks.iter().map(|mark| &*mark.label).collect();
    assert_eq!(marks, ["fill", "empty"]);
    let recorded = profile::recording().unwrap();
    let of_pages = |event: &&profile::model::Event| event.bytes == 5000;
    assert_eq!(recorded.events.iter().filter(of_pages).count(), 2000);
    assert!(recorded.events.iter().all(|event| event.memory == Memory::Host));
    assert!(profile::plot().unwrap().contains("host memory"));
}

#[test]
fn a_sample_estimates_what_is_held() {
    let _one = ONE.lock();
    profile::enable_profiling(true).unwrap();
    let pages = keep_pages(20_000);
    let report = profile::get_report().unwrap();
    let sites = report.by_live_bytes();
    let site = sites.iter().find(|site| {
        report.stacks.from_site(site.key.1).any(|frame| frame.function.contains("keep_pages"))
    });
    let live_bytes = site.unwrap().usage.live_bytes() as f64;
    // 190 samples: a standard deviation of 7 %.
    assert!((live_bytes / 100e6 - 1.0).abs() < 0.35, "{live_bytes} of 100 MB");
    assert!(report.sampling.is_some_and(|sampling| sampling.samples > 50));
    assert!(report.summary().contains("estimated from"), "{}", report.summary());
    profile::enable_profiling(false).unwrap();
    drop(pages);
}

#[test]
fn segments_hold_the_blocks_where_they_are() {
    let _one = ONE.lock();
    let recording = profile::record().unwrap();
    let pages = keep_pages(300);
    let large = vec![1_u8; 3 << 20];
    let recorded = profile::recording().unwrap();
    let areas = || recorded.segments.iter().flat_map(|segment| &segment.areas);
    let at = |bytes: &[u8]| areas().find(|area| area.address == bytes.as_ptr() as u64);
    let area = at(&large).unwrap();
    assert_eq!((area.state, area.requested_bytes), (AreaState::Live, 3 << 20));
    assert!(recorded.stacks.location(area.stack).contains("profile_own.rs"));
    for segment in &recorded.segments {
        let mut next = segment.address;
        for area in &segment.areas {
            assert_eq!(area.address, next, "no gap");
            next += area.bytes;
        }
    }
    // Slabs that have only blocks of this recording show each of them.
    let shown =
        pages.iter().filter(|page| at(page).is_some_and(|area| area.requested_bytes == 5000));
    assert!(shown.count() > 100, "{} areas", areas().count());
    let reserved = recorded.end_of(Memory::Host).reserved_bytes;
    let mapped: u64 = recorded.segments.iter().map(|segment| segment.bytes()).sum();
    assert!(mapped <= reserved, "{mapped} bytes of areas, {reserved} reserved");
    drop(recording);
    black_box((pages, large));
}
