//! The statistics explain what the system shows as resident.

use std::{
    alloc::{GlobalAlloc, Layout},
    thread,
    time::Duration,
};

use genesis_mem_host::Genesis;
use smaps::Smaps;

#[path = "common/alone.rs"]
mod alone;
#[path = "common/smaps.rs"]
mod smaps;
#[path = "common/success.rs"]
mod success;

#[global_allocator]
static ALLOC: Genesis = Genesis::new();

const MIB: usize = 1 << 20;
/// What may be off where little is resident: pages that tables share.
const FLOOR_BYTES: u64 = 64 << 10;
/// The same where slabs were purged in part and then used: one slab of each class.
const SLABS_BYTES: u64 = 512 << 10;

/// Which pages the system may use.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pages {
    Small,
    AlsoLarge,
}

/// Compares, in a process of its own, the statistics with the kernel's figures at the end of each
/// phase: they may differ by 2 %, or by `floor_bytes`.
fn agrees(test: &str, pages: Pages, floor_bytes: u64, phases: impl FnOnce(&mut dyn FnMut(&str))) {
    let work = || {
        if pages == Pages::Small {
            // Where the system backs memory by larger pages unasked, it cannot be explained.
            // SAFETY: concerns this process alone.
            let refused = unsafe { libc::prctl(libc::PR_SET_THP_DISABLE, 1, 0, 0, 0) };
            assert_eq!(refused, 0);
        }
        let mut smaps = Smaps::new();
        phases(&mut |phase: &str| {
            let stats = genesis_mem_host::stats();
            let resident = smaps.resident_bytes(&genesis_mem_host::regions());
            stats.check().expect("the sums hold");
            let explained = stats.footprint_bytes();
            println!("{phase}: {resident} resident, {explained} explained");
            let tolerated = (resident / 50).max(floor_bytes);
            assert!(
                explained.abs_diff(resident) <= tolerated,
                "{phase}: {resident} bytes are resident, {explained} explained\n{stats}"
            );
        });
    };
    let choice = if pages == Pages::Small { "never" } else { "auto" };
    // Nothing is to go back between the kernel's figures and ours.
    let variables = [("GENESIS_MEM_HUGE_PAGES", choice), ("GENESIS_MEM_PURGE_DELAY_MS", "1000")];
    if let Some(output) = alone::output(test, &variables, work) {
        success::said(&output);
    }
}

/// A block all of whose bytes are in use.
struct Full {
    start: *mut u8,
    layout: Layout,
}

// SAFETY: a block has one owner, and may be freed by any thread.
unsafe impl Send for Full {}

impl Full {
    fn new(bytes: usize) -> Self {
        let layout = Layout::from_size_align(bytes, 8).expect("a layout");
        // SAFETY: the layout has a size, and the block is that long.
        let start = unsafe { ALLOC.alloc(layout) };
        assert!(!start.is_null());
        // SAFETY: as above.
        unsafe { start.write_bytes(7, bytes) };
        Self { start, layout }
    }
}

impl Drop for Full {
    fn drop(&mut self) {
        // SAFETY: the block is live, with this layout.
        unsafe { ALLOC.dealloc(self.start, self.layout) };
    }
}

/// Blocks of `sizes` in turn, `mib` MiB in all.
fn fill(mib: usize, sizes: &[usize]) -> Vec<Full> {
    let round_bytes: usize = sizes.iter().sum();
    let mut blocks = Vec::with_capacity((mib * MIB).div_ceil(round_bytes) * sizes.len());
    let mut bytes = 0;
    for &size in sizes.iter().cycle() {
        if bytes >= mib * MIB {
            break;
        }
        blocks.push(Full::new(size));
        bytes += size;
    }
    blocks
}

/// Frees all blocks but every `nth`.
fn thin_out(blocks: &mut Vec<Full>, nth: usize) {
    let mut index = 0;
    blocks.retain(|_| {
        index += 1;
        index % nth == 0
    });
}

fn rest() {
    thread::sleep(Duration::from_millis(2500));
}

const SMALL: [usize; 6] = [16, 24, 80, 200, 520, 1000];
const MEDIUM: [usize; 5] = [3072, 8 << 10, 20 << 10, 64 << 10, 256 << 10];
const LARGE: [usize; 3] = [MIB, 3 * MIB + 4000, 300_000];

/// Growth, half of it freed, idle, all freed, idle, and growth again.
fn a_life(sizes: &[usize], check: &mut dyn FnMut(&str)) {
    check("start");
    let mut blocks = fill(100, sizes);
    check("growth");
    thin_out(&mut blocks, 2);
    check("half freed");
    rest();
    check("half freed, idle");
    let more = fill(20, sizes);
    check("growth into holes");
    drop((blocks, more));
    check("freed");
    rest();
    check("freed, idle");
    genesis_mem_host::trim();
    check("trimmed");
    let _again = fill(50, sizes);
    check("growth again");
}

#[test]
fn small_blocks() {
    agrees("small_blocks", Pages::Small, FLOOR_BYTES, |check| a_life(&SMALL, check));
}

#[test]
fn medium_blocks() {
    agrees("medium_blocks", Pages::Small, SLABS_BYTES, |check| a_life(&MEDIUM, check));
}

#[test]
fn large_blocks() {
    agrees("large_blocks", Pages::Small, FLOOR_BYTES, |check| a_life(&LARGE, check));
}

#[test]
fn with_huge_pages() {
    let setting = "/sys/kernel/mm/transparent_hugepage/enabled";
    let setting = std::fs::read_to_string(setting).unwrap_or_default();
    if !setting.contains("[madvise]") {
        println!("only where the system asks for advice: {setting}");
        return;
    }
    agrees("with_huge_pages", Pages::AlsoLarge, FLOOR_BYTES, |check| a_life(&SMALL, check));
}

#[test]
fn large_blocks_that_grow_and_move() {
    agrees("large_blocks_that_grow_and_move", Pages::Small, FLOOR_BYTES, |check| {
        let mut numbers: Vec<u64> = Vec::new();
        for _ in 0..5 {
            let fence = Full::new(MIB);
            numbers.extend(0..(10 * MIB / 8) as u64);
            // All that it has, so that all of it is touched.
            numbers.resize(numbers.capacity(), 1);
            check("growth");
            drop(fence);
        }
        drop(numbers);
        rest();
        check("freed, idle");
    });
}

#[test]
fn threads_that_come_and_go() {
    agrees("threads_that_come_and_go", Pages::Small, FLOOR_BYTES, |check| {
        let start = |seed: usize| thread::spawn(move || fill(4, &[16 << (seed % 8), 1000, 40_000]));
        let started: Vec<_> = (0..16).map(start).collect();
        let mut blocks: Vec<Vec<Full>> =
            started.into_iter().map(|thread| thread.join().expect("no panic")).collect();
        check("threads ended");
        blocks.iter_mut().for_each(|blocks| thin_out(blocks, 3));
        check("thinned out by another");
        rest();
        check("idle");
        drop(blocks);
        rest();
        check("freed by another, idle");
    });
}
