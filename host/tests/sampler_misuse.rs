//! What is stopped without the profiler is stopped with it; what it leaves alone; what it takes.

use std::{
    alloc::{GlobalAlloc, Layout},
    hint::black_box,
    os::unix::process::ExitStatusExt,
    sync::{
        Barrier,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    thread,
};

use allocator_api2::vec::Vec as VecIn;
use genesis_mem_host::{
    Genesis, Heap,
    core::config::FaultKind,
    sampler::{self, Options},
};

#[path = "common/alone.rs"]
mod alone;
#[expect(dead_code, reason = "other tests look at the rest")]
#[path = "common/recording.rs"]
mod recording;
#[path = "common/success.rs"]
mod success;

use recording::Recording;

#[global_allocator]
static ALLOC: Genesis = Genesis::new();

fn record() -> Recording {
    let mut bytes = Vec::new();
    let sent = sampler::write_recording_with(&mut |piece| {
        bytes.extend_from_slice(piece);
        true
    });
    sent.expect("the profiler is on");
    Recording::parse(&bytes)
}

fn layout(bytes: usize) -> Layout {
    Layout::from_size_align(bytes, 16).expect("a layout")
}

/// Runs `work` on a sampled block of 100 bytes and one of 2 MiB, which must end in one line that says
/// `kind`.
fn stops(test: &str, kind: FaultKind, work: fn(*mut u8, Layout)) {
    for bytes in ["100", "2097152"] {
        let output = alone::output(test, &[("BYTES", bytes)], || {
            sampler::enable(Options::FULL).expect("there is memory");
            let bytes = std::env::var("BYTES").expect("it is set").parse().expect("a number");
            // SAFETY: the layout has a size.
            let block = unsafe { ALLOC.alloc(layout(bytes)) };
            work(block, layout(bytes));
        });
        let Some(output) = output else { panic!("{test} went unnoticed") };
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.signal(), Some(libc::SIGABRT), "{said}");
        assert!(said.lines().count() == 1 && said.contains(kind.name()), "{said}");
    }
}

#[test]
fn a_second_free_of_a_sample_is_stopped() {
    stops("a_second_free_of_a_sample_is_stopped", FaultKind::DoubleFree, |block, layout| {
        // SAFETY: the second is the point, and ends the process.
        unsafe {
            ALLOC.dealloc(block, layout);
            ALLOC.dealloc(block, layout);
        }
    });
}

#[test]
fn a_free_into_a_sample_is_stopped() {
    stops("a_free_into_a_sample_is_stopped", FaultKind::Interior, |block, layout| {
        // SAFETY: the free is the point, and ends the process.
        unsafe { ALLOC.dealloc(block.add(16), layout) };
    });
}

#[test]
fn a_wrong_size_of_a_sample_is_stopped() {
    stops("a_wrong_size_of_a_sample_is_stopped", FaultKind::WrongLayout, |block, wrong| {
        // SAFETY: the free is the point, and ends the process.
        unsafe { ALLOC.dealloc(block, layout(wrong.size() * 2)) };
    });
}

#[test]
fn blocks_of_a_heap_that_is_dropped_whole_are_left_alone() {
    let test = "blocks_of_a_heap_that_is_dropped_whole_are_left_alone";
    alone::output(test, &[], || {
        sampler::enable(Options::FULL).expect("there is memory");
        let heap = Heap::new();
        let small: VecIn<u8, &Heap> = VecIn::with_capacity_in(1234, &heap);
        let large: VecIn<u8, &Heap> = VecIn::with_capacity_in(2_345_678, &heap);
        let recording = record();
        assert!(recording.live.iter().all(|live| live.bytes != 1234 && live.bytes != 2_345_678));
        black_box((small, large));
    })
    .inspect(|output| drop(success::said(output)));
}

#[test]
fn threads_that_run_already_are_sampled_soon() {
    alone::output("threads_that_run_already_are_sampled_soon", &[], || {
        let barrier = Barrier::new(2);
        let number = AtomicU32::new(0);
        let churn = |blocks| (0..blocks).for_each(|_| drop(black_box(vec![1_u8; 3000])));
        thread::scope(|scope| {
            scope.spawn(|| {
                // SAFETY: no preconditions.
                number.store(unsafe { libc::gettid() } as u32, Relaxed);
                churn(100);
                barrier.wait();
                barrier.wait();
                // A MiB of a class, or 256 blocks.
                churn(400);
                barrier.wait();
                barrier.wait();
            });
            barrier.wait();
            sampler::enable(Options::FULL).expect("there is memory");
            barrier.wait();
            barrier.wait();
            let recording = record();
            let of_it = recording.usages.iter().filter(|row| row.thread == number.load(Relaxed));
            assert!(of_it.map(|row| row.samples).sum::<u64>() > 100, "{:?}", recording.usages);
            barrier.wait();
        });
    })
    .inspect(|output| drop(success::said(output)));
}

#[test]
fn sampling_takes_little_memory() {
    alone::output("sampling_takes_little_memory", &[], || {
        sampler::enable(Options::SAMPLED).expect("there is memory");
        let blocks: Vec<_> =
            (0..400_000).map(|n| Vec::<u8>::with_capacity(16 + n % 1000)).collect();
        let live_bytes = genesis_mem_host::stats().allocated_bytes.current as usize;
        assert!(live_bytes > 200_000_000);
        let used_bytes = sampler::used_bytes();
        println!("{used_bytes} bytes for {live_bytes}");
        assert!(used_bytes <= (8 << 20) + live_bytes / 1000, "{used_bytes} for {live_bytes}");
        let recording = record();
        let estimate: f64 = recording.usages.iter().map(|row| row.sums[1] - row.sums[3]).sum();
        let requested = blocks.iter().map(Vec::capacity).sum::<usize>() as f64;
        // The vector of vectors, too; some 400 samples, so five standard deviations.
        let requested = requested + (blocks.capacity() * size_of::<Vec<u8>>()) as f64;
        assert!((estimate / requested - 1.0).abs() < 0.25, "{estimate} for {requested}");
        assert_eq!(recording.header[9], 0, "lost samples");
    })
    .inspect(|output| drop(success::said(output)));
}
