//! What memory costs, and that it goes back.

use std::{
    alloc::{GlobalAlloc, Layout},
    thread,
    time::Duration,
};

use allocator_api2::alloc::Allocator;
use genesis_mem_host::{Genesis, Heap};

#[path = "common/alone.rs"]
mod alone;
#[path = "common/status.rs"]
mod status;
#[path = "common/success.rs"]
mod success;

#[global_allocator]
static ALLOC: Genesis = Genesis::new();

const MIB: usize = 1 << 20;

/// Runs `work` in a process of its own, since what it looks at is the process's.
fn alone(test: &str, work: impl FnOnce()) {
    if let Some(output) = alone::output(test, &[], work) {
        success::said(&output);
    }
}

fn layout(bytes: usize, align: usize) -> Layout {
    Layout::from_size_align(bytes, align).expect("a layout")
}

fn alloc(layout: Layout) -> *mut u8 {
    // SAFETY: the layouts here have a size.
    unsafe { ALLOC.alloc(layout) }
}

/// # Safety
/// - `block` was allocated with `layout`, and nobody uses it any more.
unsafe fn free(block: *mut u8, layout: Layout) {
    // SAFETY: forwarded.
    unsafe { ALLOC.dealloc(block, layout) }
}

#[test]
fn a_program_starts_small() {
    alone("a_program_starts_small", || {
        assert!(status::bytes("RssAnon") < 3 * MIB, "{} bytes", status::bytes("RssAnon"));
        let stats = genesis_mem_host::stats();
        assert!(stats.metadata_bytes.current < MIB as u64, "{:?}", stats.metadata_bytes);
    });
}

#[test]
fn zeroed_memory_costs_nothing_until_written() {
    alone("zeroed_memory_costs_nothing_until_written", || {
        let before = status::bytes("VmRSS");
        let mut zeroes = vec![0u8; 64 * MIB];
        let grown = status::bytes("VmRSS").saturating_sub(before);
        assert!(grown <= MIB, "{grown} bytes resident");
        zeroes.fill(1);
        drop(zeroes);
        assert!(vec![0u8; 64 * MIB].iter().all(|&byte| byte == 0), "used memory was not zeroed");
    });
}

#[test]
fn within_a_class_realloc_stays() {
    let (old, new) = (layout(1025, 8), layout(1030, 8));
    let block = alloc(old);
    // SAFETY: the block is live, and freed with its last layout.
    unsafe {
        block.write_bytes(7, 1025);
        assert_eq!(ALLOC.realloc(block, old, new.size()), block);
        assert_eq!(*block.add(1024), 7);
        free(block, new);
    }
}

#[test]
fn a_large_vector_grows_without_a_second_copy() {
    alone("a_large_vector_grows_without_a_second_copy", || {
        let before = status::bytes("VmRSS");
        let mut numbers: Vec<u64> = (0..(64 * MIB / 8) as u64).collect();
        let fence = vec![1u8; MIB];
        numbers.reserve_exact(MIB / 8);
        let peak = status::bytes("VmHWM") - before;
        assert!(peak < 64 * MIB * 13 / 10, "{peak} bytes at the peak");
        assert!(numbers.iter().copied().eq(0..(64 * MIB / 8) as u64));
        assert_eq!(fence.len(), MIB);
    });
}

/// Touches `mib` MiB in blocks of many sizes, and frees them.
fn allocate_and_free(mib: usize) {
    let (mut blocks, mut bytes, mut n) = (Vec::new(), 0, 1usize);
    while bytes < mib * MIB {
        n = n.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        let size = ((n >> 33) % 1000 + 16) << ((n >> 50) % 10);
        blocks.push(vec![1u8; size]);
        bytes += size;
    }
}

#[test]
fn trim_gives_memory_back_at_once() {
    alone("trim_gives_memory_back_at_once", || {
        let before = status::bytes("VmRSS");
        allocate_and_free(100);
        assert!(genesis_mem_host::trim() > 0);
        let left = status::bytes("VmRSS").saturating_sub(before);
        assert!(left < 4 * MIB, "{left} bytes stay resident");
        genesis_mem_host::stats().check().expect("the sums hold");
    });
}

#[test]
fn an_idle_program_gives_memory_back() {
    alone("an_idle_program_gives_memory_back", || {
        let before = status::bytes("VmRSS");
        allocate_and_free(200);
        thread::sleep(Duration::from_secs(4));
        let left = status::bytes("VmRSS").saturating_sub(before);
        assert!(left <= 6 * MIB, "{left} bytes stay resident");
    });
}

/// Allocates blocks of 64 KiB, all written, and frees all but every eighth; returns those, and how
/// much was resident when none was free.
fn most_of_each_slab() -> (Vec<*mut u8>, usize) {
    let block = layout(64 << 10, 16);
    let blocks: Vec<_> = (0..1600).map(|_| alloc(block)).collect();
    // SAFETY: each is as long as that.
    blocks.iter().for_each(|&address| unsafe { address.write_bytes(7, block.size()) });
    let full = status::bytes("VmRSS");
    let (stay, go): (Vec<_>, Vec<_>) =
        blocks.iter().enumerate().partition(|(index, _)| index % 8 == 0);
    // SAFETY: each was allocated so, and is given up.
    go.iter().for_each(|&(_, &address)| unsafe { free(address, block) });
    (stay.into_iter().map(|(_, &address)| address).collect(), full)
}

#[test]
fn what_is_free_between_live_blocks_goes_back() {
    alone("what_is_free_between_live_blocks_goes_back", || {
        let (live, full) = most_of_each_slab();
        thread::sleep(Duration::from_secs(3));
        let gone = full.saturating_sub(status::bytes("VmRSS"));
        // 1400 blocks, but for a page of each.
        assert!(gone >= 78 * MIB, "{gone} bytes went back");
        let stats = genesis_mem_host::stats();
        stats.check().expect("the sums hold");
        let (committed, resident) =
            (stats.committed_bytes.current as usize, status::bytes("VmRSS"));
        assert!(committed.abs_diff(resident) < 6 * MIB, "{committed} bytes, {resident} resident");
        // The blocks that went are usable, and those that stayed are as they were.
        let block = layout(64 << 10, 16);
        let again: Vec<_> = (0..1400).map(|_| alloc(block)).collect();
        // SAFETY: each is as long as that, and given up.
        unsafe {
            again.iter().for_each(|address| address.write_bytes(9, block.size()));
            for &address in &live {
                let bytes = std::slice::from_raw_parts(address, block.size());
                assert!(bytes.iter().all(|&byte| byte == 7));
            }
            again.into_iter().chain(live).for_each(|address| free(address, block));
        }
        let after = genesis_mem_host::stats();
        after.check().expect("the sums hold");
        assert_eq!(after.reserved_bytes, stats.reserved_bytes, "the free blocks were used again");
    });
}

#[test]
fn a_write_to_a_free_block_is_found_before_it_is_purged() {
    let test = "a_write_to_a_free_block_is_found_before_it_is_purged";
    let output = alone::output(test, &[], || {
        let block = layout(64 << 10, 16);
        let blocks: Vec<_> = (0..64).map(|_| alloc(block)).collect();
        // SAFETY: the blocks are live, but for the one that is written to: the misuse under test.
        unsafe {
            (0..8).for_each(|index| free(blocks[index], block));
            (16..20).for_each(|index| free(blocks[index], block));
            blocks[17].cast::<u64>().write(0x4141_4141_4141_4141);
        }
        genesis_mem_host::trim();
    });
    if let Some(output) = output {
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains("write to a block"), "{said}");
    }
}

#[test]
fn a_kept_buffer_goes_back_from_an_idle_program() {
    alone("a_kept_buffer_goes_back_from_an_idle_program", || {
        let buffer = layout(4 * MIB, 16);
        // Beyond what a program reserves without a purger.
        let others = [alloc(buffer), alloc(buffer)];
        let kept = alloc(buffer);
        // SAFETY: the buffer is as long as that, and given up.
        unsafe {
            kept.write_bytes(1, 4 * MIB);
            free(kept, buffer);
        }
        let stats = genesis_mem_host::stats();
        stats.check().expect("the sums hold");
        assert_eq!(stats.large.live(), 2);
        let with_buffer = status::bytes("VmRSS");
        thread::sleep(Duration::from_secs(3));
        let gone = with_buffer.saturating_sub(status::bytes("VmRSS"));
        assert!(gone >= 3 * MIB, "{gone} bytes went back");
        // SAFETY: each was allocated so, and is given up.
        others.into_iter().for_each(|block| unsafe { free(block, buffer) });
    });
}

#[test]
fn a_limit_holds_and_can_be_lifted() {
    alone("a_limit_holds_and_can_be_lifted", || {
        let limit = 32 * MIB;
        genesis_mem_host::set_limit(limit);
        let piece = layout(MIB, 16);
        let blocks: Vec<_> =
            (0..64).map(|_| alloc(piece)).take_while(|block| !block.is_null()).collect();
        assert!((16..32).contains(&blocks.len()), "{} blocks of 1 MiB", blocks.len());
        let stats = genesis_mem_host::stats();
        assert!(stats.reserved_bytes.current <= limit as u64 && stats.failures > 0);
        assert!(alloc(layout(64 * MIB, 16)).is_null());
        genesis_mem_host::set_limit(0);
        let block = alloc(layout(64 * MIB, 16));
        assert!(!block.is_null());
        // SAFETY: the blocks are live, with these layouts.
        unsafe {
            free(block, layout(64 * MIB, 16));
            blocks.into_iter().for_each(|block| free(block, piece));
        }
    });
}

#[test]
fn every_alignment_is_kept() {
    for shift in 0..=30 {
        for bytes in [1, 24, 5000, 100_000] {
            let layout = layout(bytes, 1 << shift);
            let block = alloc(layout);
            assert!(!block.is_null(), "{layout:?}");
            assert!(block.addr().is_multiple_of(1 << shift), "{layout:?} at {block:p}");
            // SAFETY: the block is live, and that long.
            unsafe {
                block.write(1);
                block.add(bytes - 1).write(2);
                free(block, layout);
            }
        }
    }
}

#[test]
fn impossible_sizes_are_null() {
    for bytes in [isize::MAX as usize, isize::MAX as usize - 15, isize::MAX as usize / 2, 1 << 46] {
        for align in [1, 16] {
            let layout = layout(bytes - bytes % align, align);
            assert!(alloc(layout).is_null());
            // SAFETY: the layout has a size.
            assert!(unsafe { ALLOC.alloc_zeroed(layout) }.is_null());
        }
    }
    let small = layout(100, 1);
    let block = alloc(small);
    // SAFETY: the block is live, also after a refusal.
    unsafe {
        block.write_bytes(9, 100);
        assert!(ALLOC.realloc(block, small, isize::MAX as usize).is_null());
        assert_eq!(*block.add(99), 9);
        free(block, small);
    }
}

#[test]
fn blocks_of_no_bytes_are_aligned_and_grow() {
    fn tries(allocator: impl Allocator) {
        let (nothing, some) = (layout(0, 256), layout(700, 256));
        let empty = allocator.allocate(nothing).expect("nothing is always there");
        assert!(empty.is_empty() && empty.cast::<u8>().addr().get().is_multiple_of(256));
        // SAFETY: the blocks are live, with these layouts.
        unsafe {
            let grown = allocator.grow_zeroed(empty.cast(), nothing, some).expect("memory");
            assert!(grown.as_ref().iter().all(|&byte| byte == 0) && grown.len() == 700);
            let shrunk = allocator.shrink(grown.cast(), some, nothing).expect("less memory");
            allocator.deallocate(shrunk.cast(), nothing);
        }
    }
    tries(Genesis);
    tries(Heap::new());
}

#[test]
fn peaks_start_over() {
    alone("peaks_start_over", || {
        drop(vec![1u8; 32 * MIB]);
        let before = genesis_mem_host::stats().allocated_bytes;
        assert!(before.peak >= 32 * MIB as u64 && before.current < 8 * MIB as u64);
        genesis_mem_host::reset_peaks();
        assert!(genesis_mem_host::stats().allocated_bytes.peak < 8 * MIB as u64);
    });
}
