//! The page, opened in a browser: its figures, its manners, its speed, and what can be done to it.
//!
//! Skipped where there is no chromium. `GENESIS_PAGES=FOLDER` keeps the pages and pictures of them.

mod browser;
mod programs;

use std::{
    env, fs,
    fs::File,
    io::BufWriter,
    path::{Path, PathBuf},
    time::Instant,
};

use genesis_mem_profile::{
    Baseline, Memory, Recording, Report,
    format::html::{self, Options},
};
use serde_json::json;

use self::{browser::Browser, programs::Program};

/// A file of its own for a page, in a folder that `GENESIS_PAGES` names or that goes again.
fn page(
    folder: &Path,
    name: &str,
    report: &Report,
    recording: &Recording,
    options: &Options,
) -> PathBuf {
    let kept = env::var_os("GENESIS_PAGES").map(PathBuf::from);
    let folder = kept.as_deref().unwrap_or(folder);
    fs::create_dir_all(folder).unwrap();
    let path = folder.join(format!("{name}.html"));
    let out = BufWriter::new(File::create(&path).unwrap());
    html::write(report, recording, options, out).unwrap();
    path.canonicalize().unwrap()
}

fn training_page(browser: &Browser, name: &str, events: usize) -> (Program, PathBuf) {
    let program = programs::training(events);
    let options = Options {
        title: "train </title><script>".into(),
        limits: vec![(Memory::Device, 3 << 30)],
        baseline: Baseline::from_ns(program.recording.begin_ns + 500_000),
    };
    let path = page(browser.folder(), name, &program.report, &program.recording, &options);
    (program, path)
}

fn search(browser: &mut Browser, words: &str) {
    let input = "document.getElementById('search')";
    browser.value(&format!("{input}.value = '{words}'"));
    browser.value(&format!("{input}.dispatchEvent(new Event('input'))"));
    browser.settle();
}

#[test]
fn its_figures_are_those_of_the_report() {
    let Some(mut browser) = Browser::start(1280, 900) else { return };
    let (program, path) = training_page(&browser, "figures", 20_000);
    browser.open(&path, "t=end");
    let Program { recording, report, .. } = &program;
    assert_eq!(browser.number("#figure-live data"), report.live_bytes());
    assert_eq!(browser.number("#figure-total data"), report.total().total_bytes);
    assert_eq!(browser.number("#figure-allocations data"), report.total().total_blocks);
    let timeline = recording.timeline(Memory::Device);
    assert_eq!(browser.number("#figure-peak-live data"), timeline.peak().live_bytes);
    assert_eq!(browser.number("#figure-reserved data"), timeline.end().reserved_bytes);
    assert_eq!(browser.sum("#sites tr > :nth-child(2) data"), report.live_bytes());
    assert_eq!(browser.sum("#sites tr > :nth-child(4) data"), report.live.len() as u64);
    assert_eq!(browser.sum("#bands-legend data"), report.live_bytes());
    let leaks = report.leaks(Baseline::from_ns(recording.begin_ns + 500_000));
    assert_eq!(browser.number("#leaks-text data"), leaks.bytes());
    assert_eq!(browser.number("#leaks-text data + data"), leaks.blocks());
    let map = browser.value("document.getElementById('map-text').textContent");
    let expected = format!("{} live blocks in 1 contiguous range of", report.live.len());
    assert!(map.as_str().unwrap().starts_with(&expected), "{map}");
    // Any other moment, too.
    let point = timeline.points[timeline.points.len() / 3];
    let seconds = (point.time_ns - recording.begin_ns) as f64 / 1e9;
    browser.open(&path, &format!("t={seconds:.9}"));
    assert_eq!(browser.number("#moment-live data"), point.level.live_bytes);
    assert_eq!(browser.sum("#sites tr > :nth-child(2) data"), point.level.live_bytes);
}

#[test]
fn it_opens_a_million_events_within_three_seconds_alone_and_without_complaint() {
    let Some(mut browser) = Browser::start(1280, 900) else { return };
    let program = programs::training(1_000_000);
    let begin = Instant::now();
    let Program { recording, report, .. } = &program;
    let path = page(browser.folder(), "million", report, recording, &Options::default());
    let (written, bytes) = (begin.elapsed(), fs::metadata(&path).unwrap().len());
    // Other programs can only make it slower.
    let opened = (0..3).map(|_| browser.open(&path, ""));
    let ms = opened.reduce(f64::min).unwrap();
    println!(
        "{} events: written in {written:.1?}, {:.1} MB, open after {ms} ms",
        recording.events.len(),
        bytes as f64 / 1e6
    );
    assert!(recording.events.len() >= 1_000_000);
    assert!(ms < 3000.0, "{ms} ms");
    assert_eq!((browser.files(), browser.complaints()), (1, vec![]));
    browser.value("window.began = performance.now()");
    browser.mouse(
        "mouseWheel",
        "#levels canvas",
        [0.5, 0.5],
        json!({ "deltaX": 0, "deltaY": -900 }),
    );
    browser.settle();
    let zoom = browser.value("performance.now() - began").as_f64().unwrap();
    println!("a turn of the wheel is drawn after {zoom:.0} ms");
}

#[test]
fn everything_can_be_done_by_mouse_and_by_keys() {
    let Some(mut browser) = Browser::start(1280, 900) else { return };
    let (_, path) = training_page(&browser, "training", 20_000);
    browser.open(&path, "t=peak");
    let peak = browser.number("#moment-live data");
    assert_eq!(peak, browser.number("#figure-peak-live data"));
    browser.picture("light");

    // The moment: by a click, by keys, by buttons.
    browser.click("#levels canvas", [0.3, 0.5]);
    let clicked =
        browser.value("document.getElementById('slider').valueAsNumber").as_u64().unwrap();
    assert!((4_000..8_000).contains(&clicked), "{clicked}");
    browser.key("#levels", "ArrowRight");
    assert!(
        browser.value("document.getElementById('slider').valueAsNumber").as_u64() > Some(clicked)
    );
    browser.key("#levels", "p");
    assert_eq!(browser.number("#moment-live data"), peak);
    browser.click("#go-end", [0.5, 0.5]);
    assert_eq!(browser.number("#moment-live data"), browser.number("#figure-live data"));

    // The zoom.
    let is_whole = "document.getElementById('zoom-reset').disabled";
    assert_eq!(browser.value(is_whole), true);
    let wheel = json!({ "deltaX": 0, "deltaY": -500 });
    browser.mouse("mouseWheel", "#bands canvas", [0.5, 0.5], wheel);
    browser.settle();
    assert_eq!(browser.value(is_whole), false);
    browser.key("#bands", "0");
    assert_eq!(browser.value(is_whole), true);
    browser.mouse("mousePressed", "#levels canvas", [0.4, 0.5], json!({ "button": "left" }));
    browser.mouse(
        "mouseMoved",
        "#levels canvas",
        [0.6, 0.5],
        json!({ "button": "left", "buttons": 1 }),
    );
    browser.mouse("mouseReleased", "#levels canvas", [0.6, 0.5], json!({ "button": "left" }));
    browser.settle();
    assert_eq!(browser.value(is_whole), false);
    browser.key("#levels", "Escape");
    assert_eq!(browser.value(is_whole), true);

    // Hovering, searching, sorting.
    browser.mouse("mouseMoved", "#bands canvas", [0.5, 0.8], json!({}));
    browser.settle();
    let tip = browser.value("document.getElementById('tip').innerText");
    assert!(tip.as_str().unwrap().contains("src/optim/adam.rs:74"), "{tip}");
    search(&mut browser, "adam");
    assert_eq!(browser.value("document.querySelectorAll('#sites tbody tr').length"), 1);
    let found = browser.value("document.getElementById('found').textContent");
    assert!(found.as_str().unwrap().starts_with("864 MiB, 66"), "{found}");
    browser.picture("search");
    search(&mut browser, "");
    browser.click("#sites th:nth-child(4) button", [0.3, 0.5]);
    assert_eq!(
        browser.value(
            "document.querySelector('#sites th[aria-sort=descending]').innerText.includes('Blocks')"
        ),
        true
    );
    let blocks = browser.value(
        "[...document.querySelectorAll('#sites td:nth-child(4) data')].map(({ value }) => +value)",
    );
    let blocks: Vec<u64> = serde_json::from_value(blocks).unwrap();
    assert!(blocks.is_sorted_by(|a, b| a >= b) && blocks[0] > blocks[1], "{blocks:?}");

    // The flame graph and the map speak, too.
    browser.key("#flame", "ArrowDown");
    let said = browser.value("document.getElementById('said').textContent");
    assert!(said.as_str().unwrap().starts_with("main, src/main.rs:12"), "{said}");
    browser.key("#map", "ArrowRight");
    let said = browser.value("document.getElementById('said').textContent");
    assert!(said.as_str().unwrap().contains("at 0x7f1234000000, stream 0x7"), "{said}");

    browser.click("#theme label:nth-of-type(3) span", [0.5, 0.5]);
    let paper = browser.value("getComputedStyle(document.body).backgroundColor");
    assert_eq!(paper, "rgb(21, 24, 27)");
    browser.picture("dark");
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

#[test]
fn words_of_the_program_are_only_words() {
    let Some(mut browser) = Browser::start(1280, 900) else { return };
    let (_, path) = training_page(&browser, "words", 3000);
    browser.open(&path, "t=end");
    assert_eq!(browser.value("document.title"), "train </title><script>");
    assert_eq!(browser.value("document.querySelector('#sites b')"), json!(null));
    let names = browser.value("document.getElementById('sites').textContent");
    // The line of the program itself, not that of the standard library.
    assert!(names.as_str().unwrap().contains("metrics::History::push </script><b>"), "{names}");
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

#[test]
fn several_memories_one_without_a_map_and_lost_events() {
    let Some(mut browser) = Browser::start(420, 900) else { return };
    let (device, host) = (programs::training(3000), programs::host(30_000));
    let mut recording = device.recording;
    let mut report = device.report;
    let mut host_events = host.recording.events;
    // Half of the host's events are lost: its blocks are known from the report alone.
    host_events.drain(..15_000);
    recording.lost_events = 15_000;
    for mut event in host_events {
        let frames: Vec<_> = host.recording.stacks.of(event.stack).cloned().collect();
        event.stack = recording.stacks.intern(frames);
        event.time_ns += recording.begin_ns;
        recording.events.push(event);
    }
    recording.events.sort_by_key(|event| event.time_ns);
    recording.end_ns = recording.events.last().unwrap().time_ns;
    recording.end.extend(host.recording.end);
    report.pools.extend(host.report.pools);
    report.usages.extend(host.report.usages);
    for mut live in host.report.live {
        let frames: Vec<_> = host.report.stacks.of(live.stack).cloned().collect();
        live.stack = report.stacks.intern(frames);
        report.live.push(live);
    }
    report.time_ns = recording.end_ns;
    let path = page(browser.folder(), "several", &report, &recording, &Options::default());
    for memory in [Memory::Host, Memory::Device] {
        browser.open(&path, &format!("memory={memory}&t=end"));
        let level = recording.end_of(memory);
        assert_eq!(browser.number("#figure-live data"), level.live_bytes);
        browser.value("document.querySelectorAll('.quiet').forEach(each => each.click())");
        assert_eq!(browser.sum("#sites tr > :nth-child(2) data"), level.live_bytes, "{memory}");
        assert_eq!(browser.sum("#bands-legend data"), level.live_bytes, "{memory}");
        browser.picture(&format!("narrow-{memory}"));
    }
    let notes = browser.value("document.getElementById('notes').textContent");
    assert!(notes.as_str().unwrap().contains("earlier events are lost"), "{notes}");
    browser.click("#memories label:nth-of-type(1) span", [0.5, 0.5]);
    let map = browser.value("document.getElementById('map-text').textContent");
    assert!(map.as_str().unwrap().contains("Only the blocks themselves are known"), "{map}");
    // Nothing is wider than the window.
    let over = browser.value("document.documentElement.scrollWidth - innerWidth");
    assert!(over.as_i64().unwrap() <= 0, "{over}");
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

#[test]
fn samples_count_for_as_many_blocks_as_they_stand_for() {
    let Some(mut browser) = Browser::start(1280, 900) else { return };
    let Program { recording, report, .. } = programs::sampled(30_000);
    let path = page(browser.folder(), "sampled", &report, &recording, &Options::default());
    browser.open(&path, "t=end");
    // Levels were noted, whatever the samples say.
    assert_eq!(browser.number("#figure-live data"), recording.end_of(Memory::Host).live_bytes);
    let timeline = recording.timeline(Memory::Host);
    assert_eq!(browser.number("#figure-peak-live data"), timeline.peak().live_bytes);
    browser.value("document.querySelectorAll('.quiet').forEach(each => each.click())");
    let estimate: u64 = report.live.iter().map(|live| 4 * live.bytes).sum();
    assert_eq!(browser.sum("#sites tr > :nth-child(2) data"), estimate);
    assert_eq!(browser.sum("#sites tr > :nth-child(4) data"), 4 * report.live.len() as u64);
    let point = timeline.points[timeline.points.len() / 2];
    let seconds = (point.time_ns - recording.begin_ns) as f64 / 1e9;
    browser.open(&path, &format!("t={seconds:.9}"));
    assert_eq!(browser.number("#moment-live data"), point.level.live_bytes);
    let note = browser.value("document.getElementById('sites-note').textContent");
    assert!(note.as_str().unwrap().contains("sums are estimates"), "{note}");
    browser.picture("sampled");
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

#[test]
fn without_events_the_report_is_shown_and_nothing_is_no_failure() {
    let Some(mut browser) = Browser::start(1280, 900) else { return };
    let program = programs::training(2000);
    let recording = Recording::default();
    let path = page(browser.folder(), "report", &program.report, &recording, &Options::default());
    browser.open(&path, "");
    assert_eq!(browser.number("#moment-live data"), program.report.live_bytes());
    assert_eq!(browser.sum("#sites tr > :nth-child(2) data"), program.report.live_bytes());
    assert_eq!(browser.complaints(), Vec::<String>::new());
    let chart = browser.value("document.getElementById('time').checkVisibility()");
    assert_eq!(chart, false, "nothing is drawn over no time");
    let memories = browser.value("document.getElementById('memories').checkVisibility()");
    assert_eq!(memories, false, "there is only one");
    browser.picture("report");

    let path = page(browser.folder(), "empty", &Report::now(), &recording, &Options::default());
    browser.open(&path, "");
    let text = browser.value("document.body.innerText");
    assert!(text.as_str().unwrap().contains("Nothing was recorded"), "{text}");
    assert_eq!(browser.complaints(), Vec::<String>::new());
}
