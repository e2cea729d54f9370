//! The examples, as programs of their own, on the fake driver: as it is, without one of its
//! functions, and without any driver.
#![cfg(feature = "cudarc")]

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use fakecuda::client;

/// A folder of this test's own that goes with it.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let folder = env::temp_dir().join(format!("fakecuda-{}-{name}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder");
        Self(folder)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// What an example prints with the libraries in `folder` before all others. `None` where it was
/// not built, which `cargo test` does unless it is told to build one test alone.
fn output(example: &str, folder: &Path) -> Option<String> {
    let test = env::current_exe().expect("a test has a path");
    let built = test.ancestors().nth(2).expect("tests lie in a folder").join("examples");
    let program = built.join(example);
    if !program.is_file() {
        println!("skipped: {} is not built", program.display());
        return None;
    }
    let mut command = Command::new(program);
    let output = command.env("LD_LIBRARY_PATH", folder).env("TMPDIR", folder).output();
    let output = output.expect("it runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{example}: {}\n{text}{errors}", output.status);
    Some(text)
}

#[test]
fn they_run_on_the_fake_driver() {
    let folder = Folder::new("whole");
    client::install(&folder.0, &[]).expect("the folder can be written to");
    if let Some(text) = output("cudarc_kernel", &folder.0) {
        assert!(text.starts_with("1000 numbers doubled"), "{text}");
    }
    if let Some(text) = output("pinned_transfer", &folder.0) {
        assert!(text.contains("page-locked true") && !text.contains("no GPU"), "{text}");
    }
    if let Some(text) = output("driver_lock", &folder.0) {
        assert!(text.contains("page-locked: true") && text.contains("arrived: true"), "{text}");
    }
    if let Some(text) = output("two_streams", &folder.0) {
        assert!(text.contains("on the CPU 0") && text.contains("rules broken: 0"), "{text}");
    }
}

#[test]
fn a_driver_that_is_too_old_is_named_and_never_a_panic() {
    for function in ["cuMemAlloc_v2", "cuEventQuery", "cuDevicePrimaryCtxRelease_v2"] {
        let folder = Folder::new(function);
        client::install(&folder.0, &[function]).expect("the folder can be written to");
        let Some(text) = output("cudarc_kernel", &folder.0) else { return };
        let expected = format!("skipped: no CUDA driver: its library has no function {function};");
        assert!(text.starts_with(&expected), "{text}");
    }
}

#[test]
fn an_older_driver_without_virtual_memory_serves_too() {
    for functions in [&["cuMemUnmap"][..], &["cuMemAddressReserve", "cuMemCreate", "cuMemMap"]] {
        let folder = Folder::new(functions[0]);
        client::install(&folder.0, functions).expect("the folder can be written to");
        let Some(text) = output("cudarc_kernel", &folder.0) else { return };
        assert!(text.starts_with("1000 numbers doubled"), "{text}");
    }
}

#[test]
fn a_library_that_is_none_is_no_driver() {
    let folder = Folder::new("none");
    for name in ["libcuda.so", "libcuda.so.1"] {
        fs::write(folder.0.join(name), "not a library").expect("the folder can be written to");
    }
    let Some(text) = output("cudarc_kernel", &folder.0) else { return };
    // Where a real driver is installed the loader goes on to it.
    assert!(text.starts_with("skipped: no CUDA driver") || text.contains("doubled"), "{text}");
}

#[test]
fn the_profiler_names_the_line_that_holds_the_memory() {
    let folder = Folder::new("profiler");
    let Some(text) = output("who_holds_it", &folder.0) else { return };
    let error = text.lines().next().expect("the error comes first");
    assert!(error.contains("held most by cuda/examples/who_holds_it.rs:"), "{error}");
    let line = error.split("who_holds_it.rs:").nth(1).and_then(|rest| rest.split(' ').next());
    let leaks = text.split("never freed:").nth(1).expect("there are leaks");
    let largest = leaks.lines().nth(1).expect("at least one");
    assert!(largest.ends_with(&format!("who_holds_it.rs:{}", line.expect("a line"))), "{text}");
    let files = fs::read_dir(folder.0.join("genesis-mem-who-holds-it")).expect("they are written");
    assert_eq!(files.count(), 8);
}
