//! Which heap the calling thread has: one word of thread-local storage; a second one has its number.
//!
//! It starts at a heap that stands for none, so that the fast paths need no test for a missing
//! one, becomes the thread's heap on the first slow path, and ends at a second heap that stands
//! for none, which says that the thread is over.
//!
//! The word is defined in assembly, with the initial-exec model: `thread_local!` would cost a call
//! in a shared library, and may allocate there. The linker relaxes the access to a single load in
//! an executable.

use core::arch::{asm, global_asm};

use genesis_mem_core::heap::Heap;

use crate::process::HostConfig;

pub(crate) type HostHeap = Heap<HostConfig>;

/// Of a thread that has not allocated yet.
static NOT_YET: HostHeap = Heap::none();
/// Of a thread whose heap is gone.
static NO_MORE: HostHeap = Heap::none();

// The version keeps two copies of the crate in one program apart.
macro_rules! slot {
    () => {
        concat!("\"genesis_mem_heap.", env!("CARGO_PKG_VERSION"), "\"")
    };
}

global_asm!(
    ".section .tdata.genesis_mem,\"awT\",@progbits",
    concat!(".globl ", slot!()),
    concat!(".hidden ", slot!()),
    concat!(".type ", slot!(), ",@object"),
    concat!(".size ", slot!(), ",16"),
    ".p2align 3",
    concat!(slot!(), ":"),
    ".quad {not_yet}",
    ".quad 0",
    ".text",
    not_yet = sym NOT_YET,
);

/// The calling thread's heap.
#[inline(always)]
pub(crate) fn heap() -> &'static HostHeap {
    let heap: *const HostHeap;
    // In two steps, since the first gives the same for all threads: the compiler can take it out of
    // a loop.
    // SAFETY: reads a constant, and then the thread's own word.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        let place: usize;
        asm!(
            concat!("mov {0}, qword ptr [rip + ", slot!(), "@GOTTPOFF]"),
            out(reg) place,
            options(nostack, pure, nomem, preserves_flags),
        );
        asm!(
            "mov {0}, qword ptr fs:[{1}]",
            out(reg) heap,
            in(reg) place,
            options(nostack, pure, readonly, preserves_flags),
        );
    }
    // SAFETY: reads the thread's own word.
    #[cfg(target_arch = "aarch64")]
    unsafe {
        asm!(
            concat!("adrp {1}, :gottprel:", slot!()),
            concat!("ldr {1}, [{1}, :gottprel_lo12:", slot!(), "]"),
            "mrs {0}, tpidr_el0",
            "ldr {0}, [{0}, {1}]",
            out(reg) heap,
            out(reg) _,
            options(nostack, pure, readonly, preserves_flags),
        );
    }
    // SAFETY: I3: the word always holds a heap, and heaps are immortal.
    unsafe { &*heap }
}

fn set_heap(heap: &'static HostHeap) {
    // SAFETY: writes the thread's own word.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        asm!(
            concat!("mov {0}, qword ptr [rip + ", slot!(), "@GOTTPOFF]"),
            "mov qword ptr fs:[{0}], {1}",
            out(reg) _,
            in(reg) core::ptr::from_ref(heap),
            options(nostack, preserves_flags),
        );
    }
    // SAFETY: writes the thread's own word.
    #[cfg(target_arch = "aarch64")]
    unsafe {
        asm!(
            concat!("adrp {0}, :gottprel:", slot!()),
            concat!("ldr {0}, [{0}, :gottprel_lo12:", slot!(), "]"),
            "mrs {1}, tpidr_el0",
            "str {2}, [{1}, {0}]",
            out(reg) _,
            out(reg) _,
            in(reg) core::ptr::from_ref(heap),
            options(nostack, preserves_flags),
        );
    }
}

/// The thread's second word: the system's number of the thread, or zero while nobody has asked.
fn id_word() -> *mut usize {
    let word: *mut usize;
    // SAFETY: adds up the address of the thread's own word.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        asm!(
            concat!("mov {0}, qword ptr [rip + ", slot!(), "@GOTTPOFF]"),
            "add {0}, qword ptr fs:[0]",
            "add {0}, 8",
            out(reg) word,
            options(nostack, readonly),
        );
    }
    // SAFETY: as above.
    #[cfg(target_arch = "aarch64")]
    unsafe {
        asm!(
            concat!("adrp {0}, :gottprel:", slot!()),
            concat!("ldr {0}, [{0}, :gottprel_lo12:", slot!(), "]"),
            "mrs {1}, tpidr_el0",
            "add {0}, {0}, {1}",
            "add {0}, {0}, 8",
            out(reg) word,
            out(reg) _,
            options(nostack, readonly, preserves_flags),
        );
    }
    word
}

/// The system's number of the calling thread. Asks once.
pub(crate) fn id() -> u32 {
    let word = id_word();
    // SAFETY: the thread's own word.
    unsafe {
        if *word == 0 {
            *word = libc::syscall(libc::SYS_gettid) as usize;
        }
        *word as u32
    }
}

/// Has [`id`] ask again: the thread of a fork's child has another number.
pub(crate) fn forget_id() {
    // SAFETY: the thread's own word.
    unsafe { *id_word() = 0 };
}

/// What the calling thread allocates from.
#[derive(Clone, Copy)]
pub(crate) enum Owner {
    /// A heap of its own.
    Own(&'static HostHeap),
    /// The heap that threads without one share: at the very end of a thread, or where there are
    /// more threads than heaps.
    Shared,
}

/// Finds out, and gives a thread that has none a heap. Slow path only.
#[unsafe(link_section = "genesis_mem_slow")]
pub(crate) fn owner() -> Owner {
    let heap = heap();
    if !heap.is_none() {
        return Owner::Own(heap);
    }
    if core::ptr::eq(heap, &raw const NO_MORE) {
        return Owner::Shared;
    }
    let Some(heap) = crate::process::arena().adopt_heap() else { return Owner::Shared };
    // First of all: what follows may allocate.
    set_heap(heap);
    crate::process::on_thread_start(heap);
    Owner::Own(heap)
}

/// Leaves the thread's heap to the next thread. Called when the thread ends.
#[unsafe(link_section = "genesis_mem_slow")]
pub(crate) extern "C" fn end(heap: *mut libc::c_void) {
    set_heap(&NO_MORE);
    let Some(heap) = core::ptr::NonNull::new(heap.cast::<HostHeap>()) else { return };
    // SAFETY: I1: the heap was this thread's, which from now on uses none.
    unsafe { crate::process::arena().orphan_heap(heap) };
    // What is empty in it goes back later, if nobody adopts it.
    crate::purger::wake();
}
