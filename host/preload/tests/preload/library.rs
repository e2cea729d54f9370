//! The library itself: what it exports, how large it is, and how its functions behave in C.

use std::{fs, os::unix::process::ExitStatusExt, process::Command};

use crate::common::{compile, is_installed, library, preloaded, run, scratch, text};

const NAMES: [&str; 22] = [
    "aligned_alloc",
    "calloc",
    "cfree",
    "free",
    "free_aligned_sized",
    "free_sized",
    "genesis_mem_stats_fd",
    "genesis_mem_stats_json",
    "genesis_mem_version",
    "mallinfo",
    "mallinfo2",
    "malloc",
    "malloc_stats",
    "malloc_trim",
    "malloc_usable_size",
    "mallopt",
    "memalign",
    "posix_memalign",
    "pvalloc",
    "realloc",
    "reallocarray",
    "valloc",
];

#[test]
fn exports_its_names_and_no_others() {
    if !is_installed("nm") {
        return println!("skipped: nm is not installed");
    }
    let nm = Command::new("nm").args(["-D", "--defined-only"]).arg(library()).output().unwrap();
    let text = String::from_utf8(nm.stdout).unwrap();
    let mut names: Vec<_> = text.lines().filter_map(|line| line.split(' ').next_back()).collect();
    names.sort_unstable();
    assert_eq!(names, NAMES);
}

#[test]
fn is_small() {
    let bytes = fs::metadata(library()).unwrap().len();
    println!("{bytes} bytes");
    assert!(bytes < 280 * 1024, "{bytes} bytes");
}

#[test]
fn conforms() {
    let folder = scratch();
    let Some(program) = compile("conformance.c", folder.path()) else { return };
    let output = run(&mut preloaded(&program), b"");
    assert!(output.status.success(), "{}", text(&output));
    assert_eq!(output.stdout, b"0 failures\n", "{}", text(&output));
}

#[test]
fn prints_a_table_on_request() {
    let folder = scratch();
    let Some(program) = compile("conformance.c", folder.path()) else { return };
    let output = run(preloaded(&program).arg("stats"), b"");
    let table = text(&output);
    assert!(table.contains("\nallocated  ") && table.contains("waste"), "{table}");
}

/// What to do wrong, and what the line on stderr says of it.
const MISUSES: [(&str, &str); 15] = [
    ("double", "double free, or use of a free block at 0x"),
    ("double-later", "double free, or use of a free block at 0x"),
    ("double-large", "double free, or use of a free block at 0x"),
    ("interior", "pointer into the middle of a block at 0x"),
    ("misaligned", "pointer into the middle of a block at 0x"),
    ("interior-large", "pointer into the middle of a block at 0x"),
    ("stack", "pointer that was not allocated here at 0x"),
    ("static", "pointer that was not allocated here at 0x"),
    ("mapped", "pointer that was not allocated here at 0x"),
    ("wild", "pointer that was not allocated here at 0x123456789abcdef0"),
    ("realloc-freed", "double free, or use of a free block at 0x"),
    ("realloc-foreign", "pointer that was not allocated here at 0x"),
    ("usable-freed", "double free, or use of a free block at 0x"),
    ("usable-foreign", "pointer that was not allocated here at 0x"),
    ("overwritten", "write to a block after its free at 0x"),
];

#[test]
fn misuse_ends_the_program_with_one_line() {
    let folder = scratch();
    let Some(program) = compile("misuse.c", folder.path()) else { return };
    let well = run(preloaded(&program).arg("none"), b"");
    assert!(well.status.success() && well.stderr.is_empty(), "{}", text(&well));
    for (kind, message) in MISUSES {
        let output = run(preloaded(&program).arg(kind), b"");
        let line = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.signal(), Some(libc::SIGABRT), "{kind}: {}", text(&output));
        assert_eq!(line.lines().count(), 1, "{kind}: {line}");
        assert!(line.starts_with(&format!("genesis-mem: {message}")), "{kind}: {line}");
        println!("{kind}: {line}");
    }
}

#[test]
fn statistics_are_written_at_the_end() {
    let folder = scratch();
    let Some(program) = compile("misuse.c", folder.path()) else { return };
    let file = |name: &str| folder.path().join(name);
    let with = |value: std::path::PathBuf| {
        run(preloaded(&program).arg("none").env("GENESIS_MEM_STATS_FILE", value), b"")
    };
    let output = with(file("stats.json"));
    assert!(output.stderr.is_empty(), "{}", text(&output));
    let json = fs::read_to_string(file("stats.json")).unwrap();
    assert!(json.starts_with("{\"version\":1,") && json.ends_with("}\n"), "{json}");

    with(file("of-%p-and-%p.json"));
    let mut names: Vec<_> = fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with("of-"))
        .collect();
    let name = names.pop().expect("a file with the number of the process");
    let number = name.trim_start_matches("of-").split('-').next().unwrap();
    assert_eq!(name, format!("of-{number}-and-{number}.json"));

    let output = with(file("no/such/folder.json"));
    assert!(output.status.success(), "{}", text(&output));
    let line = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(line.starts_with("genesis-mem: cannot write"), "{line}");
    assert_eq!(line.lines().count(), 1);
}

#[test]
fn options_are_read_and_bad_ones_named_once() {
    let folder = scratch();
    let Some(program) = compile("conformance.c", folder.path()) else { return };
    let output = run(preloaded(&program).env("GENESIS_MEM_LIMIT", "many"), b"");
    let line = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(line.lines().count(), 1, "{line}");
    assert!(line.contains("GENESIS_MEM_LIMIT=many ignored"), "{line}");
    // With a real limit the large blocks of the program fail, and the program notices.
    let output = run(preloaded(&program).env("GENESIS_MEM_LIMIT", "8MiB"), b"");
    assert!(!output.status.success(), "{}", text(&output));
}
