//! What the profiler records, in processes of their own.

use std::{
    alloc::{GlobalAlloc, Layout},
    env,
    ffi::CString,
    hint::black_box,
    path::Path,
    sync::mpsc,
    thread,
    time::Instant,
};

use genesis_mem_host::{
    Genesis, Pinned,
    sampler::{self, Error, Options},
};

#[path = "common/alone.rs"]
mod alone;
#[path = "common/recording.rs"]
mod recording;
#[path = "common/success.rs"]
mod success;

use recording::Recording;

#[global_allocator]
static ALLOC: Genesis = Genesis::new();

/// Runs `work` in a process with the profiler in full mode; `check` looks at what that has recorded.
fn recorded(test: &str, mode: &[(&str, &str)], work: impl FnOnce(), check: impl FnOnce(&Path)) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().to_str().expect("a name");
    let variables = [&[("GENESIS_MEM_PROFILE", path)], mode].concat();
    if let Some(output) = alone::output(test, &variables, work) {
        assert_eq!(success::said(&output), "");
        check(folder.path());
    }
}

const FULL: [(&str, &str); 1] = [("GENESIS_MEM_PROFILE_FULL", "1")];

/// A recording of everything so far.
fn record() -> Recording {
    let mut bytes = Vec::with_capacity(64 << 20);
    sampler::write_recording_with(&mut |piece| {
        bytes.extend_from_slice(piece);
        true
    })
    .expect("the profiler is on");
    let recording = Recording::parse(&bytes);
    recording.check();
    recording
}

/// Leaks `SITE % 7 + 1` blocks of `SITE * 100 + 1` bytes.
#[inline(never)]
fn leak<const SITE: usize>() {
    for _ in 0..SITE % 7 + 1 {
        black_box(Vec::<u8>::with_capacity(black_box(SITE * 100 + 1)).leak());
    }
}

macro_rules! each_site {
    ($($site:literal)*) => { $(leak::<$site>();)* };
}

fn leak_at_fifty_sites() {
    each_site!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24
        25 26 27 28 29 30 31 32 33 34 35 36 37 38 39 40 41 42 43 44 45 46 47 48 49);
}

#[test]
fn every_leak_is_found_with_its_bytes() {
    recorded(
        "every_leak_is_found_with_its_bytes",
        &FULL,
        || {
            for round in 0..200 {
                drop(black_box(vec![0_u8; round * 50]));
            }
            leak_at_fifty_sites();
        },
        |folder| {
            let recording = Recording::only(folder, "sampler");
            recording.check();
            assert_eq!(recording.header[9], 0, "no sample is lost");
            let by_stack = recording.live_by_stack();
            for site in 0..50_u64 {
                let (blocks, bytes) = (site % 7 + 1, (site % 7 + 1) * (site * 100 + 1));
                let same = by_stack.values().filter(|&&sum| sum == (blocks, bytes)).count();
                assert!(same >= 1, "{blocks} blocks of {bytes} bytes in all");
            }
            assert!(recording.command_line.starts_with(b"/"));
        },
    );
}

/// Allocates `bytes` bytes in blocks of many sizes and frees none of them.
#[inline(never)]
fn fill(bytes: usize, seed: usize) -> Vec<Vec<u8>> {
    let mut blocks = Vec::with_capacity(bytes / 64);
    let mut filled = 0;
    let mut state = seed;
    while filled < bytes {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let block = Vec::with_capacity(1 + (state >> 33) % 2000);
        filled += block.capacity();
        blocks.push(block);
    }
    blocks
}

#[test]
fn estimates_are_right_on_average_and_nearly_so_each_time() {
    let test = "estimates_are_right_on_average_and_nearly_so_each_time";
    alone::output(test, &[], || {
        const INTERVAL: usize = 4096;
        const RUNS: usize = 200;
        const BYTES: usize = 1000 * INTERVAL;
        let options = Options { interval_bytes: INTERVAL, events_bytes: 0, ..Options::SAMPLED };
        let (mut sum, mut near) = (0.0, 0);
        for run in 0..RUNS {
            sampler::enable(options).expect("there is memory");
            let since = sampler::baseline();
            let blocks = fill(BYTES, run);
            sampler::disable();
            let truth: usize = blocks.iter().map(Vec::capacity).sum();
            let recording = record();
            let new =
                recording.live.iter().filter(|live| live.time_ns >= since && live.bytes <= 2000);
            let estimate: f64 = new.map(|live| live.bytes as f64 * f64::from(live.weight)).sum();
            let error = estimate / truth as f64 - 1.0;
            sum += error;
            near += usize::from(error.abs() <= 2.0 * (INTERVAL as f64 / truth as f64).sqrt());
        }
        let bias = sum / RUNS as f64;
        println!("bias {:.4} %, {near} of {RUNS} are near", bias * 100.0);
        assert!(bias.abs() < 0.01, "{bias}");
        // 95 % of them on average.
        assert!(near * 100 >= RUNS * 90, "{near} of {RUNS}");
    })
    .inspect(|output| drop(success::said(output)));
}

#[test]
fn what_becomes_of_blocks_shows() {
    alone::output("what_becomes_of_blocks_shows", &[], || {
        assert_eq!(sampler::write_recording(c"/nowhere"), Err(Error::Off));
        assert_eq!(
            sampler::enable(Options { interval_bytes: 0, ..Options::SAMPLED }),
            Err(Error::Interval)
        );
        sampler::enable(Options::FULL).expect("there is memory");
        assert!(sampler::is_on() && sampler::used_bytes() >= 32 << 20);
        assert!(sampler::mark("grüße"));
        let mut grown: Vec<u8> = Vec::with_capacity(1000);
        let address = |block: &Vec<u8>| block.as_ptr().addr() as u64;
        let bytes_of = |recording: &Recording, at: u64| {
            recording.live.iter().find(|live| live.address == at).map(|live| live.bytes)
        };
        assert_eq!(bytes_of(&record(), address(&grown)), Some(1000));
        for capacity in [1010, 5000, 1 << 20, 3 << 20, 100] {
            if capacity > grown.capacity() {
                grown.reserve_exact(capacity);
            } else {
                grown.shrink_to(capacity);
            }
            assert_eq!(bytes_of(&record(), address(&grown)), Some(capacity as u64));
        }
        let at = address(&grown);
        let (send, receive) = mpsc::channel::<Vec<u8>>();
        let other = thread::spawn(move || drop(receive.recv()));
        send.send(grown).expect("the thread waits");
        other.join().expect("the thread ends");
        let recording = record();
        assert_eq!(bytes_of(&recording, at), None, "another thread has freed it");
        assert_eq!(recording.marks[0].1, "grüße");
        let freed = recording.events.iter().filter(|event| event.kind == 2);
        assert!(freed.clone().count() > 5 && freed.clone().all(|event| event.time_ns > 0));
        assert!(
            recording
                .events
                .iter()
                .any(|event| event.kind < 2 && event.bytes == 1010 || event.address == at)
        );
        let zeroed = vec![0_u64; 1000];
        assert!(zeroed.iter().all(|&word| word == 0));
        let missing = CString::new("/no/such/folder").expect("a path");
        assert_eq!(sampler::write_recording(&missing), Err(Error::Write { code: libc::ENOENT }));
        assert_eq!(sampler::write_recording_with(&mut |_| false), Err(Error::Write { code: 0 }));
        sampler::disable();
        let block = black_box(vec![1_u8; 777]);
        assert_eq!(bytes_of(&record(), address(&block)), None, "the profiler is off");
    })
    .inspect(|output| drop(success::said(output)));
}

#[test]
fn pinned_blocks_are_another_memory_and_end_with_it() {
    alone::output("pinned_blocks_are_another_memory_and_end_with_it", &[], || {
        sampler::enable(Options::FULL).expect("there is memory");
        let pinned = Pinned::new();
        let layout = Layout::from_size_align(500, 16).expect("a layout");
        // SAFETY: the layout has a size; blocks are freed once, with it.
        let blocks: Vec<_> = (0..10).map(|_| unsafe { pinned.alloc(layout) }).collect();
        // SAFETY: as above.
        unsafe { pinned.dealloc(blocks[0], layout) };
        let count = |recording: &Recording| {
            recording.live.iter().filter(|live| live.memory == 1 && live.bytes == 500).count()
        };
        let recording = record();
        assert_eq!(count(&recording), 9);
        let row = recording.usages.iter().find(|row| row.memory == 1).expect("a row");
        assert_eq!((row.sums[0], row.sums[1], row.sums[2], row.size_class), (10.0, 5000.0, 1.0, 9));
        drop(pinned);
        assert_eq!(count(&record()), 0);
    })
    .inspect(|output| drop(success::said(output)));
}

#[test]
fn children_of_forks_have_files_of_their_own() {
    recorded(
        "children_of_forks_have_files_of_their_own",
        &FULL,
        || {
            let inherited = black_box(vec![1_u8; 123_457]);
            let churn = thread::spawn(|| {
                (0..20_000).for_each(|n| drop(black_box(vec![0_u8; n % 3000])));
            });
            for _ in 0..20 {
                // SAFETY: the child allocates, which the allocator lets it do, and ends.
                match unsafe { libc::fork() } {
                    0 => {
                        black_box(vec![2_u8; 345_679]).leak();
                        // SAFETY: ends this process, by way of its exit handlers.
                        unsafe { libc::exit(0) };
                    }
                    child => {
                        let mut status = 0;
                        // SAFETY: the status is writable.
                        assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
                        assert_eq!(status, 0);
                    }
                }
            }
            churn.join().expect("the thread ends");
            drop(inherited);
        },
        |folder| {
            let mut children = 0;
            for entry in std::fs::read_dir(folder).expect("the folder is there") {
                let path = entry.expect("an entry").path();
                let name = path.file_name().expect("a name").to_string_lossy().into_owned();
                let recording = Recording::read(&path);
                recording.check();
                assert!(name.ends_with(&format!(".{}.genesis-mem", recording.header[0])), "{name}");
                let has = |bytes| recording.live.iter().any(|live| live.bytes == bytes);
                assert_eq!(has(123_457), has(345_679), "{name}: both live in a child");
                children += usize::from(has(345_679));
            }
            assert_eq!(children, 20);
        },
    );
}

#[test]
fn a_hundred_thousand_samples_are_written_at_once_where_memory_has_run_out() {
    let test = "a_hundred_thousand_samples_are_written_at_once_where_memory_has_run_out";
    let limit = [FULL[0], ("GENESIS_MEM_LIMIT", "48MiB")];
    recorded(
        test,
        &limit,
        || {
            let layout = Layout::from_size_align(200, 16).expect("a layout");
            let mut blocks = Vec::with_capacity(300_000);
            loop {
                // SAFETY: the layout has a size.
                let block = unsafe { ALLOC.alloc(layout) };
                if block.is_null() {
                    break;
                }
                blocks.push(block);
            }
            assert!(blocks.len() > 100_000, "{}", blocks.len());
            let folder = env::var("GENESIS_MEM_PROFILE").expect("it is set");
            let path = CString::new(format!("{folder}/full")).expect("a path");
            let begun = Instant::now();
            sampler::write_recording(&path).expect("there is room in the file system");
            println!("{} samples in {:?}", blocks.len(), begun.elapsed());
            for block in blocks {
                // SAFETY: allocated above, freed once.
                unsafe { ALLOC.dealloc(block, layout) };
            }
            assert_eq!(vec![1_u8; 30 << 20].len(), 30 << 20, "it serves again");
        },
        |folder| {
            let recording = Recording::read(&folder.join("full"));
            recording.check();
            assert!(recording.live.iter().filter(|live| live.bytes == 200).count() > 100_000);
            assert!(recording.events.iter().any(|event| event.kind == 8), "memory ran out");
        },
    );
}

#[test]
fn the_environment_is_read_with_care() {
    let test = "the_environment_is_read_with_care";
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("made/%p");
    let variables = [
        ("GENESIS_MEM_PROFILE", file.to_str().expect("a name")),
        ("GENESIS_MEM_PROFILE_FULL", "yes"),
        ("GENESIS_MEM_PROFILE_INTERVAL", "often"),
        ("GENESIS_MEM_PROFILE_EVENTS", "0"),
    ];
    let Some(output) = alone::output(test, &variables, || assert!(sampler::is_on())) else {
        return;
    };
    let said = success::said(&output);
    let lines: Vec<_> = said.lines().collect();
    assert_eq!(lines.len(), 3, "{said}");
    assert!(lines[0].contains("PROFILE_FULL=yes") && lines[1].contains("INTERVAL=often"), "{said}");
    assert!(lines[2].contains("made/") && lines[2].contains("error 2"), "{said}");
}
