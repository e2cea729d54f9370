//! The allocator of the process: one arena, and what must be told to the system once.

use core::{
    ops::Range,
    sync::atomic::{
        AtomicBool, AtomicU32,
        Ordering::{AcqRel, Acquire, Relaxed, Release},
    },
};

use genesis_mem_core::{
    arena::Arena,
    config::{Config, Fault},
    shared_heap::SharedHeap,
    stats::Snapshot,
};

use crate::{
    fault, options,
    os::{OsMemory, Yield},
    purger, sampler, serve,
    sink::{Memory, Sink},
    thread,
    thread::{HostHeap, Owner},
};

/// The arena of the host: 1 TiB of addresses in granules of 64 KiB.
#[derive(Debug)]
pub(crate) struct HostConfig;

impl Config for HostConfig {
    type Backend = OsMemory;
    type Metadata = OsMemory;
    type Sink = Sink;
    type Relax = Yield;
    const REGION_BYTES: usize = 1 << 40;
    const GRANULE_BYTES: usize = 64 * 1024;
    const GROWTH_BYTES: usize = 64 * 1024 * 1024;
    const MAX_HEAPS: usize = 1 << 16;

    fn secret() -> u64 {
        secret()
    }

    #[cold]
    fn fault(fault: &Fault) {
        fault::abort_on(fault);
    }
}

/// Sixteen random bytes that the kernel gives each program.
pub(crate) fn secret() -> u64 {
    // SAFETY: no preconditions.
    let random = unsafe { libc::getauxval(libc::AT_RANDOM) } as *const u64;
    // SAFETY: where it is not null, it leads to sixteen bytes that stay.
    if random.is_null() { 0x9e37_79b9_7f4a_7c15 } else { unsafe { random.read_unaligned() } }
}

/// Has the calling thread's heap see at once that sampling was switched; others see it later.
pub(crate) fn take_note_of_sampling() {
    // SAFETY: I1: `with_heap` makes this thread the owner.
    with_heap(|heap| unsafe { heap.take_note_of_sampling() });
}

static ARENA: Arena<HostConfig> = Arena::new(OsMemory, OsMemory, Sink(Memory::Host));
/// For threads without a heap of their own.
static SHARED: SharedHeap<HostConfig> = SharedHeap::new();

pub(crate) fn arena() -> &'static Arena<HostConfig> {
    &ARENA
}

/// Runs `f` as the owner of the calling thread's heap, or of the shared one; `None` where no heap
/// can be had. Slow path only.
#[inline]
pub(crate) fn with_heap<T>(f: impl FnOnce(&HostHeap) -> T) -> Option<T> {
    match thread::owner() {
        Owner::Own(heap) => Some(f(heap)),
        // SAFETY: it is always this arena, which is static.
        Owner::Shared => unsafe { SHARED.with(&ARENA, f) },
    }
}

/// Starts threads of ours that are due. Called on slow paths, where allocating is safe.
#[inline]
pub(crate) fn see_to_threads() {
    purger::poke(ARENA.reserved_bytes());
    serve::poke();
}

/// The key whose destructor runs when a thread ends; zero is "not yet", else the key plus one.
static EXIT_KEY: AtomicU32 = AtomicU32::new(0);

/// Has the heap come back when its thread ends; sets the process up for the first thread.
pub(crate) fn on_thread_start(heap: &'static HostHeap) {
    static CLAIMED: AtomicBool = AtomicBool::new(false);
    if !CLAIMED.swap(true, AcqRel) {
        set_up();
    }
    // Release in `set_up` pairs with the Acquire here.
    let mut key = EXIT_KEY.load(Acquire);
    while key == 0 {
        // SAFETY: no preconditions.
        unsafe { libc::sched_yield() };
        key = EXIT_KEY.load(Acquire);
    }
    if let Some(key) = key.checked_sub(1).filter(|&key| key != NO_KEY) {
        // SAFETY: the key exists. The call may allocate, from the heap that is in place already.
        unsafe { libc::pthread_setspecific(key, core::ptr::from_ref(heap).cast()) };
    }
}

/// The system has no key left: heaps of ended threads stay theirs.
const NO_KEY: u32 = u32::MAX - 1;

/// Once, by the first thread that allocates, whose heap is in place: all of this may allocate.
fn set_up() {
    options::read(&ARENA);
    let mut key = 0;
    // SAFETY: the destructor fits the signature.
    let created = unsafe { libc::pthread_key_create(&mut key, Some(thread::end)) } == 0;
    EXIT_KEY.store(if created { key + 1 } else { NO_KEY + 1 }, Release);
    // SAFETY: the handlers fit the signature.
    unsafe { libc::pthread_atfork(Some(before_fork), Some(after_fork), Some(after_fork_in_child)) };
}

extern "C" fn before_fork() {
    serve::before_fork();
    ARENA.before_fork();
    sampler::before_fork();
}

extern "C" fn after_fork() {
    // SAFETY: `before_fork` ran on this thread.
    unsafe {
        sampler::after_fork();
        ARENA.after_fork();
    }
    serve::after_fork();
}

extern "C" fn after_fork_in_child() {
    after_fork();
    purger::after_fork_in_child();
    serve::after_fork_in_child();
    // SAFETY: this is the child's only thread.
    unsafe { sampler::after_fork_in_child() };
}

/// Whether some frees don't name a size, as C's do not: then requested bytes are an estimate.
pub(crate) static UNSIZED: AtomicBool = AtomicBool::new(false);

/// Everything that the allocator knows about itself now.
///
/// Exact where no other thread allocates meanwhile. Takes no lock but the span pool's, briefly,
/// and allocates nothing.
pub fn stats() -> Snapshot {
    ARENA.snapshot(!UNSIZED.load(Relaxed))
}

/// The addresses of the allocator's memory, and of its tables: what `/proc/self/smaps` says of them adds
/// up to [`Snapshot::footprint_bytes`].
pub fn regions() -> [Range<usize>; 2] {
    ARENA.regions()
}

/// Lets the peaks of [`stats`] start over from now.
pub fn reset_peaks() {
    ARENA.reset_peaks();
}

/// Gives every free page back to the system now; returns how many bytes.
///
/// Sweeps the calling thread's heap and those of ended threads first. What other running threads
/// keep at hand stays with them.
pub fn trim() -> usize {
    // SAFETY: I1: `with_heap` makes this thread the owner.
    with_heap(|heap| unsafe { heap.collect() });
    ARENA.collect_orphans();
    ARENA.collect_samples();
    ARENA.purge(0)
}

/// Refuses to reserve more than `bytes` from now on: allocations that would need it fail. Zero is
/// no limit.
pub fn set_limit(bytes: usize) {
    ARENA.set_limit(bytes);
}
