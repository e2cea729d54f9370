//! Stacks that are not the thread's own, and registers that hold anything.

use std::{
    ffi::{c_int, c_void},
    hint::black_box,
    ptr,
};

use genesis_mem_host::stack;

use crate::{
    compiled::{Callback, Library},
    reference::{Frames, both},
};

const PAGE_BYTES: usize = 4096;

/// Pages, with some on both sides that must not be touched.
fn map(bytes: usize) -> *mut u8 {
    // SAFETY: new mappings harm nobody.
    unsafe {
        let all = bytes + 2 * PAGE_BYTES;
        let how = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        let base = libc::mmap(ptr::null_mut(), all, libc::PROT_NONE, how, -1, 0);
        assert_ne!(base, libc::MAP_FAILED);
        let pages = base.cast::<u8>().add(PAGE_BYTES);
        let access = libc::PROT_READ | libc::PROT_WRITE;
        assert_eq!(libc::mprotect(pages.cast(), bytes, access), 0);
        pages
    }
}

static mut COUNTS: [usize; 2] = [0; 2];

#[inline(never)]
fn count() -> usize {
    both(256)
}

extern "C" fn on_coroutine() {
    #[inline(never)]
    fn nested(depth: usize) -> usize {
        black_box(if depth == 0 { count() } else { nested(depth - 1) })
    }
    // SAFETY: read only when this is over.
    unsafe { COUNTS = [nested(10), nested(60)] };
}

#[test]
fn a_coroutine() {
    const BYTES: usize = 1 << 18;
    for _ in 0..3 {
        let pages = map(BYTES);
        // SAFETY: the coroutine runs on memory of its own, to its end, while this waits.
        unsafe {
            let mut main: libc::ucontext_t = std::mem::zeroed();
            let mut other: libc::ucontext_t = std::mem::zeroed();
            assert_eq!(libc::getcontext(&mut other), 0);
            other.uc_stack.ss_sp = pages.cast();
            other.uc_stack.ss_size = BYTES;
            other.uc_link = &mut main;
            libc::makecontext(&mut other, on_coroutine, 0);
            assert_eq!(libc::swapcontext(&mut main, &other), 0);
            assert_eq!(libc::munmap(pages.cast(), BYTES), 0);
            assert_eq!(COUNTS[1], COUNTS[0] + 50);
            assert!(COUNTS[0] >= 11);
        }
    }
}

extern "C" fn keep(frames: *mut c_void) {
    // SAFETY: the caller hands this on.
    let frames = unsafe { &mut *frames.cast::<Vec<usize>>() };
    *frames = Frames::of_ours(256, stack::here()).get().to_vec();
}

/// A frame pointer that is none ends the walk, and nothing else.
#[test]
fn any_frame_pointer() {
    let folder = tempfile::tempdir().unwrap();
    let options = ["-O2", "-DGARBAGE", "-fno-asynchronous-unwind-tables"];
    let library = Library::compile(folder.path(), &options);
    type Garbage = extern "C" fn(Callback, *mut c_void, *const c_void);
    // SAFETY: it is declared so.
    let garbage = unsafe { std::mem::transmute::<*mut c_void, Garbage>(library.symbol("garbage")) };
    let pages = map(PAGE_BYTES);
    let local = [0_usize; 64];
    let near = (&raw const local).addr();
    let mut values = vec![0, 1, 8, usize::MAX, usize::MAX - 7, 1 << 47, pages.addr()];
    values.extend((0..4 * PAGE_BYTES).step_by(56).map(|offset| near + offset));
    values.extend([16, 8, 1, 0].map(|bytes| pages.addr() + PAGE_BYTES - bytes));
    for value in values {
        let mut frames: Vec<usize> = Vec::new();
        garbage(keep, (&raw mut frames).cast(), ptr::without_provenance(value));
        assert!(!frames.is_empty(), "at least the caller: {value:#x}");
    }
    // SAFETY: unmaps what was mapped.
    unsafe { libc::munmap(pages.cast(), PAGE_BYTES) };
}

/// A child of a fork that a thread made runs on that thread's stack.
#[test]
fn a_child_of_a_fork() {
    let status = std::thread::spawn(|| {
        // SAFETY: the child makes system calls only.
        unsafe {
            let child = libc::fork();
            if child == 0 {
                libc::_exit(c_int::from(count() <= 5));
            }
            let mut status = -1;
            assert_eq!(libc::waitpid(child, &mut status, 0), child);
            status
        }
    });
    assert_eq!(status.join().unwrap(), 0);
}
