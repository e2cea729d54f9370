//! The bundled traces: figures that must hold, under any lag.
use std::path::Path;

use genesis_mem_cuda::replay::{Replay, ReplayOptions, Report, Trace};

fn replay(file: &str, set: impl Fn(&mut ReplayOptions)) -> Report {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("traces").join(file);
    let trace = Trace::read(&path).expect("a bundled trace");
    let mut options = ReplayOptions::default();
    set(&mut options);
    Replay::new(&trace, options).run(|_| ()).expect("no rule of the device is broken")
}

fn ratio(report: &Report) -> f64 {
    report.peak_reserved_bytes as f64 / report.peak_live_bytes as f64
}

#[test]
fn a_training_run_stays_within_two_percent() {
    let report = replay("01_gpt2m_train.trace.zst", |_| ());
    assert_eq!((report.allocations, report.peak_live_bytes >> 20), (23_171, 26_413));
    assert!(ratio(&report) <= 1.02, "{report:?}");
    assert!(report.driver_calls < 1378, "{report:?}");
    assert_eq!((report.driver_calls_last_iteration, report.retries), (0, 0));
}

#[test]
fn two_streams_are_right_under_any_lag() {
    for lag_ops in [0, 1, 3, 30, 300, 30_000, u64::MAX / 2] {
        let report = replay("09a_dlrm_sparse.trace.zst", |o| o.device.lag_ops = lag_ops);
        assert!(ratio(&report) <= 1.08, "lag {lag_ops}: {report:?}");
        assert_eq!(report.retries, 0, "the CPU never waits");
    }
}

#[test]
fn four_streams_are_right_under_any_lag() {
    // A device that never gets anywhere, at last: nothing comes back by itself there.
    for (lag_ops, most) in [(0, 1.06), (300, 1.08), (10_000, 1.08), (u64::MAX / 2, 1.1)] {
        let report = replay("04b_fsdp1_llama7b.trace.zst", |o| o.device.lag_ops = lag_ops);
        assert!(ratio(&report) <= most, "lag {lag_ops}: {report:?}");
        assert!(report.driver_calls < 2038, "lag {lag_ops}: {report:?}");
        assert_eq!(report.retries, 0, "the CPU never waits");
    }
}

#[test]
fn a_device_that_is_just_large_enough_is_enough() {
    let live = replay("09a_dlrm_sparse.trace.zst", |_| ()).peak_live_bytes;
    let report = replay("09a_dlrm_sparse.trace.zst", |o| {
        o.device.device_bytes = (live as f64 * 1.018) as u64;
    });
    assert!(!report.out_of_memory, "{report:?}");
    assert!(report.driver_calls <= 314, "{report:?}");
}

#[test]
fn a_device_that_is_too_small_is_reported() {
    let report = replay("09a_dlrm_sparse.trace.zst", |o| o.device.device_bytes = 1 << 30);
    assert!(report.out_of_memory);
    assert!(report.peak_reserved_bytes <= 1 << 30);
}
