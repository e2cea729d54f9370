//! Stacks that are not the thread's own.

use std::{
    ffi::c_int,
    hint::black_box,
    ptr,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use crate::reference::both;

pub(crate) const PAGE_BYTES: usize = 4096;

/// Pages, with some on both sides that must not be touched.
pub(crate) fn map(bytes: usize) -> *mut u8 {
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

/// What the coroutine runs.
static mut TASK: fn() = || ();

extern "C" fn run_task() {
    // SAFETY: nobody changes it meanwhile.
    unsafe { TASK() };
}

/// Runs `task` on a stack of its own.
pub(crate) fn on_a_coroutine(task: fn()) {
    const BYTES: usize = 1 << 18;
    static TURN: Mutex<()> = Mutex::new(());
    let _turn = TURN.lock();
    let pages = map(BYTES);
    // SAFETY: the coroutine runs on memory of its own, to its end, while this waits.
    unsafe {
        TASK = task;
        let mut main: libc::ucontext_t = std::mem::zeroed();
        let mut other: libc::ucontext_t = std::mem::zeroed();
        assert_eq!(libc::getcontext(&mut other), 0);
        other.uc_stack.ss_sp = pages.cast();
        other.uc_stack.ss_size = BYTES;
        other.uc_link = &mut main;
        libc::makecontext(&mut other, run_task, 0);
        assert_eq!(libc::swapcontext(&mut main, &other), 0);
        assert_eq!(libc::munmap(pages.cast(), BYTES), 0);
    }
}

#[test]
fn a_coroutine() {
    static COUNTS: [AtomicUsize; 2] = [const { AtomicUsize::new(0) }; 2];
    #[inline(never)]
    fn nested(depth: usize) -> usize {
        black_box(if depth == 0 { both(256) } else { nested(depth - 1) })
    }
    for _ in 0..3 {
        on_a_coroutine(|| {
            COUNTS[0].store(nested(10), Relaxed);
            COUNTS[1].store(nested(60), Relaxed);
        });
        let [few, many] = COUNTS.each_ref().map(|count| count.swap(0, Relaxed));
        assert!(few >= 11);
        assert_eq!(many, few + 50);
    }
}

/// A child of a fork that a thread made runs on that thread's stack.
#[test]
fn a_child_of_a_fork() {
    let status = std::thread::spawn(|| {
        // SAFETY: the child makes system calls only.
        unsafe {
            let child = libc::fork();
            if child == 0 {
                libc::_exit(c_int::from(both(256) <= 5));
            }
            let mut status = -1;
            assert_eq!(libc::waitpid(child, &mut status, 0), child);
            status
        }
    });
    assert_eq!(status.join().unwrap(), 0);
}
