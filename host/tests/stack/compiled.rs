//! Code of a C compiler.

use std::{
    ffi::{CString, c_int, c_void},
    path::Path,
    process::Command,
};

use crate::reference::{Frames, compare};
use genesis_mem_host::stack;

pub(crate) type Callback = extern "C" fn(*mut c_void);
pub(crate) type EveryKind = extern "C" fn(Callback, *mut c_void) -> c_int;

/// A library in memory.
pub(crate) struct Library(*mut c_void);

impl Library {
    /// Compiles the functions with some options, and loads them.
    pub(crate) fn compile(folder: &Path, options: &[&str]) -> Self {
        let target = folder.join("libcompiled.so");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/stack/compiled.c");
        let mut command = Command::new("cc");
        command.args(options).args(["-shared", "-fPIC", "-o"]).arg(&target).arg(source);
        assert!(command.status().expect("a C compiler is installed").success());
        let target = CString::new(target.to_str().unwrap()).unwrap();
        // SAFETY: the library has no constructors.
        let handle = unsafe { libc::dlopen(target.as_ptr(), libc::RTLD_NOW) };
        assert!(!handle.is_null());
        Self(handle)
    }

    pub(crate) fn symbol(&self, name: &str) -> *mut c_void {
        let name = CString::new(name).unwrap();
        // SAFETY: the handle is open.
        let symbol = unsafe { libc::dlsym(self.0, name.as_ptr()) };
        assert!(!symbol.is_null());
        symbol
    }

    pub(crate) fn every_kind(&self) -> EveryKind {
        // SAFETY: it is declared so.
        unsafe { std::mem::transmute::<*mut c_void, EveryKind>(self.symbol("every_kind")) }
    }
}

impl Drop for Library {
    fn drop(&mut self) {
        // SAFETY: no code of it runs.
        unsafe { libc::dlclose(self.0) };
    }
}

/// Adds the number of frames that both unwinders agree on; one that is negative says they don't.
extern "C" fn check(counts: *mut c_void) {
    // SAFETY: the caller hands this on.
    let counts = unsafe { &mut *counts.cast::<Vec<isize>>() };
    counts.push(match compare(256) {
        Ok(count) => count as isize,
        Err((ours, system)) => {
            eprintln!("ours {:#x?}\nsystem {:#x?}", ours.get(), system.get());
            -1
        }
    });
}

#[test]
fn optimized_and_not() {
    let options: [&[&str]; 8] = [
        &["-O2"],
        &["-O2", "-fno-omit-frame-pointer"],
        &["-O3", "-mavx2", "-fomit-frame-pointer"],
        &["-Os", "-fcf-protection=full"],
        &["-O0"],
        &["-O1", "-fstack-protector-all", "-fstack-clash-protection"],
        &["-O2", "-mno-accumulate-outgoing-args", "-mpush-args"],
        &["-O2", "-Wl,-z,lazy", "-mcmodel=large"],
    ];
    for options in options {
        let folder = tempfile::tempdir().unwrap();
        let library = Library::compile(folder.path(), options);
        let mut counts: Vec<isize> = Vec::new();
        library.every_kind()(check, (&raw mut counts).cast());
        assert_eq!(counts.len(), 2, "{options:?}");
        assert!(counts.iter().all(|&count| count > 10), "{options:?}: {counts:?}");
    }
}

extern "C" fn keep(frames: *mut c_void) {
    // SAFETY: the caller hands this on.
    let frames = unsafe { &mut *frames.cast::<Vec<Vec<usize>>>() };
    frames.push(Frames::of_ours(256, stack::here()).get().to_vec());
}

#[inline(never)]
fn call(library: &Library) -> Vec<Vec<usize>> {
    let mut frames: Vec<Vec<usize>> = Vec::new();
    library.every_kind()(keep, (&raw mut frames).cast());
    frames.push(Frames::of_ours(256, stack::here()).get().to_vec());
    frames
}

/// Without tables, frame pointers lead out, through the C library, which has none.
#[test]
fn without_tables() {
    let folder = tempfile::tempdir().unwrap();
    let options = [
        "-O2",
        "-fno-omit-frame-pointer",
        "-fno-asynchronous-unwind-tables",
        "-fno-unwind-tables",
        "-fno-exceptions",
    ];
    let library = Library::compile(folder.path(), &options);
    let frames = call(&library);
    let [frames @ .., outside] = &frames[..] else { panic!("nothing called back") };
    assert_eq!(frames.len(), 2);
    for frames in frames {
        assert!(frames.ends_with(outside), "{frames:#x?} leads to {outside:#x?}");
        assert!(frames.len() > outside.len() + 4);
    }
}

/// A library at the addresses of another one that is gone.
#[test]
fn libraries_come_and_go() {
    let variants = ["-O0", "-O2", "-O1", "-Os", "-O3"];
    for round in 0..20 {
        let folder = tempfile::tempdir().unwrap();
        let library = Library::compile(folder.path(), &[variants[round % variants.len()]]);
        let mut counts: Vec<isize> = Vec::new();
        library.every_kind()(check, (&raw mut counts).cast());
        assert!(counts.iter().all(|&count| count > 10), "round {round}: {counts:?}");
    }
}
