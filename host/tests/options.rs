//! The options that a program is started with.

use std::{
    alloc::{GlobalAlloc, Layout},
    thread,
    time::{Duration, Instant},
};

use genesis_mem_host::Genesis;

#[path = "common/alone.rs"]
mod alone;
#[path = "common/status.rs"]
mod status;
#[path = "common/success.rs"]
mod success;

#[global_allocator]
static ALLOC: Genesis = Genesis::new();

const MIB: usize = 1 << 20;

/// Runs `work` in a process with `variables`, which must succeed; returns what it said on stderr.
fn succeeds(test: &str, variables: &[(&str, &str)], work: impl FnOnce()) -> Option<String> {
    alone::output(test, variables, work).as_ref().map(success::said)
}

/// Resident memory right after `mib` MiB in blocks of one were written and freed.
fn resident_bytes_after_freeing(mib: usize) -> usize {
    drop((0..mib).map(|n| vec![n as u8 | 1; MIB]).collect::<Vec<_>>());
    status::bytes("VmRSS")
}

#[test]
fn a_limit_holds_from_the_start() {
    let variables = [("GENESIS_MEM_LIMIT", "64MiB")];
    let said = succeeds("a_limit_holds_from_the_start", &variables, || {
        assert_eq!(genesis_mem_host::stats().limit_bytes, 64 << 20);
        let layout = Layout::from_size_align(128 * MIB, 16).expect("a layout");
        // SAFETY: the layout has a size.
        assert!(unsafe { ALLOC.alloc(layout) }.is_null());
        assert_eq!(vec![1u8; 16 * MIB].len(), 16 * MIB);
    });
    assert!(said.is_none_or(|said| said.is_empty()));
}

#[test]
fn a_short_delay_gives_memory_back_soon() {
    let variables = [("GENESIS_MEM_PURGE_DELAY_MS", "50")];
    succeeds("a_short_delay_gives_memory_back_soon", &variables, || {
        let full = resident_bytes_after_freeing(64);
        let end = Instant::now() + Duration::from_millis(900);
        while status::bytes("VmRSS") + 40 * MIB > full {
            assert!(Instant::now() < end, "{full} bytes resident, and as much 0.9 s later");
            thread::sleep(Duration::from_millis(20));
        }
    });
}

#[test]
fn never_keeps_memory() {
    let variables = [("GENESIS_MEM_PURGE_DELAY_MS", "never")];
    succeeds("never_keeps_memory", &variables, || {
        let full = resident_bytes_after_freeing(64);
        thread::sleep(Duration::from_millis(2200));
        assert!(status::bytes("VmRSS") + MIB > full, "memory went back");
        assert!(genesis_mem_host::trim() > 40 * MIB);
        assert!(status::bytes("VmRSS") + 40 * MIB < full, "trim gave nothing back");
    });
}

/// Whether any memory of this process is advised to huge pages, once it has much of it.
fn huge_pages_are_advised() -> bool {
    let blocks: Vec<_> = (0..200_000usize).map(|n| vec![n as u8; 700]).collect();
    let maps = std::fs::read_to_string("/proc/self/smaps").expect("Linux has it");
    drop(blocks);
    maps.lines().any(|line| line.starts_with("VmFlags:") && line.contains(" hg"))
}

#[test]
fn huge_pages_are_advised_by_default() {
    succeeds("huge_pages_are_advised_by_default", &[], || {
        assert!(huge_pages_are_advised());
    });
}

#[test]
fn huge_pages_can_be_declined() {
    let variables = [("GENESIS_MEM_HUGE_PAGES", "never")];
    succeeds("huge_pages_can_be_declined", &variables, || {
        assert!(!huge_pages_are_advised());
    });
}

#[test]
fn bad_values_are_reported_once_and_ignored() {
    let variables = [
        ("GENESIS_MEM_LIMIT", "lots"),
        ("GENESIS_MEM_PURGE_DELAY_MS", "soon"),
        ("GENESIS_MEM_HUGE_PAGES", "maybe"),
    ];
    let said = succeeds("bad_values_are_reported_once_and_ignored", &variables, || {
        assert_eq!(genesis_mem_host::stats().limit_bytes, 0);
        let made = thread::spawn(|| vec![1u8; 70 * MIB]).join().expect("no panic");
        assert_eq!(made.len(), 70 * MIB);
    });
    if let Some(said) = said {
        assert_eq!(said.lines().count(), variables.len(), "{said}");
        for (name, value) in variables {
            let wanted = format!("genesis-mem: {name}={value} ignored");
            assert_eq!(said.matches(&wanted).count(), 1, "{said}");
        }
    }
}
