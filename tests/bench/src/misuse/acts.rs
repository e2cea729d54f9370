//! Commits the acts.

use std::alloc::GlobalAlloc;
use std::hint;
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use super::list::{Act, Given, Offset, Target, Verb, Way, Wrong};
use super::places::{self, Page};
use super::probe::{ALIGN_BYTES, Probe, layout};
use super::{ACT, REUSED, end, say};

const PAGE_BYTES: usize = 4096;
/// Live blocks of the victim's size before it, and as many after it.
const NEIGHBOURS: usize = 8;
/// Longer than an allocator waits until it gives memory back.
const PURGE: Duration = Duration::from_secs(2);
/// Sizes that share no block with the victim's.
const UNLIKE: [usize; 5] = [40, 200, 3000, 20_000, 150_000];

/// Commits `act`, which is announced right before it happens. Returns what a reallocation gave, or
/// null. What lies on `stack` is foreign memory.
pub(super) fn commit<A: GlobalAlloc + Sync>(
    probe: &mut Probe<A>,
    act: &Act,
    stack: &Page,
) -> *mut u8 {
    let bytes = act.bytes;
    let align = match act.wrong {
        Wrong::Layout(Given::Unaligned) => PAGE_BYTES,
        _ => ALIGN_BYTES,
    };
    let before: [_; NEIGHBOURS] = std::array::from_fn(|_| probe.take(bytes));
    let victim = probe.take_aligned(bytes, align);
    let after: [_; NEIGHBOURS] = std::array::from_fn(|_| probe.take(bytes));
    assert!(before.iter().chain(&after).chain([&victim]).all(|block| !block.is_null()));
    match act.wrong {
        Wrong::Pointer(verb, Target::Freed(way)) => {
            probe.give_up(victim);
            freed(probe, verb, way, Pointer(victim), bytes, &after)
        }
        Wrong::Pointer(verb, Target::Interior(offset)) => {
            say(ACT);
            call(probe.alloc, verb, Pointer(victim.wrapping_add(within(offset, bytes))), bytes)
        }
        Wrong::Pointer(verb, Target::Foreign(place)) => {
            let (pointer, around) = places::pointer(place, stack, victim);
            around.into_iter().for_each(|live| probe.enter(live));
            say(ACT);
            call(probe.alloc, verb, Pointer(pointer), bytes)
        }
        Wrong::Layout(given) => {
            let align = if given == Given::Aligned { PAGE_BYTES } else { ALIGN_BYTES };
            probe.give_up(victim);
            say(ACT);
            // SAFETY: none: the layout is wrong, which is the act.
            unsafe { probe.alloc.dealloc(victim, layout(act.given_bytes(), align)) };
            ptr::null_mut()
        }
        Wrong::Write => {
            probe.free(victim, bytes);
            probe.free(after[0], bytes);
            say(ACT);
            // SAFETY: none: the block is free, which is the act. Its page may be gone.
            unsafe { victim.write_bytes(0x41, bytes.min(16)) };
            let count = ((1 << 20) / bytes).clamp(NEIGHBOURS, 4096);
            (0..count).for_each(|_| _ = probe.take(bytes));
            ptr::null_mut()
        }
    }
}

/// A pointer that may go to another thread.
#[derive(Clone, Copy)]
struct Pointer(*mut u8);

// SAFETY: whoever gets it does with it what the act says.
unsafe impl Send for Pointer {}

fn within(offset: Offset, bytes: usize) -> usize {
    match offset {
        Offset::Bytes(offset) => offset,
        Offset::Half => bytes / 2,
        Offset::Last => bytes - 1,
    }
}

/// Uses `victim`, which the books don't have any more, after it was freed; `after` are live blocks of
/// its size.
fn freed<A: GlobalAlloc + Sync>(
    probe: &mut Probe<A>,
    verb: Verb,
    way: Way,
    victim: Pointer,
    bytes: usize,
    after: &[*mut u8],
) -> *mut u8 {
    let alloc = probe.alloc;
    if way == Way::Together {
        return together(alloc, verb, victim, bytes);
    }
    match way {
        Way::FirstByOther | Way::ByTwoOthers => {
            elsewhere(move || call(alloc, Verb::Free, victim, bytes));
        }
        _ => _ = call(alloc, Verb::Free, victim, bytes),
    }
    match way {
        Way::AfterAnother => probe.free(after[0], bytes),
        Way::AfterMany => {
            for turn in 0..1000 {
                let unlike = UNLIKE[turn % UNLIKE.len()];
                let block = probe.take(unlike);
                probe.free(block, unlike);
            }
        }
        Way::AmongFree => {
            after.iter().for_each(|&block| probe.free(block, bytes));
            (0..after.len() / 2).for_each(|_| _ = probe.take(bytes));
        }
        Way::AfterPurge => thread::sleep(PURGE),
        _ => {}
    }
    if probe.is_live(victim.0) {
        say(REUSED);
        end();
    }
    say(ACT);
    match way {
        Way::ThenByOther | Way::ByTwoOthers => {
            elsewhere(move || call(alloc, verb, victim, bytes));
            ptr::null_mut()
        }
        _ => call(alloc, verb, victim, bytes),
    }
}

/// Two threads do it at the same moment, as nearly as they can.
fn together<A: GlobalAlloc + Sync>(
    alloc: &'static A,
    verb: Verb,
    victim: Pointer,
    bytes: usize,
) -> *mut u8 {
    static READY: AtomicBool = AtomicBool::new(false);
    static GO: AtomicBool = AtomicBool::new(false);
    let wait = |flag: &AtomicBool| while !flag.load(SeqCst) {};
    let other = thread::spawn(move || {
        READY.store(true, SeqCst);
        wait(&GO);
        Pointer(call(alloc, Verb::Free, victim, bytes))
    });
    wait(&READY);
    say(ACT);
    GO.store(true, SeqCst);
    let result = call(alloc, verb, victim, bytes);
    _ = other.join();
    result
}

/// Runs `work` on a thread that ends before this returns.
fn elsewhere(work: impl FnOnce() -> *mut u8 + Send + 'static) {
    _ = thread::spawn(move || _ = work()).join();
}

/// Calls the allocator with a pointer that may be wrong.
fn call<A: GlobalAlloc>(alloc: &A, verb: Verb, pointer: Pointer, bytes: usize) -> *mut u8 {
    let Pointer(pointer) = hint::black_box(pointer);
    // SAFETY: none where the pointer is wrong, which is the act.
    unsafe {
        match verb {
            Verb::Free => alloc.dealloc(pointer, layout(bytes, ALIGN_BYTES)),
            Verb::Realloc => {
                return alloc.realloc(pointer, layout(bytes, ALIGN_BYTES), 2 * bytes);
            }
            Verb::Usable => _ = hint::black_box(libc::malloc_usable_size(pointer.cast())),
        }
    }
    ptr::null_mut()
}
