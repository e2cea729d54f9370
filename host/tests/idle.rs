//! What an idle program keeps, by default: no more than 5 MiB over its start, five seconds after it
//! freed everything.

use std::{
    alloc::{GlobalAlloc, Layout},
    sync::{Barrier, mpsc},
    thread,
    time::Duration,
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
const KEPT_BYTES: usize = 5 * MIB;
/// What a thread that stays may hold besides, after using blocks of all sizes up to 1 MiB: empty slabs of
/// each class, see `docs/tuning.md`.
const THREAD_BYTES: usize = 5 * MIB;

/// Runs `work` in a process of its own; it calls back once everything is free, and then no more may be
/// resident than `kept_bytes` over the start.
fn keeps_at_most(test: &str, kept_bytes: usize, work: impl FnOnce(&dyn Fn())) {
    let alone = || {
        let start = status::bytes("RssAnon");
        work(&|| {
            let freed = status::bytes("RssAnon");
            assert!(status::bytes("VmHWM") > start + 40 * MIB, "the work was done");
            thread::sleep(Duration::from_secs(5));
            let kept = status::bytes("RssAnon").saturating_sub(start);
            assert!(kept <= kept_bytes, "{kept} bytes stay resident of {freed}");
        });
    };
    if let Some(output) = alone::output(test, &[], alone) {
        success::said(&output);
    }
}

/// Blocks of `size`, all in use, `mib` MiB in all.
fn fill(mib: usize, mut size: impl FnMut() -> usize) -> Vec<(*mut u8, Layout)> {
    let (mut blocks, mut bytes) = (Vec::new(), 0);
    while bytes < mib * MIB {
        let layout = Layout::from_size_align(size(), 8).expect("a layout");
        // SAFETY: the layout has a size, and the block is that long.
        let block = unsafe { ALLOC.alloc(layout) };
        assert!(!block.is_null());
        // SAFETY: as above.
        unsafe { block.write_bytes(1, layout.size()) };
        blocks.push((block, layout));
        bytes += layout.size();
    }
    blocks
}

fn free(blocks: Vec<(*mut u8, Layout)>) {
    // SAFETY: the blocks are live, with these layouts.
    blocks.into_iter().for_each(|(block, layout)| unsafe { ALLOC.dealloc(block, layout) });
}

/// Sizes of up to 2^`log2` bytes, each power of two as likely as the next.
fn sizes(seed: usize, log2: u32) -> impl FnMut() -> usize {
    let mut state = seed.wrapping_mul(0x9e37_79b9) | 1;
    move || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let shift = 3 + (state >> 40) as u32 % (log2 - 3);
        (1 << shift) + (state >> 20) % (1 << shift)
    }
}

#[test]
fn after_small_blocks() {
    keeps_at_most("after_small_blocks", KEPT_BYTES, |idle| {
        free(fill(200, sizes(1, 10)));
        idle();
    });
}

#[test]
fn after_medium_blocks() {
    keeps_at_most("after_medium_blocks", KEPT_BYTES, |idle| {
        let mut odd = sizes(1, 18);
        free(fill(200, || odd() % (248 << 10) + (8 << 10)));
        idle();
    });
}

#[test]
fn after_large_blocks() {
    keeps_at_most("after_large_blocks", KEPT_BYTES, |idle| {
        let mut odd = sizes(1, 22);
        free(fill(200, || odd() + MIB));
        idle();
    });
}

#[test]
fn after_threads_that_ended() {
    keeps_at_most("after_threads_that_ended", KEPT_BYTES, |idle| {
        let (send, receive) = mpsc::channel();
        thread::scope(|scope| {
            for seed in 0..64 {
                let send = send.clone();
                scope.spawn(move || {
                    let mut blocks = fill(2, sizes(seed, 20));
                    // Half is freed by another thread, after this one has ended.
                    let others = blocks.split_off(blocks.len() / 2);
                    let others = others
                        .into_iter()
                        .map(|(block, layout)| (block.expose_provenance(), layout));
                    send.send(others.collect::<Vec<_>>()).expect("it is received");
                    free(blocks);
                });
            }
        });
        drop(send);
        for blocks in receive {
            let back = |(address, layout)| (std::ptr::with_exposed_provenance_mut(address), layout);
            free(blocks.into_iter().map(back).collect());
        }
        idle();
    });
}

#[test]
fn while_threads_stay() {
    const THREADS: usize = 16;
    keeps_at_most("while_threads_stay", KEPT_BYTES + THREADS * THREAD_BYTES, |idle| {
        idle_threads(THREADS, idle, || ());
    });
}

#[test]
fn while_threads_stay_that_trimmed() {
    keeps_at_most("while_threads_stay_that_trimmed", KEPT_BYTES, |idle| {
        idle_threads(16, idle, || _ = genesis_mem_host::trim());
    });
}

/// Threads use blocks of many sizes, free them all, do `last`, and stay until `idle` comes back.
fn idle_threads(threads: usize, idle: &dyn Fn(), last: fn()) {
    let (all_free, over) = (Barrier::new(threads + 1), Barrier::new(threads + 1));
    thread::scope(|scope| {
        for seed in 0..threads {
            let (all_free, over) = (&all_free, &over);
            scope.spawn(move || {
                free(fill(16, sizes(seed, 20)));
                last();
                all_free.wait();
                over.wait();
            });
        }
        all_free.wait();
        idle();
        over.wait();
    });
}
