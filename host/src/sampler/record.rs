//! What the allocator tells the profiler, on its slow paths.

use core::{ops::Range, sync::atomic::Ordering::Relaxed};

use genesis_mem_core::event::{Event, EventKind, Sample};

use super::{
    LOST, chance, events,
    events::Kind,
    levels, live, marks, os,
    records::{Happened, Live},
    stacks, usages,
};
use crate::{sink::Memory, stack, thread};

/// How many frames of a stack are kept.
const FRAMES: usize = 64;
/// How many of the allocator's own may come before them.
const OWN_FRAMES: usize = 24;

/// How many allocations pass before the next sample; see [`EventSink::draw`].
///
/// [`EventSink::draw`]: genesis_mem_core::event::EventSink::draw
pub(crate) fn draw(block_bytes: usize, random: u64) -> u64 {
    chance::draw(block_bytes, random)
}

/// The number of the stack of whoever called the allocator.
#[inline(never)]
#[unsafe(link_section = "genesis_mem_slow")]
fn calling_stack() -> u32 {
    let mut frames = [0; FRAMES + OWN_FRAMES];
    let count = stack::capture(&mut frames, 0);
    let frames = &frames[..count];
    let is_own = os::own_code();
    let own = frames.iter().take(OWN_FRAMES).rposition(|&frame| is_own(frame));
    let callers = &frames[own.map_or(0, |last| last + 1)..];
    stacks::intern(&callers[..callers.len().min(FRAMES)])
}

/// The class of a size: the least power of two that is not smaller, by its exponent.
fn size_class_of(bytes: u64) -> u32 {
    match bytes {
        0 | 1 => 0,
        bytes => u64::BITS - (bytes - 1).leading_zeros(),
    }
}

/// A block was sampled. In the section that is asked about, so that there is always one.
#[cold]
#[inline(never)]
#[unsafe(link_section = "genesis_mem_slow")]
pub(crate) fn taken(memory: Memory, sample: &Sample) {
    if super::is_quiet() {
        return;
    }
    let time_ns = os::now_ns();
    let (stack, thread, bytes) = (calling_stack(), thread::id(), sample.bytes as u64);
    let weight = chance::weight(sample.block_bytes);
    let size_class = size_class_of(bytes);
    let key = usages::Key { memory: memory as u32, stack, thread, size_class };
    let (address, block_bytes) = (sample.address as u64, sample.block_bytes as u64);
    let noted = live::with(address, |part| {
        let usage = usages::add(key, bytes, weight)?;
        let live = Live { address, bytes, block_bytes, time_ns, stack, thread, usage, weight };
        if !part.insert(&live) {
            usages::take_back(usage, bytes, weight);
            return None;
        }
        Some(live)
    });
    let Some(live) = noted else { return missed() };
    happened(&live, if sample.is_hit { Kind::Hit } else { Kind::Miss }, time_ns, stack, thread);
    levels::look(time_ns);
}

/// The sample at `address` is free, or about to be.
#[cold]
pub(crate) fn freed(address: usize) {
    let address = address as u64;
    let noted = live::with(address, |part| {
        part.fetch_early(address);
        let time_ns = os::now_ns();
        let live = part.remove(address)?;
        usages::free(&live, time_ns);
        Some((live, time_ns))
    });
    // Where there was no memory for it, it is not known.
    let Some((live, time_ns)) = noted else { return };
    happened(&live, Kind::Free, time_ns, live.stack, thread::id());
}

/// The holder of the sample at `address` wants it to be `bytes` bytes long.
#[cold]
pub(crate) fn resized(address: usize, bytes: usize) {
    let (address, bytes) = (address as u64, bytes as u64);
    live::with(address, |part| {
        if let Some(live) = part.get_mut(address) {
            usages::resize(live, bytes);
            live.bytes = bytes;
        }
    });
}

/// A sample could not be taken.
#[cold]
pub(crate) fn missed() {
    LOST.fetch_add(1, Relaxed);
}

/// All memory in a range is gone, and the samples in it.
pub(crate) fn forget_range(range: &Range<usize>) {
    let range = range.start as u64..range.end as u64;
    while let Some(address) = live::any_within(&range) {
        freed(address as usize);
    }
}

fn happened(live: &Live, kind: Kind, time_ns: u64, stack: u32, thread: u32) {
    let Live { address, bytes, block_bytes, weight, usage, .. } = *live;
    let memory = (usage >> usages::MEMORY_SHIFT) as u16;
    let kind = kind as u16;
    events::add(&Happened {
        time_ns,
        address,
        bytes,
        block_bytes,
        stack,
        thread,
        kind,
        memory,
        weight,
    });
}

/// Something happened to the allocator as a whole.
#[cold]
pub(crate) fn note(memory: Memory, event: &Event) {
    let kind = match event.kind {
        EventKind::Grow => Kind::Grow,
        EventKind::Purge => Kind::Purge,
        EventKind::OutOfMemory => Kind::OutOfMemory,
        _ => return,
    };
    let stack = if kind == Kind::OutOfMemory { calling_stack() } else { stacks::UNKNOWN };
    events::add(&Happened {
        time_ns: os::now_ns(),
        address: event.address as u64,
        bytes: event.bytes as u64,
        stack,
        thread: thread::id(),
        kind: kind as u16,
        memory: memory as u16,
        weight: 1.0,
        ..Happened::default()
    });
}

/// Takes all locks, which are taken last of all, so that no other thread holds one across a fork.
pub(crate) fn before_fork() {
    live::TABLE.lock();
    usages::TABLE.lock();
    stacks::TABLE.lock();
    marks::MARKS.lock();
    levels::LEVELS.lock();
}

/// Opens them again.
///
/// # Safety
/// - The calling thread has called [`before_fork`].
pub(crate) unsafe fn after_fork() {
    // SAFETY: forwarded.
    unsafe {
        live::TABLE.unlock();
        usages::TABLE.unlock();
        stacks::TABLE.unlock();
        marks::MARKS.unlock();
        levels::LEVELS.unlock();
    }
}

/// The child's thread has another number than its parent's, and nobody is switching.
///
/// # Safety
/// - In the child of a fork, on its only thread.
pub(crate) unsafe fn after_fork_in_child() {
    thread::forget_id();
    // SAFETY: whoever held the lock is not in this process.
    unsafe { super::SWITCHED.unlock() };
}
