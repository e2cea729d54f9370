//! The profiler on the simulated device: its sums are the allocator's, and it finds what leaks.
use std::{fs, panic::Location, path::Path, process::Command, thread};

use genesis_mem_cuda::{
    AllocError, Block, Builder, DeviceAllocator, DeviceBuffer, DeviceVec, Holder, Options,
    PinnedBuffer,
    driver::StreamId,
    profile::{AreaState, Baseline, EventKind, Leaks, Memory, format},
    sim::{SimDriver, SimOptions},
};

const S: StreamId = StreamId(0);
const MIB: u64 = 1 << 20;

type Allocator = DeviceAllocator<SimDriver>;

fn allocator_of(device_mib: u64) -> Allocator {
    let options = SimOptions { device_bytes: device_mib * MIB, ..SimOptions::default() };
    Builder::new().build_on(SimDriver::new(options)).unwrap()
}

/// What the profiler says adds up to what the allocator says, now and at the timeline's end.
fn assert_sums(allocator: &Allocator) {
    allocator.assert_valid();
    let (report, snapshot) = (allocator.get_report(), allocator.memory_stats());
    let device = |memory| memory == Memory::Device;
    let sites = report.by_live_bytes();
    let sites = sites.iter().filter(|site| device(site.key.0));
    let live = sites.map(|site| site.usage.live_bytes()).sum::<u64>();
    assert_eq!(live, snapshot.requested_bytes.current);
    let pool = report.pools.iter().find(|pool| device(pool.memory)).unwrap();
    assert_eq!(pool.allocated_bytes, snapshot.allocated_bytes.current);
    assert_eq!(pool.reserved_bytes, snapshot.reserved_bytes.current);
    let blocks = report.live.iter().filter(|live| device(live.memory)).count() as u64;
    assert_eq!(blocks, snapshot.allocations - snapshot.frees);
    let end = allocator.get_timeline().end();
    assert_eq!(end.live_bytes, snapshot.requested_bytes.current);
    assert_eq!(end.allocated_bytes, snapshot.allocated_bytes.current);
    assert_eq!(end.reserved_bytes, snapshot.reserved_bytes.current);
    let free = snapshot.cached_bytes.current + snapshot.inactive_bytes.current;
    assert_eq!(end.cached_bytes(), free);
}

/// What all leaks are by place: line, blocks and bytes, in order of line.
fn by_line(leaks: &Leaks) -> Vec<(u32, u64, u64)> {
    let mut found: Vec<_> = leaks
        .sites
        .iter()
        .map(|leak| {
            let (file, line) = leak.location.rsplit_once(':').unwrap();
            assert!(file.ends_with("profiling.rs"), "{}", leak.location);
            (line.parse().unwrap(), leak.blocks, leak.bytes)
        })
        .collect();
    found.sort_unstable();
    found
}

/// Allocates and frees a lot on several streams, with some use across them.
fn churn(allocator: &Allocator, rounds: u64) {
    let mut blocks: Vec<Block> = Vec::new();
    let mut random = 7u64;
    for round in 0..rounds {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let bytes = (random >> 40) % (64 << (round % 12));
        let mut block = allocator.alloc(bytes, StreamId(random >> 60 & 3)).unwrap();
        if round % 9 == 0 {
            allocator.record_stream(&mut block, StreamId(9)).unwrap();
        }
        if round % 5 == 0 {
            allocator.resize_in_place(&mut block, bytes + bytes / 2);
        }
        blocks.push(block);
        if blocks.len() > 100 {
            allocator.free(blocks.swap_remove((random >> 20) as usize % 100)).unwrap();
        }
    }
    blocks.into_iter().for_each(|block| allocator.free(block).unwrap());
}

#[test]
fn planted_leaks_are_found_by_line_and_nothing_else() {
    let allocator = allocator_of(4096);
    let early = allocator.alloc(1000, S).unwrap();
    allocator.enable_profiling(true);
    let pool = allocator.pinned_pool().unwrap();
    let kept = allocator.alloc(2000, S).unwrap();
    allocator.baseline();
    churn(&allocator, 2000);
    let own = allocator.create_pool();
    let mut planted = Vec::new();
    for round in 1..=5u64 {
        let len = round as usize * 100;
        let first = line!() + 1;
        let _ = allocator.alloc(round * 7, S).unwrap();
        let _ = allocator.alloc_in(round * MIB, S, own).unwrap();
        std::mem::forget(DeviceBuffer::<u64, _>::new(&allocator, len, &S).unwrap());
        std::mem::forget(DeviceBuffer::from_slice(&allocator, &vec![0u8; len], &S).unwrap());
        std::mem::forget(DeviceVec::<u32, _>::with_capacity(&allocator, len, &S).unwrap());
        std::mem::forget(PinnedBuffer::<u16, _>::new(pool, len).unwrap());
        let bytes = [round * 7, round * MIB, round * 800, round * 100, round * 400, round * 200];
        planted.extend((first..).zip(bytes));
        churn(&allocator, 50);
    }
    // A hundred percent: each line with all its bytes, and no other line.
    let mut expected: Vec<(u32, u64, u64)> = Vec::new();
    planted.sort_unstable();
    for (line, bytes) in planted {
        match expected.last_mut() {
            Some((last, blocks, sum)) if *last == line => {
                (*blocks, *sum) = (*blocks + 1, *sum + bytes)
            }
            _ => expected.push((line, 1, bytes)),
        }
    }
    let leaks = allocator.check_leaks();
    assert_eq!(by_line(&leaks), expected, "{leaks}");
    assert_eq!(leaks.blocks(), 30);
    assert_eq!(leaks.sites.iter().filter(|leak| leak.memory == Memory::Pinned).count(), 1);
    assert_sums(&allocator);
    for block in [early, kept] {
        allocator.free(block).unwrap();
    }
    assert_eq!(by_line(&allocator.check_leaks()), expected);
    allocator.baseline();
    assert!(allocator.check_leaks().is_empty());
    allocator.enable_profiling(false);
    assert!(allocator.get_report().live.is_empty());
}

#[test]
fn vectors_that_grow_are_theirs_who_grow_them() {
    let allocator = allocator_of(1024);
    allocator.enable_profiling(true);
    let mut values = DeviceVec::<u32, _>::new(&allocator, &S).unwrap();
    let _wall = allocator.alloc(MIB, S).unwrap();
    let line = line!() + 1;
    values.extend_from_slice(&[1; 100_000]).unwrap();
    let large = allocator.get_large_allocations(400_000);
    assert_eq!(large.len(), 2);
    let (live, location) = &large[1];
    assert_eq!(live.bytes, 400_000);
    assert!(location.ends_with(&format!("profiling.rs:{line}")), "{location}");
    values.extend_from_slice(&[2; 10_000]).unwrap();
    assert_sums(&allocator);
}

#[test]
fn sums_hold_whatever_happens() {
    let allocator = allocator_of(4096);
    churn(&allocator, 300);
    let early = allocator.alloc(5 * MIB, S).unwrap();
    let recording = allocator.record();
    for round in 0..4 {
        allocator.mark(&format!("round {round}"));
        churn(&allocator, 500);
        let block = allocator.alloc(200 * MIB, StreamId(round)).unwrap();
        allocator.free(block).unwrap();
        assert_sums(&allocator);
        allocator.compact().unwrap();
        allocator.collect_garbage().unwrap();
        assert_sums(&allocator);
    }
    allocator.empty_cache().unwrap();
    assert_sums(&allocator);
    drop(recording);
    assert_sums(&allocator);
    let recording = allocator.recording();
    let kinds = |kind| recording.events.iter().filter(|event| event.kind == kind).count();
    assert_eq!(recording.marks.len(), 4);
    assert_eq!(recording.lost_events, 0);
    assert!(kinds(EventKind::Grow) > 4 && kinds(EventKind::Purge) > 4);
    assert_eq!((kinds(EventKind::Compact), kinds(EventKind::Collect)), (4, 5));
    assert!(kinds(EventKind::Alloc { hit: true }) > 0);
    assert!(kinds(EventKind::Alloc { hit: false }) > 0);
    let timeline = allocator.get_timeline();
    assert_eq!(timeline.points[0].level.live_bytes, 5 * MIB, "what was there before");
    assert!(allocator.plot().contains("MiB"));
    // What happens after the end is not in it.
    allocator.free(early).unwrap();
    assert_eq!(allocator.get_timeline(), timeline);
}

#[test]
fn a_pinned_pool_that_is_made_meanwhile_is_recorded_too() {
    let allocator = allocator_of(64);
    let recording = allocator.record();
    let block = allocator.alloc(100, S).unwrap();
    let buffer = PinnedBuffer::<u8, _>::new(allocator.pinned_pool().unwrap(), 200).unwrap();
    drop(recording);
    let recording = allocator.recording();
    let of = |memory| recording.events.iter().filter(move |event| event.memory == memory).count();
    assert_eq!((recording.lost_events, of(Memory::Device), of(Memory::Pinned)), (0, 2, 2));
    let timeline = recording.timeline(Memory::Pinned);
    assert_eq!((timeline.points[0].level.live_bytes, timeline.end().live_bytes), (0, 200));
    let pinned = allocator.pinned_pool().unwrap();
    assert_eq!(timeline.end().reserved_bytes, pinned.reserved_bytes());
    assert_eq!(allocator.get_report().live_bytes(), 300);
    drop(buffer);
    allocator.free(block).unwrap();
}

#[test]
fn growth_is_counted_by_mode_and_purges_come_off() {
    for virtual_memory in [true, false] {
        let options = SimOptions { virtual_memory, ..SimOptions::default() };
        let builder = Builder::new().enable_profiling(true);
        let allocator = builder.build_on(SimDriver::new(options)).unwrap();
        assert!(allocator.is_profiling());
        let recording = allocator.record();
        churn(&allocator, 1000);
        allocator.empty_cache().unwrap();
        assert_sums(&allocator);
        drop(recording);
        let timeline = allocator.get_timeline();
        assert_eq!(timeline.points[0].level.reserved_bytes, 0);
        assert_eq!(timeline.end().reserved_bytes, 0);
        assert_eq!(timeline.peak().reserved_bytes, allocator.peak_reserved_bytes());
    }
}

#[test]
fn a_full_recording_counts_its_losses_and_ends_right() {
    let allocator = allocator_of(4096);
    let recording = allocator.record_last(2048);
    churn(&allocator, 5000);
    let kept = allocator.alloc(12_345, S).unwrap();
    drop(recording);
    assert_sums(&allocator);
    let recording = allocator.recording();
    assert!(recording.lost_events > 1000, "{}", recording.lost_events);
    assert!(recording.events.len() <= 2048 + 4 * 1024);
    assert_eq!(allocator.get_timeline().end().live_bytes, 12_345);
    allocator.free(kept).unwrap();
}

#[test]
fn an_old_guard_does_not_end_a_new_recording() {
    let allocator = allocator_of(64);
    let old = allocator.record();
    let new = allocator.record();
    drop(old);
    let block = allocator.alloc(100, S).unwrap();
    assert_eq!(allocator.recording().events.len(), 2, "growth and a block");
    allocator.enable_profiling(false);
    drop(new);
    assert_eq!(allocator.get_timeline().end().live_bytes, 100, "it ended with the profiling");
    allocator.free(block).unwrap();
}

fn exhausted(allocator: &Allocator) -> (AllocError, Vec<Block>, u32) {
    let mut blocks = vec![allocator.alloc(3 * MIB, S).unwrap()];
    loop {
        let line = line!() + 1;
        match allocator.alloc(8 * MIB, S) {
            Ok(block) => blocks.push(block),
            Err(error) => return (error, blocks, line),
        }
    }
}

#[test]
fn out_of_memory_names_who_holds_it() {
    let allocator = allocator_of(64);
    allocator.enable_profiling(true);
    let recording = allocator.record();
    let (error, blocks, line) = exhausted(&allocator);
    let text = error.to_string();
    let expected = format!("profiling.rs:{line} (56.0 MiB in 7 blocks)");
    assert!(text.contains("held most by ") && text.contains(&expected), "{text}");
    drop(recording);
    let recording = allocator.recording();
    let failure = recording.events.iter().find(|event| event.kind == EventKind::OutOfMemory);
    let failure = failure.expect("it is recorded");
    assert_eq!(failure.bytes, 8 * MIB);
    assert!(recording.stacks.location(failure.stack).ends_with(&format!(":{line}")));
    blocks.into_iter().for_each(|block| allocator.free(block).unwrap());
}

#[test]
fn out_of_memory_without_profiling_names_the_largest_blocks() {
    let allocator = allocator_of(64);
    let (error, blocks, _) = exhausted(&allocator);
    let text = error.to_string();
    assert!(text.contains("the largest blocks: 8.0 MiB at 0x"), "{text}");
    assert!(text.contains("enable_profiling(true)"), "{text}");
    let AllocError::OutOfMemory(error) = error else { panic!("{error}") };
    let largest = error.holders.iter().map(|holder| match holder {
        Holder::Block { bytes, address } => (*bytes, *address),
        other => panic!("{other:?}"),
    });
    let largest: Vec<_> = largest.collect();
    assert_eq!(largest.iter().map(|(bytes, _)| bytes / MIB).sum::<u64>(), 7 * 8 + 3);
    assert!(blocks.iter().all(|block| largest.contains(&(block.bytes(), block.ptr()))));
    blocks.into_iter().for_each(|block| allocator.free(block).unwrap());
}

#[test]
fn streams_and_threads_are_told_apart_and_none_is_missed() {
    let allocator = allocator_of(4096);
    let recording = thread::scope(|scope| {
        for stream in 0..4 {
            let allocator = &allocator;
            scope.spawn(move || {
                for round in 0..3000 {
                    let block = allocator.alloc(round * 8, StreamId(stream)).unwrap();
                    if round % 100 == 99 {
                        drop(block);
                    } else {
                        allocator.free(block).unwrap();
                    }
                }
            });
        }
        // Switched on and off under load.
        for _ in 0..20 {
            allocator.enable_profiling(true);
            thread::yield_now();
            let _ = allocator.get_report();
            allocator.enable_profiling(false);
        }
        allocator.enable_profiling(true);
        allocator.record()
    });
    drop(recording);
    assert_sums(&allocator);
    // Of a block from before it is not known which stream had borrowed it.
    let owners = allocator.get_report().by_owner();
    assert_eq!(owners.iter().map(|owner| owner.usage.live_blocks()).sum::<u64>(), 4 * 30);
}

/// Everything that is written of one program can be read, and says the same.
#[test]
fn files_say_what_the_report_says() {
    let allocator = allocator_of(4096);
    let recording = allocator.record();
    churn(&allocator, 3000);
    let blocks: Vec<_> = (1..20).map(|n| allocator.alloc(n * 10_000, StreamId(n % 3))).collect();
    drop(recording);
    let (recording, report) = (allocator.recording(), allocator.get_report());
    let mut pickle = Vec::new();
    format::torch::write(&recording, Memory::Device, &mut pickle).unwrap();
    let live: u64 = recording.segments.iter().map(|each| each.bytes_in(AreaState::Live)).sum();
    assert_eq!(live, allocator.memory_stats().allocated_bytes.current);
    check_with_python(&pickle, report.live_bytes());
    #[cfg(feature = "replay")]
    {
        use genesis_mem_cuda::replay::Trace;
        let traces = Trace::read_from("own", &pickle[..]).unwrap();
        let allocs = |kind| matches!(kind, EventKind::Alloc { .. });
        let allocs = recording.events.iter().filter(|event| allocs(event.kind)).count();
        assert_eq!((traces.len(), traces[0].allocations), (1, allocs as u64));
        assert_eq!(traces[0].peak_live_bytes, allocator.get_timeline().peak().live_bytes);
    }
    let total: i64 =
        format::pprof::profile(&report).sample.iter().map(|sample| sample.value[3]).sum();
    assert_eq!(report.live_bytes() as i64, total);
    blocks.into_iter().for_each(|block| allocator.free(block.unwrap()).unwrap());
}

fn check_with_python(pickle: &[u8], live_bytes: u64) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../profile/tests/check_snapshot.py");
    let name = format!("genesis-mem-profiling-{}.pickle", std::process::id());
    let file = std::env::temp_dir().join(name);
    fs::write(&file, pickle).unwrap();
    let output = Command::new("python3").arg(script).arg(&file).output();
    let _ = fs::remove_file(&file);
    let Ok(output) = output else {
        println!("skipped: there is no python3");
        return;
    };
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}{errors}");
    assert!(text.trim().ends_with(&format!("{live_bytes} live")), "{text}");
}

#[test]
fn a_pinned_pool_of_its_own_can_be_profiled_too() {
    let allocator = allocator_of(64);
    let mut options = Options::default();
    options.limit_bytes = 16 * MIB;
    let pool = genesis_mem_cuda::PinnedPool::new(&allocator, options).unwrap();
    pool.enable_profiling(true);
    let baseline = Baseline::now();
    let here = Location::caller();
    let buffer = PinnedBuffer::<u8, _>::new(&pool, 1000).unwrap();
    let leaks = pool.check_leaks(baseline);
    assert_eq!(by_line(&leaks), [(here.line() + 1, 1, 1000)]);
    assert_eq!(pool.get_report().live_bytes(), 1000);
    let error = PinnedBuffer::<u8, _>::new(&pool, 1 << 30).unwrap_err().to_string();
    assert!(error.contains("profiling.rs:"), "{error}");
    drop(buffer);
    assert!(pool.check_leaks(baseline).is_empty());
}
