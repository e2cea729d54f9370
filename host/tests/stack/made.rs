//! Code that has no tables: frame pointers, and registers that hold anything.

use std::{ffi::c_void, ptr};

use genesis_mem_host::stack;

use crate::{
    compiled::{Callback, Library},
    reference::Frames,
    strange::{PAGE_BYTES, map},
};

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

/// Code that was made at run time, with frame pointers, between code that has tables.
#[test]
fn code_made_at_run_time() {
    const CODE: [u8; 14] = [
        0x55, 0x48, 0x89, 0xe5, // push rbp; mov rbp, rsp
        0x48, 0x89, 0xf8, // mov rax, rdi
        0x48, 0x89, 0xf7, // mov rdi, rsi
        0xff, 0xd0, // call rax
        0x5d, 0xc3, // pop rbp; ret
    ];
    type Made = extern "C" fn(Callback, *mut c_void);
    let pages = map(PAGE_BYTES);
    // SAFETY: the code is of the function's type, and in memory that may be run.
    let made = unsafe {
        pages.copy_from_nonoverlapping(CODE.as_ptr(), CODE.len());
        let access = libc::PROT_READ | libc::PROT_EXEC;
        assert_eq!(libc::mprotect(pages.cast(), PAGE_BYTES, access), 0);
        std::mem::transmute::<*mut u8, Made>(pages)
    };
    let [mut inside, mut outside] = [const { Vec::<usize>::new() }; 2];
    for _ in 0..2 {
        made(keep, (&raw mut inside).cast());
        keep((&raw mut outside).cast());
        // The first is in the code; the next one's calls of the two differ.
        assert_eq!(inside[0], pages.addr() + 12);
        assert_eq!(inside[2..], outside[1..]);
        assert!(inside.len() > 5);
    }
    // SAFETY: unmaps what was mapped.
    unsafe { libc::munmap(pages.cast(), PAGE_BYTES) };
}
