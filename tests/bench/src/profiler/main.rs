//! What single parts of the profiler of Genesis Memory cost, and how right its estimates are: one line
//! of JSON for `compare profiler`.

use std::env;
use std::ffi::CString;
use std::fs;
use std::hint::black_box;
use std::process::ExitCode;
use std::time::Instant;

use genesis_mem_bench::profiler::Costs;
use genesis_mem_bench::random::Random;
use genesis_mem_host::sampler::{self, Options};
use genesis_mem_host::{Genesis, stack};

#[expect(dead_code, reason = "part of what the reader of the tests reads is not for here")]
#[path = "../../../../host/tests/common/recording.rs"]
mod recording;

use recording::Recording;

#[global_allocator]
static ALLOC: Genesis = Genesis::new();

/// How deep the call stacks are whose samples are timed.
const FRAMES: usize = 32;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let runs = match arguments[..] {
        ["--runs", count] => count.parse().ok().filter(|&runs| runs > 0),
        _ => None,
    };
    let Some(runs) = runs else {
        eprintln!("usage: bench-profiler --runs COUNT");
        return ExitCode::from(2);
    };
    stack::prepare();
    let [capture_ns, sample_ns, full_pair_ns] = at_frames(FRAMES, times);
    let (bias_percent, near_percent) = accuracy(runs);
    // Last: its blocks stay.
    let (dumped_samples, dump_ms, dump_bytes) = dump(100_000);
    let costs = Costs {
        capture_ns,
        sample_ns,
        full_pair_ns,
        dumped_samples,
        dump_ms,
        dump_bytes,
        runs,
        bias_percent,
        near_percent,
    };
    println!("{}", serde_json::to_string(&costs).expect("the costs can be written"));
    ExitCode::SUCCESS
}

/// What `work` returns where the call stack has `frames` frames.
fn at_frames<R>(frames: usize, work: fn() -> R) -> R {
    let mut result = None;
    for depth in 0..frames {
        at_depth(depth, &mut || {
            let mut stack = [0; 2 * FRAMES];
            if stack::capture(&mut stack, 0) == frames {
                result = Some(work());
            }
        });
    }
    result.expect("each step down is one frame")
}

#[inline(never)]
fn at_depth(depth: usize, work: &mut dyn FnMut()) {
    match depth {
        0 => work(),
        _ => at_depth(black_box(depth - 1), work),
    }
    // Otherwise the call is the last thing to do, and needs no frame.
    black_box(depth);
}

/// A capture, a sample and a pair in full mode, in nanoseconds.
fn times() -> [f64; 3] {
    let pair = || {
        fastest_ns(|| {
            black_box(Vec::<u8>::with_capacity(black_box(64)));
        })
    };
    let capture_ns = fastest_ns(|| {
        let mut frames = [0; FRAMES];
        black_box(stack::capture(&mut frames, 0));
        black_box(&frames);
    });
    let off_ns = pair();
    // One interval a byte: of 64 bytes each block is a sample.
    let options = Options { interval_bytes: 1, ..Options::SAMPLED };
    let [sampled_ns, full_ns] = [options, Options::FULL].map(|options| {
        sampler::enable(options).expect("there is memory for samples");
        let ns = pair();
        sampler::disable();
        ns
    });
    [capture_ns, sampled_ns - off_ns, full_ns]
}

fn fastest_ns(mut work: impl FnMut()) -> f64 {
    const TIMES: u32 = 1_000;
    let round = || {
        let begun = Instant::now();
        (0..TIMES).for_each(|_| work());
        begun.elapsed().as_nanos() as f64 / f64::from(TIMES)
    };
    std::iter::repeat_with(round).take(100).fold(f64::INFINITY, f64::min)
}

/// Allocates a thousand intervals in blocks of up to 2000 bytes, and compares the bytes that live
/// samples stand for with the truth: mean error and part of the runs that are near, in percent.
fn accuracy(runs: usize) -> (f64, f64) {
    const INTERVAL_BYTES: usize = 4096;
    const LARGEST_BYTES: usize = 2000;
    let options = Options { interval_bytes: INTERVAL_BYTES, ..Options::SAMPLED };
    let (mut sum, mut near) = (0.0, 0);
    for run in 0..runs {
        let mut random = Random::new(run as u64 + 1);
        let mut blocks = Vec::<Vec<u8>>::with_capacity(1_000 * INTERVAL_BYTES / 64);
        let mut truth = 0;
        sampler::enable(options).expect("there is memory for samples");
        let since = sampler::baseline();
        while truth < 1_000 * INTERVAL_BYTES {
            let bytes = 1 + random.below(LARGEST_BYTES as _) as usize;
            blocks.push(Vec::with_capacity(bytes));
            truth += bytes;
        }
        sampler::disable();
        let new = recorded().live.into_iter().filter(|it| it.time_ns >= since);
        let estimate: f64 = new.map(|it| it.bytes as f64 * f64::from(it.weight)).sum();
        let error = estimate / truth as f64 - 1.0;
        sum += error;
        near += usize::from(error.abs() <= 2.0 * (INTERVAL_BYTES as f64 / truth as f64).sqrt());
    }
    (100.0 * sum / runs as f64, 100.0 * near as f64 / runs as f64)
}

/// What has been recorded so far.
fn recorded() -> Recording {
    let mut bytes = Vec::new();
    sampler::write_recording_with(&mut |piece| {
        bytes.extend_from_slice(piece);
        true
    })
    .expect("the profiler is or was on");
    Recording::parse(&bytes)
}

/// The live samples in a recording of `blocks` blocks, what it takes to write it to a file, and its size.
fn dump(blocks: usize) -> (usize, f64, u64) {
    sampler::enable(Options::FULL).expect("there is memory for samples");
    let kept: Vec<Vec<u8>> = (0..blocks).map(|_| Vec::with_capacity(black_box(200))).collect();
    let path = env::temp_dir().join(format!("bench-profiler-{}", std::process::id()));
    let name = CString::new(path.as_os_str().as_encoded_bytes()).expect("no zero byte");
    let ms = (0..5).map(|_| {
        let begun = Instant::now();
        sampler::write_recording(&name).expect("there is room in the file system");
        begun.elapsed().as_secs_f64() * 1e3
    });
    let ms = ms.fold(f64::INFINITY, f64::min);
    sampler::disable();
    let live = Recording::read(&path).live.iter().filter(|it| it.bytes == 200).count();
    let bytes = fs::metadata(&path).map_or(0, |file| file.len());
    // A file that stays behind in a temporary folder is no error of the measurement.
    drop(fs::remove_file(&path));
    drop(kept);
    (live, ms, bytes)
}
